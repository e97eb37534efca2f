"""What a quiz about the cafe asks: which of these answers is right?"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from palate.records import Group, Preference, PreferenceGroup, Response
from palate.worlds.cafe import questions
from palate.worlds.cafe.cases import Case, cases_of
from palate.worlds.cafe.claims import claims_of
from palate.worlds.cafe.grammar import Asked, respond, some_manner
from palate.worlds.cafe.menu import Kind
from palate.worlds.cafe.question import understand
from palate.worlds.cafe.reading import read

SHARES: dict[Kind, int] = {
    "menu": 15,
    "hours": 15,
    "price": 10,
    "sum": 30,
    "advice": 20,
    "place": 10,
}
"""How often each kind of question is asked (per cent): more where facts are many."""

_SURE = 0.95
"""Probability that a right answer is preferred: 3 nats, about what a fact is worth to guests."""

_LIES = 2
_TRIES = 8

Subject = tuple[str, frozenset[str]]
"""The day and the items that a question is about."""


def quiz(n: int, *, seed: int) -> list[PreferenceGroup]:
    """n train questions about facts, each with a right answer that is preferred to wrong ones.

    Two of those are false, and two are true of other questions, one of them about the same thing.
    All are written in one manner, be it good or bad, and mostly in the same words: they differ in
    what they say, so that telling them apart takes knowledge and no taste.
    """
    rng = random.Random(f"cafe quiz {seed}")
    kinds = rng.choices(list(SHARES), list(SHARES.values()), k=n)
    return [_entry(kind, rng) for kind in kinds]


def _entry(kind: Kind, rng: random.Random) -> PreferenceGroup:
    cases = cases_of("train")[kind]
    case = rng.choice(cases)
    asked = Asked.of(case, rng.choice(questions.GREETINGS))
    manner = replace(some_manner(kind, rng), content="right", rambles=0)
    wording = rng.random()

    def said(answered: Case) -> str:
        return respond(answered, manner, random.Random(wording))

    def strays(others: Sequence[Case]) -> Iterator[str]:
        drawn = map(said, rng.choices(others, k=_TRIES))
        return (text for text in drawn if not _answers(asked.text, text))

    false = (said(replace(case, truth=lie)) for lie in rng.sample(case.lies, len(case.lies)))
    texts = dict.fromkeys((said(case), *islice(dict.fromkeys(false), _LIES)))
    for others in (_subjects()[_subject(case)], cases):
        texts |= dict.fromkeys(islice(strays(others), 1))
    return PreferenceGroup(
        group=Group(prompt=asked.prompt, responses=tuple(Response(text=text) for text in texts)),
        preferences=tuple(
            Preference(winner=0, loser=other, probability=_SURE) for other in range(1, len(texts))
        ),
    )


def _subject(case: Case) -> Subject:
    question = understand(case.text)
    return question.day, frozenset(name for name, _ in question.basket)


@lru_cache(maxsize=1)
def _subjects() -> dict[Subject, list[Case]]:
    """The train questions about facts, by what they are about."""
    found: dict[Subject, list[Case]] = {}
    for kind in SHARES:
        for case in cases_of("train")[kind]:
            found.setdefault(_subject(case), []).append(case)
    return found


def _answers(question: str, text: str) -> bool:
    return claims_of(understand(question), read(text).sentences).right > 0
