"""How the KL coefficient moves: fixed, Ziegler's controller, or dual ascent on a budget."""

import torch

from palate.batches.experience import Rollouts
from palate.config.common import KlConfig
from palate.maths.control import adaptive_step, dual_step, kl_upper_bound
from palate.maths.kl import k1
from palate.maths.reductions import masked_sum


def sequence_kl(rollouts: Rollouts) -> torch.Tensor:
    """[response] sum of k1 = log pi - log pi_ref over a response drawn from pi, nats."""
    per_token = k1(rollouts.old_logprobs, rollouts.ref_logprobs)
    return masked_sum(per_token, rollouts.mask)


def certified_bound(rollouts: Rollouts) -> float:
    """One-sided 95 % upper bound of KL(policy || reference) from k1, clustered by prompt; nats."""
    values = sequence_kl(rollouts).double().cpu().numpy()
    return kl_upper_bound(values, rollouts.group_index.tolist())


class KlController:
    """The coefficient of one run; `coef` is its whole state and is checkpointed."""

    def __init__(self, config: KlConfig) -> None:
        self.config, self.coef = config, config.coef

    def step(self, rollouts: Rollouts, *, decay: float) -> None:
        """Move after one step's rollouts; `decay` in (0, 1] follows the learning rate down."""
        kl = float(sequence_kl(rollouts).double().mean())
        match self.config.control:
            case "soft":
                pass
            case "adaptive":
                self.coef = adaptive_step(
                    self.coef,
                    kl,
                    target=self.config.target,
                    horizon=self.config.horizon,
                    episodes=len(rollouts.scores),
                )
            case "hard":
                lr = self.config.dual_lr * decay
                self.coef = dual_step(self.coef, kl, budget=self.config.target, lr=lr)

    def over_budget(self, kl: float) -> bool:
        """Whether a hard budget is exceeded; soft and adaptive control have none."""
        return self.config.control == "hard" and kl > self.config.target
