"""The group forward is a plain padded forward to rounding: values, gradients, any layout."""

import copy
import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM, LlamaForSequenceClassification

from palate.batches.groups import TokenGroup, token_group
from palate.config.common import LoraConfig
from palate.models.adapters import adapter, adapter_parameters, adapters_off, add_adapter
from palate.models.forward import (
    group_hidden,
    hidden_of,
    supports_tree,
    token_logits,
    token_scores,
    token_scores_with_entropy,
)
from palate.models.layout import Layout, choose, few, lay_out, plan, planned_shapes
from palate.verify import enumeration
from palate.verify.worlds import tiny_gpt2
from tests.models.tiny import (
    BOS,
    EOS,
    FAMILIES,
    VOCABULARY,
    enumerated,
    random_groups,
    tiny_network,
)

CPU = torch.device("cpu")
GROUPS = random_groups()
LAYOUTS: tuple[Layout, ...] = ("tree", "rows")


def plain_logprobs(network, groups: Sequence[TokenGroup], temperature: float) -> Tensor:
    """[response, time] from one right-padded batch with full logits, one row per response."""
    rows = [(*g.prompt, *r) for g in groups for r in g.responses]
    starts = [len(g.prompt) for g in groups for _ in g.responses]
    width, time = max(map(len, rows)), max(len(r) for g in groups for r in g.responses)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = network(input_ids=ids, attention_mask=mask, use_cache=False).logits
    precise = logits.double() if logits.dtype == torch.float64 else logits.float()
    logprobs = (precise / temperature).log_softmax(-1)
    picked = logprobs[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    out = []
    for row, start, scores in zip(rows, starts, picked, strict=True):
        own = scores[start - 1 : len(row) - 1]
        out.append(torch.nn.functional.pad(own, (0, time - len(own))))
    return torch.stack(out)


def our_logprobs(network, groups, temperature: float, layout: Layout, *, pad_id=0, chunk=1024):
    hidden = hidden_of(network, lay_out(groups, layout=layout, pad_id=pad_id, device=CPU))
    return token_scores(network, hidden, temperature=temperature, chunk=chunk).logprobs


def loss_of(logprobs: Tensor) -> Tensor:
    """Depends on every token with its own weight, and on sequence sums nonlinearly."""
    weight = torch.linspace(-1, 1, logprobs.numel(), dtype=logprobs.dtype).view_as(logprobs)
    return (weight * logprobs).sum() + torch.tanh(logprobs.sum(1) / 20).sum()


def gradient(network, loss: Tensor) -> Tensor:
    parameters = [p for p in network.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_loss_and_gradient_equal_a_plain_forward(family, layout):
    network = tiny_network(family)
    expected = plain_logprobs(network, GROUPS, 0.7)
    ours = our_logprobs(network, GROUPS, 0.7, layout, chunk=5)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(loss_of(ours), loss_of(expected), atol=1e-5, rtol=1e-6)
    gap = relative(gradient(network, loss_of(ours)), gradient(network, loss_of(expected)))
    assert gap < 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_it_is_as_close_to_fp32_as_a_plain_forward_is(family, layout):
    network = tiny_network(family)
    exact = plain_logprobs(network, GROUPS, 1.0)
    exact_gradient = gradient(network, loss_of(exact))
    with torch.autocast("cpu", torch.bfloat16):
        plain = plain_logprobs(network, GROUPS, 1.0)
        ours = our_logprobs(network, GROUPS, 1.0, layout)
    assert relative(ours, exact) < 1.5 * relative(plain, exact) < 0.02
    plain_gap = relative(gradient(network, loss_of(plain)), exact_gradient)
    assert relative(gradient(network, loss_of(ours)), exact_gradient) < 1.5 * plain_gap < 0.05


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_in_double_precision_the_layouts_agree_to_rounding(family):
    network = tiny_network(family).double()
    expected = plain_logprobs(network, GROUPS, 1.0)
    for layout in LAYOUTS:
        ours = our_logprobs(network, GROUPS, 1.0, layout)
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_ids_change_no_bit(family):
    network = tiny_network(family)
    for layout in LAYOUTS:
        scores = [our_logprobs(network, GROUPS, 1.0, layout, pad_id=p) for p in (0, EOS, BOS, 31)]
        assert all(torch.equal(scores[0], other) for other in scores[1:])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_padded_is_zero_and_gets_no_gradient(layout):
    network = tiny_network("llama")
    scores = our_logprobs(network, GROUPS, 1.0, layout)
    exists = lay_out(GROUPS, layout=layout, pad_id=0, device=CPU).mask
    assert exists.sum(1).tolist() == [len(r) for g in GROUPS for r in g.responses]
    assert scores[~exists].eq(0).all()
    assert gradient(network, scores[~exists].sum()).eq(0).all()


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_a_group_is_scored_alike_in_any_company(family):
    network = tiny_network(family)
    together = our_logprobs(network, GROUPS, 1.0, "tree").split([g.k for g in GROUPS])
    for order in ([4, 2, 0, 3, 1], [1], [3, 2]):
        mixed = our_logprobs(network, [GROUPS[i] for i in order], 1.0, "tree")
        for index, own in zip(order, mixed.split([GROUPS[i].k for i in order]), strict=True):
            time = max(map(len, GROUPS[index].responses))
            torch.testing.assert_close(own[:, :time], together[index][:, :time], atol=5e-6, rtol=0)


def test_the_order_of_responses_does_not_matter():
    network = tiny_network("gpt2")
    turned = [token_group(g.id, g.prompt, g.responses[::-1]) for g in GROUPS]
    ours = our_logprobs(network, GROUPS, 1.0, "tree").split([g.k for g in GROUPS])
    other = our_logprobs(network, turned, 1.0, "tree").split([g.k for g in GROUPS])
    for one, two in zip(ours, other, strict=True):
        torch.testing.assert_close(one, two.flip(0), atol=5e-6, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_entropy_and_its_gradient_are_those_of_the_full_distribution(layout):
    network = tiny_network("gemma2")
    group = token_group("p", (BOS, 1, 7), ((5, 9, EOS), (8, EOS)))
    hidden = hidden_of(network, lay_out([group], layout=layout, pad_id=0, device=CPU))
    scores = token_scores_with_entropy(network, hidden, temperature=0.7, chunk=2)
    ids = torch.tensor([[*group.prompt, *group.responses[0]]])
    expected = (network(input_ids=ids).logits[0, 2:5] / 0.7).log_softmax(-1)
    expected = -(expected.exp() * expected).sum(-1)
    torch.testing.assert_close(scores.entropy[0], expected, atol=1e-5, rtol=0)
    assert scores.entropy[1, 2] == 0
    ours = gradient(network, (scores.entropy[0] * torch.tensor([1.0, -2.0, 3.0])).sum())
    theirs = gradient(network, (expected * torch.tensor([1.0, -2.0, 3.0])).sum())
    assert relative(ours, theirs) < 1e-5


def test_last_states_give_the_score_that_a_classifier_reads_at_the_last_token():
    policy = tiny_network("llama")
    config = copy.deepcopy(policy.config)
    config.num_labels = 1
    network = LlamaForSequenceClassification(config).eval()
    assert supports_tree(network).layout == "tree"
    for layout in LAYOUTS:
        last = hidden_of(network, lay_out(GROUPS, layout=layout, pad_id=0, device=CPU)).last
        rows = [(*g.prompt, *r) for g in GROUPS for r in g.responses]
        expected = torch.cat([network(input_ids=torch.tensor([row])).logits for row in rows])
        torch.testing.assert_close(network.score(last), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("micro_batches", [1, 2, 7])
@pytest.mark.parametrize(("family", "dtype", "gate"), [
    ("llama", torch.float32, 1e-5),
    ("gpt2", torch.float32, 1e-5),
    ("gpt2", torch.float64, 1e-12),
])  # fmt: skip
def test_probabilities_of_all_responses_sum_to_one(family, dtype, gate, micro_batches):
    network = FAMILIES[family](vocabulary=5).to(dtype)
    responses = enumerated(length=3)
    assert len(responses) == 85
    groups = [
        token_group(f"{number}-{start}", prompt, responses[start : start + 20])
        for number, prompt in enumerate([(4, 0), (4, 1, 2), (4, 2, 0, 1)])
        for start in range(0, 85, 20)
    ]
    mass = torch.zeros(3, dtype=torch.float64)
    budget = 1 + sum(g.num_tokens for g in groups) // micro_batches
    with torch.no_grad():
        for indices in plan(groups, budget=budget, layout="tree"):
            batch = [groups[i] for i in indices]
            hidden = group_hidden(network, batch, layout="tree")
            logprobs = token_scores(network, hidden, temperature=1.0).logprobs.double().sum(1)
            for group, own in zip(batch, logprobs.split([g.k for g in batch]), strict=True):
                mass[int(group.id[0])] += own.exp().sum()
    assert (mass - 1).abs().max() < gate


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_probabilities_sum_to_one_with_an_adapter_and_are_the_backbones_without(layout):
    network, problem = tiny_gpt2(0), enumeration.text_problem()
    everything = [token_group(str(p), p, problem.tree.responses) for p in problem.prompts]
    plain = scored(network, everything, layout)
    add_adapter(network, LoraConfig(rank=4), name="policy", seed=1)
    draw = torch.Generator().manual_seed(2)
    for name, weight in adapter_parameters(network, "policy").items():
        if "lora_B" in name:
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    on = scored(network, everything, layout)
    with adapters_off(network):
        off = scored(network, everything, layout)
    torch.testing.assert_close(on.exp().sum(1), torch.ones(3, dtype=on.dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(off.exp().sum(1), torch.ones(3, dtype=on.dtype), atol=1e-5, rtol=0)
    assert torch.equal(off, plain)
    assert (on - off).abs().max() > 0.1


def scored(network, everything, layout):
    """[prompt, response] log-probabilities of all responses."""
    return our_logprobs(network, everything, 1.0, layout).double().sum(1).view(len(everything), -1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kept", "passes"), [(0, 2), (2**22, 1)], ids=["many", "few"])
def test_the_vocabulary_is_projected_at_response_tokens_only_and_in_chunks(
    layout, kept, passes, monkeypatch
):
    """Twice when the backward pass computes the logits of many tokens again."""
    monkeypatch.setattr("palate.models.forward.KEPT", kept)
    network = tiny_network("llama")
    seen: list[int] = []
    network.lm_head.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    loss = our_logprobs(network, GROUPS, 1.0, layout, chunk=16).sum()
    tokens = sum(len(r) for g in GROUPS for r in g.responses)
    assert sum(seen) == few(tokens)
    assert max(seen) <= 16
    loss.backward()
    assert sum(seen) == passes * few(tokens)


@pytest.mark.parametrize("targets", ["all-linear", "q_proj, lm_head"])
def test_adapters_take_part_and_backward_may_run_after_they_are_switched(targets):
    network = tiny_network("llama")
    for name, seed in (("policy", 1), ("other", 2)):
        add_adapter(network, LoraConfig(rank=4, targets=targets), name=name, seed=seed)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter_parameters(network, name).values():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    wanted = list(adapter_parameters(network, "other").values())
    with adapter(network, "other"):
        expected = loss_of(plain_logprobs(network, GROUPS, 1.0))
        ours = loss_of(our_logprobs(network, GROUPS, 1.0, "tree", chunk=4))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-6)
    with torch.no_grad():
        assert (loss_of(our_logprobs(network, GROUPS, 1.0, "tree")) - ours).abs() > 1e-2
    pairs = zip(
        torch.autograd.grad(ours, wanted), torch.autograd.grad(expected, wanted), strict=True
    )
    gaps = [relative(one, two) for one, two in pairs]
    assert max(gaps) < 1e-4, gaps


@pytest.mark.parametrize("family", FAMILIES)
def test_these_families_take_a_tree(family):
    network = tiny_network(family)
    network.train()
    support = supports_tree(network)
    assert support.layout == "tree"
    assert network.training


def test_an_architecture_without_tree_masks_falls_back_to_rows_and_says_why():
    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)
    network = BloomForCausalLM(config).eval()
    support = supports_tree(network)
    assert support.layout == "rows"
    assert support.reason
    hidden = group_hidden(network, GROUPS, layout=support.layout)
    ours = token_scores(network, hidden, temperature=1.0).logprobs
    torch.testing.assert_close(ours, plain_logprobs(network, GROUPS, 1.0), atol=1e-5, rtol=0)


def test_a_head_that_cannot_be_reproduced_is_refused():
    network = tiny_network("llama")
    assert supports_tree(network).layout == "tree"
    network.register_forward_hook(lambda _, __, output: _scaled(output))
    with pytest.raises(ValueError, match="cannot score"):
        supports_tree(network)


def _scaled(output):
    output.logits = output.logits * 1.1
    return output


def test_temperature_divides_soft_capped_logits():
    network = tiny_network("gemma2")
    states = 3 * torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    raw = network.lm_head(states)
    ours = token_logits(network, states, temperature=0.5)
    torch.testing.assert_close(ours, 4 * torch.tanh(raw / 4) / 0.5)
    assert raw.abs().max() > 4


def test_short_trees_share_a_row_and_positions_restart_after_the_prompt():
    groups = [
        token_group("a", (4, 5, 6), ((7, 8), (9, 10, 11))),
        token_group("b", (4, 12), ((13,),)),
        token_group("c", (4,), ((14, 15), ())),
    ]
    rows = lay_out(groups, layout="tree", pad_id=0, device=CPU, context=8)
    assert rows.ids.tolist() == [
        [4, 5, 6, 7, 8, 9, 10, 11],
        [4, 12, 13, 4, 14, 15, 0, 0],
    ]
    assert rows.positions.tolist()[0] == [0, 1, 2, 3, 4, 3, 4, 5]
    assert rows.positions.tolist()[1][:6] == [0, 1, 2, 0, 1, 2]
    assert rows.predicts.tolist() == [[2, 3, 2], [2, 5, 6], [9, 9, 9], [11, 12, 11], [11, 11, 11]]
    assert rows.last.tolist() == [4, 7, 10, 13, 11]
    assert rows.mask.sum(1).tolist() == [2, 3, 1, 2, 0]
    assert rows.targets[rows.mask].tolist() == [7, 8, 9, 10, 11, 13, 14, 15]


def test_a_response_sees_its_prompt_and_its_own_past_and_nothing_else():
    group = token_group("a", (4, 5), ((7, 8), (9,)))
    other = token_group("b", (4,), ((6,),))
    rows = lay_out([group, other], layout="tree", pad_id=0, device=CPU, context=5)
    assert rows.visible()[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    packed = lay_out([group, other, other], layout="tree", pad_id=0, device=CPU, context=5)
    assert packed.visible()[1].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_a_plan_covers_every_group_once_within_the_budget():
    groups = [g for seed in range(8) for g in random_groups(seed=seed)]
    groups.append(token_group("long", tuple(range(30)), (tuple(range(30)),) * 8))
    for layout, budget in itertools.product(LAYOUTS, (1, 40, 100, 10_000)):
        batches = plan(groups, budget=budget, layout=layout)
        assert sorted(itertools.chain(*batches)) == list(range(len(groups)))
        assert batches == plan(groups, budget=budget, layout=layout)
        for batch in batches:
            members = [groups[i] for i in batch]
            chosen = choose(members, layout=layout)
            rows = lay_out(members, layout=chosen, pad_id=0, device=CPU)
            assert rows.ids.numel() <= budget or len(batch) == 1


def test_rows_come_in_few_shapes_within_the_context():
    shapes = set()
    for seed in range(40):
        groups = random_groups(seed=seed)
        for layout in LAYOUTS:
            rows = lay_out(groups, layout=layout, pad_id=0, device=CPU)
            shapes.add(tuple(rows.ids.shape))
            assert rows.ids.shape[1] % 16 == 0
    assert len(shapes) < 10, shapes
    longest = max(group.num_tokens for group in GROUPS)
    tight = lay_out(GROUPS, layout="tree", pad_id=0, device=CPU, context=longest)
    assert tight.ids.shape[1] == longest


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_may_be_longer_than_the_context_since_positions_restart(family):
    network = tiny_network(family)
    # Trees of 74 tokens, where positions end at 64: 80 columns, and rows of padding alone.
    responses = tuple((token,) * 16 for token in (5, 6, 7, 8))
    prompts = [(BOS, *range(5 + i % 9, 14 + i % 9)) for i in range(25)]
    groups = [token_group(str(i), prompt, responses) for i, prompt in enumerate(prompts)]
    seen: list[torch.Size] = []
    network.get_input_embeddings().register_forward_pre_hook(
        lambda _, args: seen.append(args[0].shape)
    )
    hidden = group_hidden(network, groups, layout="tree")
    assert seen == [torch.Size([28, 80])]
    ours = token_scores(network, hidden, temperature=1.0).logprobs
    torch.testing.assert_close(ours, plain_logprobs(network, groups, 1.0))


def test_rows_are_as_wide_as_packs_trees_cheaply():
    tree = token_group("p", (1,) * 10, ((2,) * 16,) * 4)  # 74 tokens: 80 columns
    # Three fill 224 columns and save 16 of padding, which attention in longer rows outweighs; nine
    # save a tenth row of padding alone as well.
    shapes = {n: planned_shapes([tree] * n, budget=10**6, layout="tree") for n in (1, 3, 9)}
    assert shapes == {1: [(1, 80)], 3: [(3, 80)], 9: [(3, 224)]}


def test_padding_counts_when_a_layout_is_chosen():
    short = [token_group(str(i), (1,), ((2,) * 20,)) for i in range(9)]
    long = token_group("long", (1,), ((2,) * 200,))
    assert choose(short, layout="tree") == "rows"
    assert choose([*short, long], layout="tree") == "tree"


def test_long_prompts_get_trees_and_many_long_responses_get_rows():
    long_prompt = token_group("p", (1,) * 150, ((2,) * 60, (3,) * 60))
    long_responses = token_group("q", (1,) * 20, ((2,) * 200,) * 8)
    assert choose([long_prompt], layout="tree") == "tree"
    assert choose([long_responses], layout="tree") == "rows"
    assert choose([long_prompt], layout="rows") == "rows"
    assert plan([long_prompt, long_responses], budget=10**6, layout="tree") == [[0], [1]]
