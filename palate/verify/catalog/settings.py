"""What the checks share: optimizers, losses, settings, gates and the words for them."""

from typing import Literal

from palate.config.common import KlConfig, OptimizerConfig
from palate.config.onpolicy import GrpoConfig, PpoConfig, RlooConfig
from palate.verify.checks import Gate, below
from palate.verify.solutions import BETA

Estimator = Literal["k1", "k2", "k3", "k1_cumulative", "k3_cumulative"]


def adam(
    lr: float, schedule: Literal["constant", "linear", "cosine"] = "cosine", *, eps: float = 1e-8
) -> OptimizerConfig:
    """No warm-up, no weight decay, no clipping: nothing that could move an optimum."""
    return OptimizerConfig(
        lr=lr, schedule=schedule, warmup_fraction=0.0, clip_norm=0.0, beta2=0.99, eps=eps
    )


def kl_in_loss(estimator: Estimator, coef: float = 0.4) -> KlConfig:
    """The KL as a term of the loss."""
    return KlConfig(coef=coef, placement="loss", estimator=estimator)


def controlled(control: Literal["adaptive", "hard"], target: float) -> RlooConfig:
    """RLOO with a moving coefficient that starts too low."""
    kl = KlConfig(control=control, coef=0.25, target=target, horizon=960)
    schedule = "linear" if control == "hard" else "constant"
    return RlooConfig(k=32, steps=600, kl=kl, missing_eos_penalty=0, optimizer=adam(0.1, schedule))


def grpo_in_loss(kl: KlConfig, *, steps: int = 250) -> GrpoConfig:
    """GRPO whose groups are so even that their mean is the expectation."""
    return GrpoConfig(
        k=64,
        steps=steps,
        baseline="group_mean",
        kl=kl,
        missing_eos_penalty=0,
        optimizer=adam(0.1),
    )


KL = KlConfig(coef=BETA)
FREE = {"kl": KL, "missing_eos_penalty": 0.0}
EXACT = adam(0.1, eps=1e-12)

RLOO = RlooConfig(k=4, steps=400, optimizer=adam(0.1), **FREE)
PPO = PpoConfig(
    k=64,
    steps=400,
    minibatches=1,
    whiten_advantages=False,
    value_clip=0,
    optimizer=adam(0.05, "linear"),
    critic_optimizer=adam(0.3, "linear"),
    **FREE,
)

REGULARIZED = "E[r] - beta KL(policy || reference)"
PI_STAR = "pi* = reference exp(r / beta) / Z"


def reaching(*, tv: float, kl: float, gap: float) -> dict[str, Gate]:
    """Gates of a policy that is at the optimum of its objective."""
    return {"tv": below(tv), "kl": below(kl), "gap": below(gap), "identity": below(1e-12)}
