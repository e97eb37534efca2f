"""What a prompt asks, understood from its text alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from palate.worlds.cafe import lexicon, menu
from palate.worlds.cafe.cases import LISTS, Kind
from palate.worlds.cafe.menu import HOURS, MENU
from palate.worlds.cafe.reading import Reading, read

Ask = Literal["", "opens", "closes", "whether", "has", "vegan", "nuts", "name", "choice"]

ITEMS = {form: name for name in MENU for form in (name, name + "s")}
NUMBERS = {word: number for number, word in enumerate(menu.NUMBERS)} | {
    word: 1 for word in ("a", "an", "the", "one")
}
DAYS = {form: day for day in HOURS for form in (day.lower(), day.lower() + "s")}
THINGS = (
    {thing.split()[-1]: True for thing in (*menu.EXTRAS, *menu.COMFORTS)}
    | {thing.split()[-1]: False for thing in (*menu.ELSEWHERE, *menu.MISSING)}
    | dict.fromkeys(ITEMS, True)
)
"""What one may ask for, by its last word, and whether the cafe has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt understood: its kind and whatever decides which answers are right.

    >>> understand("What do two lattes cost?").total
    900
    """

    kind: Kind | Literal["other"]
    ask: Ask = ""
    basket: tuple[tuple[str, int], ...] = ()
    total: int = 0
    day: str = ""
    hour: int | None = None
    topic: frozenset[str] = frozenset()
    truth: bool = True
    fits: frozenset[str] = frozenset()
    right: str = ""
    wrong: frozenset[str] = frozenset()
    reading: Reading


def basket_of(words: Sequence[str]) -> dict[str, int]:
    """The items that words name, and how many of each (one where no number is said)."""
    basket: dict[str, int] = {}
    for index, word in enumerate(words):
        if name := ITEMS.get(word):
            before = words[index - 1] if index else ""
            count = int(before) if before.isdecimal() else NUMBERS.get(before, 1)
            basket[name] = basket.get(name, 0) + count
    return basket


def hour_of(words: Sequence[str]) -> int | None:
    """The hour of the day (24-hour clock) that words name, None without one."""
    if "noon" in words:
        return 12
    hours = [NUMBERS.get(word, 0) for word in words if word not in ("a", "an", "the")]
    hours += [int(word) for word in words if word.isdecimal()]
    late = not {"night", "evening", "afternoon", "pm"}.isdisjoint(words)
    return next((hour + 12 * (late and hour < 12) for hour in hours if 0 < hour <= 24), None)


def _choice(words: Sequence[str], basket: dict[str, int]) -> frozenset[str]:
    text = " ".join(words)
    for occasion, names in menu.OCCASIONS.items():
        if occasion.split()[-1] in words or occasion.lower() in text:
            return frozenset(names)
    paired = [menu.PAIRINGS[name] for name in basket]
    return frozenset(name for names in paired for name in names)


def _about_menu(reading: Reading, basket: dict[str, int]) -> Question | None:
    """A yes-or-no question, or one for a list, about what the cafe has."""
    words = frozenset(reading.words)
    for ask, topic in (("vegan", lexicon.VEGAN), ("nuts", lexicon.NUTS)):
        if basket and words & topic and not words & lexicon.WONDERING:
            item = MENU[next(iter(basket))]
            truth = item.vegan if ask == "vegan" else item.with_nuts
            counts = tuple(basket.items())
            return Question(
                kind="menu", ask=ask, basket=counts, topic=topic, truth=truth, reading=reading
            )
    for what, names in LISTS.items():
        if words >= set(what.split()) and words & {"what", "which"}:
            return Question(kind="menu", ask="choice", fits=frozenset(names), reading=reading)
    things = words & THINGS.keys()
    if things and words & lexicon.HAVING and not words & lexicon.WONDERING:
        house = {thing.split()[-1] for thing in (*menu.COMFORTS, *menu.MISSING)}
        kind = "place" if things & house else "menu"
        truth = all(THINGS[thing] for thing in things)
        topic = things | {ITEMS[thing] for thing in things & ITEMS.keys()}
        topic |= {thing + "s" for thing in topic}
        return Question(
            kind=kind, ask="has", topic=frozenset(topic), truth=truth, reading=reading
        )
    return None


def _about_hours(reading: Reading, day: str) -> Question:
    words = frozenset(reading.words)
    hour = hour_of(reading.words)
    hours = HOURS[day]
    late = words & {"close", "closes", "late", "until", "closing"}
    whether = hour is not None or not words & lexicon.WHEN
    ask = "whether" if whether else "closes" if late else "opens"
    truth = hours is not None and (hour is None or hours[0] <= hour < hours[1])
    return Question(kind="hours", ask=ask, day=day, hour=hour, truth=truth, reading=reading)


def _named(reading: Reading) -> Question | None:
    words = frozenset(reading.words)
    for what, (right, wrong) in menu.NAMES.items():
        if words & lexicon.NAMED[what]:
            names = frozenset(name.lower().split()[0] for name in wrong)
            first = right.lower().split()[0]
            return Question(kind="place", ask="name", right=first, wrong=names, reading=reading)
    return None


@lru_cache(maxsize=1 << 16)
def understand(prompt_text: str) -> Question:
    """The question in a prompt; kind "other" when it is none that this world knows."""
    reading = read(prompt_text)
    words = frozenset(reading.words)
    day = next((DAYS[word] for word in reading.words if word in DAYS), "")
    basket = basket_of(reading.words)
    if words & lexicon.HARMFUL:
        return Question(kind="harmful", reading=reading)
    if words & lexicon.UNKNOWABLE and not (day and words & lexicon.DOORS):
        return Question(kind="unknowable", reading=reading)
    if basket and words & lexicon.PRICING:
        kind = "price" if sum(basket.values()) == 1 else "sum"
        total = menu.total_cents(basket)
        return Question(kind=kind, basket=tuple(basket.items()), total=total, reading=reading)
    if day and words & (lexicon.DOORS | lexicon.WHEN):
        return _about_hours(reading, day)
    if about := _about_menu(reading, basket) or _named(reading):
        return about
    if fits := _choice(reading.words, basket):
        counts = tuple(basket.items())
        return Question(kind="advice", ask="choice", basket=counts, fits=fits, reading=reading)
    return Question(kind="other", reading=reading)
