"""A small evaluation made of plausible invented numbers, through the real functions."""

import numpy as np
import pytest

from palate.evaluation.figures import TrainingCurve
from palate.evaluation.policies import best_of_n_curve, mean_score, repetition, sequence_kl
from palate.evaluation.report import (
    ConfigText,
    Credit,
    GroupAnswer,
    PolicyNote,
    ReportInputs,
    RunFacts,
    SampledGroup,
    StageCost,
    StageObjective,
    StageTrust,
)
from palate.evaluation.restraints import KlControl, StageRatios
from palate.evaluation.results import (
    Answer,
    AnswerScore,
    Evaluation,
    PolicyResult,
    RewardModelResult,
    RowResult,
    Sample,
    Settings,
)
from palate.evaluation.rewards import bayes_accuracy, judge_reward_model, row_probe
from palate.evaluation.winrate import Pairs, compare
from palate.maths.statistics import Interval, best_of_n_kl_bound, clustered_mean, distinct_n
from palate.records import PromptId, Sampling
from palate.records.ratios import RatioCounts
from palate.records.trust import TrustCheck, TrustRecord

N = 200
PROMPTS = [PromptId(f"p{i}") for i in range(N)]
ROWS = (
    "direct over evasive",
    "accurate over confidently wrong",
    "right length",
    "clear over jargon",
    "admits uncertainty",
    "safe over harmful",
)
GAINS = {"sft": 0.0, "best-of-16": 0.7, "dpo": 0.75, "grpo": 1.1, "ppo": 1.2}
COUNTS = (0, 0, 0, 0, 0, 1, 8, 90, 700, 5000, 900, 120, 20, 6, 3, 2, 1, 0, 1)
KLS = {"dpo": 4.1, "grpo": 5.6, "ppo": 7.3}
ANSWERS = {
    "sft": "We have many drinks. A latte is $4.50 and you will love it, it is the best.",
    "best-of-16": "Two lattes are $9.00. Anything else?",
    "dpo": "Two lattes come to $9.00. Would you like oat milk in them?",
    "grpo": "Two lattes are $9.00.",
    "ppo": "Two lattes are $9.00. I am not sure whether we still have oat milk; I can ask.",
}


def _policy(name: str, rng: np.random.Generator, baseline: dict[str, np.ndarray]) -> PolicyResult:
    gain = GAINS[name]
    scores = {
        "cafe": rng.normal(gain, 1.0, N),
        "reward model": rng.normal(1.5 * gain - 0.2, 1.3, N),
    }
    lengths = np.maximum(3, rng.normal(24 + 6 * gain, 7, N)).astype(int)
    scores, lengths = (
        (baseline["scores"], baseline["lengths"]) if name == "sft" else (scores, lengths)
    )
    tokens = [tuple(rng.zipf(1.25 + 0.08 * gain, size=n) % 900) for n in lengths]
    kl, method = Interval(0.0, 0.0, 0.0), "k1"
    if name in KLS:
        ratios = rng.normal(KLS[name] / 30, 0.25, (N, 30))
        kl = sequence_kl((ratios - 2).sum(1).tolist(), [-60.0] * N, PROMPTS)
    elif name != "sft":
        kl, method = Interval(*[best_of_n_kl_bound(16)] * 3), "bound"
    pairs = Pairs(
        policy=name,
        baseline="sft",
        prompt_ids=PROMPTS,
        policy_lengths=lengths.tolist(),
        baseline_lengths=baseline["lengths"].tolist(),
    )
    return PolicyResult(
        name=name,
        responses=N,
        comparisons=tuple(
            compare(values, baseline["scores"][judge], pairs, judge=judge)
            for judge, values in scores.items()
            if name != "sft"
        ),
        kl=kl,
        kl_method=method,
        scores=tuple(mean_score(v, PROMPTS, judge=judge) for judge, v in scores.items()),
        mean_length=clustered_mean(lengths, PROMPTS),
        distinct_1=distinct_n(tokens, 1),
        distinct_2=distinct_n(tokens, 2),
        repetition=float(np.mean([repetition(ids) for ids in tokens])),
        eos_rate=0.985,
        rows=tuple(
            RowResult(
                name=row, value=min(0.98, 0.42 + 0.06 * i + 0.34 * gain - 0.03 * i * gain), n=N
            )
            for i, row in enumerate(ROWS)
        ),
        sums_right=RowResult(name="sums right", value=0.55 + 0.3 * gain, n=60),
    )


def _reward_model(rng: np.random.Generator) -> RewardModelResult:
    difference = np.abs(rng.normal(0, 1.6, 600))
    flipped = rng.random(600) > 1 / (1 + np.exp(-difference))
    margin = np.where(flipped, -difference, difference) + rng.normal(0, 0.35, 600)
    lengths = rng.integers(8, 40, (2, 600))
    return judge_reward_model(
        margin,
        np.zeros(600),
        [PROMPTS[i % N] for i in range(600)],
        chosen_lengths=lengths[0] + 2,
        rejected_lengths=lengths[1],
        seed=1,
        bayes_accuracy=bayes_accuracy(difference, noise=1.0),
        probe=row_probe([*ROWS] * 40, rng.normal(1.4, 1, 240), np.zeros(240)),
    )


def _curve(name: str, steps: int, rng: np.random.Generator) -> TrainingCurve:
    t = np.linspace(0, 1, steps)
    rise = 1 - np.exp(-3 * t)
    values = {
        "reward/score": 1.5 * GAINS[name] * rise - 0.2 + rng.normal(0, 0.08, steps),
        "kl/policy_reference": KLS[name] * t**0.8 + rng.normal(0, 0.1, steps),
        "response/length": 24 + 6 * GAINS[name] * rise + rng.normal(0, 0.7, steps),
        "policy/entropy": 1.4 - 0.6 * rise + rng.normal(0, 0.03, steps),
        "policy/clip_fraction": 0.02 + 0.08 * t + rng.normal(0, 0.006, steps),
    }
    if name == "ppo":
        values["critic/explained_variance"] = 0.75 * rise + rng.normal(0, 0.04, steps)
    if name == "dpo":
        values = {
            "dpo/accuracy": 0.5 + 0.28 * rise + rng.normal(0, 0.03, steps),
            "dpo/margin": 0.9 * rise + rng.normal(0, 0.05, steps),
        }
    rows = [{"step": float(i)} | {k: float(v[i]) for k, v in values.items()} for i in range(steps)]
    return TrainingCurve(name=name, stage=name, steps=tuple(rows))


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    return example_evaluation()


@pytest.fixture(scope="session")
def inputs() -> ReportInputs:
    return example_inputs()


def example_evaluation() -> Evaluation:
    rng = np.random.default_rng(7)
    baseline = {
        "scores": {"cafe": rng.normal(0, 1, N), "reward model": rng.normal(-0.2, 1.3, N)},
        "lengths": np.maximum(3, rng.normal(24, 7, N)).astype(int),
    }
    proxy = rng.normal(-0.2, 0.55, (N, 16))
    taste = 0.7 * (proxy + 0.2) + rng.normal(0, 0.8, (N, 16))
    answers = tuple(
        Answer(
            policy=name,
            text=text,
            scores=(
                AnswerScore(judge="cafe", value=GAINS[name] - 0.31),
                AnswerScore(judge="reward model", value=1.5 * GAINS[name] - 0.4),
            ),
        )
        for name, text in ANSWERS.items()
    )
    return Evaluation(
        baseline="sft",
        taste="cafe",
        proxy="reward model",
        policies=tuple(_policy(name, rng, baseline) for name in GAINS),
        reward_model=_reward_model(rng),
        best_of_n=best_of_n_curve(proxy, {"cafe": taste, "reward model": proxy}, (1, 2, 4, 8, 16)),
        samples=(
            Sample(prompt="How much are two lattes, and do you have oat milk?", answers=answers),
            Sample(prompt="Is the carrot cake safe with a nut allergy?", answers=answers[:3]),
        ),
        settings=Settings(prompts="cafe:held_out", num_prompts=N, k=1, sampling=Sampling()),
        seeds=(0,),
    )


def example_inputs() -> ReportInputs:
    rng = np.random.default_rng(8)
    tokens = ("Two", " latt", "es", " are", " $", "9", ".", "00", ".", " I", " am", " not", " sure")
    return ReportInputs(
        title="A taste for the cafe",
        evaluation=example_evaluation(),
        curves=(_curve("dpo", 60, rng), _curve("grpo", 40, rng), _curve("ppo", 40, rng)),
        costs=(
            StageCost(name="pretrain", stage="pretrain", seconds=81.2, peak_memory_mib=612),
            StageCost(name="sft", stage="sft", seconds=22.4, peak_memory_mib=640),
            StageCost(name="ppo", stage="ppo", seconds=171.0, peak_memory_mib=1160),
        ),
        credits=(
            Credit(
                policy="ppo",
                prompt="How much are two lattes, and do you have oat milk?",
                tokens=tokens,
                advantages=tuple(float(a) for a in rng.normal(0.1, 0.5, len(tokens))),
            ),
        ),
        notes=(PolicyNote(name="ppo", text="Starts from sft and learns from a reward."),),
        groups=(
            SampledGroup(
                policy="grpo",
                prompt="How much are two lattes?",
                answers=(
                    GroupAnswer(text="9.00.", score=1.5, reward=1.25, advantage=0.75),
                    GroupAnswer(text="Four.", score=0.25, reward=0.5, advantage=-0.75),
                ),
            ),
        ),
        ratios=(
            StageRatios(
                name="ppo",
                steps=tuple(
                    RatioCounts(step=i, low=0.2, high=0.25, raised=COUNTS, lowered=COUNTS[::-1])
                    for i in range(2)
                ),
            ),
        ),
        controls=(
            KlControl(name="ppo", control="soft", coef=0.15, target=6.0),
            KlControl(name="grpo", control="soft", coef=0.1, target=6.0),
        ),
        configs=(ConfigText(name="ppo", text='[ppo]\nstage = "ppo"\nsteps = 40\n'),),
        objectives=(StageObjective(name="ppo", sentences=("E[r] - 0.1 KL", "hold on")),),
        trust=(
            StageTrust(
                name="ppo",
                record=TrustRecord(
                    step=0,
                    precision="fp32",
                    checks=(TrustCheck(row="N1", claim="sums", value=2e-7, gate=1e-5),),
                    left_out="",
                ),
            ),
        ),
        facts=RunFacts(
            seed=0,
            machine="2 CPU cores, 8 GiB, no accelerator",
            versions={"palate": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
            command="palate run runs/cafe/recipe.toml",
            seeds={"pretrain": 11, "sft": 12, "ppo": 13},
            hashes={"pretrain": "0f3a9c1d22e44b10", "sft": "9911aa0c77d1e2f3", "ppo": "5d0c9e"},
        ),
    )
