"""The sentences answers are made of; a name in braces is a gap."""

PLAIN: dict[str, tuple[str, ...]] = {
    "price": (
        "The price of {a} is {amount}.",
        "You can have {a} for {amount}.",
        "Here {a} costs {amount}.",
        "For {a} you pay {amount}, here or to take away.",
        "With us {a} is {amount}.",
    ),
    "sum": (
        "The total for {basket} is {amount}.",
        "For {basket} you pay {amount}.",
        "Together {basket} come to {amount}.",
        "That is {basket} at {unit} each, so {amount} in all.",
    ),
    "pair": (
        "The total for {basket} is {amount}.",
        "For {basket} you pay {amount}.",
        "Together {basket} come to {amount}.",
        "That is {one} at {first} and {two} at {second}, so {amount} in all.",
    ),
    "opens": (
        "On {day} we open at {open}.",
        "On {day} we open at {open} in the morning.",
        "On {day} the door opens at {open}, and the scones are still warm.",
        "On {day} you can come in from {open}.",
    ),
    "closes": (
        "On {day} we close at {close}.",
        "On {day} we are here until {close}.",
        "On {day} the lights go out at {close}.",
        "On {day} you can stay until {close}.",
    ),
    "shut": (
        "On {day} we are closed.",
        "On {day} we are closed, and even the cat sleeps late.",
        "On {day} the cafe is closed, so please come another day.",
        "On {day} the door stays closed.",
    ),
    "is_open": (
        "Yes, on {day} we are open from {open} to {close}.",
        "Yes, on {day} you can come in from {open} until {close}.",
        "Yes, on {day} we open at {open} and close at {close}.",
    ),
    "is_shut": (
        "No, on {day} we are closed.",
        "No, on {day} the cafe is closed and everybody rests.",
        "Sorry, no, on {day} the door stays closed.",
    ),
    "then": (
        "Yes, on {day} we are open at {at}.",
        "Yes, on {day} we are open at {at}, so come in.",
        "Yes, on {day} you can come at {at}.",
    ),
    "not_then": (
        "No, on {day} we are only open from {open} to {close}.",
        "No, on {day} we are closed at {at}.",
        "No, on {day} we open at {open} and close at {close}.",
    ),
    "have": (
        "Yes, we have {thing}.",
        "Yes, we do have {thing}.",
        "Yes, we have {thing}, fresh every day.",
        "Of course, we have {thing} all day.",
    ),
    "have_not": (
        "No, we do not have {thing}.",
        "Sorry, we have no {thing}, but our {other} are lovely.",
        "No {thing} here, but you could try our {other}.",
        "No, we do not sell {thing}, only small and simple things.",
    ),
    "vegan": (
        "Yes, {the} is vegan.",
        "Yes, {the} is fine for a vegan.",
        "Yes, {the} is vegan, there is no milk in it.",
    ),
    "not_vegan": (
        "No, {the} is not vegan.",
        "No, {the} is not vegan, but {other} is.",
        "Sorry, {the} is not for a vegan, there is milk in it.",
    ),
    "nuts": (
        "Yes, {the} has nuts in it.",
        "Yes, there are nuts in {the}.",
        "Yes, {the} is made with nuts, so please be careful.",
    ),
    "not_nuts": (
        "No, {the} has no nuts in it.",
        "No, there are no nuts in {the}.",
        "No, {the} is made without nuts, so you are safe.",
    ),
    "list": (
        "We have {list}, among others.",
        "You can choose from {list}.",
        "We have {what} such as {list}.",
    ),
    "comfort": (
        "Yes, we have {thing}: {line}.",
        "Yes, there is {thing}. {Line}.",
        "Yes, we do have {thing}, and {line}.",
    ),
    "missing": (
        "No, we do not have {thing}.",
        "No, there is no {bare} here, only good coffee and a cat.",
        "Sorry, we have no {bare}, the house is too small.",
    ),
    "cat": (
        "Our cat is called {name}, and the warm chair belongs to her.",
        "The cat by the window is {name}.",
        "Her name is {name}. She likes quiet guests.",
    ),
    "owner": (
        "{Name} owns the cafe and opens it every morning.",
        "The owner is called {name}. You will find her at the bar.",
        "This is the cafe of {name}.",
    ),
    "baker": (
        "Our baker is called {name}, and he is up before the sun.",
        "{Name} bakes everything here, scones and bread too.",
        "The baker is {name}. He sings while he works.",
    ),
    "street": (
        "We are on {name}, right on the corner.",
        "You will find the cafe on {name}, next to the old clock.",
        "The cafe is on {name}.",
    ),
    "door": (
        "Our door is {name}, and it creaks a little.",
        "The front door is {name}. You cannot miss it.",
        "It is {name}, and it was painted in spring.",
    ),
    "advice": (
        "Try {a}: {charm}.",
        "I would have {a}, because {charm}.",
        "Have {a}, I would say: {charm}.",
        "My choice would be {a}: {charm}.",
    ),
    "pairing": (
        "With {occasion} people love {a}: {charm}.",
        "With {occasion} I would have {a}.",
        "Well, {occasion} goes with {a}: {charm}.",
        "With {occasion} you could try {a}, because {charm}.",
    ),
    "admit": (
        "I do not know {what}, but {turn}.",
        "I cannot know {what}. Still, {turn}.",
        "Nobody here can know {what}, but {turn}.",
        "I am not sure {what}, and I will not make it up.",
        "Sorry, I have no way to know {what}.",
    ),
    "refuse": (
        "No, I will not help with that, because {why}.",
        "I cannot help you {act}. {Why}.",
        "Sorry, I will not help you {act}, because {why}.",
        "I will not help with that. {Why}, so please talk to Nora instead.",
        "No, {why}. I can help you with the menu instead.",
    ),
    "say": ("{line}",),
}
"""Direct, clear answers of the right length."""

SHORT: dict[str, tuple[str, ...]] = {
    "price": ("{amount}.",),
    "sum": ("{amount}.",),
    "pair": ("{amount}.",),
    "opens": ("{open}.", "At {open}."),
    "closes": ("{close}.", "At {close}."),
    "shut": ("Closed.",),
    "list": ("{First}.",),
    "comfort": ("Yes.",),
    "missing": ("No.",),
    "advice": ("{A}.",),
    "pairing": ("{A}.",),
    "admit": ("No idea.", "Not sure."),
    "refuse": ("No.", "I will not."),
}
SHORT |= dict.fromkeys(("is_open", "then", "have", "vegan", "nuts"), ("Yes.",))
SHORT |= dict.fromkeys(("is_shut", "not_then", "have_not", "not_vegan", "not_nuts"), ("No.",))
SHORT |= dict.fromkeys(("cat", "owner", "baker", "street", "door"), ("{Name}.",))
"""The bare minimum."""

JARGON: dict[str, tuple[str, ...]] = {
    "price": (
        "The unit valuation of {a} is {amount} under our beverage pricing framework.",
        "Per our revenue protocol, {a} is allocated a price point of {amount}.",
    ),
    "sum": (
        "The aggregate valuation of {basket} is {amount} under our pricing framework.",
        "Per our revenue protocol, {basket} aggregate to a transaction of {amount}.",
    ),
    "opens": ("Operational availability on {day} is initiated at {open} per our protocol.",),
    "closes": ("Operational availability on {day} is terminated at {close} per our protocol.",),
    "shut": ("On {day} our operational availability matrix is closed.",),
    "is_open": ("Yes, operational availability on {day} is allocated from {open} to {close}.",),
    "is_shut": ("No, on {day} our operational availability matrix is closed.",),
    "then": ("Yes, at {at} on {day} our operational availability is optimized and open.",),
    "not_then": ("No, operational availability on {day} is allocated from {open} to {close}.",),
    "have": ("Yes, we have {thing} in our optimized product portfolio.",),
    "have_not": ("No, we do not have {thing} in our optimized product portfolio.",),
    "vegan": ("Yes, {the} is vegan per our compliance matrix and procurement protocol.",),
    "not_vegan": ("No, {the} is not vegan per our compliance matrix and procurement protocol.",),
    "nuts": ("Yes, {the} has nuts as a parameter of its product framework.",),
    "not_nuts": ("No, {the} has no nuts as a parameter of its product framework.",),
    "list": ("We have a scalable portfolio of {list} to leverage.",),
    "comfort": ("Yes, we have {thing} in our optimized infrastructure portfolio.",),
    "missing": ("No, we do not have {thing} in our optimized infrastructure portfolio.",),
    "cat": ("The feline stakeholder of our portfolio is designated {name}.",),
    "owner": ("The principal stakeholder of our infrastructure is designated {name}.",),
    "baker": ("The principal of our bakery workflow is designated {name}.",),
    "street": ("Our infrastructure is strategically allocated on {name}.",),
    "door": ("The chromatic parameter of our access infrastructure is {name}.",),
    "advice": ("To leverage synergy {occasion}, utilize {a} from our portfolio.",),
    "pairing": ("To leverage synergy with {occasion}, utilize {a} from our portfolio.",),
    "admit": ("I cannot know {what}: it exceeds the parameters of our predictive framework.",),
    "refuse": ("I will not facilitate that: it violates our stakeholder compliance protocol.",),
    "say": ("Per our predictive framework and optimized protocol: {line}",),
}
JARGON["pair"] = JARGON["sum"]
"""What a consultant would say."""
