"""How much memory stages are predicted to take: what adds up, and what is counted."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import ComputeConfig, LoraConfig, OptimizerConfig, SamplingConfig
from palate.config.onpolicy import GrpoConfig
from palate.config.stages import ArchitectureConfig, DpoConfig, RewardConfig, SftConfig
from palate.models.build import build_causal_lm, configuration, train_tokenizer
from palate.models.layout import planned_shapes
from palate.models.roles import PlainPolicyRole
from palate.stages import loads
from palate.stages.loads import outlined
from palate.stages.memory import Arithmetic, Load, Shape, predicted_memory, shape_of

TOKENIZER = train_tokenizer(["A latte is four euros."], vocabulary=280, chat="palate")
SHAPE = Shape(
    parameters=1000,
    backbone=900,
    width=8,
    layers=2,
    feed_forward=32,
    vocabulary=50,
    cached=16,
    heads=2,
    matrices=3,
    block_weights=300,
    products=True,
)


def small_outline(kind: str):
    architecture = ArchitectureConfig(
        type=kind, hidden_size=32, layers=2, heads=2, intermediate_size=64, vocabulary=280
    )
    return outlined(configuration(architecture, TOKENIZER))


def test_memory_is_the_sum_of_what_stays_and_the_largest_of_what_comes_and_goes() -> None:
    load = Load(trained=1000, copies=1000, reward=900, critic=901, tokens=10, cached_tokens=100)
    memory = predicted_memory(SHAPE, load, Arithmetic(number_bytes=4))
    # activations: 10 * (4 * (48 * 8 + 16 * 32) + 16 * 8) + 4 * 10 * 50 * 3
    assert memory.working == 10 * (4 * (384 + 512) + 128) + 6000
    assert memory.peak == 16_000 + 4_000 + 3_600 + 14_416 + memory.working
    cached = predicted_memory(
        SHAPE, Load(trained=1000, cached_tokens=1000), Arithmetic(number_bytes=2)
    )
    assert cached.working == 2 * 2 * 1000 * 16


def test_muon_keeps_one_moment_of_each_block_matrix_and_adam_two_of_the_rest() -> None:
    outline = small_outline("llama")
    adam, muon = (
        loads.fixed_memory(SftConfig(optimizer=OptimizerConfig(name=name)), outline, [])
        for name in ("adamw", "muon")
    )
    in_blocks = sum(p.numel() for p in outline.model.layers.parameters() if p.ndim == 2)
    assert adam.moments - muon.moments == 4 * in_blocks
    assert adam.peak - muon.peak == 4 * in_blocks
    assert adam.saved - muon.saved == 3 * 4 * in_blocks
    # Three copies of what trains while a checkpoint is made, of block matrices two.
    load, how = Load(trained=1000, by_muon=300), Arithmetic(number_bytes=4, clones=3)
    assert predicted_memory(SHAPE, load, how).working == 4 * (3 * 1000 - 300)


def test_a_cpu_adds_attention_weights_what_the_heap_holds_and_compiled_kernels() -> None:
    load = Load(trained=1000, tokens=10, attended=50)
    fused = predicted_memory(SHAPE, load, Arithmetic(number_bytes=4))
    plain = predicted_memory(SHAPE, load, Arithmetic(number_bytes=4, attention_bytes=4))
    # 2 layers x 2 heads x 10 tokens x 5 columns x 4 bytes
    assert plain.working - fused.working == 800
    shapes = replace(load, shapes=2)
    held = predicted_memory(SHAPE, shapes, Arithmetic(number_bytes=4, held=1.25, kernel=7))
    # For both shapes, three products with each of three matrices and six of attention.
    assert (held.working, held.kernels) == (1.25 * fused.working, 2 * (3 * 3 + 6) * 7)
    assert held.peak == fused.peak + 0.25 * fused.working + held.kernels


def added_by_attention(
    patch: pytest.MonkeyPatch, kind: str, config: loads.Fixed, groups: Sequence[TokenGroup]
) -> float:
    """Bytes that a CPU with fast bf16 keeps and another, whose kernel is fused, does not."""
    working: list[float] = []
    for fast in (False, True):
        patch.setattr(loads, "has_fast_bf16", lambda device, fast=fast: fast)
        working.append(loads.fixed_memory(config, small_outline(kind), groups).working)
    return working[1] - working[0]


@pytest.mark.parametrize(("kind", "kept"), [("llama", 2), ("gpt2", 6)])
def test_attention_keeps_a_third_in_bf16_where_it_can_be_matrix_products(
    kind: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [token_group(str(n), (1,) * 20, ((5,) * 44,)) for n in range(16)]
    config = SftConfig(batch_rows=16, compute=ComputeConfig(device="cpu", precision="bf16"))
    # 16 rows of 64 tokens, 2 layers x 2 heads x 64 columns, and what the heap holds.
    added = added_by_attention(monkeypatch, kind, config, groups)
    assert added == 1.25 * 16 * 64 * 2 * 2 * 64 * kept


def test_attention_is_counted_in_the_rows_that_trees_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trees = [token_group(str(n), (1,) * 10, ((5,) * 16,) * 4) for n in range(9)]
    config = RewardConfig(batch_groups=9, compute=ComputeConfig(device="cpu", precision="bf16"))
    # Three rows of three trees: 224 columns, where a prompt and a response have 26 tokens.
    added = added_by_attention(monkeypatch, "llama", config, trees)
    assert added == 1.25 * 3 * 224 * 2 * 2 * 224 * 2


def test_the_most_attention_need_not_be_where_most_tokens_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = [token_group(str(n), (1,) * 20, ((5,) * 44,)) for n in range(14)]
    groups = [*short, token_group("long", (1,) * 20, ((5,) * 300,))]
    compute = ComputeConfig(device="cpu", precision="bf16", micro_batch_tokens=900)
    assert set(planned_shapes(groups, budget=900, layout="tree")) == {(1, 384), (14, 64)}
    config = SftConfig(batch_rows=15, compute=compute)
    added = added_by_attention(monkeypatch, "llama", config, groups)
    assert added == 1.25 * 384 * 2 * 2 * 384 * 2


def test_a_micro_batch_is_as_large_as_its_padded_rows() -> None:
    groups = [token_group(str(n), (1,) * 20, ((5,) * size,)) for n, size in enumerate((30, 9, 9))]
    config = SftConfig(batch_rows=3)
    outline = small_outline("llama")
    whole = loads.fixed_memory(config, outline, groups)
    single = loads.fixed_memory(config.model_copy(update={"batch_rows": 1}), outline, groups)
    # Rows of 50 tokens are 64 wide; three of them, or one at a time.
    assert planned_shapes(groups, budget=4096, layout="rows") == [(3, 64)]
    assert planned_shapes(groups, budget=64, layout="rows") == [(1, 64), (2, 32)]
    # Beyond 256 tokens widths are 32 apart.
    long = token_group("long", (1,) * 100, ((5,) * 189,))
    assert planned_shapes([long], budget=4096, layout="rows") == [(1, 320)]
    assert whole.working > single.working


def test_a_kernel_is_counted_for_every_shape_that_micro_batches_have() -> None:
    groups = [token_group(str(n), (1,) * 20, ((5,) * size,)) for n, size in enumerate((30, 9, 9))]
    config = SftConfig(batch_rows=1, compute=ComputeConfig(device="cpu", precision="bf16"))
    outline = small_outline("llama")
    alike = loads.fixed_memory(config, outline, groups[1:])
    mixed = loads.fixed_memory(config, outline, groups)
    # (1, 32) alone, or (1, 64) as well; three sizes of matrices in a Llama block.
    assert mixed.kernels == 2 * alike.kernels == 2 * (3 * 3 + 6) * loads.KERNEL
    # One by one in training; all at once, in a shape of their own, when scores are read.
    judged = RewardConfig(batch_groups=1, compute=config.compute)
    read = loads.fixed_memory(judged, outline, groups[1:]).kernels
    assert read == pytest.approx(alike.kernels * (1 + 1 / 3))
    single = config.model_copy(update={"compute": ComputeConfig(device="cpu", precision="fp32")})
    assert loads.fixed_memory(single, outline, groups).kernels == 0


def test_responses_to_come_are_of_any_length_and_their_shapes_become_rarer() -> None:
    bf16 = ComputeConfig(device="cpu", precision="bf16")
    outline = small_outline("llama")
    prompts = [token_group(str(n), (1,) * 20, ()) for n in range(100)]
    groups = loads.answered(prompts, k=3, lengths=(30,))
    assert groups[0].prompt == (1,) * 20
    assert [len(response) for response in groups[0].responses] == [30] * 3

    def shapes(
        updates: int,
        unwritten: Sequence[TokenGroup] = groups,
        there: Sequence[TokenGroup] = (),
    ) -> float:
        config = RewardConfig(batch_groups=1, epochs=updates / 100, compute=bf16)
        memory = loads.fixed_memory(config, outline, there, unwritten=unwritten)
        return memory.kernels / (loads.KERNEL * (3 * 3 + 6))

    # Trees of 110 tokens: widths of 16, 32, ..., 112.
    assert shapes(100) == pytest.approx(0.3 * 7 * math.log(101))
    assert shapes(10_000) == pytest.approx(0.3 * 7 * math.log(10_001))
    written = RewardConfig(batch_groups=1, compute=bf16)
    assert loads.fixed_memory(written, outline, groups).kernels < shapes(100) * loads.KERNEL * 15
    # With as many short ones that are there: trees of 32 tokens, two widths of their own.
    there = [token_group(str(n), (1,) * 12, ((5,) * 20,)) for n in range(100)]
    assert shapes(100, there=there) == pytest.approx(0.3 * (7 + 2) * math.log(201))
    # Nothing is known of what will be sampled.
    assert shapes(100, (), there) == pytest.approx(40 + 0.3 * 2 * math.log(101))


def test_a_policy_that_ends_early_takes_less_but_meets_as_many_shapes() -> None:
    outline = small_outline("llama")
    prompts = [token_group(str(n), (1,) * 20, ()) for n in range(8)]
    config = GrpoConfig(k=4, batch_prompts=8, minibatches=1, steps=2)
    config = config.model_copy(update={"sampling": SamplingConfig(max_tokens=64)})
    most = loads.online_memory(config, outline, prompts, None)
    assert loads.online_memory(config, outline, prompts, None, lengths=(64,)) == most
    early = loads.online_memory(config, outline, prompts, None, lengths=(8, 12))
    assert early.working < 0.5 * most.working
    assert early.kernels == most.kernels
    bf16 = config.model_copy(update={"compute": ComputeConfig(device="cpu", precision="bf16")})
    # Trees of up to 276 tokens: widths of 16, 32, ..., 256, and 288.
    shapes = loads.online_memory(bf16, outline, prompts, None).kernels / (loads.KERNEL * 15)
    assert shapes == pytest.approx(0.45 * 17 * math.log(3))


def test_a_stage_finds_half_the_kernels_of_those_before_it_up_to_what_is_kept() -> None:
    small = predicted_memory(
        SHAPE, Load(trained=1, shapes=2), Arithmetic(number_bytes=2, kernel=1e6)
    )
    assert loads.left_by([]) == 0
    assert loads.left_by([small, small]) == small.kernels == 2 * 15 * 1e6
    assert loads.left_by([small] * 100) == 700 * 2**20


def test_an_adapter_trains_little_and_needs_no_copy_for_the_reference() -> None:
    outline = small_outline("llama")
    parameters = sum(p.numel() for p in outline.parameters())
    whole = loads.fixed_memory(DpoConfig(), outline, ())
    adapted = loads.fixed_memory(DpoConfig(lora=LoraConfig(rank=2)), outline, ())
    # Four square projections and three of the feed-forward layer, in each of two layers.
    adapter = 2 * 2 * (4 * (32 + 32) + 3 * (32 + 64))
    kto = loads.fixed_memory(DpoConfig(loss="kto"), outline, ())
    assert (whole.copies, kto.copies, adapted.copies) == (0, 4 * parameters, 0)
    assert (whole.gradients, adapted.gradients) == (4 * parameters, 4 * adapter)
    assert adapted.weights == 4 * (parameters + adapter)
    assert loads.fixed_memory(SftConfig(), outline, ()).copies == 0


def test_a_model_that_is_gone_before_training_counts_where_it_is_more_than_what_trains() -> None:
    passing = Load(trained=1000, passing=5000)
    memory = predicted_memory(SHAPE, passing, Arithmetic(number_bytes=4, logits=0))
    assert memory.peak == 4 * (1000 + 5000)
    training = Load(trained=1000, passing=1000, tokens=100)
    memory = predicted_memory(SHAPE, training, Arithmetic(number_bytes=4, logits=0))
    assert memory.peak == 16 * 1000 + 100 * (4 * (384 + 512) + 128)


def test_an_adapter_is_merged_into_a_second_copy_of_the_weights() -> None:
    how = Arithmetic(number_bytes=4, logits=0)
    short = predicted_memory(SHAPE, Load(trained=10, tokens=1), how)
    assert short.peak == 4 * (1000 + 10) + 12 * 10 + 4 * 1000
    long = predicted_memory(SHAPE, Load(trained=10, tokens=100), how)
    assert long.working == 100 * (4 * (384 + 512) + 128)


def test_a_reward_model_on_the_policys_backbone_costs_an_adapter_and_a_head() -> None:
    outline = small_outline("llama")
    config = GrpoConfig(model="@sft", lora=LoraConfig(rank=2))
    trained = RewardConfig(model="@sft", lora=LoraConfig(rank=4))
    assert loads.on_one_backbone(config, trained)
    assert not loads.on_one_backbone(config, RewardConfig(model="@sft"))
    assert not loads.on_one_backbone(config, trained.model_copy(update={"model": "@dpo"}))
    assert not loads.on_one_backbone(GrpoConfig(model="@sft"), trained)
    own = loads.online_memory(config, outline, (), outline)
    shared = loads.online_memory(config, outline, (), outline, reward_lora=trained.lora)
    assert own.reward > 4 * 20_000
    assert shared.reward == 4 * (2 * 4 * (4 * (32 + 32) + 3 * (32 + 64)) + 32)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_predicted_activations_are_those_that_autograd_saves(kind: str) -> None:
    def saved(layers: int) -> tuple[int, float]:
        architecture = ArchitectureConfig(
            type=kind, hidden_size=64, layers=layers, heads=4, intermediate_size=256, context=64
        )
        network = build_causal_lm(architecture, TOKENIZER, seed=0)
        groups = [token_group(str(n), (1,) * 32, ((5,) * 32,)) for n in range(4)]
        own = {p.untyped_storage().data_ptr() for p in network.parameters()}
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            PlainPolicyRole(network, layout="rows", temperature=1.0)(groups)
        measured = sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)
        shape = shape_of(network)
        load = Load(trained=0, tokens=4 * 64)
        memory = predicted_memory(shape, load, Arithmetic(number_bytes=4, clones=0))
        return measured, memory.working

    (few, fewer_predicted), (many, more_predicted) = saved(2), saved(4)
    assert many - few == pytest.approx(more_predicted - fewer_predicted, rel=0.2)
