"""Policies in and out of folders in the plain Hugging Face format."""

import copy
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
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

from palate.config.common import PromptConfig
from palate.models.adapters import adapter_names, merged_state, save_adapter
from palate.models.attention import products_for
from palate.models.build import (
    check_backbone,
    eos_ids_of,
    sampling_defaults,
    seeded,
    without_dropout,
)
from palate.models.gguf import NEEDED, as_in_file, dequantized, place_of
from palate.models.merging import base_of, has_tokenizer, merged
from palate.models.names import GGUF, PACKAGE, resolved
from palate.models.precision import has_fast_bf16
from palate.models.spelling import older_keys
from palate.models.tokens import Encoder, special_ids
from palate.store.errors import DataError
from palate.store.files import system_errors, temporary_beside, write_text

ADAPTER = "adapter"
"""The folder, inside a saved model's, of the adapter by itself."""

_HEAD = "score.weight"
"""The weights that a reward model has and a policy does not."""


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
    """The longest sequence in tokens that the positions allow; None without such a limit.

    Where rotary frequencies change with the longest sequence of a batch (LongRoPE, dynamic NTK), it
    is the length up to which they do not: beyond, scores would depend on neighbors.
    """
    config = network.config.get_text_config()
    # Absent from architectures without positions (ALiBi, state-space).
    limit = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    parts = [part for part in rope.values() if isinstance(part, dict)] or [rope]
    changing = [part for part in parts if part.get("rope_type") in ("longrope", "dynamic")]
    originals = (part.get("original_max_position_embeddings") for part in changing)
    return min((original for original in originals if original), default=limit)


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
    named, source = source, resolved(source)
    with reading(source):
        base = base_of(source)
    tokenizer_source = source
    if base:
        network = load_network(AutoModelForCausalLM, resolved(base))
        with reading(source):
            network = merged(network, source)
            tokenizer_source = source if has_tokenizer(source) else resolved(base)
    else:
        network = load_network(AutoModelForCausalLM, source)
    if named.startswith(PACKAGE):
        network.name_or_path = named  # the name that holds on other machines too
    tokenizer = read_tokenizer(tokenizer_source)
    check_vocabulary(network, tokenizer, source)
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
    config = read_config(source)
    with reading(source), place_of(source) as place, seeded(0):
        kept = dequantized() if place.keywords else nullcontext({})
        with kept as weights:
            loaded = kind.from_pretrained(
                place.name,
                config=without_dropout(config),
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **place.keywords,
                **weights,
            )
    network, info = cast("tuple[PreTrainedModel, dict[str, Collection[str]]]", loaded)
    network.name_or_path = source
    missing = sorted(info["missing_keys"])
    # With tied embeddings a reward model's backbone would pass for a policy.
    is_reward = _HEAD in info["unexpected_keys"]
    if missing or is_reward:
        raise DataError(
            _another_kind(is_reward, missing, type(network).__name__),
            source=source,
            remedy="name a policy where responses are written, a reward model where they are "
            "scored",
        )
    check_backbone(network)
    return network


def _another_kind(is_reward: bool, missing: list[str], wanted: str) -> str:
    if is_reward:
        return "this is a reward model, and a policy is wanted here"
    if missing == [_HEAD]:
        return "this is a policy, and a reward model is wanted here"
    return f"is not a {wanted}: it lacks {missing[0]}"


def check_vocabulary(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str
) -> None:
    """Raise if the tokenizer has a token that the network has no embedding for."""
    rows = cast("nn.Embedding", network.get_input_embeddings()).num_embeddings
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if beyond:
        first = min(beyond)
        raise DataError(
            f"the tokenizer has the token {beyond[first]!r} (id {first}), and the network has "
            f"embeddings for {rows} tokens only",
            source=source,
            remedy="resize the network (resize_token_embeddings(len(tokenizer))) and save both, "
            "or give the tokenizer that the network was trained with",
        )


def read_config(source: str) -> PreTrainedConfig:
    """The configuration of a resolved model; raises for weights that palate does not read."""
    with reading(source), place_of(source) as place:
        config = AutoConfig.from_pretrained(place.name, trust_remote_code=False, **place.keywords)
    quantization = getattr(config, "quantization_config", None)
    if quantization:
        kind = dict(quantization).get("quant_method", "an unknown method")
        raise DataError(
            f"the weights are quantized ({kind}), and palate trains fp32 weights",
            source=source,
            remedy="give the model that was not quantized",
        )
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickles = sorted(f.name for kind in ("*.bin", "*.pt", "*.pth") for f in folder.glob(kind))
        raise DataError(
            f"no weights in *.safetensors, and palate reads no pickles ({pickles[0]})"
            if pickles
            else "the folder has no weights (*.safetensors)",
            source=source,
            remedy="write the model with save_pretrained of transformers, or fetch it again",
        )
    return config


def read_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a resolved model, which splits text as in the model's training."""
    with reading(source), place_of(source) as place:
        tokenizer = AutoTokenizer.from_pretrained(
            place.name, trust_remote_code=False, **place.keywords
        )
        if place.keywords:
            as_in_file(tokenizer, source)
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
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first += f" {rest.strip().partition(chr(10))[0]}"
    return first.rstrip(". ")


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
        remedy="give the folder of a model, or the Hub name of one that you may read and reach; "
        "HF_HUB_OFFLINE=1 takes what was fetched before and asks nobody",
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
    adapted = adapter_names(network)
    state = merged_state(network, adapter) if adapted else network.state_dict()
    state |= dict(replaced)
    config = copy.deepcopy(config)
    config.architectures = [type(network).__name__]
    if _has_own_head(network, state):
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    network.save_pretrained(folder, state_dict=state)  # which empties the state
    config.save_pretrained(folder)
    path = folder / "config.json"
    keys = json.loads(path.read_text(encoding="utf-8")) | older_keys(config.get_text_config())
    write_text(path, json.dumps(keys, indent=2, sort_keys=True) + "\n")


def _has_own_head(network: PreTrainedModel, state: Mapping[str, torch.Tensor]) -> bool:
    """Whether the output projection is another matrix than the token embeddings."""
    parts = (network.get_input_embeddings(), network.get_output_embeddings())
    names = [f"{name}.weight" for name, part in network.named_modules() if part in parts]
    first, *others = [state[name] for name in names if name in state]
    return any(not torch.equal(first, other) for other in others)


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
