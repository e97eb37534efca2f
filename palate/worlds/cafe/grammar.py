"""Writes prompts, responses of every quality, and matched pairs."""

import itertools
import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

from palate.records import Demonstration, Message, Prompt, user_prompt
from palate.worlds.cafe import answers, asides, questions
from palate.worlds.cafe.cases import Case, Reply, Split, cases_of
from palate.worlds.cafe.menu import KINDS, Kind

SHARES: dict[Kind, int] = {
    "menu": 14,
    "hours": 13,
    "price": 12,
    "sum": 18,
    "advice": 13,
    "place": 8,
    "unknowable": 12,
    "harmful": 10,
}
"""How often each kind of question is asked (per cent)."""

KNOWABLE: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind not in ("unknowable", "harmful"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A case as one guest words it."""

    text: str
    case: Case

    @classmethod
    def of(cls, case: Case, greeting: tuple[str, str]) -> "Asked":
        """The case with what stands before and after it (`questions.GREETINGS`)."""
        before, after = greeting
        text = case.text
        if before.endswith((", ", ": ")) and not text.startswith("I "):
            text = text[0].lower() + text[1:]
        return cls(before + text + after, case)

    @property
    def prompt(self) -> Prompt:
        """The prompt record: the kind is its tag, the right amount its reference."""
        return user_prompt(self.text, reference=self.case.reference, tag=self.case.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a response is written; `rambles` sentences are beside the point.

    >>> Manner().content
    'right'
    """

    content: Literal["right", "wrong", "evasive"] = "right"
    form: Literal["plain", "short", "jargon"] = "plain"
    rambles: int = 0
    greeting: str = ""
    farewell: str = ""


def ask(split: Split, n: int, *, seed: int) -> list[Asked]:
    """n distinct questions of a split; kinds come by their shares until one runs out."""
    rng = random.Random(f"cafe prompts {split} {seed}")
    waiting: dict[Kind, list[Asked]] = {}
    for kind, of_kind in cases_of(split).items():
        pairs = list(itertools.product(of_kind, questions.GREETINGS))
        waiting[kind] = [
            Asked.of(case, greeting) for case, greeting in rng.sample(pairs, len(pairs))
        ]
    available = sum(map(len, waiting.values()))
    if n > available:
        raise ValueError(f"the cafe has {available} {split} prompts; asked for {n}")
    chosen: list[Asked] = []
    while len(chosen) < n:
        left: list[Kind] = [kind for kind in waiting if waiting[kind]]
        kind = rng.choices(left, [SHARES[kind] for kind in left])[0]
        chosen.append(waiting[kind].pop())
    return chosen


def _sentence(table: dict[str, tuple[str, ...]], reply: Reply, rng: random.Random) -> str:
    templates = table.get(reply.ask, answers.PLAIN[reply.ask])
    return rng.choice(templates).format_map(reply.gaps)


def _evasion(kind: Kind, rng: random.Random) -> str:
    shrugs = asides.SHRUGS + asides.GUESSES if kind in KNOWABLE else asides.SHRUGS
    sentences = [rng.choice(asides.EVASIVE[kind]), rng.choice(shrugs)]
    return " ".join(rng.sample(sentences, rng.choice((1, 2))))


def respond(case: Case, manner: Manner, rng: random.Random) -> str:
    """A response to a case, in a manner."""
    tables = {"plain": answers.PLAIN, "short": answers.SHORT, "jargon": answers.JARGON}
    if manner.content == "evasive":
        core = _evasion(case.kind, rng)
    else:
        reply = case.truth if manner.content == "right" else rng.choice(case.lies)
        core = _sentence(tables[manner.form], reply, rng)
        core = core[0].upper() + core[1:]
    rambles = rng.sample(asides.RAMBLES, manner.rambles)
    return manner.greeting + " ".join((core, *rambles)) + manner.farewell


def some_manner(kind: Kind, rng: random.Random) -> Manner:
    """A manner as people have them: a third are good, the others have one flaw or more."""
    content = rng.choices(("right", "wrong", "evasive"), (66, 20, 14))[0]
    form = rng.choices(("plain", "short", "jargon"), (66, 20, 14))[0]
    if form == "short" and content != "evasive":
        return Manner(content=content, form=form)
    polite = 0.0 if kind == "harmful" else 0.2
    return Manner(
        content=content,
        form=form,
        rambles=rng.choice((2, 3)) if rng.random() < 0.15 else 0,
        greeting=rng.choice(asides.GREETINGS) if rng.random() < polite else "",
        farewell=rng.choice(asides.FAREWELLS) if rng.random() < polite else "",
    )


def demonstrations(n: int, *, seed: int) -> list[Demonstration]:
    """n demonstrations of mixed quality on train prompts, tagged by kind of question."""
    rng = random.Random(f"cafe demonstrations {seed}")
    written: list[Demonstration] = []
    for kind in rng.choices(list(SHARES), list(SHARES.values()), k=n):
        asked = Asked.of(rng.choice(cases_of("train")[kind]), rng.choice(questions.GREETINGS))
        response = respond(asked.case, some_manner(kind, rng), rng)
        turns = (
            Message(role="user", content=asked.text),
            Message(role="assistant", content=response),
        )
        written.append(Demonstration(messages=turns, tag=kind))
    return written


def prompts(split: Split, n: int, *, seed: int) -> list[Prompt]:
    """n distinct prompts of a split; `reference` is the right amount of price and sum prompts."""
    return [asked.prompt for asked in ask(split, n, seed=seed)]


WORSE: dict[str, tuple[tuple[Kind, ...], tuple[Manner, ...]]] = {
    "direct": (KNOWABLE, (Manner(content="evasive"),)),
    "accurate": (KNOWABLE, (Manner(content="wrong"),)),
    "right_length": (KINDS, (Manner(rambles=3), Manner(form="short"))),
    "clear": (KINDS, (Manner(form="jargon"),)),
    "admits_uncertainty": (("unknowable",), (Manner(content="wrong"),)),
    "safe": (("harmful",), (Manner(content="wrong"),)),
}
"""For each row of the taste: the kinds it can be seen on, and manners that fail in it alone."""


class Probe(NamedTuple):
    """Two responses to a held-out prompt that differ in one row of the taste."""

    row: str
    prompt: Prompt
    better: str
    worse: str


def probe_pairs(n: int, *, seed: int) -> list[Probe]:
    """n probes, the rows by turns: does a judge prefer the better response?"""
    rng = random.Random(f"cafe probes {seed}")
    probes: list[Probe] = []
    for row in itertools.islice(itertools.cycle(WORSE), n):
        kinds, manners = WORSE[row]
        case = rng.choice(cases_of("held_out")[rng.choice(kinds)])
        prompt = Asked.of(case, rng.choice(questions.GREETINGS)).prompt
        wording = rng.random()
        better = respond(case, Manner(), random.Random(wording))
        worse = respond(case, rng.choice(manners), random.Random(wording))
        probes.append(Probe(row, prompt, better, worse))
    return probes
