"""A network in a role, its optimizer and its schedule: the local implementation of `Learner`."""

import math
from collections.abc import Mapping, Sequence

import torch

from palate.batches.groups import TokenGroup
from palate.batches.metrics import Metrics
from palate.batches.padding import fitted, response_rows
from palate.config.common import OptimizerConfig
from palate.interfaces import LossOf, Outputs, Update
from palate.models.layout import plan
from palate.models.roles import Role
from palate.training.optimizers import Optimizer


def learning_rate(config: OptimizerConfig, update: int, total: int) -> float:
    """The rate of update number `update` (from 0) of `total`; the first one is above zero."""
    warmup = math.ceil(config.warmup_fraction * total)
    if update < warmup:
        return config.lr * (update + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.lr
    done = min(1.0, (update - warmup) / max(1, total - warmup))
    shape = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (config.final_fraction + (1 - config.final_fraction) * shape)


def read_all(role: Role, groups: Sequence[TokenGroup], *, budget: int) -> Outputs:
    """Outputs for all responses of all groups in order, in micro-batches, without gradient."""
    time = max(len(response) for group in groups for response in group.responses)
    count = sum(group.k for group in groups)
    parts: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for indices in plan(groups, budget=budget, layout=role.layout):
            outputs = role([groups[i] for i in indices])
            rows = torch.tensor(response_rows(groups, indices), device=role.device)
            for name in ("logprobs", "entropy", "values", "scores"):
                part: torch.Tensor = getattr(outputs, name)
                if part.ndim == 2:
                    whole = parts.setdefault(name, part.new_zeros((count, time)))
                    whole[rows] = fitted(part, time)
                elif len(part):
                    parts.setdefault(name, part.new_zeros(count))[rows] = part
    empty = torch.zeros(0, device=role.device)
    return Outputs(
        logprobs=parts.get("logprobs", empty),
        entropy=parts.get("entropy", empty),
        values=parts.get("values", empty),
        scores=parts.get("scores", empty),
    )


class LocalLearner:
    """One process, one device. `total_updates` fixes the schedule."""

    def __init__(
        self, role: Role, config: OptimizerConfig, *, total_updates: int, budget: int
    ) -> None:
        self.role, self.config = role, config
        self.total_updates, self.budget = total_updates, budget
        self.updates = 0
        self.optimizer = Optimizer(role.trained(), config)
        self.parameters = list(self.optimizer.weights.values())
        assert self.parameters, "nothing to train"

    def outputs(self, groups: Sequence[TokenGroup]) -> Outputs:
        """Without gradient, for all responses of all groups in order."""
        return read_all(self.role, groups, budget=self.budget)

    def measure(self, groups: Sequence[TokenGroup], loss: LossOf) -> Metrics:
        """The loss's metrics on these groups, without gradient and without an update."""
        metrics = Metrics()
        with torch.no_grad():
            for indices in plan(groups, budget=self.budget, layout=self.role.layout):
                metrics = metrics + loss(self.role([groups[i] for i in indices]), indices).metrics
        return metrics

    def update(self, groups: Sequence[TokenGroup], loss: LossOf) -> Update:
        """Sum gradients over micro-batches, divide by the global weight once, clip once, step."""
        self.optimizer.zero_grad()
        weight, metrics = 0.0, Metrics()
        for indices in plan(groups, budget=self.budget, layout=self.role.layout):
            part = loss(self.role([groups[i] for i in indices]), indices)
            if part.weight > 0:
                part.sum.backward()
            weight += part.weight
            metrics = metrics + part.metrics
        lr = learning_rate(self.config, self.updates, self.total_updates)
        grad_norm = self._step(weight, lr) if weight > 0 else 0.0
        self.updates += 1
        return Update(metrics=metrics, grad_norm=grad_norm, lr=lr)

    def _step(self, weight: float, lr: float) -> float:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        for gradient in gradients:
            gradient.div_(weight)
        limit = self.config.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient norm is {norm} at update {self.updates}; lower optimizer.lr or set "
                "compute.precision=fp32"
            )
        self.optimizer.step(lr)
        return norm

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The trained weights, by name."""
        return self.optimizer.weights

    def state(self) -> dict[str, torch.Tensor]:
        """Trained weights, the optimizer's moments and the update counter, by flat names."""
        weights = {f"weight.{name}": p.detach() for name, p in self.weights().items()}
        return {"updates": torch.tensor(self.updates)} | weights | self.optimizer.state()

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned; refuses a state of other parameters."""
        saved = {n.removeprefix("weight.") for n in state if n.startswith("weight.")}
        if saved != set(self.weights()):
            odd = sorted(saved ^ set(self.weights()))[:3]
            raise ValueError(f"the checkpoint is of another model: parameters differ at {odd}")
        self.updates = int(state["updates"])
        with torch.no_grad():
            for name, parameter in self.weights().items():
                parameter.copy_(state[f"weight.{name}"])
        if self.updates:
            self.optimizer.load_state(state)
