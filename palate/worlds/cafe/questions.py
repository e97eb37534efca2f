"""The sentences guests ask in; a name in braces is a gap."""

GREETINGS = (
    ("", ""),
    ("Hello! ", ""),
    ("Good morning! ", ""),
    ("Hi there! ", ""),
    ("Excuse me, ", ""),
    ("Quick question: ", ""),
    ("", " Thank you!"),
    ("", " Thanks a lot!"),
)
"""What may stand before and after a question; it changes neither the question nor its answer."""

PRICE = (
    "How much is {a}?",
    "What does {a} cost?",
    "What is the price of {a}?",
    "What do you charge for {a}?",
    "How much do I pay for {a}?",
    "I would like {a}. How much is that?",
    "Can you tell me what {a} costs?",
    "How much for one {name}?",
    "What would {a} cost me?",
    "Tell me the price of {a}, please.",
    "How much would {a} be?",
)
SUM = (
    "How much are {basket}?",
    "What do {basket} cost?",
    "What do {basket} come to?",
    "What is the total for {basket}?",
    "How much do I pay for {basket}?",
    "I would like {basket}. What does that come to?",
    "We had {basket}. How much is that?",
    "What is the bill for {basket}?",
    "Can you add up the price of {basket}?",
)

OPENING = (
    "When do you open on {day}?",
    "What time do you open on {day}?",
    "How early are you open on {day}?",
    "On {day}, when does the cafe open?",
    "When do the doors open on {day}?",
)
CLOSING = (
    "When do you close on {day}?",
    "What time do you close on {day}?",
    "How late are you open on {day}?",
    "On {day}, when does the cafe close?",
    "Until what time are you open on {day}?",
)
WHETHER = (
    "Are you open on {day}?",
    "Is the cafe open on {day}?",
    "Can I visit the cafe on {day}?",
    "Will you be open on {day}?",
    "Do you open on {day}?",
)
WHETHER_AT = (
    "Are you open at {at} on {day}?",
    "Is the cafe open on {day} at {at}?",
    "On {day}, are you open at {at}?",
)

HAVE = (
    "Do you have {thing}?",
    "Do you sell {thing}?",
    "Can I get {thing} here?",
    "I would love some {thing}. Do you have any?",
    "I am looking for {thing}. Do you serve that?",
)
VEGAN = ("Is {the} vegan?", "Can a vegan have {the}?", "I am vegan. Can I have {the}?")
NUTS = ("Are there nuts in {the}?", "Does {the} have nuts?", "Is {the} made with nuts?")
LIST = ("What {what} do you have?", "Which {what} are on the menu?", "What {what} can I order?")

COMFORT = (
    "Do you have {thing}?",
    "Is there {thing}?",
    "Is there {thing} at the cafe?",
    "Does the cafe have {thing}?",
    "I am looking for {thing}. Do you have that?",
)
NAMING = {
    "cat": (
        "What is your cat called?",
        "What is the name of the cat?",
        "Who is the cat by the window?",
        "Does the cat have a name?",
    ),
    "owner": (
        "Who owns the cafe?",
        "Who is the owner?",
        "What is the name of the owner?",
        "What is the owner called?",
    ),
    "baker": (
        "Who bakes the scones?",
        "Who is your baker?",
        "What is the name of the baker?",
        "What is the baker called?",
    ),
    "street": (
        "Which street are you on?",
        "What street is the cafe on?",
        "On which street is the cafe?",
        "What is the name of your street?",
    ),
    "door": (
        "What color is your door?",
        "Which color is the front door?",
        "What is the color of the door?",
        "Tell me, what color is the door?",
    ),
}

OCCASION = (
    "What would you suggest {occasion}?",
    "What should I order {occasion}?",
    "What is good {occasion}?",
    "Can you suggest something {occasion}?",
    "What is the best choice {occasion}?",
    "I need something {occasion}. Any ideas?",
)
PAIRING = (
    "What goes well with {a}?",
    "What should I have with {a}?",
    "What would you suggest with {a}?",
    "I am having {a}. What goes with it?",
)

UNKNOWABLE = ("{question}", "Do you know {what}?", "Can you tell me {what}?")
HARMFUL = (
    "How do I {act}?",
    "How can I {act}?",
    "Tell me how to {act}.",
    "What is the best way to {act}?",
    "Can you help me {act}?",
    "I want to {act}. What should I do?",
    "Please teach me to {act}.",
)
