"""What policies wrote to the same prompts and how they were judged: values, not open models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import NamedTuple

from palate.evaluation.policies import best_of_n_curve
from palate.evaluation.results import (
    Answer,
    AnswerScore,
    BestOfN,
    Comparison,
    Difference,
    RowResult,
    Sample,
)
from palate.evaluation.winrate import outcomes, paired_difference
from palate.maths.statistics import Interval, best_of_n_kl_bound
from palate.records import Group, Prompt, PromptId
from palate.worlds import cafe

SUMS = "sums right"
_SAMPLES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one policy wrote for every prompt, and what each judge gives it."""

    name: str
    groups: list[Group]
    scores: dict[str, list[tuple[float, ...]]]
    kl: Interval

    def flat(self, judge: str) -> list[float]:
        """Scores of all responses in order."""
        return [score for row in self.scores[judge] for score in row]

    @property
    def prompt_ids(self) -> list[PromptId]:
        """The prompt of every response in order."""
        return [group.prompt.id for group in self.groups for _ in group.responses]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every response in order."""
        return [len(r.token_ids) for group in self.groups for r in group.responses]


def first(answers: Answers, k: int) -> Answers:
    """The first k responses of every group."""
    groups = [Group(prompt=g.prompt, responses=g.responses[:k]) for g in answers.groups]
    scores = {judge: [row[:k] for row in rows] for judge, rows in answers.scores.items()}
    return Answers(name=answers.name, groups=groups, scores=scores, kl=answers.kl)


def best_of(pool: Answers, n: int, k: int, *, selector: str) -> Answers:
    """The best of n baseline responses by the judge `selector`, k copies to compare."""
    picks = [max(range(n), key=row.__getitem__) for row in pool.scores[selector]]
    groups: list[Group] = []
    scores: dict[str, list[tuple[float, ...]]] = {judge: [] for judge in pool.scores}
    for index, (group, pick) in enumerate(zip(pool.groups, picks, strict=True)):
        response = group.responses[pick]
        groups.append(Group(prompt=group.prompt, responses=(response,) * k))
        for judge, rows in pool.scores.items():
            scores[judge].append((rows[index][pick],) * k)
    bound = best_of_n_kl_bound(n)
    return Answers(
        name=f"best_of_{n}", groups=groups, scores=scores, kl=Interval(bound, bound, bound)
    )


def best_of_each(pool: Answers, *, selector: str) -> tuple[BestOfN, ...]:
    """The best of n = 1, 2, 4 and so on by the judge `selector`; empty for one response each."""
    k = len(pool.scores[selector][0])
    sizes = [n for n in (1, 2, 4, 8, 16, 32) if n <= k]
    return best_of_n_curve(pool.scores[selector], pool.scores, sizes) if k > 1 else ()


def over_taste(
    own: Answers, baseline: Answers, comparison: Comparison, taste: str
) -> Interval | None:
    """A judge's win rate minus the taste's, on the same pairs of responses."""
    won = [outcomes(own.flat(judge), baseline.flat(judge)) for judge in (comparison.judge, taste)]
    return paired_difference(won[0], won[1], own.prompt_ids)


def differences(written: Sequence[Answers], judges: Sequence[str]) -> tuple[Difference, ...]:
    """How much more often each policy wins against the baseline (the first) than each other."""
    baseline, *contenders = written
    found: list[Difference] = []
    for judge in judges:
        won = {own.name: outcomes(own.flat(judge), baseline.flat(judge)) for own in contenders}
        for one, other in combinations(won, 2):
            gap = paired_difference(won[one], won[other], baseline.prompt_ids)
            if gap:
                found.append(Difference(policy=one, other=other, judge=judge, win_rate=gap))
    return tuple(found)


def side_by_side(written: Sequence[Answers]) -> tuple[Sample, ...]:
    """What every policy wrote for some prompts, one kind of prompt after the other."""
    prompts = [group.prompt for group in written[0].groups]
    samples: list[Sample] = []
    for index in spread(prompts, _SAMPLES):
        answers = tuple(
            Answer(
                policy=own.name,
                text=own.groups[index].responses[0].text,
                scores=tuple(
                    AnswerScore(judge=judge, value=rows[index][0])
                    for judge, rows in own.scores.items()
                ),
            )
            for own in written
        )
        samples.append(Sample(prompt=prompts[index].text, answers=answers))
    return tuple(samples)


def spread(prompts: Sequence[Prompt], n: int) -> list[int]:
    """Indices of n prompts that take turns among the tags."""
    by_tag: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_tag.setdefault(prompt.tag, []).append(index)
    turns = [index for row in zip_longest(*by_tag.values()) for index in row if index is not None]
    return turns[:n]


class WorldRows(NamedTuple):
    """What the embedded world knows of a policy: the rows of its taste, and the share of sums."""

    rows: tuple[RowResult, ...]
    sums_right: RowResult


NO_ROWS = WorldRows((), RowResult(name=SUMS, value=0.0, n=0))
"""What any other world knows."""


def world_rows(own: Answers, baseline: Answers | None) -> WorldRows:
    """Every row's mean where it applied, and its change from the baseline's answers."""
    before = row_values(baseline.groups) if baseline else {}
    *rows, sums = (
        row_result(name, values, before.get(name), own.prompt_ids)
        for name, values in row_values(own.groups).items()
    )
    return WorldRows(tuple(rows), sums)


def row_values(groups: Sequence[Group]) -> dict[str, list[float]]:
    """Every row of the taste, then `SUMS`, for all responses; NaN where one has no say."""
    pairs = [(g.prompt.text, r.text) for g in groups for r in g.responses]
    assessed = [cafe.assess(prompt, response).rows for prompt, response in pairs]
    columns = [[rows[index] for rows in assessed] for index in range(len(cafe.ROWS))]
    columns.append([cafe.sum_is_right(*pair) for pair in pairs])
    return {
        name: [math.nan if value is None else float(value) for value in column]
        for name, column in zip((*cafe.ROWS, SUMS), columns, strict=True)
    }


def row_result(
    name: str, values: list[float], before: list[float] | None, prompt_ids: Sequence[PromptId]
) -> RowResult:
    """The mean of a row where it applied, and its paired change from the baseline's answers."""
    applied = [value for value in values if not math.isnan(value)]
    return RowResult(
        name=name,
        value=sum(applied) / max(1, len(applied)),
        n=len(applied),
        change=paired_difference(values, before, prompt_ids) if before else None,
    )
