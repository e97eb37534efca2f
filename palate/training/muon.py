"""Muon: momentum whose direction is orthogonalized, for the matrices of a network's blocks.

Jordan 2024 (https://kellerjordan.github.io/posts/muon/); the size of a step is that of Liu et al.
2025 (arXiv:2502.16982).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from palate.maths.orthogonal import orthogonalized
from palate.models.precision import has_fast_bf16


class Muon(torch.optim.Optimizer):
    """W <- (1 - lr decay) W - .2 lr sqrt(max(n, m)) O, where O is the orthogonalized Nesterov
    momentum of W [n, m]: updates have the root mean square that Adam's tend to have (Liu et al.
    2025, section 2.2).

    Unlike `torch.optim.Muon`, which iterates in bf16 everywhere, this one does so only where bf16
    is fast: emulated, it takes ten to twenty times as long as fp32. Weights of one shape are
    orthogonalized together.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], *, lr: float, weight_decay: float, momentum: float
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move the weights that have a gradient."""
        assert closure is None, "gradients are there already"
        for group in self.param_groups:
            alike: dict[tuple[int, int, torch.device], list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault((*weight.shape, weight.device), []).append(weight)
            for (rows, columns, device), weights in alike.items():
                momenta = [self._nesterov(weight, group["momentum"]) for weight in weights]
                precision = torch.bfloat16 if has_fast_bf16(device) else torch.float32
                directions = orthogonalized(torch.stack(momenta), precision=precision)
                size = 0.2 * group["lr"] * max(rows, columns) ** 0.5
                for weight, direction in zip(weights, directions, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(direction, alpha=size)

    def _nesterov(self, weight: nn.Parameter, momentum: float) -> Tensor:
        """b <- momentum b + (1 - momentum) g; (1 - momentum) g + momentum b."""
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)
