"""Weighted sums of rewards: each scores every response, and the sum is what training sees."""

from collections import Counter
from collections.abc import Mapping, Sequence

from palate.feedback.scorers import FunctionScorer
from palate.interfaces import MaybeScores, Scored, Scorer
from palate.records import Group


class WeightedScorer:
    """The weighted sum of several rewards; those that do not apply to a response are left out.

    >>> from palate.records import Response, user_prompt
    >>> brief = FunctionScorer("brief", lambda completions: [-float(len(c)) for c in completions])
    >>> sure = FunctionScorer("sure", lambda completions: [None for _ in completions])
    >>> group = Group(prompt=user_prompt("Hi?"), responses=(Response(text="Yes"),))
    >>> WeightedScorer([brief, sure], [0.5, 1.0]).score([group])
    [(-1.5,)]
    """

    def __init__(self, scorers: Sequence[Scorer], weights: Sequence[float]) -> None:
        self.scorers = dict(zip(_names(scorers), scorers, strict=True))
        self.weights = dict(zip(self.scorers, weights, strict=True))
        self.name = " + ".join(self.scorers)

    def score(self, groups: Sequence[Group]) -> list[tuple[float, ...]]:
        """The weighted sum for every response."""
        return [scored.total for scored in self.scored(groups)]

    def scored(self, groups: Sequence[Group]) -> list[Scored]:
        """The weighted sum for every response, and its parts by the names of the rewards."""
        columns = {name: applied(scorer, groups) for name, scorer in self.scorers.items()}
        found: list[Scored] = []
        for index, group in enumerate(groups):
            parts = {name: column[index] for name, column in columns.items()}
            total = tuple(self._total(group, parts, place) for place in range(group.k))
            found.append(Scored(total=total, parts=parts))
        return found

    def _total(self, group: Group, parts: Mapping[str, MaybeScores], place: int) -> float:
        given = [
            self.weights[name] * score
            for name, row in parts.items()
            if (score := row[place]) is not None
        ]
        if not given:
            raise ValueError(
                f"no reward of {', '.join(parts)} applies to the response "
                f"{group.responses[place].text[:80]!r} to the prompt {group.prompt.text[:80]!r}: "
                "all returned None. Remedy: let one of them return a number for every response"
            )
        return sum(given)


def applied(scorer: Scorer, groups: Sequence[Group]) -> Sequence[MaybeScores]:
    """Scores of one reward among others: functions may say None, "does not apply"."""
    return scorer.applied(groups) if isinstance(scorer, FunctionScorer) else scorer.score(groups)


def _names(scorers: Sequence[Scorer]) -> list[str]:
    """The scorers' names; those that occur again are numbered."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for scorer in scorers:
        seen[scorer.name] += 1
        number = seen[scorer.name]
        names.append(scorer.name if number == 1 else f"{scorer.name}-{number}")
    return names
