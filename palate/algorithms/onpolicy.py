"""The on-policy algorithms by name: each is a `prepare` without gradient and a `loss` with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from palate.algorithms import grpo, online_dpo, ppo, reinforce, rloo
from palate.batches.experience import Experience
from palate.interfaces import Loss, Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """`prepare(rollouts, config, kl_coef=)`, `loss(outputs, experience, config, kl_coef=)`.

    `critic_loss(outputs, experience, config)` is given by algorithms that learn values.
    """

    prepare: Callable[..., Experience]
    loss: Callable[..., Loss]
    critic_loss: Callable[[Outputs, Experience, Any], Loss] | None = None


ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(prepare=ppo.prepare, loss=ppo.loss, critic_loss=ppo.critic_loss),
    "grpo": Algorithm(prepare=grpo.prepare, loss=grpo.loss),
    "reinforce": Algorithm(prepare=reinforce.prepare, loss=reinforce.loss),
    "rloo": Algorithm(prepare=rloo.prepare, loss=rloo.loss),
    "online_dpo": Algorithm(prepare=online_dpo.prepare, loss=online_dpo.loss),
}
