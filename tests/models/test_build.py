"""Tokenizers and models born here."""

import pytest
import torch

from palate.config.stages import ArchitectureConfig
from palate.models.build import build_causal_lm, train_tokenizer

TEXTS = ["Two lattes are 13.50 please.", "Do you have oat milk? Yes, oat and soy."] * 20
TYPES = ["llama", "qwen3", "gpt2", "gemma2", "gemma3_text"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocabulary=320, chat="palate")


def architecture(type: str = "llama", **fields) -> ArchitectureConfig:
    sizes = {"hidden_size": 32, "layers": 2, "heads": 4, "intermediate_size": 64, "context": 64}
    return ArchitectureConfig(type=type, **(sizes | fields))


@pytest.mark.parametrize("chat", ["palate", "chatml"])
def test_the_same_texts_give_the_same_tokenizer(chat):
    one, two = (train_tokenizer(iter(TEXTS), vocabulary=320, chat=chat) for _ in range(2))
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    assert len(one) <= 320


@pytest.mark.parametrize("chat", ["palate", "chatml"])
def test_bos_eos_and_pad_are_three_tokens(chat):
    tokenizer = train_tokenizer(TEXTS, vocabulary=320, chat=chat)
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_decoding_gives_back_every_byte(tokenizer):
    text = "  caffe\u0301 \n\t\U0001f375 <user> \x00 13.50  "
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_digits_are_single_tokens(tokenizer):
    pieces = tokenizer.tokenize("13.50")
    assert pieces == ["1", "3", ".", "5", "0"]


def test_plain_text_begins_with_bos_once(tokenizer):
    assert tokenizer("oat milk")["input_ids"].count(tokenizer.bos_token_id) == 1
    assert tokenizer("oat milk")["input_ids"][0] == tokenizer.bos_token_id


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 263 entries"):
        train_tokenizer(TEXTS, vocabulary=260, chat="palate")


@pytest.mark.parametrize("type", TYPES)
def test_an_architecture_has_the_asked_shape_and_ids(type, tokenizer):
    network = build_causal_lm(architecture(type), tokenizer, seed=0)
    config = network.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 2, 4)
    assert config.max_position_embeddings == 64
    assert config.vocab_size == len(tokenizer) == len(network.get_input_embeddings().weight)
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    widest = max(p.shape[-1] for n, p in network.named_parameters() if "mlp" in n)
    assert widest in (64, 128)  # 128 where gate and up share a matrix
    for ids in (config, network.generation_config):
        assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (1, 2, 0)


@pytest.mark.parametrize("type", TYPES)
def test_training_mode_computes_what_evaluation_mode_computes(type, tokenizer):
    network = build_causal_lm(architecture(type), tokenizer, seed=0)
    ids = torch.arange(3, 40).reshape(1, -1)
    assert torch.equal(network.train()(ids).logits, network.eval()(ids).logits)


def test_weights_depend_on_the_seed_and_on_nothing_else(tokenizer):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = build_causal_lm(architecture(), tokenizer, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    two = build_causal_lm(architecture(), tokenizer, seed=5)
    other = build_causal_lm(architecture(), tokenizer, seed=6)
    pairs = list(zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_extra_fields_reach_the_configuration(tokenizer):
    chosen = architecture(extra={"rms_norm_eps": 1e-3, "num_key_value_heads": 2})
    config = build_causal_lm(chosen, tokenizer, seed=0).config
    assert (config.rms_norm_eps, config.num_key_value_heads) == (1e-3, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extra": {"rms_norm_epz": 1e-3}}, "did you mean 'rms_norm_eps'"),
        ({"type": "lama"}, "did you mean 'llama'"),
        ({"extra": {"attention_dropout": 0.1}}, "must be 0"),
        ({"hidden_size": 34}, "not a multiple"),
        ({"type": "qwen2"}, "not as it was trained"),
    ],
)
def test_what_cannot_be_built_is_refused_with_a_remedy(fields, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        build_causal_lm(architecture(**fields), tokenizer, seed=0)
