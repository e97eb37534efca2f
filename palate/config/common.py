"""What several stages share: compute, optimizer, LoRA, prompts, sampling, KL, rows of data."""

from datetime import date as calendar_day
from typing import Literal

from pydantic import Field, field_validator

from palate.config.base import Config


class ComputeConfig(Config):
    """Where and in which precision a stage computes."""

    device: str = "auto"
    """`auto` (CUDA when there is one, else CPU), or a torch device such as `cpu` or `cuda:0`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Autocast precision; master weights are always fp32. `auto`: bf16 where it is fast."""
    micro_batch_tokens: int = Field(default=4096, ge=1)
    """Tokens per forward pass (padding included). Changes speed and memory, never a gradient."""


class OptimizerConfig(Config):
    """AdamW or Muon, and the learning-rate schedule."""

    name: Literal["adamw", "muon"] = "adamw"
    """AdamW for all weights, or Muon for the matrices of the blocks and AdamW for the rest."""
    lr: float = Field(default=1e-3, ge=0, le=100)
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the learning rate decays to `final_fraction` of its peak after the warm-up."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the end as a fraction of the peak."""
    warmup_fraction: float = Field(default=0.03, ge=0, lt=1)
    """Fraction of the updates over which the learning rate rises linearly; the first is > 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay on matrices (never on norms and biases)."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's first-moment decay."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Adam's second-moment decay."""
    eps: float = Field(default=1e-8, gt=0)
    """Adam's epsilon (PPO papers use 1e-5)."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's momentum (Nesterov)."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Global gradient-norm clip after accumulation; 0 switches it off."""


class LoraConfig(Config):
    """Low-rank adapters instead of full fine-tuning."""

    rank: int = Field(default=0, ge=0)
    """Adapter rank; 0 trains all weights."""
    alpha: float = Field(default=16.0, gt=0)
    """Adapter scale: the update is multiplied by alpha / rank."""
    targets: str = "all-linear"
    """Which modules get adapters: `all-linear` or a comma-separated list of module names."""


class PromptConfig(Config):
    """How a prompt becomes token ids."""

    format: Literal["chat", "raw"] = "chat"
    """`chat` renders the model's chat template; `raw` takes the text (or token ids) as it is."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest prompt; longer ones are refused or skipped by `over_long`."""
    over_long: Literal["error", "skip"] = "error"
    """What happens to a row whose prompt or response is longer than allowed."""
    date: str = "2024-07-26"
    """YYYY-MM-DD, the day that chat templates write as today's: tokens are the same on any day."""

    @field_validator("date")
    @classmethod
    def _there_is_such_a_day(cls, value: str) -> str:
        return calendar_day.fromisoformat(value).isoformat()


class SamplingConfig(Config):
    """How responses are drawn."""

    temperature: float = Field(default=1.0, gt=0)
    """Softmax temperature; log-probabilities are scored at the same temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus mass; training on-policy requires 1.0."""
    max_tokens: int = Field(default=64, ge=1)
    """Longest response in tokens."""
    rows: int = Field(default=256, ge=1)
    """Rows generated at once; finished rows leave and waiting prompts enter."""


class KlConfig(Config):
    """How the policy is held near the reference."""

    control: Literal["soft", "adaptive", "hard"] = "soft"
    """`soft`: a fixed coefficient; `adaptive`: Ziegler's controller; `hard`: a budget."""
    coef: float = Field(default=0.05, ge=0)
    """KL coefficient (its initial value for adaptive and hard), reward units per nat."""
    target: float = Field(default=6.0, gt=0)
    """Sequence KL(policy || reference) in nats: the target of `adaptive`, the budget of `hard`."""
    horizon: int = Field(default=10_000, ge=1)
    """Ziegler's horizon in episodes for `adaptive`."""
    dual_lr: float = Field(default=0.05, gt=0)
    """Step size of dual ascent on log(coef) for `hard`."""
    placement: Literal["reward", "loss"] = "reward"
    """`reward` optimises E[reward] - coef * KL; `loss` adds a term to each token's loss."""
    estimator: Literal["k1", "k2", "k3", "k1_cumulative", "k3_cumulative"] = "k1"
    """In the loss: k1_cumulative and k3_cumulative optimise the same, k2 and k3 something else."""


class StageConfig(Config):
    """What every stage has."""

    seed: int | None = Field(default=None, ge=0)
    """Seed of this stage; unset, it is derived from the recipe's seed and the stage's name."""
    compute: ComputeConfig = ComputeConfig()
    """Device, precision and micro-batch budget."""


class LimitsConfig(Config):
    """How large data may be."""

    row_mib: int = Field(default=64, ge=1)
    """Largest row of a file, in MiB."""
    unpacked_mib: int = Field(default=4096, ge=1)
    """Largest size of a .gz or Parquet file when it is unpacked, in MiB."""


class ReadingConfig(StageConfig):
    """A stage that reads rows of data."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Which column of your files is which field: `{ prompt = "question", chosen = "good" }`."""
    limits: LimitsConfig = LimitsConfig()
    """How large data may be."""

    bad_rows: Literal["refuse", "skip"] = "refuse"
    """`refuse` stops at the first row that cannot be read; `skip` counts them and says which."""


class TrainingConfig(ReadingConfig):
    """A stage that trains on fixed data."""

    limit: int = Field(default=0, ge=0)
    """At most this many rows to train on, and as many held-out ones (0: all)."""
    max_updates: int = Field(default=0, ge=0)
    """At most this many updates; the schedule ends with them (0: as many as `epochs` takes)."""
    checkpoint_updates: int = Field(default=50, ge=1)
    """A resumable checkpoint every so many updates."""


class HeldOutConfig(TrainingConfig):
    """A stage that trains on fixed data and measures rows that it does not train on."""

    held_out_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of prompts held out when the data has no held-out part of its own."""
    evaluate_updates: int = Field(default=0, ge=0)
    """Held-out rows are measured every so many updates (0: five times in all), and at the end."""
    evaluate_rows: int = Field(default=128, ge=0)
    """At most so many held-out rows are measured on the way (0: all); at the end all of them."""
    keep: Literal["last", "best"] = "last"
    """Weights to save: the last, or those that had the lowest held-out loss."""
    patience: int = Field(default=0, ge=0)
    """Training ends after this many measurements in a row without a new lowest loss (0: never)."""
