"""Settings that contradict each other are refused with the reason; defaults never are."""

import pytest

from palate.config.errors import ConfigError
from palate.config.load import load_stage
from palate.config.presets import PRESETS
from palate.config.rules import check, references
from palate.config.stages import STAGES, EvaluateConfig


@pytest.mark.parametrize("stage", STAGES)
def test_defaults_are_consistent(stage: str) -> None:
    assert check(STAGES[stage]()) == []


@pytest.mark.parametrize("stage", ["ppo", "grpo", "reinforce", "rloo"])
@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["sampling.top_p=0.9"], "sampling.top_p: 0.9 samples from a truncated policy"),
        (["kl.placement=loss"], "k1 in the loss has zero expected gradient"),
        (["kl.estimator=k3"], "kl.estimator: k3 would be ignored, the KL in the reward is always"),
        (["minibatches=3", "batch_prompts=2"], "minibatches: 2 groups (batch_prompts) cannot be"),
        (["reward=[]"], "reward: the list is empty"),
        (['reward=["a.py:f", "a.py:f"]'], "reward: a.py:f is named twice"),
        (["reward_weights=[1, 2]"], "reward_weights: 2 for 1 rewards; give one weight for each"),
        (['reward=["a.py:f", 3]'], "expected text, or a list of texts"),
    ],
)
def test_on_policy_stages_refuse(stage: str, overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_stage(stage, None, overrides)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "overrides", "reason"),
    [
        ("rloo", ["epochs=2"], "epochs: 2 would reuse rollouts of an older policy"),
        ("rloo", ["minibatches=2"], "minibatches: 2 would reuse rollouts of an older policy"),
        ("rloo", ["clip_high=0.3"], "clip_high: unknown key"),
        ("ppo", ["kl.control=hard", "kl.coef=0"], "kl.coef: hard control multiplies the coeff"),
        ("rloo", ["kl.control=adaptive", "kl.coef=0"], "so 0 stays 0"),
        ("ppo", ["kl.control=hard", "reference=ema"], "reference: a budget is a distance from"),
        ("ppo", ["reference_decay=0.5"], "a frozen reference would ignore it"),
        ("grpo", ["missing_eos_penalty=0", "overlong_fraction=0.2"], "and that is 0"),
        ("grpo", ["surrogate=cispo", "ratio=sequence"], "ratio: cispo weighs each token by its"),
        ("grpo", ["surrogate=cispo", "dual_clip=3"], "dual_clip: cispo has clipped the weight"),
        ("grpo", ["dual_clip=1.2"], "no looser than the bound of good tokens, 1 + clip_high = 1.2"),
        ("reinforce", ["dual_clip=3"], "dual_clip: there is no ratio to clip"),
        ("grpo", ["resample_rounds=1"], "no group would ever be replaced"),
        ("grpo", ["preset=dapo", "kl.coef=0.1"], "no group would ever be replaced"),
        ("reinforce", ["epochs=2"], "epochs: 2 would reuse rollouts of an older policy"),
        ("reinforce", ["clip_low=0.1"], "clip_low: there is no ratio to clip"),
        ("reinforce", ["baseline=group_mean", "k=1"], "a response alone in its group is its mean"),
        ("reinforce", ["whiten_advantages=true"], "baseline: whiten_advantages subtracts the mean"),
        ("online_dpo", ["k=1"], "k = 1: expected an integer >= 2"),
        ("dpo", ["loss=ipo", "margin_coef=1"], "margin_coef: ipo has no margin of its own"),
        ("grpo", ["k=1"], "k = 1: expected an integer >= 2"),
        ("grpo", ["k=1"], "a group of one has nobody to be compared with"),
        ("evaluate", ['models=["@ppo", "@sft"]'], "models: sft twice, counting the baseline"),
        ("evaluate", ['models=["@ppo", "ppo"]'], "models: ppo twice"),
        ("evaluate", ["sampling.top_p=0.9"], "samples from a truncated policy, and the KL"),
        ("dpo", ["label_smoothing=0.1"], "label_smoothing: sigmoid does not read it"),
        ("pretrain", ["architecture.heads=7"], "7 heads do not divide hidden_size 160"),
        ("pretrain", ["block_tokens=513"], "513 tokens do not fit into architecture.context 512"),
    ],
)
def test_stages_refuse(stage: str, overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_stage(stage, None, overrides)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("ppo", ["epochs=4", "minibatches=4"]),
        ("grpo", ["epochs=2", "dual_clip=3"]),
        ("grpo", ["kl.placement=loss", "kl.estimator=k1_cumulative"]),
        *[("grpo", [f"preset={name}"]) for name in PRESETS["grpo"]],
        *[("reinforce", [f"preset={name}"]) for name in PRESETS["reinforce"]],
        ("reinforce", ["surrogate=clipped", "epochs=2", "clip_low=0.1"]),
        ("online_dpo", ["epochs=2", "reference=ema", "reference_decay=0"]),
        ("dpo", ["loss=hinge", "margin_coef=1"]),
        ("sample", ["sampling.top_p=0.9"]),
        ("dpo", ["loss=cdpo", "label_smoothing=0.1"]),
        ("pretrain", ["block_tokens=512"]),
    ],
)
def test_what_only_looks_alike_is_allowed(stage: str, overrides: list[str]) -> None:
    assert check(load_stage(stage, None, overrides)) == []


def test_references_are_found_in_texts_lists_files_and_arguments() -> None:
    config = EvaluateConfig(
        models=("@ppo", "folder", "user@host"),
        baseline="@sft-2",
        judge="judges.py:bag_of_words(@data)",
        prompts="@data/held_out.jsonl",
    )
    assert list(references(config)) == [
        ("models", "ppo"),
        ("baseline", "sft-2"),
        ("judge", "data"),
        ("prompts", "data"),
    ]
