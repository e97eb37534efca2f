"""Adapters: the reference is the backbone to the bit, and switching never changes what trains."""

import copy

import pytest
import torch
from peft import PeftModel

from palate.config.common import LoraConfig
from palate.config.stages import ArchitectureConfig
from palate.models.adapters import (
    adapter,
    adapter_names,
    adapter_parameters,
    adapters_off,
    add_adapter,
    merged_state,
    save_adapter,
)
from palate.models.build import build_causal_lm, train_tokenizer

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
IDS = torch.arange(3, 63).reshape(4, 15)


@pytest.fixture(params=["llama", "gpt2"])
def plain(request):
    architecture = ArchitectureConfig(
        type=request.param, hidden_size=32, layers=2, heads=4, intermediate_size=64, context=64
    )
    return build_causal_lm(architecture, TOKENIZER, seed=0)


def disturb(network, name, scale=0.1):
    """Move an adapter away from the identity."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in adapter_parameters(network, name).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


def logits(network) -> torch.Tensor:
    with torch.no_grad():
        return network(IDS).logits


def trainable(network) -> list[str]:
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def test_a_fresh_adapter_changes_nothing_and_off_stays_the_backbone_to_the_bit(plain):
    before = logits(plain)
    network = add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    assert torch.equal(logits(network), before)
    disturb(network, "policy")
    assert (logits(network) - before).abs().max() > 0.01
    with adapters_off(network):
        assert torch.equal(logits(network), before)


def test_after_a_training_step_the_reference_is_unchanged_and_the_policy_is_not(plain):
    network = add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    before = logits(network)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(IDS).logits.log_softmax(-1)[..., 5].sum().backward()
    optimizer.step()
    assert (logits(network) - before).abs().max() > 0.01
    with adapters_off(network):
        assert torch.equal(logits(network), before)


def test_only_adapters_train_and_each_knows_its_own_weights(plain):
    add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    add_adapter(plain, LoraConfig(rank=2), name="critic", seed=2)
    policy, critic = (set(adapter_parameters(plain, name)) for name in ("policy", "critic"))
    assert adapter_names(plain) == ["critic", "policy"]
    assert not policy & critic
    assert set(trainable(plain)) == policy | critic


def test_each_adapter_computes_alone_and_the_first_one_is_in_force(plain):
    before = logits(plain)
    add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    disturb(plain, "policy")
    policy = logits(plain)
    add_adapter(plain, LoraConfig(rank=2), name="critic", seed=2)
    assert torch.equal(logits(plain), policy)
    with adapter(plain, "critic"):
        assert torch.equal(logits(plain), before)
        with adapter(plain, "policy"):
            assert torch.equal(logits(plain), policy)
        with adapters_off(plain):
            assert torch.equal(logits(plain), before)
        assert torch.equal(logits(plain), before)
    assert torch.equal(logits(plain), policy)


def test_adapters_on_different_layers_do_not_leak_into_one_another(plain):
    before = logits(plain)
    narrow = "c_proj" if plain.config.model_type == "gpt2" else "q_proj,v_proj"
    add_adapter(plain, LoraConfig(rank=4, targets=narrow), name="policy", seed=1)
    add_adapter(plain, LoraConfig(rank=2), name="critic", seed=2)
    assert len(adapter_parameters(plain, "policy")) < len(adapter_parameters(plain, "critic"))
    disturb(plain, "critic")
    assert torch.equal(logits(plain), before)
    with adapter(plain, "critic"):
        assert (logits(plain) - before).abs().max() > 0.01


def test_switching_leaves_what_trains_as_it_was_inside_and_after(plain):
    add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    add_adapter(plain, LoraConfig(rank=2), name="reward", seed=2)
    for parameter in adapter_parameters(plain, "reward").values():
        parameter.requires_grad_(False)
    expected = trainable(plain)
    for switched in (adapters_off(plain), adapter(plain, "reward"), adapter(plain, "policy")):
        with switched:
            assert trainable(plain) == expected
        assert trainable(plain) == expected


def test_an_exception_inside_restores_the_adapter(plain):
    add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    disturb(plain, "policy")
    policy = logits(plain)
    with pytest.raises(RuntimeError, match="stop"), adapters_off(plain):
        raise RuntimeError("stop")
    assert torch.equal(logits(plain), policy)


def test_gradients_reach_the_adapter_that_computed_and_no_other(plain):
    add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    add_adapter(plain, LoraConfig(rank=2), name="critic", seed=2)
    with adapter(plain, "critic"):
        loss = plain(IDS).logits.logsumexp(-1).sum()
    loss.backward()
    reached = {name for name, parameter in plain.named_parameters() if parameter.grad is not None}
    assert reached == set(adapter_parameters(plain, "critic"))


def test_merged_weights_compute_what_the_adapter_computes(plain):
    merged = copy.deepcopy(plain)
    add_adapter(plain, LoraConfig(rank=4, alpha=8.0), name="policy", seed=1)
    disturb(plain, "policy")
    merged.load_state_dict(merged_state(plain, "policy"))
    torch.testing.assert_close(logits(merged), logits(plain), rtol=0, atol=2e-6)


def test_a_saved_adapter_loads_in_peft_onto_the_same_backbone(plain, tmp_path):
    base = copy.deepcopy(plain)
    add_adapter(plain, LoraConfig(rank=4), name="policy", seed=1)
    disturb(plain, "policy")
    save_adapter(plain, tmp_path, "policy")
    assert torch.equal(logits(PeftModel.from_pretrained(base, tmp_path)), logits(plain))


def test_adapters_depend_on_the_seed_and_on_nothing_else(plain):
    networks = [copy.deepcopy(plain) for _ in range(3)]
    state = torch.get_rng_state()
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        add_adapter(network, LoraConfig(rank=4), name="policy", seed=seed)
    assert torch.equal(state, torch.get_rng_state())
    one, two, other = (list(adapter_parameters(n, "policy").values()) for n in networks)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_rank_zero_is_the_plain_network_and_has_no_reference_inside(plain):
    expected = trainable(plain)
    assert add_adapter(plain, LoraConfig(rank=0), name="policy", seed=1) is plain
    assert trainable(plain) == expected
    with pytest.raises(ValueError, match="no adapters"), adapters_off(plain):
        pass
    with pytest.raises(ValueError, match="no adapter 'policy'"), adapter(plain, "policy"):
        pass
