"""What the settings of an on-policy stage really optimize, in words: the KL's placement decides."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from palate.config.common import KlConfig
    from palate.config.onpolicy import AnyOnPolicyConfig, GrpoConfig, PpoConfig, ReinforceConfig


class Placed(NamedTuple):
    """A place of the KL: what it maximizes, and whether that is the KL-regularized objective."""

    text: str
    exact: bool


_REGULARIZED = (
    "maximizes E[score] - coef * KL(policy || reference) over whole responses; "
    "the optimum is reference * exp(score / coef) / Z"
)
_LATER = "it leaves out what a token does to the KL of later tokens"

PLACED: dict[tuple[str, str], Placed] = {
    ("reward", "k1"): Placed(f"k1 in the reward {_REGULARIZED}", True),
    ("loss", "k1_cumulative"): Placed(f"cumulative k1 in the loss {_REGULARIZED}", True),
    ("loss", "k3_cumulative"): Placed(f"cumulative k3 in the loss {_REGULARIZED}", True),
    ("loss", "k2"): Placed(
        f"k2 per token in the loss is not the KL-regularized objective: {_LATER}; each token goes "
        "to reference * exp(Q / coef) with Q the mean score to come (tree-k2)",
        False,
    ),
    ("loss", "k3"): Placed(
        f"k3 per token in the loss is not the KL-regularized objective: {_LATER} and pulls as the "
        "forward KL does; each token goes to coef * reference / (lambda - Q) (tree-k3)",
        False,
    ),
    ("loss", "k1"): Placed(
        "k1 in the loss regularizes nothing: its expected gradient is zero, and the policy "
        "collapses to the highest score",
        False,
    ),
}
"""What each (placement, estimator) optimizes (Tang and Munos 2025, arXiv:2506.09477)."""


class Caveat(NamedTuple):
    """Something else that moves the optimum, and the setting that does not."""

    text: str
    remedy: str


_SHORT = Caveat(
    "sequence_mean weighs tokens of short responses more, which moves the optimum",
    'set reduction = "constant"',
)


def objective(config: "AnyOnPolicyConfig") -> str:
    """One sentence on what the KL settings optimize, with the coefficient."""
    if config.kl.coef == 0:
        return (
            "kl.coef = 0 maximizes E[score] alone, which over-optimizes a learned reward; the "
            "optimum is the highest score"
        )
    if config.stage == "online_dpo":
        implied = f"coef = beta * noise = {config.kl.coef:g}"
        return f"DPO on Bradley-Terry labels of the scores {_REGULARIZED} ({implied})"
    placed = PLACED[config.kl.placement, config.kl.estimator]
    return f"{placed.text} (coef {_coefficient(config.kl)})"


def caveats(config: "AnyOnPolicyConfig") -> Iterator[Caveat]:
    """What else in a stage's settings moves the optimum."""
    if config.reference == "ema" and config.kl.coef > 0:
        yield Caveat(
            "a reference that follows the policy is no anchor: where both stand still they agree, "
            "so E[score] alone decides where that is, and the KL only how fast",
            'set reference = "frozen"',
        )
    if config.stage == "online_dpo":
        return
    if config.stage == "rloo":
        return
    if config.kl.placement == "loss" and config.kl.coef > 0:
        yield from _bent(config)
    elif config.reduction == "sequence_mean" and config.stage != "grpo":
        yield _SHORT
    if config.stage == "ppo" and config.gamma < 1:
        yield Caveat(
            f"gamma = {config.gamma} discounts the score at the end and the KL of later tokens",
            "set gamma = 1",
        )


def sentences(config: "AnyOnPolicyConfig") -> list[str]:
    """What the settings optimize, then what follows from them."""
    return [objective(config), *(caveat.text for caveat in caveats(config))]


def _coefficient(kl: "KlConfig") -> str:
    match kl.control:
        case "soft":
            return f"= {kl.coef:g}"
        case "adaptive":
            return f"from {kl.coef:g}, steered to a KL of {kl.target:g} nats"
        case "hard":
            return f"from {kl.coef:g}, raised until the certified KL is at most {kl.target:g} nats"


def _bent(config: "PpoConfig | GrpoConfig | ReinforceConfig") -> Iterator[Caveat]:
    """With the KL in the loss, what scales the advantage scales the coefficient the other way."""
    if config.stage == "grpo" and config.scale != "none":
        yield Caveat(
            f'scale = "{config.scale}" divides the score but not the KL by a standard deviation: '
            "the effective coef is coef * std",
            'set scale = "none", or kl.placement = "reward"',
        )
    elif config.stage != "grpo" and config.whiten_advantages:
        yield Caveat(
            "whiten_advantages divides the score but not the KL by a standard deviation: the "
            "effective coef is coef * std",
            'set whiten_advantages = false, or kl.placement = "reward"',
        )
    if config.stage != "ppo" and config.baseline == "group_mean":
        yield Caveat(
            f"a group mean that includes the response itself makes the effective coef "
            f"{config.k}/{config.k - 1} of kl.coef",
            'set baseline = "leave_one_out" (grpo), or raise k',
        )
    if config.reduction == "sequence_mean":
        yield _SHORT
