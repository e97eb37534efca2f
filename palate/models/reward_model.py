"""Reward models and critics: a backbone with one linear output per token.

A reward model is transformers' own sequence classifier with one label, so its folder loads with
`AutoModelForSequenceClassification`. The score is read at the last token of prompt and response.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights

from palate.config.common import PromptConfig
from palate.models.adapters import (
    adapter_names,
    backbone_hash,
    load_adapter,
    save_adapter,
    saved_backbone_hash,
)
from palate.models.build import eos_field, seeded
from palate.models.load import (
    ADAPTER,
    check_vocabulary,
    declared_eos_ids,
    encoder_of,
    load_network,
    placed,
    published,
    read_config,
    read_tokenizer,
    write_network,
)
from palate.models.names import resolved
from palate.models.tokens import Encoder, special_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedReward:
    """A reward model: the reward is the score minus `center`, the reference's mean score.

    `network` is the classifier that has the `head`, or a policy whose backbone is shared.
    """

    network: PreTrainedModel
    head: nn.Module
    tokenizer: PreTrainedTokenizerBase
    center: float

    def encoder(self, prompt: PromptConfig) -> Encoder:
        """The encoder of this reward model."""
        return encoder_of(self.network, self.tokenizer, prompt)


class ValueModel(nn.Module):
    """A critic: a backbone and a value head that starts at zero (value of every state 0)."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.config.get_text_config().hidden_size
        with seeded(0):  # torch draws weights, which zeros then replace
            self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.head.to(backbone.device)


def critic_from(network: PreTrainedModel) -> ValueModel:
    """A critic with its own copy of a policy's or reward model's backbone, all of it trainable.

    To share the backbone instead, put `ValueModel(network.base_model)` on an adapter of it.
    """
    if adapter_names(network):
        raise ValueError("the network has adapters: share it, with ValueModel(network.base_model)")
    backbone = copy.deepcopy(cast("PreTrainedModel", network.base_model))
    return ValueModel(backbone.requires_grad_(True))


def reward_from_policy(network: PreTrainedModel, *, seed: int) -> PreTrainedModel:
    """A reward model of the same architecture with the policy's backbone and a fresh score head.

    The head is drawn from N(0, 1/(d+1)), standard deviation 1/sqrt(d+1) (Stiennon 2020,
    arXiv:2009.01325), and has no bias, which no comparison could train.
    """
    if adapter_names(network):
        raise ValueError("start a reward model from a plain policy: save it, which merges adapters")
    name = type(network).__name__
    if type(network.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ValueError(f"transformers has no sequence classifier for {name}")
    config = copy.deepcopy(network.config)
    config.num_labels = 1
    config.get_text_config().eos_token_id = eos_field(declared_eos_ids(network))
    with seeded(0), no_init_weights():
        reward = AutoModelForSequenceClassification.from_config(config)
    if type(reward.base_model) is not type(network.base_model) or not _has_score(reward):
        raise ValueError(f"{type(reward).__name__} is not {name}'s backbone with a `score` head")
    reward.base_model.load_state_dict(network.base_model.state_dict())
    width = reward.score.in_features
    with seeded(seed):
        nn.init.normal_(reward.score.weight, std=(width + 1) ** -0.5)
    return placed(reward, network.device)


def save_reward(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    center: float,
    *,
    adapter: str = "reward",
) -> None:
    """Write a reward model; `palate_center` in its config is what to subtract from its scores.

    The main weights have the adapter merged; by itself, with the head, it goes to `adapter/`.
    transformers reads the score before the trailing padding, found by id: where padding is an EOS
    id the folder gets a padding token of its own, or EOS would be skipped (transformers #35352).
    """
    config, tokenizer = copy.deepcopy(network.config), copy.deepcopy(tokenizer)
    config.palate_center = float(center)
    ids = special_ids(tokenizer)
    if ids.pad is None or ids.pad in declared_eos_ids(network) | {ids.eos}:
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    tokenizer.padding_side = "right"
    pad_id = special_ids(tokenizer).pad
    assert pad_id is not None
    text = config.get_text_config()
    text.pad_token_id = pad_id
    key, table = _embedding_table(network)
    missing = max(0, pad_id + 1 - len(table))
    text.vocab_size = len(table) + missing
    rows = torch.cat([table, table.new_zeros(missing, table.shape[1])])
    with published(folder) as temporary:
        write_network(network, config, temporary, adapter=adapter, replaced=[(key, rows)])
        tokenizer.save_pretrained(temporary)
        if adapter_names(network):
            save_adapter(network, temporary / ADAPTER, adapter)


def load_reward(source: str, *, device: torch.device | str = "cpu") -> LoadedReward:
    """A reward model with fp32 weights and no dropout, in eval mode; center 0 if it has none."""
    source = resolved(source)
    network = load_network(AutoModelForSequenceClassification, source)
    if not _has_score(network):
        raise ValueError(
            f"{source} is a {type(network).__name__} with {network.config.num_labels} labels: "
            "a reward model has one `score` per token"
        )
    tokenizer = read_tokenizer(source)
    check_vocabulary(network, tokenizer, source)
    return LoadedReward(
        network=placed(network, device),
        head=network.get_submodule("score"),
        tokenizer=tokenizer,
        center=_center(network.config),
    )


def share_backbone(network: PreTrainedModel, source: str, *, name: str) -> LoadedReward | None:
    """A reward model as one more adapter of a policy, frozen; its scores are the same to rounding.

    None when it was not trained as an adapter of exactly the policy's backbone.
    """
    folder = Path(resolved(source)) / ADAPTER
    known = saved_backbone_hash(folder)
    if not known or known != backbone_hash(network):
        return None
    weight = load_adapter(network, folder, name=name)["score.weight"]
    head = nn.utils.skip_init(nn.Linear, weight.shape[1], 1, bias=False).requires_grad_(False)
    head.load_state_dict({"weight": weight})
    return LoadedReward(
        network=network,
        head=head.to(network.device),
        tokenizer=read_tokenizer(source),
        center=_center(read_config(source)),
    )


def _center(config: PreTrainedConfig) -> float:
    return float(config.to_dict().get("palate_center", 0.0))


def _has_score(network: PreTrainedModel) -> bool:
    head = getattr(network, "score", None)
    return isinstance(head, nn.Linear) and head.out_features == 1


def _embedding_table(network: PreTrainedModel) -> tuple[str, torch.Tensor]:
    """The token embeddings and their name in the plain network's state dict."""
    module = network.get_input_embeddings()
    key = next(key for key, other in network.named_modules() if other is module)
    return f"{key}.weight", cast("nn.Embedding", module).weight.detach()
