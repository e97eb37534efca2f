"""Low-rank adapters (Hu 2021, arXiv:2106.09685): several roles on one frozen backbone.

Policy, critic and reward model are adapters with different names; the reference is the backbone
with all of them off, bit for bit the network before any was added.
"""

import copy
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import peft
import torch
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from palate.config.common import LoraConfig
from palate.models.build import seeded

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of names in PEFT's files
_BACKBONE = "palate_backbone"
_NOT_THE_BACKBONE = {
    "_name_or_path",
    "architectures",
    "dtype",
    "eos_token_id",
    "id2label",
    "label2id",
    "num_labels",
    "palate_center",
    "partial_rotary_factor",
    "problem_type",
    "rope_local_base_freq",
    "rope_theta",
    "transformers_version",
}
"""Keys of a configuration that hidden states do not depend on, or that others repeat."""


def add_adapter(
    network: PreTrainedModel, lora: LoraConfig, *, name: str, seed: int
) -> PreTrainedModel:
    """The network with a trainable adapter added in place and everything else frozen.

    An adapter starts as the identity (B = 0). The first one added is the one a plain forward uses;
    others take part only inside `adapter(network, name)`. Earlier adapters and a score head keep
    whether they train. Rank 0 adds nothing and returns the network with all weights trainable.
    """
    if lora.rank == 0:
        return network
    layers = _layers(network)
    if name in adapter_names(network):
        raise ValueError(f"the network already has an adapter {name!r}")
    kept = [
        parameter for layer in layers for parameter in _weights(layer) if parameter.requires_grad
    ]
    if isinstance(head := getattr(network, "score", None), nn.Module):
        kept += [parameter for parameter in head.parameters() if parameter.requires_grad]
    _inject(network, _peft_config(network, lora), name=name, seed=seed)
    network.requires_grad_(False)
    for parameter in [*kept, *adapter_parameters(network, name).values()]:
        parameter.requires_grad_(True)
    return network


def load_adapter(network: PreTrainedModel, folder: Path, *, name: str) -> dict[str, torch.Tensor]:
    """Add what `save_adapter` wrote, frozen; the file's other tensors (a head) are returned.

    As with `add_adapter`, it takes part only inside `adapter(network, name)`.
    """
    flags = {parameter: parameter.requires_grad for parameter in network.parameters()}
    _inject(
        network,
        cast("peft.LoraConfig", peft.LoraConfig.from_pretrained(str(folder))),
        name=name,
        seed=0,
    )
    state = {k.removeprefix(_PREFIX): tensor for k, tensor in load_file(folder / _WEIGHTS).items()}
    with torch.no_grad():
        for key, parameter in adapter_parameters(network, name).items():
            layer, _, kind = key.rpartition(".lora_")
            parameter.copy_(state.pop(f"{layer}.lora_{kind.replace(f'.{name}.', '.')}"))
    for parameter in network.parameters():
        parameter.requires_grad_(flags.get(parameter, False))
    return state


def backbone_hash(network: PreTrainedModel) -> str:
    """SHA-256 of a network's backbone, in hex: weights and configuration without adapters or head.

    Two networks with the same hash compute the same hidden states with their adapters off.
    """
    backbone = cast("PreTrainedModel", network.base_model)
    config = {k: v for k, v in backbone.config.to_dict().items() if k not in _NOT_THE_BACKBONE}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    plain = {key.replace(".base_layer.", "."): t for key, t in backbone.state_dict().items()}
    for key in sorted(key for key in plain if ".lora_" not in key):
        tensor = plain[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def saved_backbone_hash(folder: Path) -> str:
    """The hash of the backbone that a saved adapter belongs to; empty when it does not say."""
    if not (folder / _WEIGHTS).is_file():
        return ""
    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        return (file.metadata() or {}).get(_BACKBONE, "")


def adapter_names(network: nn.Module) -> list[str]:
    """The adapters of a network, sorted; empty for a plain network."""
    return sorted({name for layer in _layers(network) for name in layer.lora_A})


def adapter_parameters(network: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """One adapter's weights by their names in the network."""
    _check(network, name)
    return {
        key: parameter
        for prefix, layer in _named_layers(network).items()
        for key, parameter in layer.named_parameters(prefix)
        if key.startswith(f"{prefix}.lora_") and name in key.removeprefix(prefix).split(".")
    }


@contextmanager
def adapter(network: nn.Module, name: str) -> Iterator[None]:
    """The network computes with this adapter alone inside; what trains does not change."""
    _check(network, name)
    with _restored(network):
        _switch(network, lambda layer: layer.set_adapter(name))
        yield


@contextmanager
def adapters_off(network: nn.Module) -> Iterator[None]:
    """The network is its backbone inside (the reference); what trains does not change."""
    if not _layers(network):
        raise ValueError("the network has no adapters, so switching them off gives no reference")
    with _restored(network):
        _switch(network, lambda layer: layer.enable_adapters(False))
        yield


def merged_state(network: PreTrainedModel, name: str) -> dict[str, torch.Tensor]:
    """The state dict of the plain network whose weights are backbone plus adapter, W + s B A."""
    _check(network, name)
    layers = _named_layers(network)
    merged: dict[str, torch.Tensor] = {}
    for key, tensor in network.state_dict().items():
        if any(key.startswith(f"{prefix}.lora_") for prefix in layers):
            continue
        plain = key.replace(".base_layer.", ".")
        layer = layers.get(plain.removesuffix(".weight")) if plain.endswith(".weight") else None
        if layer is not None and name in layer.lora_A:
            # One matrix at a time: all of them at once would be one more copy of the weights.
            merged[plain] = tensor + layer.get_delta_weight(name).detach()
        else:
            merged[plain] = tensor
    return merged


def save_adapter(network: PreTrainedModel, folder: Path, name: str) -> None:
    """Write one adapter, with a score head if there is one, in PEFT's own format.

    It loads onto the same backbone, whose hash is in the file.
    """
    _check(network, name)
    # Otherwise PEFT looks for the base on the Hub to find out whether embeddings were resized.
    state = peft.get_peft_model_state_dict(network, adapter_name=name, save_embedding_layers=False)
    config = copy.copy(cast("dict[str, peft.LoraConfig]", network.peft_config)[name])
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules or ())
    if isinstance(head := getattr(network, "score", None), nn.Linear):
        config.modules_to_save = ["score"]
        state["score.weight"] = head.weight.detach()
    config.save_pretrained(str(folder))
    weights = {f"{_PREFIX}{key}": value.contiguous() for key, value in state.items()}
    metadata = {"format": "pt", _BACKBONE: backbone_hash(network)}
    save_file(weights, folder / _WEIGHTS, metadata=metadata)


def _inject(network: PreTrainedModel, config: peft.LoraConfig, *, name: str, seed: int) -> None:
    """Add an adapter that computes only when it is switched on, or when it is the first."""
    layers = _layers(network)
    active = layers[0].active_adapters if layers else [name]
    with seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        peft.inject_adapter_in_model(config, network, adapter_name=name)
    _switch(network, lambda layer: layer.set_adapter(active))


def _peft_config(network: PreTrainedModel, lora: LoraConfig) -> peft.LoraConfig:
    linear = _linear_layers(network)
    targets = [target.strip() for target in lora.targets.split(",")]
    if lora.targets == "all-linear":
        targets = linear
    for key, part in network.named_modules():
        aimed = any(key == target or key.endswith(f".{target}") for target in targets)
        if aimed and not isinstance(part, nn.Linear | Conv1D | LoraLayer):
            raise ValueError(
                f"adapters go on linear layers, and {key} is none: set lora.targets to some of "
                f"{', '.join(linear)}"
            )
    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=cast("int", lora.alpha),  # PEFT divides it by the rank and nothing else
        target_modules=targets,
        task_type="SEQ_CLS" if hasattr(network, "score") else "CAUSAL_LM",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
        base_model_name_or_path=network.name_or_path,
    )


def _linear_layers(network: PreTrainedModel) -> list[str]:
    """The linear layers below the head, by the last part of their names where that is enough.

    Unlike PEFT's `all-linear`, neither fused experts nor routers, which are no linear layers.
    """
    named = dict(cast("PreTrainedModel", network.base_model).named_modules())
    linear = {name for name, part in named.items() if isinstance(part, nn.Linear | Conv1D)}
    linear |= {name for name, part in named.items() if isinstance(part, LoraLinear)}
    inside = {name for name in linear if ".base_layer" not in name and ".lora_" not in name}
    others = {name.rpartition(".")[2] for name in named if name not in linear}
    return sorted({last if (last := n.rpartition(".")[2]) not in others else n for n in inside})


def _named_layers(network: nn.Module) -> dict[str, LoraLinear]:
    found = {
        key: module for key, module in network.named_modules() if isinstance(module, LoraLayer)
    }
    for key, layer in found.items():
        if not isinstance(layer, LoraLinear):
            raise ValueError(
                f"adapters go on linear layers, and {key} is none: change lora.targets"
            )
    return cast("dict[str, LoraLinear]", found)


def _layers(network: nn.Module) -> list[LoraLinear]:
    return list(_named_layers(network).values())


def _weights(layer: LoraLinear) -> list[nn.Parameter]:
    return [p for key, p in layer.named_parameters() if not key.startswith("base_layer.")]


def _check(network: nn.Module, name: str) -> None:
    names = adapter_names(network)
    if name not in names:
        raise ValueError(f"the network has no adapter {name!r}; it has {names or 'none'}")


def _switch(network: nn.Module, switch: Callable[[LoraLinear], None]) -> None:
    """Apply PEFT's switch to every layer, undoing what it does to requires_grad (peft #3447)."""
    for layer in _layers(network):
        flags = [(parameter, parameter.requires_grad) for parameter in _weights(layer)]
        switch(layer)
        for parameter, trains in flags:
            parameter.requires_grad_(trains)


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    before = {
        id(layer): (layer.active_adapters, not layer.disable_adapters) for layer in _layers(network)
    }

    def restore(layer: LoraLinear) -> None:
        active, enabled = before[id(layer)]
        layer.set_adapter(active)
        layer.enable_adapters(enabled)

    try:
        yield
    finally:
        _switch(network, restore)
