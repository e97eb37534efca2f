"""One forward pass over groups: hidden states where response tokens are predicted, and their scores.

The prompt of a group is computed once where the network can attend to a tree; the vocabulary
projection runs at response positions only, in chunks. The shift between logits and tokens happens
here and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.maths.logprobs import entropy, selected_logprobs
from palate.maths.shapes import PerToken, TokenIds, TokenMask
from palate.models.layout import Layout, Rows, choose, lay_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What a backbone knows about N responses of at most T tokens.

    `states[i, t]` is the final hidden state that predicts token t of response i, `last[i]` the one
    at its last token. `mask` is True where the response has a token; behind it `states` and
    `targets` hold arbitrary finite values.
    """

    states: Tensor
    targets: TokenIds
    mask: TokenMask
    last: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """Log-probabilities of response tokens (nats); 0 where there is no token."""

    logprobs: PerToken


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScoresWithEntropy:
    """Log-probabilities of response tokens and the entropies that they were drawn under (nats)."""

    logprobs: PerToken
    entropy: PerToken


def backbone_of(network: PreTrainedModel) -> PreTrainedModel:
    """The transformer without its head; adapters inside it stay."""
    backbone = network.base_model
    # A PeftModel's base model is its tuner, whose base model is the backbone.
    return backbone if isinstance(backbone, PreTrainedModel) else backbone.base_model


def group_hidden(
    network: PreTrainedModel, groups: Sequence[TokenGroup], *, layout: Layout
) -> Hidden:
    """Hidden states of all responses of the groups, in order, in one forward pass.

    `layout` is the most that the network can take (`supports_tree`); the cheaper one is used.
    """
    chosen = choose(groups, layout=layout)
    return hidden_of(network, lay_out(groups, layout=chosen, pad_id=0, device=network.device))


def hidden_of(network: PreTrainedModel, rows: Rows) -> Hidden:
    """Hidden states of the responses in some rows."""
    backbone = backbone_of(network)
    if rows.layout == "rows":
        # Padding follows the text, so that causal attention alone never sees it. The mask of ones
        # says so: without one, some architectures warn about padding.
        output = backbone(
            input_ids=rows.ids, attention_mask=torch.ones_like(rows.ids), use_cache=False
        )
    else:
        masks = attention_masks(backbone, rows.visible(), rows.distance())
        output = backbone(
            input_ids=rows.ids, attention_mask=masks, position_ids=rows.positions, use_cache=False
        )
    states = output.last_hidden_state.flatten(0, 1)
    return Hidden(
        states=nn.functional.embedding(rows.predicts, states),
        targets=rows.targets,
        mask=rows.mask,
        last=states[rows.last],
    )


def attention_masks(
    backbone: PreTrainedModel, visible: Tensor, distance: Tensor
) -> Tensor | dict[str, Tensor]:
    """Additive [row, 1, query, key] masks as transformers takes them, one per kind of layer.

    A key in the sliding window of a layer is less than `sliding_window` positions before the query.
    """
    config = backbone.config
    full = _additive(visible, backbone.dtype)
    window = _sliding_window(config)
    if window is None:
        return full
    sliding = _additive(visible & (distance < window), backbone.dtype)
    if _layer_types(config):
        return {"full_attention": full, "sliding_attention": sliding}
    return sliding


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    hidden = torch.finfo(dtype).min
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, hidden).unsqueeze(1)


def _sliding_window(config: PreTrainedConfig) -> int | None:
    # Only architectures with sliding layers have the field.
    return getattr(config, "sliding_window", None)


def _layer_types(config: PreTrainedConfig) -> list[str]:
    return getattr(config, "layer_types", None) or []


def token_logits(network: PreTrainedModel, states: Tensor, *, temperature: float) -> Tensor:
    """fp32 next-token logits divided by the temperature, as the network itself makes them.

    Covers heads that soft-cap (Gemma 2) or scale (Cohere, Granite); `supports_tree` checks.
    """
    logits = network.get_output_embeddings()(states).float()
    config = network.config.get_text_config().to_dict()
    if cap := config.get("final_logit_softcapping"):
        logits = torch.tanh(logits / cap) * cap
    scale = config.get("logit_scale", 1.0) / config.get("logits_scaling", 1.0)
    return logits * (scale / temperature)


def token_scores(
    network: PreTrainedModel, hidden: Hidden, *, temperature: float, chunk: int = 1024
) -> TokenScores:
    """Log-probabilities of the response tokens at a temperature.

    Logits exist for `chunk` tokens at a time: backward computes them again.
    """
    (logprobs,) = _in_chunks((selected_logprobs,), network, hidden, temperature, chunk)
    return TokenScores(logprobs=logprobs)


def token_scores_with_entropy(
    network: PreTrainedModel, hidden: Hidden, *, temperature: float, chunk: int = 1024
) -> TokenScoresWithEntropy:
    """Log-probabilities of the response tokens and entropies, both differentiable."""
    logprobs, entropies = _in_chunks(
        (selected_logprobs, lambda logits, _: entropy(logits)), network, hidden, temperature, chunk
    )
    return TokenScoresWithEntropy(logprobs=logprobs, entropy=entropies)


def _in_chunks(readings, network, hidden, temperature, chunk):
    def read(states, targets):
        logits = token_logits(network, states, temperature=temperature)
        return tuple(reading(logits, targets) for reading in readings)

    parts = [
        checkpoint(read, states, targets, use_reentrant=False, preserve_rng_state=False)
        for states, targets in zip(
            hidden.states[hidden.mask].split(chunk),
            hidden.targets[hidden.mask].split(chunk),
            strict=True,
        )
    ]
    empty = torch.zeros(hidden.mask.shape, device=hidden.mask.device)
    return [empty.masked_scatter(hidden.mask, torch.cat(column)) for column in zip(*parts, strict=True)]
