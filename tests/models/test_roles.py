"""A role reads at the right places: against one plain forward per response, EOS being padding."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.models.layout import Layout
from palate.models.reward_model import critic_from, reward_from_policy
from palate.models.roles import CriticRole, PlainPolicyRole, PolicyRole, RewardRole
from tests.models.tiny import BOS, EOS, random_groups, tiny_network

GROUPS = [
    *random_groups(),
    token_group("ended", (BOS, EOS, 7), ((EOS,), (9, EOS, EOS), (5, 6, EOS))),
]

families = pytest.mark.parametrize("family", ["llama", "gpt2"])
layouts = pytest.mark.parametrize("layout", ["tree", "rows"])


def rows(groups: Sequence[TokenGroup]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(group.prompt, response) for group in groups for response in group.responses]


def states(network: PreTrainedModel, prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
    """[time + 1, width] states before every token of a response, and the one behind its end."""
    ids = torch.tensor([[*prompt, *response]])
    whole = network.base_model(input_ids=ids).last_hidden_state[0]
    return whole[len(prompt) - 1 :]


def drawn(head: nn.Module) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))


@torch.no_grad()
@layouts
@families
@pytest.mark.parametrize("kind", [PolicyRole, PlainPolicyRole])
def test_a_policy_scores_at_its_temperature(kind, family: str, layout: Layout):
    network = tiny_network(family)
    scored = kind(network, layout=layout, temperature=0.7)(GROUPS)
    head = network.get_output_embeddings()
    for (prompt, response), own in zip(rows(GROUPS), scored.logprobs, strict=True):
        logprobs = (head(states(network, prompt, response)[:-1]) / 0.7).log_softmax(-1)
        expected = logprobs[torch.arange(len(response)), list(response)]
        torch.testing.assert_close(own[: len(response)], expected, atol=1e-5, rtol=0)
        assert own[len(response) :].eq(0).all()


@torch.no_grad()
@layouts
@families
def test_policy_plain_policy_and_a_copy_give_the_same_bits(family: str, layout: Layout):
    """Old, current and reference log-probabilities come from different roles of equal weights."""
    network = tiny_network(family)
    made = {"layout": layout, "temperature": 0.7}
    expected = PolicyRole(network, **made)(GROUPS).logprobs
    assert expected.lt(0).any()
    assert torch.equal(PlainPolicyRole(network, **made)(GROUPS).logprobs, expected)
    assert torch.equal(PolicyRole(copy.deepcopy(network), **made)(GROUPS).logprobs, expected)


@torch.no_grad()
@layouts
@families
def test_a_critic_values_the_state_before_each_token_and_padding_at_zero(
    family: str, layout: Layout
):
    network = tiny_network(family)
    critic = critic_from(network)
    drawn(critic.head)
    values = CriticRole(critic, layout=layout)(GROUPS).values
    for (prompt, response), own in zip(rows(GROUPS), values, strict=True):
        expected = critic.head(states(network, prompt, response)[:-1])[:, 0]
        torch.testing.assert_close(own[: len(response)], expected, atol=1e-4, rtol=0)
        assert own[len(response) :].eq(0).all()


@torch.no_grad()
@layouts
@families
def test_a_reward_model_reads_its_score_at_the_last_token(family: str, layout: Layout):
    network = tiny_network(family)
    reward = reward_from_policy(network, seed=0)
    outputs = RewardRole(reward, layout=layout)(GROUPS)
    assert outputs.values.numel() == 0
    for (prompt, response), own in zip(rows(GROUPS), outputs.scores, strict=True):
        expected = reward.score(states(network, prompt, response)[-1])
        torch.testing.assert_close(own[None], expected, atol=1e-5, rtol=0)


@torch.no_grad()
@layouts
@families
def test_a_reward_model_scores_prefixes_before_each_token_and_padding_at_zero(
    family: str, layout: Layout
):
    network = tiny_network(family)
    reward = reward_from_policy(network, seed=0)
    values = RewardRole(reward, layout=layout, prefixes=True)(GROUPS).values
    for (prompt, response), own in zip(rows(GROUPS), values, strict=True):
        expected = reward.score(states(network, prompt, response)[:-1])[:, 0]
        torch.testing.assert_close(own[: len(response)], expected, atol=1e-5, rtol=0)
        assert own[len(response) :].eq(0).all()
