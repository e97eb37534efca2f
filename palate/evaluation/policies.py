"""How a policy writes: KL from the baseline, length, diversity, repetition, and best-of-n."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from palate.evaluation.results import BestOfN, JudgeScore
from palate.maths.statistics import Interval, best_of_n_kl_bound, clustered_mean, distinct_n
from palate.records import Group, PromptId


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Statistics of the token ids of sampled responses; fields as in `PolicyResult`."""

    responses: int
    mean_length: Interval
    distinct_1: float
    distinct_2: float
    repetition: float
    eos_rate: float


def writing(groups: Sequence[Group]) -> Writing:
    """Length, diversity, repetition and the share that ended by itself, over all responses."""
    responses = [response for group in groups for response in group.responses]
    prompts = [group.prompt.id for group in groups for _ in group.responses]
    tokens = [response.token_ids for response in responses]
    return Writing(
        responses=len(responses),
        mean_length=clustered_mean([len(ids) for ids in tokens], prompts),
        distinct_1=distinct_n(tokens, 1),
        distinct_2=distinct_n(tokens, 2),
        repetition=sum(repetition(ids) for ids in tokens) / len(tokens),
        eos_rate=sum(response.finish == "stop" for response in responses) / len(responses),
    )


def repetition(tokens: Sequence[int], n: int = 4) -> float:
    """The fraction of a response's n-grams that it had already written."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def sequence_kl(
    logprobs: Sequence[float], baseline_logprobs: Sequence[float], prompt_ids: Sequence[PromptId]
) -> Interval:
    """KL(policy || baseline) in nats per response, by k1 under the policy's own samples.

    k1 = log pi(y) - log pi_ref(y) of a whole response, unclamped: its interval covers, k3's does
    not.
    """
    k1 = [p - q for p, q in zip(logprobs, baseline_logprobs, strict=True)]
    return clustered_mean(k1, prompt_ids)


def mean_score(scores: ArrayLike, prompt_ids: Sequence[PromptId], *, judge: str) -> JudgeScore:
    """The mean of a judge's scores with its interval."""
    return JudgeScore(judge=judge, mean=clustered_mean(scores, prompt_ids))


def best_of_n_curve(
    selector: ArrayLike, scores: Mapping[str, ArrayLike], sizes: Sequence[int]
) -> tuple[BestOfN, ...]:
    """Scores of the best of n by `selector`, for every n in `sizes`, from K >= n samples a prompt.

    All arrays are [prompt, K]. Averages over every subset of n samples: with samples ranked upward
    by the selector, number i is the best of C(i - 1, n - 1) of the C(K, n) subsets.
    """
    order = np.argsort(np.asarray(selector, float), axis=1, kind="stable")
    prompts, samples = order.shape
    ranked = {
        judge: np.take_along_axis(np.asarray(values, float), order, axis=1)
        for judge, values in scores.items()
    }
    curve = []
    for n in sizes:
        best = [math.comb(i, n - 1) / math.comb(samples, n) for i in range(samples)]
        means = [
            mean_score(values @ best, [PromptId(str(i)) for i in range(prompts)], judge=judge)
            for judge, values in ranked.items()
        ]
        curve.append(BestOfN(n=n, kl_bound=best_of_n_kl_bound(n), scores=tuple(means)))
    return tuple(curve)
