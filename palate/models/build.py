"""Tokenizers and causal language models born here: byte-level BPE and any transformers type."""

import dataclasses
import difflib
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    TokenizersBackend,
)

from palate.config.stages import ArchitectureConfig
from palate.models.tokens import special_ids


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """A chat template and the special tokens it is written in.

    Both templates here are prefix-preserving (a longer conversation starts with the rendering of
    a shorter one), write BOS once, and end every assistant turn with EOS and nothing after it.
    """

    eos: str
    markers: tuple[str, ...]
    template: str


CHATS: dict[str, ChatFormat] = {
    "palate": ChatFormat(
        eos="<eos>",
        markers=("<system>", "<user>", "<assistant>", "<tool>"),
        template=(
            "{{ bos_token }}"
            "{% for message in messages %}"
            "{{ '<' + message['role'] + '>' + message['content'] }}"
            "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
            "{% endfor %}"
            "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
        ),
    ),
    # The newline between turns opens the next turn instead of closing the last one: conversations
    # render as usual, and the text still ends at the end-of-turn token, where scores are read.
    "chatml": ChatFormat(
        eos="<|im_end|>",
        markers=("<|im_start|>",),
        template=(
            "{{ bos_token }}"
            "{% for message in messages %}"
            "{{ ('' if loop.first else '\\n') + '<|im_start|>' + message['role'] + '\\n' }}"
            "{{ message['content'] + '<|im_end|>' }}"
            "{% endfor %}"
            "{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
        ),
    ),
}


def train_tokenizer(
    texts: Iterable[str], *, vocabulary: int, chat: Literal["palate", "chatml"]
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` entries with its chat template installed.

    Nothing is normalized, so decoding gives back every byte; digits are single tokens, so that
    13.50 and 13.75 share their parts. The same texts in the same order give the same tokenizer.
    """
    style = CHATS[chat]
    specials = ["<pad>", "<bos>", style.eos, *style.markers]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + len(specials):
        raise ValueError(
            f"a byte-level vocabulary needs at least {len(alphabet) + len(specials)} entries "
            f"(256 bytes and {len(specials)} special tokens), got {vocabulary}"
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=specials,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    # tokenizer(text) begins with BOS, as raw prompts and pretraining documents do.
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",
        eos_token=style.eos,
        pad_token="<pad>",
        chat_template=style.template,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights made on the CPU inside are drawn from `seed`; global generators stay untouched."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed every accelerator.
        torch.default_generator.manual_seed(seed)
        yield


def without_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same configuration, changed in place so that every dropout probability in it is 0."""
    for part in (config, config.get_text_config()):
        for name, value in part.to_dict().items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
    return config


def eos_field(eos_ids: Iterable[int]) -> int | list[int]:
    """End-of-sequence ids as configurations spell them: one id, or a list."""
    ends = sorted(eos_ids)
    return ends[0] if len(ends) == 1 else ends


def eos_ids_of(config: PreTrainedConfig | GenerationConfig) -> frozenset[int]:
    """The end-of-sequence ids that a configuration declares: none, one or several."""
    ids = config.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def sampling_defaults(
    tokenizer: PreTrainedTokenizerBase, eos_ids: Collection[int]
) -> GenerationConfig:
    """Settings under which `generate` draws from the model's own distribution until an EOS id."""
    ids = special_ids(tokenizer)
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,  # transformers' own default keeps only 50 tokens
        bos_token_id=ids.bos,
        eos_token_id=eos_field(eos_ids),
        pad_token_id=min(eos_ids) if ids.pad is None else ids.pad,
    )


# What transformers configurations call the same thing, where `attribute_map` does not say it.
_ALIASES = {
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "max_position_embeddings": ("max_position_embeddings", "max_seq_len", "seq_length"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads"),
}


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return close[0]


def _shape(architecture: ArchitectureConfig, vocabulary: int) -> dict[str, int]:
    width, rest = divmod(architecture.hidden_size, architecture.heads)
    if rest:
        raise ValueError(
            f"hidden_size={architecture.hidden_size} is not a multiple of "
            f"heads={architecture.heads}"
        )
    return {
        "vocab_size": vocabulary,
        "hidden_size": architecture.hidden_size,
        "num_hidden_layers": architecture.layers,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.heads,
        "head_dim": width,
        "query_pre_attn_scalar": width,
        "intermediate_size": architecture.intermediate_size,
        "max_position_embeddings": architecture.context,
    }


def _check_extra(architecture: ArchitectureConfig, known: set[str]) -> None:
    for name, value in architecture.extra.items():
        if name not in known:
            raise ValueError(
                f"{architecture.type} has no configuration field {name!r}; "
                f"did you mean {_nearest(name, known)!r}?"
            )
        if "drop" in name and value:
            raise ValueError(
                f"{name} must be 0: sampling and training have to see one distribution"
            )


def configuration(
    architecture: ArchitectureConfig, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedConfig:
    """The transformers configuration of an architecture, with the tokenizer's size and ids.

    Architectures that fix their feed-forward width, or have no longest sequence, keep their own.
    """
    if architecture.type not in CONFIG_MAPPING:
        nearest = _nearest(architecture.type, CONFIG_MAPPING.keys())
        raise ValueError(
            f"transformers has no model type {architecture.type!r}; did you mean {nearest!r}?"
        )
    defaults = AutoConfig.for_model(architecture.type)
    known = {*defaults.to_dict(), *defaults.attribute_map}
    if "rope_parameters" in known:
        known.add("rope_theta")
    _check_extra(architecture, known)
    fields: dict[str, str | int | float | bool | None] = {}
    for name, value in _shape(architecture, len(tokenizer)).items():
        spelled = [alias for alias in _ALIASES.get(name, (name,)) if alias in known]
        fields |= dict.fromkeys(spelled[:1], value)
    ids = special_ids(tokenizer)
    fields |= {"bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad}
    fields["tie_word_embeddings"] = True
    return without_dropout(AutoConfig.for_model(architecture.type, **(fields | architecture.extra)))


def build_causal_lm(
    architecture: ArchitectureConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> PreTrainedModel:
    """A random causal language model: fp32, on the CPU, no dropout, tied embeddings."""
    config = configuration(architecture, tokenizer)
    _check_reloads(config, tokenizer)
    with seeded(seed):
        network = AutoModelForCausalLM.from_config(config)
    check_backbone(network)
    network.generation_config = sampling_defaults(tokenizer, eos_ids_of(config))
    return network.eval()


def check_backbone(network: PreTrainedModel) -> None:
    """Raise for a causal language model that does not name its part below the vocabulary."""
    if network.base_model is network:
        raise ValueError(
            f"palate cannot train {network.config.model_type}: transformers does not tell its "
            "backbone from its head"
        )


def _check_reloads(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise if a folder of this model type would not give back its own tokenizer.

    For some model types transformers rebuilds every tokenizer with the published models' splitting
    rules, so that a tokenizer trained here would silently split text in another way.
    """
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    before, after = (cast("TokenizersBackend", t).backend_tokenizer for t in (tokenizer, loaded))
    if before.to_str() != after.to_str():
        raise ValueError(
            f"transformers loads the tokenizer of a {config.model_type} folder as "
            f"{type(loaded).__name__}, not as it was trained: choose another architecture.type "
            "(llama, qwen3, gpt2, gemma2, ...)"
        )
