"""What to ask people next: arms that pick questions from scores, always beside a random one.

Uncertainty is not reliably better than chance (arXiv:2604.02766), so a control arm is drawn first
and every question keeps the name of its arm; `compare_arms` puts the answers side by side.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from palate.evaluation.results import Estimate
from palate.maths.statistics import independent_difference, paired_win_rate, robust_distances
from palate.records import (
    Arm,
    Group,
    Judgement,
    PromptId,
    Record,
    Scores,
    judge_kind,
    preferences_of,
)

Array = NDArray[np.floating]
UNKNOWN = -np.inf
"""The score of a candidate about which an arm knows nothing: it does not pick it."""


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


def next_questions(
    scores: Mapping[Arm, Array], *, new: int, count: int, control: float, seed: int
) -> tuple[Question, ...]:
    """`count` different candidates: ceil(control * count) at random, then the top of each arm.

    `scores[arm]` has one value per candidate, higher is more worth asking; the arms take turns,
    and what they leave (`UNKNOWN`) is drawn at random too. The control is drawn from the first
    `new` candidates, so it stays an unbiased sample of them; only arms ask about others again.
    """
    if not 0 < control <= 1:
        raise ValueError(f"control is {control}: a share above 0 of questions stays random")
    drawn = np.random.default_rng(seed).permutation(new).tolist()
    sure = int(np.ceil(control * min(count, new)))
    asked = {index: Question(index=index, arm="random") for index in drawn[:sure]}
    queues: dict[Arm, Iterator[int]] = {
        arm: iter([i for i in np.argsort(-value, kind="stable").tolist() if value[i] > UNKNOWN])
        for arm, value in scores.items()
    }
    while queues and len(asked) < count:
        for arm, queue in list(queues.items()):
            index = next((i for i in queue if i not in asked), None)
            if index is None:
                del queues[arm]
            elif len(asked) < count:
                asked[index] = Question(index=index, arm=arm)
    for index in drawn[sure:]:
        if len(asked) < count:
            asked.setdefault(index, Question(index=index, arm="random"))
    return tuple(asked.values())


def model_scores(judgements: Sequence[Judgement]) -> dict[str, tuple[float, ...]]:
    """The last scores of every judge of a group that is no person."""
    return {
        said.judge: said.verdict.values
        for said in judgements
        if isinstance(said.verdict, Scores) and judge_kind(said.judge) != "person"
    }


def model_preference(scores: Mapping[str, Sequence[float]], i: int, j: int) -> float:
    """P(i over j) = sigmoid(r_i - r_j), the mean over the models; NaN without any."""
    given = [special.expit(values[i] - values[j]) for values in scores.values()]
    return float(np.mean(given)) if given else float("nan")


def people_preference(judgements: Sequence[Judgement], i: int, j: int) -> float:
    """The share of people who put i before j (ties are half); NaN where nobody spoke of both."""
    given = [
        preference.probability if preference.winner == i else 1 - preference.probability
        for said in judgements
        if judge_kind(said.judge) == "person"
        for preference in preferences_of(said.verdict, said.order)
        if {preference.winner, preference.loser} == {i, j}
    ]
    return float(np.mean(given)) if given else float("nan")


def arm_scores(
    arms: Sequence[Arm],
    asked: Sequence[tuple[Group, Sequence[Judgement], Sequence[int]]],
    *,
    new: int,
) -> dict[Arm, Array]:
    """How much each arm wants to ask each (group, what was said, responses shown), pair by pair.

    The first `new` were never asked: the uncertain ones are those on which reward models disagree
    (of one model: those it finds close), the outliers those of extreme reward or length. The rest
    were asked: disputed are those where people and models take opposite sides. A pair of responses
    stands for more by the largest of its scores.
    """
    scores = [model_scores(said) for _, said, _ in asked]
    away = _away([(group, known) for (group, _, _), known in zip(asked, scores, strict=True)])
    doubt = _spread if any(len(known) > 1 for known in scores) else _closeness
    found: dict[Arm, Array] = {arm: np.full(len(asked), UNKNOWN) for arm in arms}
    for index, (_, said, shown) in enumerate(asked):
        known = scores[index]
        for arm in arms:
            if (arm == "disputed") == (index < new):
                continue
            if arm == "outlier":
                found[arm][index] = max(away[index][i] for i in shown)
                continue
            pairs = itertools.combinations(shown, 2)
            if arm == "disputed":
                values = [_opposed(known, said, i, j) for i, j in pairs]
            else:
                values = [doubt(known, i, j) for i, j in pairs]
            found[arm][index] = max(values, default=UNKNOWN)
    return {arm: value for arm, value in found.items() if arm != "random"}


def _spread(known: Mapping[str, Sequence[float]], i: int, j: int) -> float:
    differences = [[values[i] - values[j]] for values in known.values()]
    return float(ensemble_uncertainty(differences)[0]) if len(known) > 1 else UNKNOWN


def _closeness(known: Mapping[str, Sequence[float]], i: int, j: int) -> float:
    return 0.5 - abs(model_preference(known, i, j) - 0.5) if known else UNKNOWN


def _opposed(
    known: Mapping[str, Sequence[float]], said: Sequence[Judgement], i: int, j: int
) -> float:
    model, people = model_preference(known, i, j), people_preference(said, i, j)
    opposite = (model - 0.5) * (people - 0.5) < 0
    return float(judge_dispute([model], [people])[0]) if opposite else UNKNOWN


def _away(groups: Sequence[tuple[Group, Mapping[str, Sequence[float]]]]) -> list[Array]:
    """Per group, how far out each response is in length or in a model's reward."""
    sizes = np.cumsum([group.k for group, _ in groups])[:-1]
    lengths = [len(response.text) for group, _ in groups for response in group.responses]
    away = robust_distances(lengths)
    for model in {model for _, known in groups for model in known}:
        given = [known.get(model, (np.nan,) * group.k) for group, known in groups]
        rewards = np.concatenate(given)
        spoken = ~np.isnan(rewards)
        away[spoken] = np.maximum(away[spoken], robust_distances(rewards[spoken]))
    return np.split(away, sizes)


def contradicts(
    scores: Mapping[str, Sequence[float]], shown: Sequence[int], best: Sequence[int]
) -> float:
    """1 where what people put first is not what the models do, 0.5 where they put it level with
    others, 0 where they agree; NaN where the models know no best."""
    points = [
        sum(model_preference(scores, i, j) for j in shown if j != i) if scores else 0.0
        for i in shown
    ]
    top = [i for i, value in zip(shown, points, strict=True) if value == max(points)]
    if len(top) != 1:
        return float("nan")
    return 1.0 if top[0] not in best else 0.0 if len(best) == 1 else 0.5


class ArmResult(Record):
    """What asking in an arm brought: n answered questions, and the share that corrected the model.

    `surprise` is how often people contradicted the model's choice (a tie is half), and `lead` how
    much more often than in the random arm; `seconds` is the median time of an answer.
    """

    arm: Arm
    n: int
    surprise: Estimate
    lead: Estimate | None
    seconds: float


def compare_arms(
    arms: Sequence[Arm], contradicted: ArrayLike, seconds: ArrayLike, prompts: Sequence[PromptId]
) -> tuple[ArmResult, ...]:
    """The arms side by side, in order of appearance; arms with fewer than two prompts are left out.

    `contradicted` is 1 where people chose against the model, 0.5 for a tie and 0 else.
    """
    wrong, took = np.asarray(contradicted, float), np.asarray(seconds, float)
    rows: dict[Arm, list[int]] = {
        arm: [i for i, name in enumerate(arms) if name == arm] for arm in dict.fromkeys(arms)
    }
    rows = {arm: own for arm, own in rows.items() if len({prompts[i] for i in own}) > 1}
    surprise = {
        arm: paired_win_rate(wrong[own], [prompts[i] for i in own]) for arm, own in rows.items()
    }
    control = surprise.get("random")
    return tuple(
        ArmResult(
            arm=arm,
            n=len(own),
            surprise=surprise[arm],
            lead=independent_difference(surprise[arm], control)
            if control and arm != "random"
            else None,
            seconds=float(np.median(took[own])),
        )
        for arm, own in rows.items()
    )
