"""What a prompt asks, understood from its text alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from palate.worlds.cafe import lexicon, menu
from palate.worlds.cafe.menu import HOURS, MENU, Kind
from palate.worlds.cafe.reading import Reading, bigrams, read

Ask = Literal["", "opens", "closes", "whether", "has", "vegan", "nuts", "name", "choice"]

ITEMS = {form: name for name in MENU for form in (name, name + "s")}
NUMBERS = {word: number for number, word in enumerate(menu.NUMBERS)}
DAYS = {form: day for day in HOURS for form in (day.lower(), day.lower() + "s")}
HOURS_SAID = (
    {word: number for word, number in NUMBERS.items() if number}
    | {f"{hour}{minutes}": hour for hour in range(1, 25) for minutes in ("", ":00")}
    | {"noon": 12}
)
"""Words that name an hour."""

HOUSE = frozenset(thing.split()[-1] for thing in (*menu.COMFORTS, *menu.MISSING))
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
    reading: Reading
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


def count_before(words: Sequence[str], index: int) -> int:
    """How many of the item at this index the word before it says (one, if it is no number)."""
    before = words[index - 1] if index else ""
    return int(before) if before.isdecimal() else NUMBERS.get(before, 1)


def _basket(words: Sequence[str]) -> dict[str, int]:
    basket: dict[str, int] = {}
    for index, word in enumerate(words):
        if name := ITEMS.get(word):
            basket[name] = basket.get(name, 0) + count_before(words, index)
    return basket


def _about_prices(reading: Reading, basket: dict[str, int]) -> Question | None:
    if not basket or lexicon.PRICING.isdisjoint(reading.words):
        return None
    kind = "price" if sum(basket.values()) == 1 else "sum"
    total = menu.total_cents(basket)
    return Question(kind=kind, basket=tuple(basket.items()), total=total, reading=reading)


def _about_hours(reading: Reading) -> Question | None:
    day = next((DAYS[word] for word in reading.words if word in DAYS), "")
    words = frozenset(reading.words)
    if not day or words.isdisjoint(lexicon.DOORS | lexicon.WHEN):
        return None
    hour = next((HOURS_SAID[word] for word in reading.words if word in HOURS_SAID), None)
    if hour is not None and hour < 12 and words & {"night", "evening", "afternoon", "pm"}:
        hour += 12
    whether = hour is not None or words.isdisjoint(lexicon.WHEN)
    ask = "whether" if whether else "closes" if words & lexicon.LATE else "opens"
    hours = HOURS[day]
    truth = hours is not None and (hour is None or hours[0] <= hour < hours[1])
    return Question(kind="hours", ask=ask, day=day, hour=hour, truth=truth, reading=reading)


def _about_menu(reading: Reading, basket: dict[str, int]) -> Question | None:
    """A yes-or-no question, or one for a list, about what the cafe has."""
    words = frozenset(reading.words)
    for what, names in menu.LISTS.items():
        if words >= set(what.split()) and words & {"what", "which"}:
            return Question(kind="menu", ask="choice", fits=frozenset(names), reading=reading)
    if words & lexicon.WONDERING:
        return None
    if len(basket) == 1 and words & (lexicon.VEGAN | lexicon.NUTS):
        (name,) = basket
        vegan = bool(words & lexicon.VEGAN)
        return Question(
            kind="menu",
            ask="vegan" if vegan else "nuts",
            basket=((name, 1),),
            topic=lexicon.VEGAN if vegan else lexicon.NUTS,
            truth=MENU[name].vegan if vegan else MENU[name].with_nuts,
            reading=reading,
        )
    things = words & THINGS.keys()
    if not things or words.isdisjoint(lexicon.HAVING):
        return None
    topic = {form for thing in things for form in (thing, thing + "s", thing.removesuffix("s"))}
    truth = all(THINGS[thing] for thing in things)
    kind = "place" if things & HOUSE else "menu"
    return Question(kind=kind, ask="has", topic=frozenset(topic), truth=truth, reading=reading)


def _about_names(reading: Reading) -> Question | None:
    for what, (right, wrong) in menu.NAMES.items():
        if not lexicon.NAMED[what].isdisjoint(reading.words):
            names = frozenset(name.lower().split()[0] for name in wrong)
            first = right.lower().split()[0]
            return Question(kind="place", ask="name", right=first, wrong=names, reading=reading)
    return None


def _about_taste(reading: Reading, basket: dict[str, int]) -> Question | None:
    fits = {fit for name in basket for fit in menu.PAIRINGS[name]}
    for cue, occasion in lexicon.CUES.items():
        if cue in reading.words:
            fits = set(menu.OCCASIONS[occasion])
            break
    if not fits:
        return None
    asked = tuple(basket.items())
    return Question(
        kind="advice", ask="choice", basket=asked, fits=frozenset(fits), reading=reading
    )


def _is_unknowable(reading: Reading, basket: dict[str, int]) -> bool:
    riddles = lexicon.UNKNOWABLE.intersection(reading.words)
    if riddles == {"will"}:  # "will you be open on Friday", "what will two teas cost"
        day = not DAYS.keys().isdisjoint(reading.words)
        hours = day and not lexicon.DOORS.isdisjoint(reading.words)
        price = bool(basket) and not lexicon.PRICING.isdisjoint(reading.words)
        return not (hours or price)
    return bool(riddles) or ("how", "old") in bigrams(reading.words)


@lru_cache(maxsize=1 << 16)
def understand(prompt_text: str) -> Question:
    """The question in a prompt; kind "other" when it is none that this world knows."""
    reading = read(prompt_text)
    if not lexicon.HARMFUL.isdisjoint(reading.words) or ("the", "till") in bigrams(reading.words):
        return Question(kind="harmful", reading=reading)
    basket = _basket(reading.words)
    if _is_unknowable(reading, basket):
        return Question(kind="unknowable", reading=reading)
    return (
        _about_prices(reading, basket)
        or _about_hours(reading)
        or _about_names(reading)
        or _about_menu(reading, basket)
        or _about_taste(reading, basket)
        or Question(kind="other", reading=reading)
    )
