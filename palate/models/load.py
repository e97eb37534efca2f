"""Policies in and out of folders in the plain Hugging Face format."""

import copy
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.peft_utils import find_adapter_config_file

from palate.config.common import PromptConfig
from palate.models.adapters import adapter_names, merged_state, save_adapter
from palate.models.attention import products_for
from palate.models.build import eos_ids_of, sampling_defaults, seeded, without_dropout
from palate.models.gguf import NEEDED, dequantized, place_of, split_as_trained
from palate.models.names import GGUF, PACKAGE, resolved
from palate.models.precision import has_fast_bf16
from palate.models.tokens import Encoder, special_ids
from palate.store.errors import DataError
from palate.store.files import system_errors, temporary_beside

ADAPTER = "adapter"
"""The folder, inside a saved model's, of the adapter by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A policy and its tokenizer; `source` is the folder or Hub name they came from."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str

    def encoder(self, prompt: PromptConfig) -> Encoder:
        """The encoder of this policy: its tokenizer, the ids that end a response, its context."""
        return encoder_of(self.network, self.tokenizer, prompt)


def encoder_of(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig
) -> Encoder:
    """The encoder of a network and its tokenizer."""
    return Encoder(
        tokenizer, prompt, eos_ids=declared_eos_ids(network), context=context_of(network)
    )


def context_of(network: PreTrainedModel) -> int | None:
    """The longest sequence in tokens that the positions allow; None without such a limit."""
    # Absent from architectures without positions (ALiBi, state-space).
    return getattr(network.config.get_text_config(), "max_position_embeddings", None)


def declared_eos_ids(network: PreTrainedModel) -> frozenset[int]:
    """The end-of-sequence ids of the generation config (Llama 3 has several), or of the config."""
    own = eos_ids_of(network.config.get_text_config())
    if not network.can_generate() or network.generation_config is None:
        return own
    return eos_ids_of(network.generation_config) or own


def load_policy(source: str, *, device: torch.device | str = "cpu") -> LoadedModel:
    """A causal language model with fp32 weights and no dropout, in eval mode, all of it trainable.

    A PEFT adapter (a folder or Hub name with `adapter_config.json`) is merged into its base, so
    that it is also the reference that training starts from. `generate` samples from the model's
    own distribution. Code from the Hub never runs.
    """
    name, source = source, resolved(source)
    if source.endswith(GGUF):
        network = load_network(AutoModelForCausalLM, source)
        network.name_or_path = name if name.startswith(PACKAGE) else source
        tokenizer_source = source
    elif find_adapter_config_file(source) is None:
        network = load_network(AutoModelForCausalLM, source)
        tokenizer_source = source
    else:
        base = resolved(str(PeftConfig.from_pretrained(source).base_model_name_or_path))
        with seeded(0):  # PEFT draws weights before it reads them
            network = PeftModel.from_pretrained(load_network(AutoModelForCausalLM, base), source)
        network = network.merge_and_unload().requires_grad_(True)
        own = Path(source, "tokenizer_config.json").is_file()
        tokenizer_source = source if own else base
    tokenizer = read_tokenizer(tokenizer_source)
    eos = special_ids(tokenizer).eos
    if ends := declared_eos_ids(network) or ({eos} if eos is not None else set()):
        network.generation_config = sampling_defaults(tokenizer, ends)
    return LoadedModel(network=placed(network, device), tokenizer=tokenizer, source=source)


def save_policy(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    prompt_format: Literal["chat", "raw"],
    adapter: str = "policy",
) -> None:
    """Write a policy that plain transformers, pipelines and inference servers load as it is.

    The main weights have the adapter of that name merged, because that loads everywhere; the
    adapter by itself goes to `adapter/` in PEFT's format, because that is small to share. The
    generation config samples at temperature 1 without top-k and stops at every EOS id. A policy of
    raw prompts is saved without a chat template: it was not trained to follow one.
    """
    encoder = encoder_of(network, tokenizer, PromptConfig(format=prompt_format))
    tokenizer = copy.deepcopy(tokenizer)
    if prompt_format == "raw":
        tokenizer.chat_template = None
    with published(folder) as temporary:
        write_network(network, network.config, temporary, adapter=adapter)
        tokenizer.save_pretrained(temporary)
        sampling_defaults(tokenizer, encoder.eos_ids).save_pretrained(temporary)
        if adapter_names(network):
            save_adapter(network, temporary / ADAPTER, adapter)


def load_network(
    kind: type[AutoModelForCausalLM | AutoModelForSequenceClassification], source: str
) -> PreTrainedModel:
    """The network of a source as one kind; raises when the checkpoint lacks some of its weights."""
    with reading(source), place_of(source) as place, seeded(0):
        config = AutoConfig.from_pretrained(place.name, trust_remote_code=False, **place.keywords)
        with dequantized() if place.keywords else nullcontext({}) as weights:
            loaded = kind.from_pretrained(
                place.name,
                config=without_dropout(config),
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
                **place.keywords,
                **weights,
            )
    network, info = cast("tuple[PreTrainedModel, dict[str, Collection[str]]]", loaded)
    missing = sorted(info["missing_keys"])
    # With tied embeddings a reward model's backbone would pass for a policy.
    surplus = sorted({"score.weight"} & set(info["unexpected_keys"]))
    if missing or surplus:
        problem = f"lacks {missing[0]}" if missing else f"has {surplus[0]}"
        raise ValueError(f"{source} is not a {type(network).__name__}: it {problem}")
    return network


def read_config(source: str) -> PreTrainedConfig:
    """The configuration of a resolved model."""
    with reading(source), place_of(source) as place:
        return AutoConfig.from_pretrained(place.name, trust_remote_code=False, **place.keywords)


def read_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a resolved model, which splits text as in the model's training."""
    with reading(source), place_of(source) as place:
        tokenizer = AutoTokenizer.from_pretrained(
            place.name, trust_remote_code=False, **place.keywords
        )
        if place.keywords:
            split_as_trained(tokenizer, source)
    return tokenizer


@contextmanager
def reading(source: str) -> Iterator[None]:
    """What libraries raise about a model that they cannot read, as one line with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # the system's: a full disk, a file that may not be read
            raise
        raise unreadable(source, error) from error
    except ImportError as error:
        raise DataError(
            f"a package is missing that this model needs ({_first_line(error)})",
            source=source,
            remedy=NEEDED if source.endswith(GGUF) else "install that package",
        ) from error
    except SafetensorError as error:
        raise ValueError(
            f"the weights in {source} are damaged ({error}): fetch or write the model again"
        ) from error
    except DataError:
        raise
    except Exception as error:  # a library says what is wrong with a file in any way it likes
        raise DataError(
            f"the model cannot be read ({type(error).__name__}: {_first_line(error)})",
            source=source,
            remedy="fetch or write the model again; if it is whole, palate cannot train its kind",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(". ")


def unreadable(source: str, error: OSError) -> DataError:
    """What transformers says of a model that it cannot open, with what to do about it."""
    problem = _first_line(error)
    if Path(source).is_dir():
        return DataError(
            f"the model cannot be read ({problem})",
            source=source,
            remedy="repair config.json, or write or fetch the model again",
        )
    return DataError(
        f"no folder with a model, and not found on the Hub either ({problem})",
        source=source,
        remedy="give the folder of a model, or the Hub name of one that you may read and reach",
    )


def placed(network: PreTrainedModel, device: torch.device | str) -> PreTrainedModel:
    """The network on a device, in eval mode, with the attention kernel that is fastest there.

    On a CPU with fast bf16 that is matrix products (transformers' own for architectures that change
    attention): the backward pass of torch's fused kernel has no bf16 path
    (benchmarks/attention.py).
    """
    nn.Module.to(network, device)
    if torch.device(device).type == "cpu" and has_fast_bf16(torch.device(device)):
        network.set_attn_implementation(products_for(network))
    return network.eval()


def write_network(
    network: PreTrainedModel,
    config: PreTrainedConfig,
    folder: Path,
    *,
    adapter: str,
    replaced: Iterable[tuple[str, torch.Tensor]] = (),
) -> None:
    """Write weights (an adapter merged, some tensors replaced) and a configuration."""
    merged = merged_state(network, adapter) if adapter_names(network) else network.state_dict()
    network.save_pretrained(folder, state_dict=merged | dict(replaced))
    config.architectures = [type(network).__name__]
    config.save_pretrained(folder)


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the final name when the block ends without an exception."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder)
    temporary.mkdir()
    try:
        with system_errors(folder):
            yield temporary
    except BaseException:
        shutil.rmtree(temporary)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)
