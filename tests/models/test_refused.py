"""Models that palate does not train are refused in one line, by the stage and by doctor before."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from palate.batches.groups import token_group
from palate.config.common import LoraConfig as Lora
from palate.config.stages import ArchitectureConfig
from palate.models.adapters import adapter_names, add_adapter, save_adapter
from palate.models.build import build_causal_lm, train_tokenizer
from palate.models.forward import group_hidden
from palate.models.load import context_of, load_policy, save_policy
from palate.models.names import resolved
from palate.stages.doctor.blueprints import read_blueprint
from palate.store.errors import DataError

TOKENIZER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
LONGER = train_tokenizer(["Two lattes are 13.50 please."] * 20, vocabulary=300, chat="palate")
LONGER.add_tokens(["<think>", "</think>"])
ROWS = len(TOKENIZER)
LAST = torch.arange(ROWS + 2)[None, -9:]


def tiny(**extra):
    architecture = ArchitectureConfig(
        type="llama", hidden_size=32, layers=2, heads=4, intermediate_size=64, context=64,
        extra=extra,
    )  # fmt: skip
    return build_causal_lm(architecture, TOKENIZER, seed=0)


@pytest.fixture
def folder(tmp_path) -> Path:
    save_policy(tiny(), TOKENIZER, tmp_path / "m", prompt_format="chat")
    return tmp_path / "m"


def edit(folder: Path, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(source: Path, words: str) -> None:
    for read in (load_policy, read_blueprint):
        with pytest.raises((DataError, ValueError), match=words) as raised:
            read(str(source))
        assert "\n" not in str(raised.value)


def test_a_token_without_an_embedding_is_refused_by_its_name(folder):
    LONGER.save_pretrained(folder)
    refused(folder, rf"token '<think>' \(id {ROWS}\).*embeddings for {ROWS} tokens.*Remedy: resize")


@pytest.mark.parametrize("method", ["bitsandbytes", "awq", "gptq"])
def test_quantized_weights_are_refused_by_their_method(folder, method):
    edit(folder, quantization_config={"quant_method": method, "load_in_4bit": True})
    refused(folder, rf"quantized \({method}\).*Remedy: give the model that was not quantized")


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    torch.save(tiny().state_dict(), folder / "pytorch_model.bin")
    refused(folder, r"no weights in \*\.safetensors.*no pickles \(pytorch_model\.bin\)")


def test_an_architecture_without_a_backbone_of_its_own_is_refused(tmp_path):
    config = AutoConfig.for_model(
        "llama4_text", num_local_experts=2, hidden_size=32, intermediate_size=64,
        intermediate_size_mlp=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=8, vocab_size=ROWS, pad_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    TOKENIZER.save_pretrained(tmp_path / "m")
    refused(tmp_path / "m", "palate cannot train llama4_text")


def peft_adapter(folder: Path, base: Path, tokenizer, **settings) -> Path:
    network = AutoModelForCausalLM.from_pretrained(base)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network = get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj"], **settings))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * len(name))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        logits = network.merge_and_unload()(LAST).logits
    torch.save(logits, folder / "expected.pt")
    return folder


@pytest.mark.parametrize("modules", [["embed_tokens", "lm_head"], ["lm_head"]])
def test_an_adapter_over_a_longer_vocabulary_brings_its_embeddings_and_tokenizer(tmp_path, modules):
    base = tmp_path / "base"
    save_policy(tiny(tie_word_embeddings=False), TOKENIZER, base, prompt_format="chat")
    source = peft_adapter(tmp_path / "a", base, LONGER, modules_to_save=modules)
    loaded = load_policy(str(source))
    assert len(loaded.tokenizer) == ROWS + 2
    with torch.no_grad():
        logits = loaded.network(LAST).logits
    if len(modules) == 2:
        torch.testing.assert_close(logits, torch.load(source / "expected.pt"))
    blueprint = read_blueprint(str(source))
    assert blueprint is not None
    assert len(blueprint.tokenizer) == ROWS + 2
    assert blueprint.outline.get_input_embeddings().num_embeddings == ROWS + 2


def test_an_adapter_with_a_longer_tokenizer_and_no_embeddings_for_it_is_refused(tmp_path, folder):
    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=2, target_modules=["q_proj"])
    )
    network.save_pretrained(tmp_path / "a")
    LONGER.save_pretrained(tmp_path / "a")
    refused(tmp_path / "a", r"token '<think>'")


def test_a_pickled_adapter_is_not_read(tmp_path, folder):
    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=2, target_modules=["q_proj"])
    )
    network.save_pretrained(tmp_path / "a")
    (tmp_path / "a/adapter_model.safetensors").rename(tmp_path / "a/adapter_model.bin")
    refused(tmp_path / "a", r"no adapter_model\.safetensors.*no pickles")


@pytest.mark.parametrize(
    "name", ["nope", "model.gguf", "org/model.safetensors", "a/b/c", "./x", ""]
)
def test_a_wrong_name_never_goes_to_the_hub(name):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        resolved(name)


def test_a_name_of_the_hub_is_left_as_it_is():
    assert resolved("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"


def mixture():
    config = AutoConfig.for_model(
        "qwen3_moe", hidden_size=32, intermediate_size=64, moe_intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, head_dim=8,
        num_experts=4, num_experts_per_tok=2, vocab_size=ROWS, pad_token_id=0,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def test_adapters_of_a_mixture_of_experts_go_on_its_linear_layers():
    network = add_adapter(mixture(), Lora(rank=2), name="policy", seed=0)
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in network.named_parameters()
               if ".lora_" in name}  # fmt: skip
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_an_adapter_on_fused_experts_is_refused_with_the_names_that_work():
    with pytest.raises(
        ValueError, match=r"experts is none: set lora\.targets to some of k_proj, o"
    ):
        add_adapter(mixture(), Lora(rank=2, targets="experts"), name="policy", seed=0)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_scores_do_not_depend_on_neighbors_where_rotary_frequencies_change_with_length(kind):
    factors = {"short_factor": [1.0] * 4, "long_factor": [9.0] * 4}
    rope = {"rope_type": kind, "rope_theta": 1e4, "original_max_position_embeddings": 32}
    config = tiny().config
    config.rope_parameters = rope | (factors if kind == "longrope" else {"factor": 2.0})
    network = AutoModelForCausalLM.from_config(config)
    assert context_of(network) == 32
    short = token_group("a", (5, 6), ((7, 2),))
    long = token_group("b", tuple(range(3, 30)), ((9, 8, 7, 6, 2),))
    with torch.no_grad():
        alone = group_hidden(network, [short], layout="rows").states[0]
        beside = group_hidden(network, [short, long], layout="rows").states[0, :2]
        after = group_hidden(network, [short], layout="rows").states[0]
    torch.testing.assert_close(beside, alone)
    torch.testing.assert_close(after, alone)


def test_a_separate_head_is_declared_in_the_configuration(tmp_path):
    network = tiny()
    add_adapter(network, Lora(rank=2, targets="q_proj,lm_head"), name="policy", seed=0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    save_policy(network, TOKENIZER, tmp_path / "m", prompt_format="chat")
    assert json.loads((tmp_path / "m/config.json").read_text())["tie_word_embeddings"] is False
    assert network.config.tie_word_embeddings is True
    ids = torch.arange(9)[None]
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m")(ids).logits
        torch.testing.assert_close(plain, network(ids).logits)


def test_tied_weights_stay_declared_as_tied(folder):
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_rotary_settings_are_written_in_both_spellings(tmp_path):
    network = tiny(rope_theta=1e6)
    save_policy(network, TOKENIZER, tmp_path / "m", prompt_format="chat")
    config = json.loads((tmp_path / "m/config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 1e6
    assert load_policy(str(tmp_path / "m")).network.config.rope_parameters["rope_theta"] == 1e6


def test_a_saved_adapter_holds_its_own_weights_alone(tmp_path):
    network = tiny()
    add_adapter(network, Lora(rank=2, targets="q_proj,lm_head"), name="policy", seed=0)
    save_adapter(network, tmp_path / "a", "policy")
    from safetensors import safe_open

    assert adapter_names(network) == ["policy"]
    with safe_open(tmp_path / "a/adapter_model.safetensors", framework="pt") as file:
        assert all(".lora_" in key for key in file.keys())  # noqa: SIM118
