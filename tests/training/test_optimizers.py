"""Which weights Muon takes, how far it moves them in both precisions, and that a run with it
resumes."""

import pytest
import torch
from torch import nn

from palate.config.common import LoraConfig, OptimizerConfig
from palate.models.adapters import add_adapter
from palate.models.reward_model import reward_from_policy
from palate.training.optimizers import Optimizer
from tests.models.tiny import gpt2, llama, qwen3

MUON = OptimizerConfig(name="muon", lr=0.01, weight_decay=0.3, momentum=0.8)
MATRICES = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gpt2": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
}


@pytest.fixture(params=["fp32", "bf16"])
def precision(request, monkeypatch) -> str:
    """What Muon iterates in: bf16 where a processor is said to have it."""
    fast = request.param == "bf16"
    monkeypatch.setattr("palate.training.muon.has_fast_bf16", lambda device: fast)
    return request.param


def names_of(optimizer: Optimizer, kind: str) -> set[str]:
    held = {id(p) for group in optimizer.parts[kind].param_groups for p in group["params"]}
    return {name for name, weight in optimizer.weights.items() if id(weight) in held}


def weights_of(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("new", "matrices"),
    [(llama, "llama"), (qwen3, "llama"), (gpt2, "gpt2")],
    ids=["llama", "qwen3", "gpt2"],
)
@pytest.mark.parametrize("scored", [False, True], ids=["policy", "reward"])
def test_muon_takes_the_matrices_of_the_blocks_and_adam_every_other_weight(new, matrices, scored):
    network = reward_from_policy(new(), seed=0) if scored else new()
    weights = weights_of(network)
    optimizer = Optimizer(weights, MUON)
    taken = names_of(optimizer, "muon")
    assert len(taken) == network.config.num_hidden_layers * len(MATRICES[matrices])
    assert all(any(f".{name}.weight" in full for name in MATRICES[matrices]) for full in taken)
    assert names_of(optimizer, "adam") == set(weights) - taken


def test_adam_alone_takes_every_weight():
    weights = weights_of(llama())
    optimizer = Optimizer(weights, OptimizerConfig())
    assert set(optimizer.parts) == {"adam"}
    assert names_of(optimizer, "adam") == set(weights)


def test_muon_takes_all_of_an_adapter():
    network = add_adapter(llama(), LoraConfig(rank=2), name="policy", seed=0)
    weights = weights_of(network)
    optimizer = Optimizer(weights, MUON)
    assert set(optimizer.parts) == {"muon"}
    assert names_of(optimizer, "muon") == set(weights)


def assert_along(moved: torch.Tensor, gradient: torch.Tensor) -> None:
    """That moved is U D V^T with D near 1, for the gradient U S V^T.

    Five iterations give singular values between .65 and 1.25 rather than 1.
    """
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    inside = left.T @ moved @ right.T
    assert inside.diagonal().min() > 0.65
    assert inside.diagonal().max() < 1.25
    assert (inside - inside.diagonal().diag()).abs().max() < 0.05


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_muon_moves_a_matrix_along_its_orthogonalized_gradient_as_far_as_adam_would(
    shape, precision
):
    """W (1 - lr decay) - lr .2 sqrt(max(n, m)) U V^T, of root mean square .2 lr."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape))
    weight.grad = torch.randn(shape)
    before, gradient = weight.detach().clone(), weight.grad.clone()
    Optimizer({"layers.0.weight": weight}, MUON).step(lr=0.5)
    moved = before * (1 - 0.5 * 0.3) - weight.detach()
    assert_along(moved / (0.5 * 0.2 * max(shape) ** 0.5), gradient)


def test_muons_second_step_is_along_the_gradient_and_the_momentum(precision):
    """Nesterov's: b <- m b + (1 - m) g, and then along (1 - m) g + m b."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(6, 6))
    optimizer = Optimizer({"layers.0.weight": weight}, MUON.model_copy(update={"weight_decay": 0}))
    gradients = [torch.randn(6, 6), torch.randn(6, 6)]
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimizer.step(lr=0.1)
    momentum = 0.8 * 0.2 * gradients[0] + 0.2 * gradients[1]
    kept = optimizer.state()["muon.momentum_buffer.layers.0.weight"]
    torch.testing.assert_close(kept, momentum)
    moved = (before - weight.detach()) / (0.1 * 0.2 * 6**0.5)
    assert_along(moved, 0.2 * gradients[1] + 0.8 * momentum)


@pytest.mark.parametrize("shapes", [[(24, 8)], [(8, 24), (8, 24), (16, 16)]])
def test_muon_takes_the_steps_of_torchs_own_up_to_its_bf16(shapes, precision):
    torch.manual_seed(0)
    ours = {f"layers.{i}.weight": nn.Parameter(torch.randn(s)) for i, s in enumerate(shapes)}
    theirs = [nn.Parameter(weight.detach().clone()) for weight in ours.values()]
    optimizer = Optimizer(ours, MUON)
    oracle = torch.optim.Muon(
        theirs, lr=0.1, weight_decay=0.3, momentum=0.8, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        for weight, other in zip(ours.values(), theirs, strict=True):
            weight.grad = torch.randn(weight.shape)
            other.grad = weight.grad.clone()
        optimizer.step(lr=0.1)
        oracle.step()
    for weight, other in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(weight, other, atol=0.01, rtol=0)


def test_a_weight_without_a_gradient_stays():
    weights = {f"layers.{i}.weight": nn.Parameter(torch.ones(4, 4)) for i in range(2)}
    weights["layers.0.weight"].grad = torch.eye(4)
    Optimizer(weights, MUON).step(lr=0.1)
    assert not torch.equal(weights["layers.0.weight"], torch.ones(4, 4))
    assert torch.equal(weights["layers.1.weight"], torch.ones(4, 4))


def test_muon_goes_on_from_the_state_that_was_saved(precision):
    torch.manual_seed(0)
    gradients = [torch.randn(6, 4) for _ in range(3)]

    def fresh():
        return {"layers.0.weight": nn.Parameter(torch.ones(6, 4)), "b": nn.Parameter(torch.ones(4))}

    def go(weights, optimizer, gradient):
        weights["layers.0.weight"].grad = gradient.clone()
        weights["b"].grad = gradient[0].clone()
        optimizer.step(lr=0.1)

    weights, again = fresh(), fresh()
    optimizer, resumed = Optimizer(weights, MUON), Optimizer(again, MUON)
    for gradient in gradients[:2]:
        go(weights, optimizer, gradient)
    for name, weight in weights.items():
        again[name].data.copy_(weight)
    resumed.load_state(optimizer.state())
    go(weights, optimizer, gradients[2])
    go(again, resumed, gradients[2])
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert set(resumed.state()) == {
        "muon.momentum_buffer.layers.0.weight",
        "adam.step.b",
        "adam.exp_avg.b",
        "adam.exp_avg_sq.b",
    }
