"""How good the feedback of a project is: agreement, bias, reliability, ratings, what is enough.

`quality_report` is the whole of it. Intervals are 95 % and hold for new prompts.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from palate.evaluation.agreements import RAW, Agreement, agreement
from palate.evaluation.annotators import RIDGE, AnnotatorQuality, annotator_quality, bias_warnings
from palate.evaluation.ballots import TIED, Ballots, said
from palate.evaluation.results import Estimate
from palate.maths.agreement import single_label_accuracy
from palate.maths.ratings import (
    ELO,
    Array,
    RatingRange,
    Votes,
    capped_weights,
    islands,
    rated_with_ranges,
    without_each_voter,
)
from palate.maths.statistics import Interval, detectable_win_rate, sample_size
from palate.records import Group, Judgement, Record

POWER = 0.8
"""How often a difference of the promised size is found."""
_CROWD, _MOST = 8, 0.25
"""From so many voters on, nobody has more than this share of all weight."""

DECIDED = ("choice, ties out", RAW)
"""The agreement that a single label's accuracy follows from."""


class PolicyRating(Record):
    """A policy's rating in Elo points (mean 0; Davidson's model) and the ranks it may have."""

    policy: str
    elo: Estimate
    best_rank: int
    worst_rank: int
    wins: int
    ties: int
    losses: int


class Power(Record):
    """What the decided votes can tell: the smallest win rate with 80 % power, and what it takes.

    `needed` are (win rate, decided pairs).
    """

    decided: int
    detectable: float
    needed: tuple[tuple[float, int], ...]


class QualityReport(Record):
    """Everything about the feedback of a project; `warnings` come first on a page.

    `both_bad` are ties. `single_label_accuracy` is what the agreement on decided votes implies
    for one label, and so for a reward model measured on single labels.
    """

    prompts: int
    groups: int
    judgements: int
    skipped: int
    votes: int
    ties: int
    both_bad: int
    agreements: tuple[Agreement, ...]
    single_label_accuracy: float | None
    annotators: tuple[AnnotatorQuality, ...]
    leaderboard: tuple[PolicyRating, ...]
    power: Power
    warnings: tuple[str, ...]


def quality_report(
    judged: Iterable[tuple[Group, Sequence[Judgement]]], *, seed: int, draws: int = 500
) -> QualityReport:
    """The report on judged groups, as `Store.judged_groups` gives them; the seed resamples."""
    everything = said(judged)
    cast = everything.ballots
    agreements = agreement(everything, seed=seed, draws=draws)
    raw = next(a.value for a in agreements if (a.about, a.statistic) == DECIDED)
    decided = int((cast.value != TIED).sum())
    tallies = everything.tallies.values()
    annotators = annotator_quality(everything)
    leaderboard, doubts = rate_policies(cast, seed=seed, draws=draws // 5)
    return QualityReport(
        prompts=everything.prompts,
        groups=everything.groups,
        judgements=sum(tally.judgements for tally in tallies),
        skipped=sum(tally.skipped for tally in tallies),
        votes=len(cast.judge),
        ties=len(cast.judge) - decided,
        both_bad=sum(tally.both_bad for tally in tallies),
        agreements=agreements,
        single_label_accuracy=single_label_accuracy(raw.estimate) if raw else None,
        annotators=annotators,
        leaderboard=leaderboard,
        power=power(decided),
        warnings=(*doubts, *bias_warnings(annotators)),
    )


def power(decided: int) -> Power:
    """What so many decided votes can tell, with 80 % power at the 5 % level."""
    return Power(
        decided=decided,
        detectable=detectable_win_rate(decided, POWER),
        needed=tuple((p, sample_size(p, POWER)) for p in (0.6, 0.55, 0.53, 0.52)),
    )


def power_sentence(win_rate: float) -> str:
    """How many pairs to label, in words.

    >>> power_sentence(0.55)
    'To tell 55% from 50% you need 783 decided pairs.'
    """
    pairs = sample_size(win_rate, POWER)
    return f"To tell {100 * win_rate:g}% from 50% you need {pairs:,} decided pairs."


def rate_policies(
    cast: Ballots, *, seed: int, draws: int
) -> tuple[tuple[PolicyRating, ...], tuple[str, ...]]:
    """The policies from best to worst, and what is wrong with comparing them.

    Intervals hold for new prompts and new voters. In a crowd, nobody's votes weigh more than a
    quarter of all.
    """
    votes = cast.policy_votes()
    if not len(votes.first):
        return (), ()
    items = len(cast.policies)
    weights = _weights(votes)
    ranges = rated_with_ranges(votes, items, ridge=RIDGE, seed=seed, weights=weights, draws=draws)
    outcomes = np.zeros((items, 3), int)
    np.add.at(outcomes, (votes.first, (2 - 2 * votes.outcome).astype(int)), 1)
    np.add.at(outcomes, (votes.second, (2 * votes.outcome).astype(int)), 1)
    rated = [
        _rating(name, found, *map(int, counts))
        for name, found, counts in zip(cast.policies, ranges, outcomes, strict=True)
    ]
    rated.sort(key=lambda rating: -rating.elo.estimate)
    first = cast.policies.index(rated[0].policy)
    doubts = (*_island_warning(cast, islands(votes.wins(items))), *_voter_warning(cast, first))
    return tuple(rated), doubts


def _rating(policy: str, found: RatingRange, wins: int, ties: int, losses: int) -> PolicyRating:
    return PolicyRating(
        policy=policy,
        elo=Interval(*(ELO * score for score in found.score)),
        best_rank=found.best_rank,
        worst_rank=found.worst_rank,
        wins=wins,
        ties=ties,
        losses=losses,
    )


def _weights(votes: Votes) -> Array:
    crowd = len(np.unique(votes.voter)) >= _CROWD
    return capped_weights(votes.voter, share=_MOST) if crowd else np.ones(len(votes.voter))


def _island_warning(cast: Ballots, apart: list[list[int]]) -> tuple[str, ...]:
    if len(apart) == 1:
        return ()
    sets = "; ".join(", ".join(cast.policies[item] for item in island) for island in apart[:5])
    return (
        f"the policies fall into {len(apart)} sets that are not compared in both directions "
        f"({sets}): between them, ratings rest on the prior; compare them more",
    )


def _voter_warning(cast: Ballots, first: int) -> tuple[str, ...]:
    """The first place that a single voter's votes decide: of those, the one with the fewest votes.

    No name is told: in an arena, everybody sees it.
    """
    votes = cast.policy_votes()
    voters, sizes = np.unique(votes.voter, return_counts=True)
    if len(voters) == 1:
        return ()
    scores = without_each_voter(votes, len(cast.policies), ridge=RIDGE, weights=_weights(votes))
    deciding = np.flatnonzero(scores.max(1) > scores[:, first] + 1e-9)
    if not len(deciding):
        return ()
    fewest = deciding[sizes[deciding].argmin()]
    other = cast.policies[int(scores[fewest].argmax())]
    return (
        f"the first place rests on single voters ({len(deciding)} of {len(voters)}): without the "
        f"{sizes[fewest]} votes of one (of {sizes.sum()}), {other} would be first",
    )
