"""Generation draws from the distribution that the scorer scores, whatever shares the batch."""

import logging
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import BloomConfig, BloomForCausalLM

from palate.batches.groups import token_group
from palate.interfaces import Rollout, TokenPrompt
from palate.models.cache import CachedRows, RecomputedRows, cache_fault
from palate.models.forward import backbone_of, group_hidden, token_scores
from palate.models.generate import Generator, inverse_cdf, nucleus
from tests.models.tiny import (
    BOS,
    EOS,
    FAMILIES,
    PAD,
    VOCABULARY,
    enumerated,
    random_groups,
    tiny_network,
)

PROMPTS = [TokenPrompt(id=group.id, ids=group.prompt) for group in random_groups()]


def generator(network, eos_ids=(EOS,), **options) -> Generator:
    return Generator(network, eos_ids=eos_ids, pad_id=PAD, **options)


def sample(made: Generator, prompts=PROMPTS, k=6, **options) -> list[tuple[Rollout, ...]]:
    defaults = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 12, "rows": 64, "seed": 0}
    return made.generate(prompts, k, **(defaults | options))


def sampled_and_scored(network, rollouts, temperature, layout="tree"):
    """Log-probabilities of all sampled tokens, from sampling and from the group forward."""
    groups = [
        token_group(str(i), own[0].prompt.ids, tuple(r.tokens for r in own))
        for i, own in enumerate(rollouts)
    ]
    hidden = group_hidden(network, groups, layout=layout)
    scores = token_scores(network, hidden, temperature=temperature).logprobs
    sampled = torch.tensor([p for own in rollouts for r in own for p in r.logprobs])
    return sampled, scores[hidden.mask].detach()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_log_probabilities_are_the_scorers(family, temperature):
    network = tiny_network(family)
    rollouts = sample(generator(network), rows=11, temperature=temperature)
    sampled, scored = sampled_and_scored(network, rollouts, temperature)
    assert len(sampled) > 100
    torch.testing.assert_close(sampled, scored, atol=5e-6, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_on_the_reference_problem_they_agree_to_two_millionths(family):
    network = FAMILIES[family](vocabulary=5)
    prompts = [TokenPrompt(id=str(p), ids=p) for p in ((4, 0), (4, 1, 2), (4, 2, 0, 1))]
    rollouts = sample(generator(network), prompts, k=50, max_tokens=3)
    sampled, scored = sampled_and_scored(network, rollouts, 1.0)
    torch.testing.assert_close(sampled, scored, atol=2e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bf16_they_agree_as_far_as_bf16_goes(family):
    network = tiny_network(family)
    bf16 = partial(torch.autocast, "cpu", torch.bfloat16)
    rollouts = sample(generator(network, autocast=bf16))
    with bf16():
        sampled, scored = sampled_and_scored(network, rollouts, 1.0)
    gap = (sampled - scored).abs()
    assert gap.mean() < 1e-3
    assert gap.max() < 0.02  # logits of 2 and more are 2**-7 apart in bf16: one flip is 0.008
    fp32 = sampled_and_scored(network, rollouts, 1.0)[1]
    assert gap.mean() < 0.2 * (sampled - fp32).abs().mean()


@pytest.mark.parametrize("family", FAMILIES)
def test_rollouts_do_not_depend_on_what_else_is_in_the_batch(family):
    made = generator(tiny_network(family))
    expected = sample(made)
    for rows in (1, 7, 20):
        assert sample(made, rows=rows) == expected
    assert sample(made, PROMPTS[::-1], rows=9) == expected[::-1]
    assert [sample(made, [prompt])[0] for prompt in PROMPTS] == expected
    assert [own[:2] for own in expected] == sample(made, k=2)
    longer = sample(made, max_tokens=20)
    for one, two in zip(sum(expected, ()), sum(longer, ()), strict=True):
        assert two.tokens[: len(one.tokens)] == one.tokens


def test_other_seeds_names_and_occurrences_get_other_uniforms():
    made = generator(tiny_network("llama"))
    first, second = sample(made, [PROMPTS[0], PROMPTS[0]])
    (third,) = sample(made, [PROMPTS[0]], seed=1)
    (fourth,) = sample(made, [TokenPrompt(id="another name", ids=PROMPTS[0].ids)])
    assert first == sample(made, [PROMPTS[0]])[0]
    assert len({r.tokens for r in (*first, *second, *third, *fourth)}) == 24


def test_every_end_token_ends_a_response_and_stands_only_at_its_end():
    ends = {EOS, 7, 8, 9, 10}
    rollouts = [r for own in sample(generator(tiny_network("llama"), ends), k=20) for r in own]
    assert {r.tokens[-1] for r in rollouts if r.finished} == ends
    for rollout in rollouts:
        assert len(rollout.tokens) == len(rollout.logprobs)
        assert sum(token in ends for token in rollout.tokens) == rollout.finished
        assert (rollout.tokens[-1] in ends) == rollout.finished
        assert rollout.finished or len(rollout.tokens) == 12


def test_responses_fill_the_context_and_longer_prompts_are_refused():
    made = generator(tiny_network("gpt2"), eos_ids=())
    prompts = [TokenPrompt(id=str(n), ids=(BOS,) * n) for n in (61, 40, 63)]
    rollouts = sample(made, prompts, k=2, max_tokens=5)
    assert [[len(r.tokens) for r in own] for own in rollouts] == [[3, 3], [5, 5], [1, 1]]
    assert not any(r.finished for own in rollouts for r in own)
    with pytest.raises(ValueError, match=r"64 tokens leaves no room .* context of 64"):
        sample(made, [*prompts, TokenPrompt(id="long", ids=(BOS,) * 64)])
    assert sample(made, []) == []


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_cache_and_whole_sequences_give_the_same_rollouts(family):
    made = generator(tiny_network(family))
    expected = sample(made, rows=7)
    assert made.rows_type is CachedRows
    made.rows_type = RecomputedRows
    for one, two in zip(sum(expected, ()), sum(sample(made, rows=7), ()), strict=True):
        assert one.tokens == two.tokens
        assert one.logprobs == pytest.approx(two.logprobs, abs=5e-6)


@pytest.mark.parametrize("rows_type", [CachedRows, RecomputedRows])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_id_of_padding_changes_no_rollout(family, rows_type):
    """Not even when it is a token that ends, begins or stands inside responses."""
    network, expected = tiny_network(family), None
    for pad_id in (0, EOS, BOS, 31):
        made = Generator(network, eos_ids=(EOS,), pad_id=pad_id)
        made.rows_type = rows_type
        rollouts = sum(sample(made, rows=7), ())
        expected = expected or rollouts
        assert [one.tokens for one in rollouts] == [one.tokens for one in expected]
        for one, two in zip(rollouts, expected, strict=True):
            assert one.logprobs == pytest.approx(two.logprobs, abs=5e-6)
            assert one.finished == two.finished
    assert {EOS, BOS, 31} <= {token for one in rollouts for token in one.tokens}


def test_an_architecture_that_cannot_use_the_cache_is_sampled_without_it(caplog):
    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)
    network = BloomForCausalLM(config).eval()
    with caplog.at_level(logging.WARNING):
        made = generator(network)
    assert "generates without a cache" in caplog.text
    sampled, scored = sampled_and_scored(network, sample(made, k=3), 1.0, "rows")
    torch.testing.assert_close(sampled, scored, atol=3e-6, rtol=0)


def test_a_cache_that_reads_a_wrong_column_is_found_out(monkeypatch):
    backbone = backbone_of(tiny_network("llama"))
    with torch.inference_mode():
        assert cache_fault(backbone) == ""
        monkeypatch.setattr(
            CachedRows, "keep", lambda self, kept: setattr(self, "count", len(kept))
        )
        assert "differ" in cache_fault(backbone)


def test_new_weights_are_sampled_from_at_once():
    network = tiny_network("llama")
    made = generator(network)
    before = sample(made)
    with torch.no_grad():
        network.lm_head.weight.mul_(1.5)
    after = sample(made)
    assert after != before
    sampled, scored = sampled_and_scored(network, after, 1.0)
    torch.testing.assert_close(sampled, scored, atol=5e-6, rtol=0)


def test_sampling_runs_in_eval_mode_and_leaves_the_mode_and_the_global_generators_alone():
    network = tiny_network("gpt2")
    made = generator(network)
    expected = sample(made)
    network.transformer.drop.p = 0.5
    network.train()
    state = torch.get_rng_state()
    assert sample(made) == expected
    assert network.training
    assert torch.equal(state, torch.get_rng_state())


def test_logits_that_are_not_finite_are_an_error():
    network = tiny_network("llama")
    made = generator(network)
    with torch.no_grad():
        network.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="diverged"):
        sample(made)


def test_top_p_keeps_the_likeliest_tokens_and_records_their_renormalized_probability():
    network = tiny_network("llama")
    rollouts = sample(generator(network), top_p=0.6, temperature=0.9)
    for own in rollouts:
        for rollout in own:
            ids = torch.tensor([[*own[0].prompt.ids, *rollout.tokens]])
            start = len(own[0].prompt.ids) - 1
            with torch.no_grad():
                logits = network(input_ids=ids).logits[0, start:-1]
            for row, token, logprob in zip(logits, rollout.tokens, rollout.logprobs, strict=True):
                p = (row / 0.9).softmax(-1)
                above = p[p > p[token]].sum()
                kept = p.sort(descending=True).values
                mass = kept[: int((kept.cumsum(0) < 0.6).sum()) + 1].sum()
                assert above < 0.6
                assert logprob == pytest.approx(float((p[token] / mass).log()), abs=1e-5)


def test_the_nucleus_is_the_smallest_set_that_has_the_mass():
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    for top_p, kept in ((0.4, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.96, 4), (1.0, 4)):
        assert int(torch.isfinite(nucleus(logits, top_p)).sum()) == kept
    assert torch.isfinite(nucleus(logits, 0.7))[0].tolist() == [False, True, False, True]


def test_the_nucleus_reaches_as_far_into_a_long_tail_as_it_has_to():
    rare = [0.5 / 64 * (1 + 1e-3 * (31.5 - i)) for i in range(64)]
    logits = torch.tensor([[0.5, *rare]]).log()
    needed = 1 + next(n for n in range(65) if sum(rare[:n]) >= 0.4)
    assert torch.isfinite(nucleus(logits, 0.9))[0].nonzero()[:, 0].tolist() == list(range(needed))


def test_the_nucleus_is_the_same_in_any_company_and_takes_all_of_equal_tokens():
    row = torch.tensor([[0.3, 0.3, 0.1, 0.1, 0.1, 0.1]]).log()
    flat = torch.zeros_like(row)
    for top_p, kept in ((1e-9, 2), (0.5, 2), (0.65, 6)):
        for logits in (row, torch.cat([flat, row]), torch.cat([row, flat])[:1]):
            assert int(torch.isfinite(nucleus(logits, top_p)[-1]).sum()) == kept
    assert int(torch.isfinite(nucleus(flat, 1e-9)).sum()) == 6


def test_a_token_is_drawn_where_its_interval_of_the_unit_line_lies():
    table = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.0, 0.0, 0.25, 0.0]])
    for uniform, token in (
        (0.0, 1),
        (0.2499, 1),
        (0.2501, 3),
        (0.7499, 3),
        (0.7501, 6),
        (1 - 2**-53, 6),
    ):
        drawn = inverse_cdf(table, torch.tensor([uniform], dtype=torch.float64))
        assert drawn.tolist() == [token]


@pytest.mark.parametrize("vocabulary", [1, 2, 5, 1000, 100_003])
def test_drawing_in_two_levels_is_inverting_the_whole_cumulative_distribution(vocabulary):
    draw = torch.Generator().manual_seed(vocabulary)
    p = torch.randn(40, vocabulary, generator=draw).mul(3).softmax(-1)
    u = torch.rand(40, generator=draw, dtype=torch.float64)
    whole = p.double().cumsum(-1)
    expected = torch.searchsorted(whole, u[:, None] * whole[:, -1:], right=True)[:, 0]
    assert torch.equal(inverse_cdf(p, u), expected)


RESPONSES = enumerated(length=3)
REFERENCE_PROMPTS = ((4, 0), (4, 1, 2), (4, 2, 0, 1))


def peaked(family):
    """The reference problem: five tokens, of which EOS is also the padding; far from uniform."""
    network = FAMILIES[family](vocabulary=5)
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(2)
    return network


def draws(network, prompt, number: int, *, temperature: float, seed: int) -> Counter:
    question = [TokenPrompt(id=str(prompt), ids=prompt)]
    (rollouts,) = sample(
        generator(network),
        question,
        k=number,
        max_tokens=3,
        rows=4096,
        temperature=temperature,
        seed=seed,
    )
    return Counter(r.tokens for r in rollouts)


def g_test(network, prompt, counts: Counter, *, temperature: float) -> float:
    """p-value that the draws are from the plain forward's table of all responses."""
    table = []
    with torch.no_grad():
        for response in RESPONSES:
            ids = torch.tensor([[*prompt, *response]])
            logprobs = (network(input_ids=ids).logits[0].double() / temperature).log_softmax(-1)
            own = logprobs[len(prompt) - 1 : -1].gather(-1, torch.tensor(response)[:, None])
            table.append(float(own.sum().exp()))
    assert set(counts) <= set(RESPONSES)
    observed = np.array([counts[response] for response in RESPONSES], dtype=float)
    expected = counts.total() * np.array(table) / sum(table)
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return float(stats.power_divergence(observed, expected, lambda_="log-likelihood").pvalue)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sampled_frequencies_are_the_scored_probabilities(family):
    network = peaked(family)
    for prompt in REFERENCE_PROMPTS:
        counts = draws(network, prompt, 2000, temperature=1.0, seed=0)
        assert g_test(network, prompt, counts, temperature=1.0) > 1e-4
        assert g_test(network, prompt, counts, temperature=0.8) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_frequencies_tell_five_percent_of_temperature(family, seed):
    network = peaked(family)
    for temperature in (1.0, 0.7):
        right, wrong = [], []
        for prompt in REFERENCE_PROMPTS:
            counts = draws(network, prompt, 20_000, temperature=temperature, seed=seed)
            right.append(g_test(network, prompt, counts, temperature=temperature))
            wrong.append(g_test(network, prompt, counts, temperature=0.95 * temperature))
        assert min(right) > 1e-4
        assert min(wrong) < 1e-4
