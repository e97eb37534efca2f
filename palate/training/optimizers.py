"""AdamW for every weight, or Muon for the matrices of the blocks and AdamW for the rest."""

import re
from collections.abc import Mapping

import torch
from torch import nn

from palate.config.common import OptimizerConfig
from palate.training.muon import Muon

_IN_A_BLOCK = re.compile(r"(^|\.)\d+\.")


class Optimizer:
    """The optimizer that a config names, over weights by name; its rate is given at every step."""

    def __init__(self, weights: Mapping[str, nn.Parameter], config: OptimizerConfig) -> None:
        self.weights = dict(weights)
        by_muon = {
            name: p
            for name, p in self.weights.items()
            if config.name == "muon" and is_block_matrix(name, p)
        }
        rest = [p for name, p in self.weights.items() if name not in by_muon]
        self.parts: dict[str, torch.optim.Optimizer] = {}
        if rest:
            decay = [p for p in rest if p.ndim >= 2]
            plain = [p for p in rest if p.ndim < 2]
            self.parts["adam"] = torch.optim.AdamW(
                [
                    {"params": decay, "weight_decay": config.weight_decay},
                    {"params": plain, "weight_decay": 0.0},
                ],
                lr=config.lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
            )
        if by_muon:
            self.parts["muon"] = Muon(
                by_muon.values(),
                lr=config.lr,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
            )

    def step(self, lr: float) -> None:
        """Move the weights along their gradients."""
        for part in self.parts.values():
            for group in part.param_groups:
                group["lr"] = lr
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, torch.Tensor]:
        """Moments and counters, as `adam.exp_avg.<weight>` or `muon.momentum_buffer.<weight>`."""
        return {
            f"{kind}.{key}.{name}": value
            for name, weight in self.weights.items()
            for kind, part in self.parts.items()
            for key, value in part.state.get(weight, {}).items()
        }

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned after some steps; refuses what another optimizer left."""
        kinds = {name.partition(".")[0] for name in state} - {"weight", "updates"}
        if kinds != set(self.parts):
            found, wanted = (" and ".join(sorted(names)) or "none" for names in (kinds, self.parts))
            raise ValueError(f"the checkpoint's optimizer state is of {found}, not of {wanted}")
        for full, value in state.items():
            kind, _, rest = full.partition(".")
            if kind in self.parts:
                key, _, name = rest.partition(".")
                weight = self.weights[name]
                device = "cpu" if key == "step" else weight.device
                self.parts[kind].state[weight][key] = value.clone().to(device)


def is_block_matrix(name: str, weight: torch.Tensor) -> bool:
    """Whether a weight is a matrix of one of a network's blocks, not an embedding or a head.

    >>> is_block_matrix("model.layers.0.mlp.up_proj.weight", torch.zeros(8, 4))
    True
    >>> is_block_matrix("model.embed_tokens.weight", torch.zeros(8, 4))
    False
    """
    return weight.ndim == 2 and bool(_IN_A_BLOCK.search(name))
