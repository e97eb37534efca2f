"""Everything a guest may ask at the Blue Door, with what is true and what is not."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from palate.worlds.cafe import menu, questions, unanswered
from palate.worlds.cafe.menu import HOURS, KINDS, MENU, Kind, amount, article, clock, served

Split = Literal["train", "held_out"]

MOMENTS = {6: "six in the morning", 10: "ten in the morning", 12: "noon", 19: "seven at night"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer says: a table of sentences (`answers.PLAIN[ask]`) and what fills their gaps.

    >>> Reply("price", {"a": "a latte", "amount": "4.50"}).ask
    'price'
    """

    ask: str
    gaps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A question, its true (or wise) reply, and replies that fail on truth, candor or safety."""

    kind: Kind
    text: str
    truth: Reply
    lies: tuple[Reply, ...]
    reference: str = ""

    @property
    def split(self) -> Split:
        """One question in six is held out, by the hash of its text (greetings do not count)."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return "held_out" if int(digest[:8], 16) % 6 == 0 else "train"


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _gaps(**gaps: str) -> dict[str, str]:
    """The gaps, and each again under its capitalized name with a capital first letter."""
    return gaps | {capital(name): capital(text) for name, text in gaps.items()}


def _either(fact: bool, yes: Reply, no: Reply) -> tuple[Reply, tuple[Reply]]:
    return (yes, (no,)) if fact else (no, (yes,))


def _prices() -> Iterator[Case]:
    for item in MENU.values():
        gaps = _gaps(a=article(item.name), name=item.name)
        truth = Reply("price", gaps | {"amount": amount(item.cents)})
        wrong = [other.cents for other in MENU.values() if other is not item]
        lies = tuple(Reply("price", gaps | {"amount": amount(cents)}) for cents in wrong)
        for question in questions.PRICE:
            yield Case("price", question.format_map(gaps), truth, lies, amount(item.cents))


def _sum_cases(ask: str, basket: menu.Basket, gaps: Mapping[str, str]) -> Iterator[Case]:
    total = menu.total_cents(basket)
    parts = {MENU[name].cents for name in basket}
    near = {total + sign * step for sign in (-1, 1) for step in (50, 100, 150, 200, *parts)}
    lies = tuple(
        Reply(ask, {**gaps, "amount": amount(cents)})
        for cents in sorted(near - parts - {total})
        if cents > 0
    )
    truth = Reply(ask, {**gaps, "amount": amount(total)})
    for question in questions.SUM:
        yield Case("sum", question.format_map(gaps), truth, lies, amount(total))


def _sums() -> Iterator[Case]:
    for basket in menu.BASKETS:
        gaps = _gaps(basket=menu.spoken(basket))
        units = [amount(MENU[name].cents) for name in basket]
        if len(basket) == 1:
            yield from _sum_cases("sum", basket, gaps | {"unit": units[0]})
        else:
            one, two = map(article, basket)
            prices = {"one": one, "two": two, "first": units[0], "second": units[1]}
            yield from _sum_cases("pair", basket, gaps | prices)


def _hours() -> Iterator[Case]:
    for day, hours in HOURS.items():
        begin, end = hours or (9, 16)
        gaps = {"day": day, "open": clock(begin), "close": clock(end)}
        shut = Reply("shut", gaps)
        early = tuple(Reply("opens", gaps | {"open": clock(hour)}) for hour in (6, 9, 10, 11))
        late = tuple(Reply("closes", gaps | {"close": clock(hour)}) for hour in (15, 16, 20, 22))
        for question in questions.OPENING:
            truth, lies = (Reply("opens", gaps), (*early, shut)) if hours else (shut, early)
            yield Case("hours", question.format_map(gaps), truth, lies)
        for question in questions.CLOSING:
            truth, lies = (Reply("closes", gaps), (*late, shut)) if hours else (shut, late)
            yield Case("hours", question.format_map(gaps), truth, lies)
        truth, lies = _either(hours is not None, Reply("is_open", gaps), Reply("is_shut", gaps))
        for question in questions.WHETHER:
            yield Case("hours", question.format_map(gaps), truth, lies)
        for (hour, at), question in itertools.product(MOMENTS.items(), questions.WHETHER_AT):
            then = gaps | {"at": at}
            inside = hours is not None and hours[0] <= hour < hours[1]
            no = Reply("not_then" if hours else "is_shut", then)
            truth, lies = _either(inside, Reply("then", then), no)
            yield Case("hours", question.format_map(then), truth, lies)


def _menu() -> Iterator[Case]:
    here = (*map(served, MENU), *menu.EXTRAS)
    others = itertools.cycle(("lattes", "scones", "bagels", "cookies"))
    for thing, other in zip((*here, *menu.ELSEWHERE), others, strict=False):
        gaps = _gaps(thing=thing, other="teas" if other == thing else other)
        truth, lies = _either(thing in here, Reply("have", gaps), Reply("have_not", gaps))
        for question in questions.HAVE:
            yield Case("menu", question.format_map(gaps), truth, lies)
    for item in MENU.values():
        gaps = _gaps(the=f"the {item.name}", other="the soup" if item.name == "tea" else "the tea")
        truth, lies = _either(item.vegan, Reply("vegan", gaps), Reply("not_vegan", gaps))
        for question in questions.VEGAN:
            yield Case("menu", question.format_map(gaps), truth, lies)
        truth, lies = _either(item.with_nuts, Reply("nuts", gaps), Reply("not_nuts", gaps))
        for question in questions.NUTS:
            yield Case("menu", question.format_map(gaps), truth, lies)
    for what, names in menu.LISTS.items():
        first, second, third = map(served, (names[0], names[1], names[-1]))
        fill = {"what": what, "list": f"{first}, {second} and {third}", "First": capital(first)}
        wrong = ("pizza, steak and wine", "beer, wine and sushi", "burgers, pizza and beer")
        lies = tuple(Reply("list", fill | {"list": text, "First": "Wine"}) for text in wrong)
        for question in questions.LIST:
            yield Case("menu", question.format_map(fill), Reply("list", fill), lies)


def _place() -> Iterator[Case]:
    for thing in (*menu.COMFORTS, *menu.MISSING):
        line = menu.COMFORTS.get(thing, "it is at the back of the house")
        gaps = _gaps(thing=thing, bare=thing.removeprefix("a "), line=line)
        fact = thing in menu.COMFORTS
        truth, lies = _either(fact, Reply("comfort", gaps), Reply("missing", gaps))
        for question in questions.COMFORT:
            yield Case("place", question.format_map(gaps), truth, lies)
    for what, (name, others) in menu.NAMES.items():
        lies = tuple(Reply(what, _gaps(name=other)) for other in others)
        for question in questions.NAMING[what]:
            yield Case("place", question, Reply(what, _gaps(name=name)), lies)


def _suggestions(ask: str, names: tuple[str, ...], occasion: str) -> tuple[Reply, ...]:
    return tuple(
        Reply(ask, _gaps(a=article(name), charm=MENU[name].charm, occasion=occasion))
        for name in names
    )


def _advice() -> Iterator[Case]:
    for occasion, fits in menu.OCCASIONS.items():
        wrong = tuple(name for name in MENU if name not in fits)
        truths = _suggestions("advice", fits, occasion)
        lies = _suggestions("advice", wrong, occasion)
        for index, question in enumerate(questions.OCCASION):
            text = question.format(occasion=occasion)
            yield Case("advice", text, truths[index % len(truths)], lies)
    for asked, fits in menu.PAIRINGS.items():
        wrong = tuple(name for name in MENU if name not in fits)
        truths = _suggestions("pairing", fits, article(asked))
        lies = _suggestions("pairing", wrong, article(asked))
        for index, question in enumerate(questions.PAIRING):
            text = question.format(a=article(asked))
            yield Case("advice", text, truths[index % len(truths)], lies)


def _unanswered() -> Iterator[Case]:
    for pattern in unanswered.MYSTERIES:
        for mystery in unanswered.filled(pattern):
            yours = mystery.what.replace(" my ", " your ")
            truth = Reply("admit", _gaps(what=yours, turn=mystery.turn))
            claims = (mystery.guess, mystery.boast)
            lies = tuple(Reply("say", {"line": line.replace(" my ", " your ")}) for line in claims)
            for wording in questions.UNKNOWABLE:
                text = wording.format(question=mystery.question, what=mystery.what)
                yield Case("unknowable", text, truth, lies)
    for pattern in unanswered.HARMS:
        for harm in unanswered.filled(pattern):
            truth = Reply("refuse", _gaps(act=harm.act.replace(" my ", " your "), why=harm.why))
            lies = (Reply("say", {"line": harm.hint}), Reply("say", {"line": harm.plan}))
            for wording in questions.HARMFUL:
                yield Case("harmful", wording.format(act=harm.act), truth, lies)


@lru_cache(maxsize=1)
def all_cases() -> tuple[Case, ...]:
    """Every question of the world, each text once, in a fixed order."""
    makers = (_menu, _hours, _prices, _sums, _advice, _place, _unanswered)
    return tuple(case for make in makers for case in make())


@lru_cache(maxsize=2)
def cases_of(split: Split) -> dict[Kind, tuple[Case, ...]]:
    """The questions of a split by kind."""
    every = [case for case in all_cases() if case.split == split]
    return {kind: tuple(case for case in every if case.kind == kind) for kind in KINDS}
