"""Adapters in PEFT's format: where they come from, and merging them into their base."""

from pathlib import Path
from typing import cast

from peft import PeftConfig, PeftModel
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

from palate.models.build import seeded
from palate.models.names import GGUF
from palate.store.errors import DataError

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of names in PEFT's files


def base_of(source: str) -> str:
    """The name of the model that an adapter is for; empty when `source` is no adapter."""
    if source.endswith(GGUF) or find_adapter_config_file(source) is None:
        return ""
    return str(PeftConfig.from_pretrained(source).base_model_name_or_path)


def has_tokenizer(source: str) -> bool:
    """Whether an adapter brings a tokenizer of its own along."""
    return _file(source, "tokenizer_config.json") is not None


def merged(network: PreTrainedModel, source: str) -> PreTrainedModel:
    """The base with an adapter merged into it, all of it trainable."""
    fit_vocabulary(network, source)
    with seeded(0):  # PEFT draws weights before it reads them
        whole = PeftModel.from_pretrained(network, source)
    return whole.merge_and_unload().requires_grad_(True)


def fit_vocabulary(network: PreTrainedModel, source: str) -> None:
    """Give the base as many tokens as an adapter saved embeddings for: PEFT reads no others."""
    rows = _saved_rows(network, source)
    if rows and rows != cast("nn.Embedding", network.get_input_embeddings()).num_embeddings:
        with seeded(0):
            network.resize_token_embeddings(rows, mean_resizing=False)


def _saved_rows(network: PreTrainedModel, source: str) -> int:
    """The number of tokens that an adapter has weights for; 0 when it has none of a token's."""
    tables = (network.get_input_embeddings(), network.get_output_embeddings())
    names = [f"{_PREFIX}{name}" for name, part in network.named_modules() if part in tables]
    axes = {f"{name}.weight": 0 for name in names}
    axes |= {f"{name}.modules_to_save.weight": 0 for name in names}
    axes |= {f"{name}.lora_B.weight": 0 for name in names}
    axes |= {f"{name}.lora_embedding_A": 1 for name in names}
    path = _file(source, _WEIGHTS)
    if path is None:
        raise DataError(
            f"the adapter has no {_WEIGHTS}, and palate reads no pickles",
            source=source,
            remedy="save the adapter with safetensors",
        )
    with safe_open(path, framework="pt") as file:
        keys = axes.keys() & set(file.keys())
        return max((file.get_slice(key).get_shape()[axes[key]] for key in keys), default=0)


def _file(source: str, name: str) -> Path | None:
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None
