"""What the policy is held near: where it started, or an average of where it has been."""

from collections.abc import Mapping

import torch

from palate.models.roles import Role


class Frozen:
    """A reference that never moves: a copy of the start, or the backbone with adapters off."""

    def __init__(self, role: Role) -> None:
        self.role = role

    def follow(self, policy: Mapping[str, torch.Tensor]) -> None:
        """Nothing moves."""

    def state(self) -> dict[str, torch.Tensor]:
        """Nothing to keep: it is made again when a run resumes."""
        return {}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Nothing to restore."""


class Averaged:
    """An exponential moving average of the policy's trained weights, which start equal.

    `weights` are the reference's own, by the names that the policy has for them.
    """

    def __init__(self, role: Role, weights: Mapping[str, torch.Tensor], *, decay: float) -> None:
        self.role, self.weights, self.decay = role, dict(weights), decay

    def follow(self, policy: Mapping[str, torch.Tensor]) -> None:
        """reference = decay * reference + (1 - decay) * policy, once per step."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.lerp_(policy[name], 1 - self.decay)

    def state(self) -> dict[str, torch.Tensor]:
        """The average, by name."""
        return {name: weight.detach() for name, weight in self.weights.items()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[name])
