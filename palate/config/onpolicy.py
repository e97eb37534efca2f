"""The stages that sample while they train: what they share, then one section each."""

from typing import Literal

from pydantic import Field, model_validator

from palate.config.common import (
    KlConfig,
    LoraConfig,
    OptimizerConfig,
    PromptConfig,
    ReadingConfig,
    SamplingConfig,
)
from palate.config.presets import with_preset


class OnPolicyConfig(ReadingConfig):
    """What stages share that sample while they train: rollouts, reward, reference and updates."""

    model: str = "@sft"
    """Policy to start from; the reference starts there too."""
    reward: str | tuple[str, ...] = "@reward"
    """`@stage` or a folder (reward model), `verifier:NAME`, `file.py:function`; or several."""
    reward_weights: tuple[float, ...] = ()
    """What each of several rewards counts in their sum, in order (left out: 1 each)."""
    prompts: str = "cafe:prompts"
    """Prompts to roll out."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length."""
    sampling: SamplingConfig = SamplingConfig()
    """How rollouts are drawn; top_p must be 1."""
    steps: int = Field(default=40, ge=0)
    """Rollout-and-update steps."""
    batch_prompts: int = Field(default=64, ge=1)
    """Prompts per step."""
    epochs: int = Field(default=1, ge=1)
    """Passes over each step's rollouts."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer updates per pass; the rollouts are split by group."""
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    """Subtracted once from the score of a response that ran into max_tokens."""
    overlong_fraction: float = Field(default=0.0, ge=0, le=1)
    """The last fraction of max_tokens, over which that penalty rises linearly from 0 (DAPO)."""
    reference: Literal["frozen", "ema"] = "frozen"
    """`frozen`: where training started. `ema`: a moving average of the policy; no fixed anchor."""
    reference_decay: float = Field(default=0.99, ge=0, lt=1)
    """For `ema`, after every step: reference = decay * reference + (1 - decay) * policy."""
    lora: LoraConfig = LoraConfig()
    """Adapters; the reference is then the model with adapters off."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-4, schedule="linear", eps=1e-5)
    """Policy optimizer."""
    checkpoint_steps: int = Field(default=10, ge=1)
    """A resumable checkpoint every so many steps."""

    @property
    def rewards(self) -> tuple[str, ...]:
        """All rewards, as a list even where there is one."""
        return (self.reward,) if isinstance(self.reward, str) else self.reward


class PolicyGradientConfig(OnPolicyConfig):
    """What PPO, GRPO, REINFORCE and RLOO share: the KL and the entropy bonus."""

    kl: KlConfig = KlConfig()
    """How the policy is held near the reference."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Weight of the token entropy bonus."""


class ClippedConfig(PolicyGradientConfig):
    """What methods with an importance ratio share: its bounds and the reduction of the loss."""

    clip_low: float = Field(default=0.2, gt=0, le=1)
    """Lower bound: ratios below 1 - clip_low are clipped (1: no lower bound)."""
    clip_high: float = Field(default=0.2, gt=0)
    """Upper bound: ratios above 1 + clip_high are clipped (DAPO's clip-higher when larger)."""
    dual_clip: float = Field(default=0.0, ge=0)
    """Ratio above which a bad token's loss grows no more (Ye 2020: 3); 0 switches it off."""
    reduction: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    """How per-token losses become one number; `constant` divides by max_tokens (Dr.GRPO)."""


class PpoConfig(ClippedConfig):
    """`ppo`: proximal policy optimization with a critic (Schulman 2017, Ouyang 2022)."""

    stage: Literal["ppo"] = "ppo"
    k: int = Field(default=4, ge=1)
    """Responses per prompt."""
    epochs: int = Field(default=2, ge=1)
    """Passes over each step's rollouts."""
    minibatches: int = Field(default=2, ge=1)
    """Optimizer updates per pass; the rollouts are split by group."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """GAE's lambda."""
    value_clip: float = Field(default=0.2, ge=0)
    """Value clipping range around the rollout's values; 0 switches it off."""
    whiten_advantages: bool = True
    """Standardise advantages over valid tokens of the step (returns use the raw ones)."""
    critic_from: Literal["reward", "policy"] = "reward"
    """The critic starts as the reward model (when it is one) or the policy, with a zero head."""
    critic_optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3, schedule="linear", eps=1e-5)
    """Critic optimizer."""


class GrpoConfig(ClippedConfig):
    """`grpo`: advantages relative to the group (Shao 2024, corrected by Liu 2025), and its kin."""

    stage: Literal["grpo"] = "grpo"
    preset: Literal["default", "grpo", "dr_grpo", "dapo", "gspo", "cispo"] = "default"
    """Defaults of a published method, which your own keys override (docs/config.md lists them)."""
    k: int = Field(default=8, ge=2)
    """Responses per prompt; a group of one has nobody to be compared with."""
    baseline: Literal["leave_one_out", "group_mean"] = "leave_one_out"
    """What a response is compared with: the others of its group, or the whole group."""
    scale: Literal["none", "group", "batch"] = "none"
    """Divide advantages by a standard deviation; `none` keeps the policy gradient's direction."""
    ratio: Literal["token", "sequence"] = "token"
    """Each token's own importance ratio, or the geometric mean over its response (GSPO)."""
    surrogate: Literal["clipped", "cispo"] = "clipped"
    """`clipped` drops tokens outside the bounds (PPO); `cispo` keeps them at a clipped weight."""
    reduction: Literal["token_mean", "sequence_mean", "constant"] = "constant"
    """`constant` divides by max_tokens (Dr.GRPO); sequence_mean is the published GRPO."""
    resample_rounds: int = Field(default=0, ge=0)
    """Rounds per step in which groups of equal rewards give way to fresh prompts (0: none)."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: object) -> object:
        return with_preset(cls, values)


class ReinforceConfig(ClippedConfig):
    """`reinforce`: the policy gradient with neither critic nor groups (Williams 1992, Hu 2025)."""

    stage: Literal["reinforce"] = "reinforce"
    preset: Literal["default", "reinforce++", "reinforce++-baseline"] = "default"
    """Defaults of a published method, which your own keys override (docs/config.md lists them)."""
    k: int = Field(default=4, ge=1)
    """Responses per prompt."""
    baseline: Literal["none", "batch_mean", "group_mean"] = "batch_mean"
    """What is subtracted from a response's return: nothing, or the mean of the step or group."""
    whiten_advantages: bool = False
    """Standardise advantages over valid tokens of the step (REINFORCE++)."""
    surrogate: Literal["policy_gradient", "clipped"] = "policy_gradient"
    """`policy_gradient` allows one update per rollout; `clipped` is PPO's and allows more."""
    reduction: Literal["token_mean", "sequence_mean", "constant"] = "constant"
    """`constant` divides by max_tokens, which keeps the policy gradient."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: object) -> object:
        return with_preset(cls, values)


class RlooConfig(PolicyGradientConfig):
    """`rloo`: REINFORCE with a leave-one-out baseline (Ahmadian 2024); one update per rollout."""

    stage: Literal["rloo"] = "rloo"
    k: int = Field(default=8, ge=2)
    """Responses per prompt; a group of one has nobody to be compared with."""


class OnlineDpoConfig(OnPolicyConfig):
    """`online_dpo`: DPO on pairs that the policy samples and a reward judges (Guo 2024)."""

    stage: Literal["online_dpo"] = "online_dpo"
    k: int = Field(default=2, ge=2)
    """Responses per prompt; all their pairs are judged."""
    beta: float = Field(default=0.1, gt=0)
    """Temperature of the implicit reward beta * log(pi / pi_ref)."""
    noise: float = Field(default=1.0, ge=0)
    """P(a preferred to b) = sigmoid((s_a - s_b) / noise); 0: the higher score always wins."""

    @property
    def kl(self) -> KlConfig:
        """The KL that these labels imply: beta nats of reward, a label's unit being `noise`."""
        return KlConfig(coef=self.beta * self.noise)


AnyOnPolicyConfig = PpoConfig | GrpoConfig | ReinforceConfig | RlooConfig | OnlineDpoConfig
