"""Reward models: the head, the token that is scored, the center, and what transformers reads."""

import copy

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from palate.batches.groups import token_group
from palate.config.common import LoraConfig, PromptConfig
from palate.config.stages import ArchitectureConfig
from palate.models.adapters import (
    adapter,
    adapter_names,
    adapter_parameters,
    adapters_off,
    add_adapter,
    backbone_hash,
)
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import load_policy, save_policy
from palate.models.reward_model import (
    ValueModel,
    critic_from,
    load_reward,
    reward_from_policy,
    save_reward,
    share_backbone,
)
from palate.models.roles import PolicyRole, RewardRole
from palate.store.errors import DataError

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
TYPES = ["llama", "gpt2", "qwen3", "gemma2"]
EOS = TOKENIZER.eos_token_id


def tiny(type: str = "llama", width: int = 32):
    architecture = ArchitectureConfig(
        type=type, hidden_size=width, layers=2, heads=4, intermediate_size=64, context=64
    )
    return build_causal_lm(architecture, TOKENIZER, seed=0)


SEQUENCES = [
    [1, 20, 21, 22, EOS],
    [1, 30, EOS, 31, 32, 33, 34, EOS],  # a turn that ended earlier
    [1, 40, 41],  # ran into the limit: no EOS
]


def expected_scores(reward) -> torch.Tensor:
    """The score at the last token, one sequence at a time and without padding."""
    with torch.no_grad():
        states = [reward.base_model(torch.tensor([ids]))[0][0, -1] for ids in SEQUENCES]
        return torch.cat([reward.score(state) for state in states])


def transformers_scores(network, pad_id: int) -> torch.Tensor:
    """What plain transformers says about the right-padded batch."""
    longest = max(map(len, SEQUENCES))
    ids = torch.tensor([s + [pad_id] * (longest - len(s)) for s in SEQUENCES])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in SEQUENCES])
    with torch.no_grad():
        return network(input_ids=ids, attention_mask=mask).logits.squeeze(-1)


@pytest.mark.parametrize("type", TYPES)
def test_the_backbone_is_the_policys(type):
    policy = tiny(type)
    reward = reward_from_policy(policy, seed=3)
    ids = torch.tensor(SEQUENCES[:1])
    torch.testing.assert_close(
        reward.base_model(ids)[0], policy.base_model(ids)[0], rtol=0, atol=1e-6
    )
    with torch.no_grad():
        reward.get_input_embeddings().weight += 1.0
    assert not torch.equal(
        reward.get_input_embeddings().weight, policy.get_input_embeddings().weight
    )


def test_the_head_is_drawn_with_variance_one_over_width_plus_one():
    width = 256
    policy = tiny(width=width)
    draws = torch.cat([reward_from_policy(policy, seed=s).score.weight[0] for s in range(20)])
    expected, n = (width + 1) ** -0.5, 20 * width
    assert abs(draws.std().item() - expected) < 3 * expected / (2 * n) ** 0.5
    assert abs(draws.mean().item()) < 3 * expected / n**0.5
    assert reward_from_policy(policy, seed=0).score.bias is None


def test_the_head_depends_on_the_seed_and_on_nothing_else():
    policy = tiny()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = reward_from_policy(policy, seed=3).score.weight
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(one, reward_from_policy(policy, seed=3).score.weight)
    assert not torch.equal(one, reward_from_policy(policy, seed=4).score.weight)


@pytest.mark.parametrize("type", TYPES)
def test_plain_transformers_reads_the_score_at_the_last_token(type, tmp_path):
    reward = reward_from_policy(tiny(type), seed=3)
    save_reward(reward, TOKENIZER, tmp_path / "reward", 0.0)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    torch.testing.assert_close(
        transformers_scores(plain, tokenizer.pad_token_id), expected_scores(reward),
        rtol=0, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("pad", [None, "<eos>"])
def test_where_padding_was_eos_a_saved_reward_model_gets_its_own(type, pad, tmp_path):
    reward = reward_from_policy(tiny(type), seed=3)
    expected = expected_scores(reward)
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.pad_token = pad
    reward.config.pad_token_id = EOS
    wrong = transformers_scores(reward, EOS)
    assert (wrong - expected)[:2].abs().min() > 1e-3  # what the folder must not do
    save_reward(reward, tokenizer, tmp_path / "reward", 0.0)
    saved = AutoTokenizer.from_pretrained(tmp_path / "reward")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    assert saved.pad_token_id not in (None, EOS)
    assert len(plain.get_input_embeddings().weight) == len(TOKENIZER) + 1
    torch.testing.assert_close(
        transformers_scores(plain, saved.pad_token_id), expected, rtol=0, atol=1e-5
    )
    assert reward.config.pad_token_id == EOS  # the live network is as it was
    assert tokenizer.pad_token == pad


def test_plain_transformers_reads_a_rendered_chat_as_we_do(tmp_path):
    reward = reward_from_policy(tiny(), seed=3)
    save_reward(reward, TOKENIZER, tmp_path / "reward", 0.0)
    loaded = load_reward(str(tmp_path / "reward"))
    turns = [{"role": "user", "content": "lattes"}, {"role": "assistant", "content": "Two"}]
    ids = loaded.tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
    assert ids[0, -1].item() in loaded.encoder(PromptConfig()).eos_ids
    hidden = loaded.network.base_model(ids)[0]
    torch.testing.assert_close(
        loaded.network(ids).logits[0], loaded.network.score(hidden[0, -1]), rtol=0, atol=1e-6
    )


def test_the_center_survives_saving_and_centers_the_reference(tmp_path):
    reward = reward_from_policy(tiny(), seed=3)
    center = expected_scores(reward).double().mean().item()
    save_reward(reward, TOKENIZER, tmp_path / "reward", center)
    loaded = load_reward(str(tmp_path / "reward"))
    assert loaded.center == center
    assert abs((expected_scores(loaded.network) - loaded.center).mean().item()) < 1e-6
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    assert plain.config.palate_center == center


def test_a_foreign_reward_model_has_center_zero(tmp_path):
    reward = reward_from_policy(tiny(), seed=3)
    reward.save_pretrained(tmp_path / "reward")
    TOKENIZER.save_pretrained(tmp_path / "reward")
    assert load_reward(str(tmp_path / "reward")).center == 0.0


def test_a_reward_model_remembers_every_id_that_ends_a_response(tmp_path):
    policy = tiny()
    policy.generation_config.eos_token_id = [EOS, 77]
    save_reward(reward_from_policy(policy, seed=3), TOKENIZER, tmp_path / "reward", 0.0)
    loaded = load_reward(str(tmp_path / "reward"))
    assert loaded.encoder(PromptConfig()).eos_ids == {EOS, 77}


def test_a_reward_adapter_is_saved_merged_and_the_head_trains_with_it(tmp_path):
    reward = reward_from_policy(tiny(), seed=3)
    add_adapter(reward, LoraConfig(rank=4), name="reward", seed=1)
    trained = {name for name, p in reward.named_parameters() if p.requires_grad}
    assert trained == {"score.weight", *adapter_parameters(reward, "reward")}
    with torch.no_grad():
        for parameter in adapter_parameters(reward, "reward").values():
            parameter.add_(0.1)
    save_reward(reward, TOKENIZER, tmp_path / "reward", 0.0)
    loaded = load_reward(str(tmp_path / "reward")).network
    torch.testing.assert_close(expected_scores(loaded), expected_scores(reward), rtol=0, atol=2e-6)


def test_policies_and_reward_models_are_not_taken_for_one_another(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    save_reward(reward_from_policy(tiny(), seed=3), TOKENIZER, tmp_path / "reward", 0.0)
    with pytest.raises(DataError, match="this is a policy, and a reward model is wanted here"):
        load_reward(str(tmp_path / "policy"))
    with pytest.raises(DataError, match="this is a reward model, and a policy is wanted here"):
        load_policy(str(tmp_path / "reward"))


def test_a_classifier_of_several_labels_is_no_reward_model(tmp_path):
    config = copy.deepcopy(tiny().config)
    config.num_labels = 3
    classifier = AutoModelForSequenceClassification.from_config(config)
    classifier.save_pretrained(tmp_path / "classes")
    with pytest.raises(ValueError, match="3 labels"):
        load_reward(str(tmp_path / "classes"))


def test_architectures_without_a_classifier_are_refused():
    with pytest.raises(ValueError, match="no sequence classifier for GraniteForCausalLM"):
        reward_from_policy(tiny("granite"), seed=0)


def test_a_policy_with_adapters_is_not_copied():
    policy = add_adapter(tiny(), LoraConfig(rank=2), name="policy", seed=0)
    with pytest.raises(ValueError, match="save it"):
        reward_from_policy(policy, seed=0)
    with pytest.raises(ValueError, match="share it"):
        critic_from(policy)


@pytest.mark.parametrize("type", TYPES)
def test_a_critic_starts_at_zero_on_its_own_copy_of_the_backbone(type):
    reward = reward_from_policy(tiny(type), seed=3).requires_grad_(False)
    state = torch.get_rng_state()
    critic = critic_from(reward)
    assert torch.equal(state, torch.get_rng_state())
    hidden = critic.backbone(torch.tensor(SEQUENCES[:1]))[0]
    torch.testing.assert_close(hidden, reward.base_model(torch.tensor(SEQUENCES[:1]))[0])
    assert torch.equal(critic.head(hidden), torch.zeros(1, 5, 1))
    assert all(parameter.requires_grad for parameter in critic.parameters())
    critic.head(hidden).sum().backward()
    assert critic.head.weight.grad.abs().sum() > 0
    ours, theirs = critic.backbone.state_dict(), reward.base_model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert {id(t) for t in critic.parameters()}.isdisjoint(id(t) for t in reward.parameters())


def test_a_critic_is_restored_from_its_state_dict():
    critic = critic_from(tiny())
    nn.init.normal_(critic.head.weight)
    other = critic_from(tiny())
    other.load_state_dict(critic.state_dict())
    ids = torch.tensor(SEQUENCES[:1])
    assert torch.equal(other.head(other.backbone(ids)[0]), critic.head(critic.backbone(ids)[0]))


def test_a_critic_can_share_the_policys_backbone():
    policy = tiny()
    critic = ValueModel(policy.base_model)
    assert critic.backbone is policy.base_model


GROUPS = [
    token_group("a", (1, 20, 21), ((22, EOS), (30, 31, 32, EOS), (5,))),
    token_group("b", (1, 40), ((41, 42, 43), (7, EOS))),
]


def move(network, name, *, seed=7):
    """Take an adapter away from the identity."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter_parameters(network, name).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))


def trained_adapter(policy, folder):
    """A reward model that was trained as an adapter of a policy's backbone, saved to a folder."""
    reward = reward_from_policy(policy, seed=3)
    add_adapter(reward, LoraConfig(rank=3, alpha=5.0), name="reward", seed=4)
    move(reward, "reward")
    save_reward(reward, TOKENIZER, folder, center=0.25)
    return str(folder)


@pytest.mark.parametrize("type", TYPES)
@torch.no_grad()
def test_a_reward_model_on_the_policys_backbone_scores_as_one_of_its_own(type, tmp_path):
    policy = tiny(type)
    source = trained_adapter(policy, tmp_path / "reward")
    own = load_reward(source)
    add_adapter(policy, LoraConfig(rank=2), name="policy", seed=1)
    move(policy, "policy", seed=8)
    before = PolicyRole(policy, layout="rows", temperature=1.0)(GROUPS)
    shared = share_backbone(policy, source, name="reward")
    assert shared is not None
    assert shared.network is policy
    assert shared.center == own.center == 0.25
    role = RewardRole(
        policy,
        layout="rows",
        head=shared.head,
        adapter="reward",
        scope=lambda: adapter(policy, "reward"),
    )
    scores = role(GROUPS).scores
    torch.testing.assert_close(
        scores, RewardRole(own.network, layout="rows")(GROUPS).scores, rtol=0, atol=2e-5
    )
    assert scores.std() > 0.05
    with adapters_off(policy):
        torch.testing.assert_close(
            policy.base_model(torch.tensor(SEQUENCES[:1]))[0],
            tiny(type).base_model(torch.tensor(SEQUENCES[:1]))[0],
            rtol=0,
            atol=0,
        )
    after = PolicyRole(policy, layout="rows", temperature=1.0)(GROUPS)
    assert torch.equal(before.logprobs, after.logprobs)


def test_a_shared_reward_model_is_frozen_and_leaves_what_trains_alone(tmp_path):
    policy = tiny()
    source = trained_adapter(policy, tmp_path / "reward")
    add_adapter(policy, LoraConfig(rank=2), name="policy", seed=1)
    shared = share_backbone(policy, source, name="reward")
    add_adapter(policy, LoraConfig(rank=2), name="critic", seed=2)
    assert shared is not None
    assert not shared.head.weight.requires_grad
    trains = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert trains == {
        *adapter_parameters(policy, "policy"),
        *adapter_parameters(policy, "critic"),
    }


def test_only_the_same_backbone_is_shared(tmp_path):
    source = trained_adapter(tiny(), tmp_path / "reward")
    other = tiny()
    with torch.no_grad():
        other.base_model.layers[1].mlp.up_proj.weight[0, 0] += 1e-7
    add_adapter(other, LoraConfig(rank=2), name="policy", seed=1)
    assert share_backbone(other, source, name="reward") is None
    assert adapter_names(other) == ["policy"]
    whole = reward_from_policy(tiny(), seed=3)
    save_reward(whole, TOKENIZER, tmp_path / "whole", 0.0)
    assert share_backbone(tiny(), str(tmp_path / "whole"), name="reward") is None


def test_the_hash_of_a_backbone_knows_no_heads_and_no_adapters(tmp_path):
    policy = tiny()
    plain = backbone_hash(policy)
    assert backbone_hash(reward_from_policy(policy, seed=3)) == plain
    add_adapter(policy, LoraConfig(rank=2), name="policy", seed=1)
    move(policy, "policy")
    assert backbone_hash(policy) == plain
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    assert backbone_hash(load_policy(str(tmp_path / "policy")).network) == plain
    policy.config.rope_parameters["rope_theta"] *= 2
    assert backbone_hash(policy) != plain


@torch.no_grad()
def test_the_saved_adapter_and_head_load_in_plain_peft(tmp_path):
    policy = tiny()
    source = trained_adapter(policy, tmp_path / "reward")
    save_policy(policy, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "policy", num_labels=1)
    both = PeftModel.from_pretrained(base, tmp_path / "reward" / "adapter").eval()
    merged = AutoModelForSequenceClassification.from_pretrained(source)
    for ids in SEQUENCES:
        both.config.pad_token_id = merged.config.pad_token_id
        one, other = (m(input_ids=torch.tensor([ids])).logits for m in (both, merged))
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
