"""Policies to folders and back: ours, plain transformers and PEFT read the same network."""

import copy
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from palate.config.common import LoraConfig, PromptConfig
from palate.config.stages import ArchitectureConfig
from palate.models.adapters import adapter_parameters, add_adapter, save_adapter
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.load import LoadedModel, encoder_of, load_policy, save_policy
from palate.records import user_prompt
from palate.store.errors import DataError

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
IDS = torch.arange(3, 63).reshape(4, 15)


def tiny(type: str = "llama", seed: int = 0):
    architecture = ArchitectureConfig(
        type=type, hidden_size=32, layers=2, heads=4, intermediate_size=64, context=64
    )
    return build_causal_lm(architecture, TOKENIZER, seed=seed)


def logits(network) -> torch.Tensor:
    with torch.no_grad():
        return network(IDS).logits


def with_adapter(network):
    add_adapter(network, LoraConfig(rank=4), name="policy", seed=1)
    with torch.no_grad():
        for parameter in adapter_parameters(network, "policy").values():
            parameter.add_(0.1)
    return network


@pytest.mark.parametrize("type", ["llama", "gpt2", "qwen3", "gemma2"])
def test_a_saved_policy_is_the_same_network_for_us_and_for_plain_transformers(type, tmp_path):
    network = tiny(type)
    save_policy(network, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    ours = load_policy(str(tmp_path / "policy"))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    torch.testing.assert_close(logits(ours.network), logits(network), rtol=0, atol=1e-6)
    torch.testing.assert_close(logits(plain), logits(network), rtol=0, atol=1e-6)
    weights = ours.network.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())


def test_a_saved_policy_brings_its_tokenizer_template_and_sampling_settings(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert tokenizer.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
    assert tokenizer.chat_template == TOKENIZER.chat_template
    settings = json.loads((tmp_path / "policy" / "generation_config.json").read_text())
    assert settings.items() >= {
        "do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }.items()  # fmt: skip


def test_a_pipeline_chats_with_a_saved_policy(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    chat = pipeline("text-generation", model=str(tmp_path / "policy"))
    turns = chat([{"role": "user", "content": "Hi"}], max_new_tokens=3)[0]["generated_text"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"]


def test_a_policy_of_raw_prompts_is_saved_without_a_chat_template(tmp_path):
    tokenizer = copy.deepcopy(TOKENIZER)
    save_policy(tiny(), tokenizer, tmp_path / "policy", prompt_format="raw")
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").chat_template is None
    assert tokenizer.chat_template == TOKENIZER.chat_template


def test_every_id_that_ends_a_response_is_saved_and_loaded(tmp_path):
    network = tiny()
    network.generation_config.eos_token_id = [2, 77]
    save_policy(network, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    loaded = load_policy(str(tmp_path / "policy"))
    assert loaded.encoder(PromptConfig()).eos_ids == {2, 77}
    assert loaded.encoder(PromptConfig()).context == 64


def test_published_settings_that_could_not_be_saved_again_are_replaced(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    settings = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 77]}
    (tmp_path / "policy" / "generation_config.json").write_text(json.dumps(settings))
    loaded = load_policy(str(tmp_path / "policy"))
    generation = loaded.network.generation_config
    assert (generation.do_sample, generation.temperature, generation.top_p) == (True, 1.0, 1.0)
    save_policy(loaded.network, loaded.tokenizer, tmp_path / "again", prompt_format="chat")
    saved = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [2, 77]


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(tmp_path):
    for seed in (0, 1):
        save_policy(tiny(seed=seed), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    loaded = load_policy(str(tmp_path / "policy"))
    assert torch.allclose(logits(loaded.network), logits(tiny(seed=1)), atol=1e-5)


def test_a_failed_save_leaves_the_old_folder_alone(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    with pytest.raises(ValueError, match="no adapter 'other'"):
        save_policy(
            with_adapter(tiny(seed=1)),
            TOKENIZER,
            tmp_path / "policy",
            prompt_format="chat",
            adapter="other",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert torch.allclose(
        logits(load_policy(str(tmp_path / "policy")).network), logits(tiny()), atol=1e-5
    )


def test_a_policy_with_an_adapter_is_saved_merged_and_its_adapter_beside(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "base", prompt_format="chat")
    network = with_adapter(load_policy(str(tmp_path / "base")).network)
    before = logits(network)
    save_policy(network, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    assert torch.equal(logits(network), before)
    for source in (tmp_path / "policy", tmp_path / "policy" / "adapter"):
        loaded = load_policy(str(source))
        torch.testing.assert_close(logits(loaded.network), before, rtol=0, atol=2e-6)
        assert loaded.tokenizer.chat_template == TOKENIZER.chat_template


def test_a_loaded_adapter_is_a_plain_network_of_which_everything_trains(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "base", prompt_format="chat")
    save_adapter(
        with_adapter(load_policy(str(tmp_path / "base")).network), tmp_path / "a", "policy"
    )
    network = load_policy(str(tmp_path / "a")).network
    assert type(network) is type(tiny())
    assert list(network.state_dict()) == list(tiny().state_dict())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_loaded_weights_are_fp32_without_dropout_in_eval_mode(tmp_path):
    save_policy(tiny("gpt2").bfloat16(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    config = json.loads((tmp_path / "policy" / "config.json").read_text())
    (tmp_path / "policy" / "config.json").write_text(json.dumps(config | {"resid_pdrop": 0.5}))
    network = load_policy(str(tmp_path / "policy")).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not network.training
    assert torch.equal(logits(network.train()), logits(network.eval()))


def test_loading_leaves_the_global_generator_alone(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "base", prompt_format="chat")
    network = with_adapter(load_policy(str(tmp_path / "base")).network)
    save_policy(network, TOKENIZER, tmp_path / "policy", prompt_format="chat")
    state = torch.get_rng_state()
    load_policy(str(tmp_path / "policy" / "adapter"))
    assert torch.equal(state, torch.get_rng_state())


def test_a_loaded_policy_encodes_what_it_was_saved_with(tmp_path):
    save_policy(tiny(), TOKENIZER, tmp_path / "policy", prompt_format="chat")
    loaded = load_policy(str(tmp_path / "policy"))
    mine = LoadedModel(network=tiny(), tokenizer=TOKENIZER, source="")
    prompt = user_prompt("Two lattes?")
    for encoder in (loaded.encoder(PromptConfig()), mine.encoder(PromptConfig())):
        ids = encoder.encode_prompt(prompt).ids
        assert TOKENIZER.decode(ids) == "<bos><user>Two lattes?<assistant>"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./nowhere", "run the stage that writes it"),
        ("runs/demo/01-sft", "run the stage that writes it"),
        ("", "run the stage that writes it"),
        ("{folder}", r"no config\.json"),
    ],
)
def test_a_source_without_a_model_is_refused_with_a_remedy(source, message, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=message):
        load_policy(source.format(folder=tmp_path))


def saved(tmp_path: Path) -> Path:
    save_policy(tiny(), TOKENIZER, tmp_path / "model", prompt_format="chat")
    return tmp_path / "model"


def test_damaged_weights_are_refused_with_a_remedy(tmp_path: Path):
    weights = saved(tmp_path) / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\xff" * 64 + whole[64:], b""):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"are damaged .*fetch or write the model again"):
            load_policy(str(weights.parent))


def test_a_broken_configuration_is_refused_with_a_remedy(tmp_path: Path):
    folder = saved(tmp_path)
    (folder / "config.json").write_text('{"model_type": "llama",')
    with pytest.raises(DataError, match=r"cannot be read.*Remedy: repair config\.json"):
        load_policy(str(folder))


def test_a_name_that_the_hub_does_not_have_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"not found on the Hub either.*Remedy: give the folder"):
        load_policy("nobody/no-such-model-at-all")


def test_a_default_eos_that_is_a_word_of_the_tokenizer_is_no_eos():
    """Llama's configuration declares id 2 when nobody says anything else."""
    bare = copy.deepcopy(TOKENIZER)
    bare.eos_token = None
    network = tiny()
    network.config.eos_token_id = network.generation_config.eos_token_id = 100
    with pytest.raises(ValueError, match=r"no end-of-sequence.*set eos_token in its tok"):
        encoder_of(network, bare, PromptConfig(format="raw"))
    assert encoder_of(network, TOKENIZER, PromptConfig(format="raw")).eos_ids >= {100}
