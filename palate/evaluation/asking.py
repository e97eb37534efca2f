"""What to ask people next: arms that pick questions from scores, always beside a random one.

Uncertainty is not reliably better than chance (arXiv:2604.02766), so a control arm is drawn first
and every question keeps the name of its arm; `compare_arms` puts the answers side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from palate.evaluation.results import Estimate
from palate.maths.statistics import paired_win_rate
from palate.records import PromptId, Record

Array = NDArray[np.floating]
Arm = Literal["random", "uncertain", "disputed", "outlier"]


class Question(Record):
    """Which candidate to ask about, and the arm that picked it."""

    index: int
    arm: Arm


def ensemble_uncertainty(differences: ArrayLike) -> Array:
    """Standard deviation over the ensemble of P(first wins) = sigmoid(r_1 - r_2), per candidate.

    `differences` are [member, candidate]: Christiano et al. 2017 (arXiv:1706.03741) sec. 2.2.4.
    """
    return special.expit(np.asarray(differences, float)).std(axis=0)


def judge_dispute(judge: ArrayLike, people: ArrayLike) -> Array:
    """|p_judge - p_people| that the first wins, per candidate; 0 where people are silent (NaN)."""
    gap = np.abs(np.asarray(judge, float) - np.asarray(people, float))
    return np.nan_to_num(gap, nan=0.0)


def outlyingness(rewards: ArrayLike, lengths: ArrayLike) -> Array:
    """The larger of |reward| and |length| in robust standard deviations from the median.

    One is 1.4826 times the median absolute deviation: a watch for reward hacking.
    """
    return np.maximum(_robust(rewards), _robust(lengths))


def _robust(values: ArrayLike) -> Array:
    given = np.asarray(values, float)
    away = np.abs(given - np.median(given))
    spread = 1.4826 * float(np.median(away))
    return away / spread if spread else np.where(away > 0, np.inf, 0.0)


def next_questions(
    scores: Mapping[Arm, Array], *, count: int, control: float, seed: int
) -> tuple[Question, ...]:
    """`count` different candidates: ceil(control * count) at random, then the top of each arm.

    `scores[arm]` has one value per candidate, higher is more worth asking; the arms take turns.
    The control is drawn from all candidates, so it stays an unbiased sample of them.
    """
    if not 0 < control <= 1:
        raise ValueError(f"control is {control}: a share above 0 of questions stays random")
    (size,) = {len(score) for score in scores.values()}
    count = min(count, size)
    drawn = np.random.default_rng(seed).permutation(size)[: int(np.ceil(control * count))]
    asked = [Question(index=int(index), arm="random") for index in drawn]
    taken = set(drawn.tolist())
    queues: dict[Arm, Iterator[int]] = {
        arm: iter(np.argsort(-value, kind="stable").tolist()) for arm, value in scores.items()
    }
    while queues and len(asked) < count:
        for arm, queue in queues.items():
            if len(asked) == count:
                break
            index = next(i for i in queue if i not in taken)
            taken.add(index)
            asked.append(Question(index=index, arm=arm))
    return tuple(asked)


class ArmResult(Record):
    """What asking in an arm brought: n answered questions, and the share that corrected the model.

    `surprise` is how often people contradicted the model's choice (a tie is half); `seconds` is
    the median time of an answer.
    """

    arm: Arm
    n: int
    surprise: Estimate
    seconds: float


def compare_arms(
    arms: Sequence[Arm], contradicted: ArrayLike, seconds: ArrayLike, prompts: Sequence[PromptId]
) -> tuple[ArmResult, ...]:
    """The arms side by side, in order of appearance; arms with fewer than two prompts are left out.

    `contradicted` is 1 where people chose against the model, 0.5 for a tie and 0 else.
    """
    wrong, took = np.asarray(contradicted, float), np.asarray(seconds, float)
    found: list[ArmResult] = []
    for arm in dict.fromkeys(arms):
        own = [i for i, name in enumerate(arms) if name == arm]
        about = [prompts[i] for i in own]
        if len(set(about)) > 1:
            surprise = paired_win_rate(wrong[own], about)
            median = float(np.median(took[own]))
            found.append(ArmResult(arm=arm, n=len(own), surprise=surprise, seconds=median))
    return tuple(found)
