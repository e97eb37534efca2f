"""One section per stage. A recipe is an ordered list of them."""

from typing import Annotated, Literal

from pydantic import Field

from palate.config.base import Config
from palate.config.common import (
    HeldOutConfig,
    LoraConfig,
    OptimizerConfig,
    PromptConfig,
    ReadingConfig,
    SamplingConfig,
    StageConfig,
    TrainingConfig,
)
from palate.config.onpolicy import (
    AnyOnPolicyConfig,
    GrpoConfig,
    OnlineDpoConfig,
    PpoConfig,
    ReinforceConfig,
    RlooConfig,
)


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


class PretrainConfig(TrainingConfig):
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


class SftConfig(HeldOutConfig):
    """`sft`: supervised fine-tuning on demonstrations; the loss is on response tokens only."""

    stage: Literal["sft"] = "sft"
    model: str = "@pretrain"
    """Model to start from: `@stage`, a local folder, a GGUF file or a Hub name."""
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
    held_out_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Fraction of prompts whose demonstrations are held out."""
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


class RewardConfig(HeldOutConfig):
    """`reward`: a Bradley-Terry reward model on groups of judged responses."""

    stage: Literal["reward"] = "reward"
    model: str = "@sft"
    """Backbone to start from: `@stage`, a local folder, a GGUF file or a Hub name."""
    data: str = "@judge"
    """Preferences: `@stage`, a file, a Hub name or `project:NAME`."""
    auxiliary_data: str = ""
    """Further preferences, trained on among the others and never held out: also `cafe:quiz`."""
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
    prefix_coef: float = Field(default=0.0, ge=0)
    """Weight of the same loss on the mean of the scores that a response has before its tokens."""
    lora: LoraConfig = LoraConfig()
    """Adapters."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-4)
    """Optimizer."""


PreferenceLoss = Literal["sigmoid", "cdpo", "robust", "ipo", "hinge", "simpo", "orpo", "kto"]


class DpoConfig(HeldOutConfig):
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
    | AnyOnPolicyConfig
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


LONGEST_NAME = 100
"""Characters in the name of a run or a stage: both name folders, whose names get more."""


class Recipe(Config):
    """A pipeline: named stages in order. In TOML each stage is a table; `@name` refers to one."""

    name: str = "run"
    """Name of the run; its folder is `runs/<name>`."""
    seed: int = Field(default=0, ge=0)
    """Seed that every stage's seed is derived from."""
    model: str = ""
    """A folder, GGUF file or Hub name to start from, not `pretrain` stages (empty: run them)."""
    stages: dict[str, AnyStageConfig]
    """The stages by name, in order."""
