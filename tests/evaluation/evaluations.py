"""Evaluations of which only the win rates matter."""

from palate.evaluation.results import Comparison, Evaluation, JudgeScore, PolicyResult, Settings
from palate.maths.statistics import Interval
from palate.records import Sampling


def exactly(value: float) -> Interval:
    return Interval(value, value, value)


def result(name: str, rate: float | None) -> PolicyResult:
    """A policy that won this share against the baseline; the baseline itself has none."""
    comparison = Comparison(
        policy=name,
        baseline="sft",
        judge="cafe",
        prompts=10,
        wins=5,
        ties=0,
        losses=5,
        win_rate=exactly(rate or 0.0),
        length_controlled=exactly(0.5),
        longer_wins=exactly(0.5),
    )
    return PolicyResult(
        name=name,
        responses=10,
        comparisons=(comparison,) if rate is not None else (),
        kl=exactly(10 * (rate or 0.0)),
        scores=(JudgeScore(judge="cafe", mean=exactly(1.0)),),
        mean_length=exactly(20.0),
        distinct_1=0.5,
        distinct_2=0.5,
        repetition=0.0,
        eos_rate=1.0,
    )


def evaluation(seed: int = 0, **rates: float) -> Evaluation:
    """An evaluation of the baseline `sft` and of policies with these win rates."""
    return Evaluation(
        baseline="sft",
        taste="cafe",
        policies=(result("sft", None), *(result(name, rate) for name, rate in rates.items())),
        settings=Settings(prompts="p", num_prompts=10, k=1, sampling=Sampling()),
        seeds=(seed,),
    )
