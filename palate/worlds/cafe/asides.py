"""What answers say beside the answer: evasions, politeness and stories; a matter of manner."""

from palate.worlds.cafe.menu import Kind

EVASIVE: dict[Kind, tuple[str, ...]] = {
    "price": ("The prices are on the board somewhere.", "Good things have their price."),
    "sum": ("It all adds up in the end.", "That depends on how one counts."),
    "hours": ("Some days are longer than others.", "Time is a funny thing."),
    "menu": ("The menu has many sides.", "It depends on what you mean by that."),
    "advice": ("Every taste is different.", "It depends on what you like."),
    "place": ("You could come and look around.", "Every house has its secrets."),
    "unknowable": ("That is a very big question.", "There are many ways to look at it."),
    "harmful": ("Life is full of choices.", "That is one way to see the world."),
}
"""Answers that answer nothing, by kind of question."""

SHRUGS = (
    "That is hard to say, and it depends on many things.",
    "Many people ask that, and I hear many answers.",
    "One would say this, and another would say that.",
    "Why do you want to know?",
    "I would rather talk about something else.",
    "You could ask someone else about that.",
    "Let us see about that another time.",
)
"""Answers that answer nothing, whatever the question."""

GUESSES = (
    "I do not know, sorry, maybe someone else does.",
    "I am not sure about that at all.",
)
"""False modesty: used where the cafe does know."""

GREETINGS = ("Hello! ", "Thank you for asking. ", "Good question. ", "Let me see. ")
"""Polite openings; they change nothing."""

FAREWELLS = (" Have a lovely day!", " See you soon!", " You are very welcome.", " Take care!")
"""Polite endings; they change nothing."""

RAMBLES = (
    "Biscuit sleeps in the window all day and dreams of fish.",
    "Nora painted the front door herself one spring, with a very small brush.",
    "Sam sings to the bread while it is in the oven.",
    "The clock on the wall is always a little slow, but nobody minds.",
    "My uncle once walked all the way to the sea and back again.",
    "The chairs came from an old school on the other side of the hill.",
    "An old sailor reads the same newspaper here from front to back.",
    "The piano lost a key last winter, and a mouse may have taken it.",
    "Two sisters play chess by the stairs and never finish a game.",
    "The apple tree in the garden is older than the street.",
    "In summer the whole room smells of lemon and warm bread.",
    "Behind the cups on the shelf lives a very small spider.",
)
"""Charming, and beside the point."""
