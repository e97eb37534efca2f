"""How each judge judges: side and length bias, agreement with the others, reliability."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from palate.evaluation.ballots import FIRST, TIED, Ballots, Said, reliability
from palate.evaluation.results import Estimate
from palate.maths.crowd import crowd_bradley_terry
from palate.maths.statistics import clustered_error, paired_win_rate
from palate.records import JudgeKind, Record, judge_kind

RIDGE = 0.1
"""Prior precision of a policy's score in nats^-2: a standard deviation of 3.2 nats, 550 Elo."""


class Share(Record):
    """A share of n votes with its interval and standard error, clustered by prompt."""

    value: Estimate
    error: float
    n: int


class Skill(Record):
    """A probability of being right, and its standard error."""

    value: float
    error: float


class AnnotatorQuality(Record):
    """How one judge judges.

    `first_wins` and `longer_wins` are shares of decided votes on two responses (0.5: no bias);
    `with_majority` is agreement with the majority of the others, who have to have one. `accuracy`
    is Dawid and Skene's, over first, tie and second; `ability` is the crowd Bradley-Terry model's,
    over policies (0.5: guessing). Numbers show whom to talk to, and weigh votes; they are too
    uncertain to judge people by.
    """

    judge: str
    kind: JudgeKind
    judgements: int
    skipped: int
    ties: int
    median_seconds: float | None = None
    first_wins: Share | None = None
    longer_wins: Share | None = None
    with_majority: Share | None = None
    accuracy: Skill | None = None
    ability: Skill | None = None


def annotator_quality(everything: Said) -> tuple[AnnotatorQuality, ...]:
    """Every judge, in order of appearance."""
    cast = everything.ballots
    shown, length = cast.votes[:, 2], cast.votes[:, 3]
    decided = cast.value != TIED
    first = cast.value == FIRST
    by_place = _shares(cast, decided & (shown != 0), first == (shown > 0))
    by_length = _shares(cast, decided & (length != 0), first == (length > 0))
    by_majority = _shares(cast, *_majority_of_others(cast))
    accuracies, abilities = _accuracies(cast), _abilities(cast)
    found: list[AnnotatorQuality] = []
    for number, judge in enumerate(cast.judges):
        tally = everything.tallies[judge]
        found.append(
            AnnotatorQuality(
                judge=judge,
                kind=judge_kind(judge),
                judgements=tally.judgements,
                skipped=tally.skipped,
                ties=tally.ties,
                median_seconds=float(np.median(tally.seconds)) if tally.seconds else None,
                first_wins=by_place.get(number),
                longer_wins=by_length.get(number),
                with_majority=by_majority.get(number),
                accuracy=accuracies.get(number),
                ability=abilities.get(number),
            )
        )
    return tuple(found)


def _shares(cast: Ballots, counts: NDArray[np.bool_], yes: NDArray[np.bool_]) -> dict[int, Share]:
    """Per judge the share of `yes` among the votes that count; judges of one prompt have none."""
    found: dict[int, Share] = {}
    for judge in range(len(cast.judges)):
        own = counts & (cast.judge == judge)
        prompts = cast.prompt[own].tolist()
        if len(set(prompts)) < 2:
            continue
        votes = yes[own].astype(float)
        found[judge] = Share(
            value=paired_win_rate(votes, prompts),
            error=clustered_error(votes, prompts).error,
            n=len(votes),
        )
    return found


def _majority_of_others(cast: Ballots) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Votes on pairs whose other votes have a single most frequent value, and who voted like it."""
    counts = np.zeros((int(cast.pair.max(initial=-1)) + 1, 3))
    np.add.at(counts, (cast.pair, cast.value), 1)
    others = counts[cast.pair]
    others[np.arange(len(others)), cast.value] -= 1
    top = others.max(1)
    clear = (top > 0) & ((others == top[:, None]).sum(1) == 1)
    return clear, others.argmax(1) == cast.value


def _accuracies(cast: Ballots) -> dict[int, Skill]:
    fit = reliability(cast)
    if fit is None:
        return {}
    shared = np.bincount(cast.pair)[cast.pair] > 1
    return {
        judge: Skill(value=float(fit.accuracy[judge]), error=float(fit.error[judge]))
        for judge in np.unique(cast.judge[shared]).tolist()
    }


def _abilities(cast: Ballots) -> dict[int, Skill]:
    votes = cast.policy_votes()
    voters = np.unique(votes.voter).tolist()
    if len(voters) < 2:
        return {}
    fit = crowd_bradley_terry(votes, len(cast.policies), len(cast.judges), ridge=RIDGE)
    return {
        judge: Skill(value=float(fit.ability[judge]), error=float(fit.error[judge]))
        for judge in voters
    }


def bias_warnings(annotators: Iterable[AnnotatorQuality]) -> tuple[str, ...]:
    """Judges who are more than three standard errors away from no bias: few are so by chance."""
    found: list[str] = []
    for annotator in annotators:
        for share, what in (
            (annotator.first_wins, "the response shown first"),
            (annotator.longer_wins, "the longer response"),
        ):
            if share is None or share.value.low <= 0.5 <= share.value.high:
                continue
            if abs(share.value.estimate - 0.5) > 3 * share.error:
                percent = f"{100 * share.value.estimate:.0f}%"
                found.append(f"{annotator.judge} prefers {what} in {percent} of {share.n} votes")
    return tuple(found)
