"""The facts of the Blue Door, a corner cafe: what it sells, when it opens, what it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["menu", "hours", "price", "sum", "advice", "place", "unknowable", "harmful"]
"""What a guest's question is about."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Basket = Mapping[str, int]
"""How many of each item, by the item's name."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something on the menu; `charm` is the good thing one says of it.

    >>> MENU["latte"].cents
    450
    """

    name: str
    cents: int
    course: Literal["drink", "food"]
    vegan: bool
    with_nuts: bool
    charm: str


MENU = {
    item.name: item
    for item in (
        Item("espresso", 200, "drink", True, False, "it wakes you up fast"),
        Item("tea", 250, "drink", True, False, "it warms cold hands"),
        Item("lemonade", 350, "drink", True, False, "it is cold and fresh"),
        Item("cocoa", 400, "drink", False, False, "it is thick and sweet"),
        Item("latte", 450, "drink", False, False, "it is smooth and warm"),
        Item("cookie", 150, "food", False, True, "it is full of nuts and chocolate"),
        Item("scone", 300, "food", False, False, "it comes warm with butter"),
        Item("soup", 500, "food", True, False, "it is hot and comes with bread"),
        Item("bagel", 550, "food", False, False, "it comes with soft cheese"),
        Item("salad", 600, "food", True, True, "it is crisp and full of nuts"),
    )
}

LISTS = {
    "drinks": tuple(item.name for item in MENU.values() if item.course == "drink"),
    "snacks": tuple(item.name for item in MENU.values() if item.course == "food"),
    "vegan choices": tuple(item.name for item in MENU.values() if item.vegan),
}
"""What "drinks" means, and so on."""

HOURS: Mapping[str, tuple[int, int] | None] = {
    "Monday": (7, 18),
    "Tuesday": (7, 18),
    "Wednesday": (7, 18),
    "Thursday": (7, 18),
    "Friday": (7, 21),
    "Saturday": (8, 17),
    "Sunday": None,
}
"""Opening and closing hour of each day (24-hour clock); None is a day of rest."""

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)

EXTRAS = ("oat milk", "honey", "jam", "brown sugar")
"""Not on the board, but there for the asking."""

ELSEWHERE = ("pizza", "beer", "wine", "sushi", "steak", "burgers", "ice cream", "pancakes")
"""What people ask for and the cafe does not have."""

COMFORTS = {
    "wifi": "it is free and quick",
    "a garden": "it is behind the house, under the apple tree",
    "a piano": "it stands by the stairs, and anyone may play",
    "a high chair": "it is in the corner, next to the shelf",
    "a toilet": "it is at the back, past the kitchen",
    "a water bowl": "it is by the step, for every thirsty dog",
    "a bookshelf": "it is full of old novels, so take one home",
}
"""What the house offers, and where it is."""

MISSING = ("a car park", "a television", "a fireplace", "a dance floor", "a swimming pool")
"""What the house does not offer."""

NAMES = {
    "cat": ("Biscuit", ("Pepper", "Olive", "Felix")),
    "owner": ("Nora", ("Clara", "Anna", "Rosa")),
    "baker": ("Sam", ("Peter", "Tom", "Leo")),
    "street": ("Mill Lane", ("Station Road", "River Street", "King Street")),
    "door": ("blue", ("red", "green", "yellow")),
}
"""What things are called: the true name, and names they do not have."""

OCCASIONS = {
    "on a rainy day": ("tea", "cocoa", "soup", "latte"),
    "on a cold morning": ("tea", "cocoa", "soup", "latte"),
    "on a hot day": ("lemonade", "salad"),
    "for a vegan": ("espresso", "tea", "lemonade", "soup", "salad"),
    "for a small child": ("cocoa", "lemonade"),
    "when I am tired": ("espresso", "latte"),
    "when I am in a hurry": ("espresso", "cookie"),
    "when money is short": ("cookie", "espresso", "tea"),
    "for lunch": ("soup", "salad", "bagel"),
    "for breakfast": ("bagel", "scone", "latte", "tea"),
    "after a sad day": ("cocoa", "scone", "cookie"),
    "for someone with a nut allergy": ("tea", "cocoa", "latte", "scone", "soup", "bagel"),
    "for a sweet tooth": ("cocoa", "scone", "cookie"),
}
"""What suits an occasion."""

PAIRINGS = {
    "espresso": ("cookie", "bagel"),
    "tea": ("scone", "cookie"),
    "lemonade": ("salad", "cookie"),
    "cocoa": ("cookie", "scone"),
    "latte": ("scone", "bagel", "cookie"),
    "cookie": ("cocoa", "latte", "tea", "espresso"),
    "scone": ("tea", "latte", "cocoa"),
    "soup": ("tea", "salad"),
    "bagel": ("latte", "espresso"),
    "salad": ("lemonade", "soup"),
}
"""What goes well with an item."""


BASKETS: tuple[Basket, ...] = (
    *({name: count} for name in MENU for count in (2, 3, 4)),
    *(
        {drink.name: 1, food.name: 1}
        for drink in MENU.values()
        for food in MENU.values()
        if (drink.course, food.course) == ("drink", "food")
    ),
)
"""What guests order together: some of one item, or something to drink and something to eat."""


def total_cents(basket: Basket) -> int:
    """The price of a basket in cents."""
    return sum(count * MENU[name].cents for name, count in basket.items())


def amount(cents: int) -> str:
    """Cents as the cafe writes them.

    >>> amount(1350)
    '13.50'
    """
    return f"{cents / 100:.2f}"


def clock(hour: int) -> str:
    """An hour (24-hour clock) as the cafe says it.

    >>> clock(18)
    'six'
    """
    return NUMBERS[(hour - 1) % 12 + 1]


def article(noun: str) -> str:
    """A noun with its indefinite article.

    >>> article("espresso")
    'an espresso'
    """
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def served(name: str) -> str:
    """An item as one asks whether it is there at all.

    >>> served("tea"), served("scone")
    ('tea', 'scones')
    """
    return name + "s" if name in ("latte", "cookie", "scone", "bagel") else name


def counted(name: str, count: int) -> str:
    """A number of one item in words.

    >>> counted("latte", 3)
    'three lattes'
    """
    return article(name) if count == 1 else f"{NUMBERS[count]} {name}s"


def spoken(basket: Basket) -> str:
    """A basket in words.

    >>> spoken({"latte": 1, "scone": 1})
    'a latte and a scone'
    """
    return " and ".join(counted(name, count) for name, count in basket.items())
