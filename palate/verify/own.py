"""Your own algorithm, put to the test that RLOO and PPO pass."""

from collections.abc import Mapping

from palate.algorithms.onpolicy import Algorithm
from palate.config.onpolicy import AnyOnPolicyConfig
from palate.verify.catalog.settings import PI_STAR, PPO, REGULARIZED, RLOO
from palate.verify.checks import Check, Gate, Result, below, prove
from palate.verify.onpolicy import reach, table
from palate.verify.worlds import World

GATES = {
    "tv": below(1e-2),
    "kl": below(5e-3),
    "gap": below(2.5e-3),
    "identity": below(1e-5),
    "logged": below(2e-2),
}
"""What a correct algorithm meets on EP-T with room to spare."""

_GROUPS = 16


def own_check(
    name: str,
    algorithm: Algorithm,
    config: AnyOnPolicyConfig | None = None,
    *,
    world: World | None = None,
    groups: int = _GROUPS,
    gates: Mapping[str, Gate] = GATES,
) -> Check:
    """The check of an algorithm; see `verify_algorithm`."""
    settings = config or (PPO if algorithm.critic_loss else RLOO)
    if settings.kl.control != "soft":
        raise ValueError(
            f"kl.control={settings.kl.control} moves the coefficient: there is no one optimum to "
            "compare with: use soft"
        )
    return Check(
        name=name,
        row="C2",
        objective=REGULARIZED,
        optimum=PI_STAR,
        run=lambda seed: reach(world or table(seed), algorithm, settings, groups=groups, seed=seed),
        gates=gates,
    )


def verify_algorithm(
    algorithm: Algorithm,
    config: AnyOnPolicyConfig | None = None,
    *,
    world: World | None = None,
    groups: int = _GROUPS,
    gates: Mapping[str, Gate] = GATES,
    seed: int = 0,
) -> Result:
    """Whether an algorithm reaches the optimum of E[r] - beta KL, and how near it gets.

    Without a config it gets that of RLOO's proof, or of PPO's if it learns values. The world is
    EP-T unless you give another (`transformer_world` for your model and reward), which is trained
    in place. Each step has `groups` groups of `config.k` responses to every prompt.
    """
    check = own_check("algorithm", algorithm, config, world=world, groups=groups, gates=gates)
    return prove(check, seed=seed)
