"""One section per stage. A recipe is an ordered list of them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from palate.config.base import Config
from palate.config.common import (
    ComputeConfig,
    KlConfig,
    LoraConfig,
    OptimizerConfig,
    PromptConfig,
    SamplingConfig,
)
from palate.config.presets import with_preset


class ArchitectureConfig(Config):
    """A causal language model born here: any transformers configuration, kept small by default."""

    type: str = "llama"
    """transformers model type: llama, qwen3, gpt2, gemma2, ..."""
    hidden_size: int = Field(default=160, ge=8)
    """Width of the residual stream."""
    layers: int = Field(default=4, ge=1)
    """Transformer blocks."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    intermediate_size: int = Field(default=480, ge=8)
    """Width of the feed-forward layer."""
    context: int = Field(default=512, ge=8)
    """Longest sequence in tokens."""
    vocabulary: int = Field(default=1024, ge=260)
    """Entries of the byte-level BPE tokenizer learned from the corpus, with bytes and specials."""
    extra: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further fields of the transformers configuration, by their own names."""


class StageConfig(Config):
    """What every stage has."""

    seed: int | None = None
    """Seed of this stage; unset, it is derived from the recipe's seed and the stage's name."""
    compute: ComputeConfig = ComputeConfig()
    """Device, precision and micro-batch budget."""


class ReadingConfig(StageConfig):
    """A stage that reads rows of data."""

    bad_rows: Literal["refuse", "skip"] = "refuse"
    """`refuse` stops at the first row that cannot be read; `skip` counts them and says which."""


class PretrainConfig(ReadingConfig):
    """`pretrain`: a causal language model and its tokenizer from scratch."""

    stage: Literal["pretrain"] = "pretrain"
    corpus: str = "cafe:corpus"
    """Text: `cafe:corpus`, comma-separated text / JSONL / CSV / Parquet files, or a Hub name."""
    text_field: str = "text"
    """Field that holds the text in tabular input."""
    architecture: ArchitectureConfig = ArchitectureConfig()
    """The model to build."""
    chat: Literal["palate", "chatml"] = "palate"
    """Chat template to install: palate's one-token role markers, or ChatML."""
    block_tokens: int = Field(default=128, ge=8)
    """Longest training sequence; longer documents are cut, and none attends to another."""
    batch_tokens: int = Field(default=4096, ge=1)
    """Tokens per update, on average."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the corpus."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-3, weight_decay=0.1, schedule="cosine")
    """Optimizer."""


class PrepareConfig(StageConfig):
    """`prepare`: your own Python function turns raw data into what the other stages read."""

    stage: Literal["prepare"] = "prepare"
    function: str = ""
    """`file.py:function` of (sources, seed) returning tables of records by name (see docs)."""
    sources: tuple[str, ...] = ()
    """Files or Hub names that are handed to the function; override them to use local copies."""


class SftConfig(ReadingConfig):
    """`sft`: supervised fine-tuning on demonstrations; the loss is on response tokens only."""

    stage: Literal["sft"] = "sft"
    model: str = "@pretrain"
    """Model to start from: `@stage`, a local folder or a Hub name."""
    data: str = "cafe:demonstrations"
    """Demonstrations: `cafe:demonstrations`, `@stage`, a file or a Hub name."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length."""
    train_on: Literal["last", "all"] = "last"
    """Assistant turns that carry loss in multi-turn conversations."""
    max_response_tokens: int = Field(default=256, ge=1)
    """Longest response; longer rows follow `prompt.over_long`."""
    reduction: Literal["token_mean", "sequence_mean"] = "token_mean"
    """token_mean weighs all tokens of the global batch alike; sequence_mean has another optimum."""
    epochs: float = Field(default=2.0, gt=0)
    """Passes over the data."""
    batch_rows: int = Field(default=64, ge=1)
    """Demonstrations per update."""
    lora: LoraConfig = LoraConfig()
    """Adapters."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-3)
    """Optimizer."""


class SampleConfig(ReadingConfig):
    """`sample`: k responses per prompt from one or several policies, into groups."""

    stage: Literal["sample"] = "sample"
    models: tuple[str, ...] = ("@sft",)
    """Policies to sample from; each writes its share of the k responses."""
    prompts: str = "cafe:prompts"
    """Prompts: `cafe:prompts`, `cafe:held_out`, a file or a Hub name."""
    k: int = Field(default=4, ge=1)
    """Responses per prompt."""
    limit: int = Field(default=0, ge=0)
    """At most this many prompts (0: all)."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length."""
    sampling: SamplingConfig = SamplingConfig()
    """How responses are drawn."""


class JudgeConfig(ReadingConfig):
    """`judge`: judgements about groups, and the content-hashed dataset exported from them."""

    stage: Literal["judge"] = "judge"
    groups: str = "@sample"
    """Groups: `@stage` or a file of groups."""
    judge: str = "annotator:cafe"
    """`annotator:cafe` (simulated), `@stage` (reward model), `verifier:NAME` or `file.py:NAME`."""
    ask: Literal["pairs", "ranking", "scores", "best"] = "pairs"
    """What is asked: every pair once, a full ranking, a score each, or only the best response."""
    pairs_per_group: int = Field(default=0, ge=0)
    """For `pairs`: how many of a group's C(k, 2) pairs are asked (0: all)."""
    noise: float = Field(default=1.0, ge=0)
    """A simulated annotator's temperature: P(a preferred to b) = sigmoid((s_a - s_b) / noise)."""
    held_out_fraction: float = Field(default=0.15, ge=0, lt=1)
    """Fraction of *prompts* whose judgements are kept for held-out accuracy."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length, when the judge is a model."""


class RewardConfig(ReadingConfig):
    """`reward`: a Bradley-Terry reward model on groups of judged responses."""

    stage: Literal["reward"] = "reward"
    model: str = "@sft"
    """Backbone to start from: `@stage`, a local folder or a Hub name."""
    data: str = "@judge"
    """Preferences: `@stage`, a file, a Hub name or `project:NAME`."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length."""
    max_response_tokens: int = Field(default=256, ge=1)
    """Longest response; longer rows follow `prompt.over_long`."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data (more than one overfits quickly)."""
    batch_groups: int = Field(default=32, ge=1)
    """Groups per update."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed probability of a flipped label; moves the optimum (see docs)."""
    margin_coef: float = Field(default=0.0, ge=0)
    """Factor on each preference's margin: -log sigmoid(r_w - r_l - margin_coef * margin)."""
    held_out_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of prompts held out when the data has no held-out part of its own."""
    lora: LoraConfig = LoraConfig()
    """Adapters."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-4)
    """Optimizer."""


class OnPolicyConfig(ReadingConfig):
    """What stages share that sample while they train: rollouts, reward, reference and updates."""

    model: str = "@sft"
    """Policy to start from; the reference starts there too."""
    reward: str = "@reward"
    """`@stage` or a folder (reward model), `verifier:NAME`, or `file.py:function`."""
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


PreferenceLoss = Literal["sigmoid", "cdpo", "robust", "ipo", "hinge", "simpo", "orpo", "kto"]


class DpoConfig(ReadingConfig):
    """`dpo`: direct preference optimization and its family; no reward model, no sampling."""

    stage: Literal["dpo"] = "dpo"
    model: str = "@sft"
    """Policy to start from; it is also the reference."""
    data: str = "@judge"
    """Preferences: `@stage`, a file, a Hub name or `project:NAME`."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length."""
    max_response_tokens: int = Field(default=256, ge=1)
    """Longest response; longer rows follow `prompt.over_long`."""
    loss: PreferenceLoss = "sigmoid"
    """sigmoid (DPO), cdpo, robust (rDPO), ipo, hinge, simpo, orpo or kto."""
    beta: float = Field(default=0.1, gt=0)
    """Temperature of the implicit reward beta * log(pi / pi_ref); IPO's tau."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed probability of a flipped label, for cdpo and robust."""
    margin_coef: float = Field(default=0.0, ge=0)
    """Factor on each preference's margin, for sigmoid, cdpo, robust and hinge (ODPO)."""
    simpo_gamma: float = Field(default=0.5, ge=0)
    """SimPO's target margin."""
    orpo_coef: float = Field(default=0.1, ge=0)
    """ORPO's weight of the odds-ratio term."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """KTO's weight of desirable responses."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """KTO's weight of undesirable responses."""
    sft_coef: float = Field(default=0.0, ge=0)
    """Weight of an added token-mean negative log-likelihood of the chosen responses."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data."""
    batch_groups: int = Field(default=32, ge=1)
    """Groups per update."""
    held_out_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of prompts held out when the data has no held-out part of its own."""
    lora: LoraConfig = LoraConfig()
    """Adapters."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-4)
    """Optimizer."""


class EvaluateConfig(ReadingConfig):
    """`evaluate`: policies against a baseline under judges, with intervals, KL and length."""

    stage: Literal["evaluate"] = "evaluate"
    models: tuple[str, ...] = ("@ppo",)
    """Policies to evaluate: `@stage`, folders or Hub names."""
    baseline: str = "@sft"
    """Policy they are compared with; also the reference of the KL."""
    judge: str = "judge:cafe"
    """What counts as true: `judge:cafe`, a reward model, `verifier:NAME` or `file.py:function`."""
    reward_model: str = ""
    """Second judge: the reward model that was optimised and its held-out accuracy (empty: none)."""
    preferences: str = ""
    """Held-out judgements for that accuracy, as `@stage` or a file."""
    prompts: str = "cafe:held_out"
    """Held-out prompts."""
    limit: int = Field(default=0, ge=0)
    """At most this many prompts (0: all)."""
    k: int = Field(default=1, ge=1)
    """Responses per prompt and policy."""
    best_of: int = Field(default=0, ge=0)
    """Also evaluate the best of so many baseline responses by the reward model (0: do not)."""
    annotator_noise: float = Field(default=1.0, ge=0)
    """Noise of the simulated annotator: sets the accuracy limit of its labels."""
    prompt: PromptConfig = PromptConfig()
    """Prompt format and length."""
    sampling: SamplingConfig = SamplingConfig()
    """How responses are drawn."""


class ReportConfig(StageConfig):
    """`report`: one self-contained HTML page (and JSON) about a run."""

    stage: Literal["report"] = "report"
    title: str = "palate run"
    """Title of the page."""
    evaluation: str = "@evaluate"
    """Evaluation to show."""


AnyStageConfig = Annotated[
    PretrainConfig
    | PrepareConfig
    | SftConfig
    | SampleConfig
    | JudgeConfig
    | RewardConfig
    | PpoConfig
    | GrpoConfig
    | ReinforceConfig
    | RlooConfig
    | OnlineDpoConfig
    | DpoConfig
    | EvaluateConfig
    | ReportConfig,
    Field(discriminator="stage"),
]

STAGES: dict[str, type[StageConfig]] = {
    "pretrain": PretrainConfig,
    "prepare": PrepareConfig,
    "sft": SftConfig,
    "sample": SampleConfig,
    "judge": JudgeConfig,
    "reward": RewardConfig,
    "ppo": PpoConfig,
    "grpo": GrpoConfig,
    "reinforce": ReinforceConfig,
    "rloo": RlooConfig,
    "online_dpo": OnlineDpoConfig,
    "dpo": DpoConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
}


class Recipe(Config):
    """A pipeline: named stages in order. In TOML each stage is a table; `@name` refers to one."""

    name: str = "run"
    """Name of the run; its folder is `runs/<name>`."""
    seed: int = 0
    """Seed that every stage's seed is derived from."""
    model: str = ""
    """A folder or Hub name to start from instead of the `pretrain` stages (empty: run them)."""
    stages: dict[str, AnyStageConfig]
    """The stages by name, in order."""
