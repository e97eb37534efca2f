"""Attention as matrix products is eager attention, with less kept for the backward pass."""

import json

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import DeepseekV32Config, DeepseekV32ForCausalLM

from palate.models import load
from palate.models.attention import PRODUCTS, matrix_products, products_for
from palate.models.build import train_tokenizer
from palate.models.forward import group_hidden
from tests.models.tiny import gemma2, gpt2, llama, qwen3, random_groups


def states_and_gradient(network, *, layout):
    """Hidden states of some groups, and the gradient of a fixed function of them."""
    hidden = group_hidden(network, random_groups(), layout=layout)
    states = hidden.states[hidden.mask]
    network.zero_grad()
    states.float().sin().sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    return states.detach(), gradient


@pytest.mark.parametrize("layout", ["rows", "tree"])
@pytest.mark.parametrize("family", [llama, qwen3])
def test_states_and_gradients_are_those_of_eager_attention(family, layout):
    network = family()
    results = []
    for kernel in ("eager", PRODUCTS):
        network.set_attn_implementation(kernel)
        results.append(states_and_gradient(network, layout=layout))
    for eager, ours in zip(*results, strict=True):
        assert (ours - eager).norm() < 1e-5 * eager.norm()


def test_in_bf16_it_is_as_close_to_fp32_as_eager_attention_is():
    network = llama()
    _, exact = states_and_gradient(network, layout="tree")
    gaps = []
    for kernel in ("eager", PRODUCTS):
        network.set_attn_implementation(kernel)
        with torch.autocast("cpu", torch.bfloat16):
            _, gradient = states_and_gradient(network, layout="tree")
        gaps.append(float((gradient - exact).norm() / exact.norm()))
    assert gaps[1] < 1.2 * gaps[0] < 0.05


def test_in_bf16_one_matrix_of_weights_per_head_is_kept_for_the_backward_pass():
    network = llama()
    kept = {}
    for kernel in ("eager", PRODUCTS):
        network.set_attn_implementation(kernel)
        square: dict[int, int] = {}

        def pack(tensor, square=square):
            if tensor.ndim >= 3 and tensor.shape[-1] == tensor.shape[-2] == 48:
                storage = tensor.untyped_storage()
                square[storage.data_ptr()] = storage.nbytes()
            return tensor

        ids = torch.randint(37, (3, 48), generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16), saved_tensors_hooks(pack, lambda t: t):
            states = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
        kept[kernel] = sum(square.values())
        del states
    layers, rows, heads = 2, 3, 4
    assert kept == {
        "eager": 6 * layers * rows * heads * 48 * 48,
        PRODUCTS: 2 * layers * rows * heads * 48 * 48,
    }


@pytest.mark.parametrize(
    ("family", "kernel"),
    [(llama, PRODUCTS), (qwen3, PRODUCTS), (gpt2, "eager"), (gemma2, "eager")],
)
def test_networks_on_a_cpu_with_fast_bf16_get_it_unless_their_attention_is_their_own(
    family, kernel, monkeypatch
):
    monkeypatch.setattr(load, "has_fast_bf16", lambda device: True)
    assert load.placed(family(), "cpu").config._attn_implementation == kernel


def test_attention_that_masks_apart_when_eager_stays_eager():
    with torch.device("meta"):
        network = DeepseekV32ForCausalLM(DeepseekV32Config(num_hidden_layers=1))
    assert products_for(network) == "eager"


def test_a_token_that_sees_nothing_gets_the_mean_of_all_values_in_bf16_too():
    value = torch.arange(6.0).reshape(1, 1, 3, 2)
    mask = torch.full((1, 1, 1, 3), torch.finfo(torch.float32).min)
    for dtype in (torch.float32, torch.bfloat16):
        output, _ = matrix_products(
            torch.nn.Identity(),
            torch.ones(1, 1, 1, 2, dtype=dtype),
            torch.ones(1, 1, 3, 2, dtype=dtype),
            value.to(dtype),
            mask,
            scaling=1.0,
        )
        assert output.flatten().tolist() == [2.0, 3.0]


def test_elsewhere_torch_decides(monkeypatch):
    monkeypatch.setattr(load, "has_fast_bf16", lambda device: False)
    assert load.placed(llama(), "cpu").config._attn_implementation == "sdpa"


def test_a_saved_model_does_not_ask_for_it(tmp_path):
    network = llama(vocabulary=280)
    network.set_attn_implementation(PRODUCTS)
    tokenizer = train_tokenizer(["a latte"], vocabulary=280, chat="palate")
    load.save_policy(network, tokenizer, tmp_path / "model", prompt_format="chat")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert not any("attn_implementation" in key for key in config)
