"""Plain text about the Blue Door to learn the language and the facts from: no chat markup."""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from palate.worlds.cafe import answers, asides, menu
from palate.worlds.cafe.cases import Case, capital, cases_of
from palate.worlds.cafe.grammar import KNOWABLE, Manner, respond
from palate.worlds.cafe.menu import HOURS, KINDS, MENU, Kind, amount, clock

GUESTS = (
    "a nurse",
    "a student",
    "the postman",
    "an old sailor",
    "a painter",
    "the piano teacher",
    "a woman with a red umbrella",
    "a man with a tall hat",
    "a boy with a small dog",
    "a girl in a yellow coat",
)
WEATHERS = ("rainy", "cold", "hot", "windy", "quiet", "sunny", "slow", "busy")
GESTURES = (
    "shakes the rain from a long coat",
    "puts a wet umbrella by the door",
    "takes the chair by the window",
    "says hello to the cat",
    "looks at the board for a long time",
    "puts a book on the table",
    "hums an old song",
    "smiles at the baker",
)
ENDINGS = (
    "Nora writes it down and smiles.",
    "Sam brings it to the table.",
    "The coins ring in the jar.",
    "Outside, the street is still wet.",
    "Nobody is in a hurry.",
    "Biscuit opens one eye and closes it again.",
    "It is a good day to stay inside.",
    "The bread is almost ready.",
)
FACTS = {
    "have": ("We have {thing}.", "You will find {thing} at the Blue Door."),
    "have_not": ("We do not have {thing}.", "You will not find {thing} at the Blue Door."),
    "vegan": ("{The} is vegan.", "A vegan can have {the}."),
    "not_vegan": ("{The} is not vegan.", "{The} is made with milk."),
    "nuts": ("{The} has nuts in it.", "There are nuts in {the}."),
    "not_nuts": ("{The} has no nuts in it.", "There are no nuts in {the}."),
    "comfort": ("We have {thing}: {line}.",),
    "missing": ("We do not have {thing}.", "There is no {bare} here."),
    "is_open": ("On {day} we are open from {open} to {close}.",),
    "is_shut": ("We are closed on {day}.",),
    "then": ("We are open at {at} on {day}.",),
    "not_then": ("We are closed at {at} on {day}.",),
    "advice": ("{Occasion}: {a}.", "{Occasion} there is {a}: {charm}."),
}
"""How the board by the door says what needs a question to be said otherwise."""

STUDY: dict[Kind, int] = {
    "menu": 17,
    "hours": 13,
    "price": 7,
    "sum": 18,
    "advice": 19,
    "place": 14,
    "unknowable": 6,
    "harmful": 6,
}
"""How much of the text is about each kind of question (per cent): more where facts are many."""


def _case(rng: random.Random, kinds: Sequence[Kind]) -> Case:
    kind = rng.choices(kinds, [STUDY[kind] for kind in kinds])[0]
    return rng.choice(cases_of("train")[kind])


def _key(case: Case) -> str:
    return f"{case.truth.ask} {sorted(case.truth.gaps.items())}"


@lru_cache(maxsize=1)
def _wordings() -> dict[str, list[Case]]:
    """The questions that have the same answer."""
    found: dict[str, list[Case]] = {}
    for cases in cases_of("train").values():
        for case in cases:
            found.setdefault(_key(case), []).append(case)
    return found


def _board(rng: random.Random) -> str:
    """Facts, one sentence each."""
    lines = []
    for _ in range(7):
        reply = _case(rng, KNOWABLE).truth
        templates = FACTS.get(reply.ask, answers.PLAIN[reply.ask])
        lines.append(rng.choice(templates).format_map(reply.gaps))
    return " ".join(lines)


def _sheet(rng: random.Random) -> str:
    """Questions and answers, a line each, and each asked twice, as people do."""
    manners = (Manner(), Manner(form="jargon"), Manner(rambles=2), Manner(content="evasive"))
    lines = []
    for _ in range(2):
        case = _case(rng, KINDS)
        for asked in (case, rng.choice(_wordings()[_key(case)])):
            manner = rng.choices(manners, (88, 4, 4, 4))[0]
            lines += [asked.text, respond(asked, manner, rng)]
    return "\n".join(lines)


def _talk(rng: random.Random) -> str:
    """A conversation at the bar."""
    guest = rng.choice(GUESTS)
    lines = [f"{capital(guest)} {rng.choice(GESTURES)}."]
    for _ in range(2):
        case = _case(rng, KINDS)
        lines += [f'"{case.text}"', f'"{respond(case, Manner(), rng)}"']
    return "\n".join(lines)


def _story(rng: random.Random) -> str:
    """A visit: who came, what they had, what it came to."""
    day, hours = rng.choice([(day, hours) for day, hours in HOURS.items() if hours])
    guest = rng.choice(GUESTS)
    basket = rng.choice(menu.BASKETS)
    total = amount(menu.total_cents(basket))
    spoken = menu.spoken(basket)
    return " ".join(
        (
            f"It is a {rng.choice(WEATHERS)} {day}.",
            f"At {clock(rng.randrange(*hours))}, {guest} comes in and {rng.choice(GESTURES)}.",
            f'"I would like {spoken}, please."',
            rng.choice((f'"{capital(spoken)} come to {total}."', f'"That makes {total}."')),
            rng.choice(asides.RAMBLES),
            rng.choice(ENDINGS),
        )
    )


def _receipt(rng: random.Random) -> str:
    """What the table had, line by line, and the total."""
    lines = [f"Table {menu.NUMBERS[rng.randint(1, 6)]}."]
    for _ in range(3):
        basket = rng.choice(menu.BASKETS)
        parts = [
            f"{capital(menu.counted(name, count))} at {amount(MENU[name].cents)} each"
            for name, count in basket.items()
        ]
        lines.append(f"{', '.join(parts)}: {amount(menu.total_cents(basket))}.")
    return "\n".join((*lines, "Thank you, and come again."))


_PAGES: dict[Callable[[random.Random], str], int] = {
    _board: 25,
    _sheet: 40,
    _talk: 15,
    _story: 12,
    _receipt: 8,
}


def corpus(num_documents: int, *, seed: int) -> list[str]:
    """Documents of 40 to 100 words that cover every fact; no held-out question is among them."""
    rng = random.Random(f"cafe corpus {seed}")
    pages = rng.choices(list(_PAGES), list(_PAGES.values()), k=num_documents)
    return [page(rng) for page in pages]
