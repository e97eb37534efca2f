"""One forward pass over groups: hidden states where response tokens are predicted, and scores.

A group's prompt is computed once where that pays and the network can attend to a tree; the
vocabulary projection runs at response positions only, in chunks. The shift between logits and
tokens happens here and nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from palate.batches.groups import TokenGroup, token_group
from palate.maths.logprobs import entropy, selected_logprobs
from palate.maths.shapes import PerToken, TokenIds, TokenMask
from palate.models.layout import Layout, Rows, choose, few, lay_out
from palate.models.load import context_of

CHUNK = 1024
"""Tokens whose logits exist at one time."""

KEPT = 2**22
"""Logits that are kept for the backward pass; more are computed again there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What a backbone knows about N responses of at most T tokens.

    `states[i, t]` is the final hidden state that predicts token t of response i, `last[i]` the one
    at its last token. `mask` is True where the response has a token; elsewhere `states` and
    `targets` hold arbitrary finite values.

    >>> one = torch.zeros(1, 1)
    >>> Hidden(states=one[..., None], targets=one.long(), mask=one == 0, last=one).mask.tolist()
    [[True]]
    """

    states: Tensor
    targets: TokenIds
    mask: TokenMask
    last: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """Log-probabilities of response tokens (nats); 0 where there is no token.

    >>> TokenScores(logprobs=torch.tensor([[-0.5]])).logprobs.sum().item()
    -0.5
    """

    logprobs: PerToken


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScoresWithEntropy:
    """Log-probabilities of response tokens and the entropies of the distributions they are from.

    >>> zero = torch.zeros(1, 1)
    >>> TokenScoresWithEntropy(logprobs=zero, entropy=zero).entropy.shape
    torch.Size([1, 1])
    """

    logprobs: PerToken
    entropy: PerToken


@dataclass(frozen=True, slots=True)
class Support:
    """The most that a network can take, and why it is not more (or how exact it is).

    >>> Support("rows", "ValueError: no 4-D masks").layout
    'rows'
    """

    layout: Layout
    reason: str


def backbone_of(network: nn.Module) -> PreTrainedModel:
    """The transformer without its head; adapters inside it stay."""
    backbone: Any = network.base_model
    # The base model of a PeftModel is its tuner, whose base model is the backbone.
    return backbone if isinstance(backbone, PreTrainedModel) else backbone.base_model


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network is in eval mode inside."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def group_hidden(
    network: PreTrainedModel, groups: Sequence[TokenGroup], *, layout: Layout
) -> Hidden:
    """Hidden states of all responses of the groups, in order, from one forward pass.

    `layout` is the most that the network can take (see `supports_tree`); the cheaper one is used.
    """
    chosen = choose(groups, layout=layout)
    # Positions restart in a tree, whose row may be longer than the context.
    context = context_of(network) if chosen == "rows" else None
    rows = lay_out(groups, layout=chosen, pad_id=0, device=network.device, context=context)
    return hidden_of(network, rows)


def hidden_of(network: PreTrainedModel, rows: Rows) -> Hidden:
    """Hidden states of all responses in some rows."""
    backbone = backbone_of(network)
    if rows.layout == "rows":
        # Padding comes after the text, where causal attention never looks. The mask of ones says
        # so: it allows the kernels without a mask and silences warnings about padding.
        ones = torch.ones_like(rows.ids)
        output = backbone(input_ids=rows.ids, attention_mask=ones, use_cache=False)
    else:
        output = backbone(
            input_ids=rows.ids,
            attention_mask=attention_masks(
                backbone, rows.visible(), rows.positions, rows.positions
            ),
            position_ids=rows.positions,
            use_cache=False,
        )
    states = output.last_hidden_state.flatten(0, 1)
    return Hidden(
        states=nn.functional.embedding(rows.predicts, states),  # indexing has a slower backward
        targets=rows.targets,
        mask=rows.mask,
        last=states[rows.last],
    )


def attention_masks(
    backbone: PreTrainedModel, visible: Tensor, query: Tensor, key: Tensor
) -> Tensor | dict[str, Tensor]:
    """Additive [row, 1, query, key] masks in the form that the backbone takes.

    `visible` is [row, query, key], `query` and `key` are positions: a layer with a sliding window
    sees keys less than `sliding_window` positions before the query.
    """
    # Only architectures with several kinds of layers have these fields (GPT-Neo the last one).
    window = getattr(backbone.config, "sliding_window", None)
    kinds = set(getattr(backbone.config, "layer_types", None) or ())
    kinds |= set(getattr(backbone.config, "attention_layers", ()))
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        raise NotImplementedError(f"no mask for layers of kind {sorted(unknown)}")
    full = _additive(visible, backbone.dtype)
    if window is None:
        return full
    near = query[:, :, None] - key[:, None, :] < window
    sliding = _additive(visible & near, backbone.dtype)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def token_logits(network: PreTrainedModel, states: Tensor, *, temperature: float) -> Tensor:
    """Next-token logits of the network over the temperature, in at least single precision.

    Heads that soft-cap (Gemma 2) or scale (Cohere, Granite) say so in their configuration.
    """
    config = network.config.get_text_config()
    logits = _head(network)(states)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    multiplier = getattr(config, "logit_scale", None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    factor = multiplier / divisor / temperature
    return logits if factor == 1 else logits * factor


def token_scores(
    network: PreTrainedModel, hidden: Hidden, *, temperature: float, chunk: int = CHUNK
) -> TokenScores:
    """Log-probabilities of the response tokens at a temperature, `chunk` tokens at a time."""
    (logprobs,) = _read(network, hidden, [selected_logprobs], temperature, chunk)
    return TokenScores(logprobs=logprobs)


def token_scores_with_entropy(
    network: PreTrainedModel, hidden: Hidden, *, temperature: float, chunk: int = CHUNK
) -> TokenScoresWithEntropy:
    """Log-probabilities of the response tokens and entropies, both differentiable."""
    readings = [selected_logprobs, lambda logits, _: entropy(logits)]
    logprobs, entropies = _read(network, hidden, readings, temperature, chunk)
    return TokenScoresWithEntropy(logprobs=logprobs, entropy=entropies)


def supports_tree(network: PreTrainedModel) -> Support:
    """Compare the two layouts on random groups, and our logits with the network's own.

    Raises ValueError for a head that `token_logits` does not reproduce.
    """
    backbone = backbone_of(network)
    vocabulary = backbone.config.get_text_config().vocab_size
    draw = torch.Generator().manual_seed(0)
    p, q, *responses = (
        tuple(torch.randint(vocabulary, (length,), generator=draw).tolist())
        for length in (5, 3, 3, 2, 4, 1)
    )
    groups = [token_group("p", p, (*responses[:3],)), token_group("q", q, (*responses[2:],))]
    rows, tree = (
        lay_out(groups, layout=layout, pad_id=0, device=network.device)
        for layout in ("rows", "tree")
    )
    with torch.no_grad(), evaluating(network):
        try:
            expected = hidden_of(network, rows)
        except Exception as error:  # whatever an architecture needs that palate does not give
            raise ValueError(
                f"palate cannot run {type(network).__name__} ({type(error).__name__}: {error})"
            ) from error
        if network.get_output_embeddings() is not None:
            _check_logits(network, rows, expected)
        try:
            states = hidden_of(network, tree).states
        except Exception as error:  # whatever an architecture does with a mask it does not know
            return Support("rows", f"{type(error).__name__}: {error}")
    gap = relative_gap(states[tree.mask], expected.states[rows.mask])
    layout: Layout = "tree" if gap < tolerance(network) else "rows"
    return Support(layout, f"a tree changes hidden states by {gap:.1e} of their size")


def _head(network: PreTrainedModel) -> nn.Module:
    head = network.get_output_embeddings()
    assert head is not None, "a network without a vocabulary has no token scores"
    return head


def _check_logits(network: PreTrainedModel, rows: Rows, hidden: Hidden) -> None:
    own = network(input_ids=rows.ids, use_cache=False).logits.flatten(0, 1)[rows.predicts].float()
    gap = relative_gap(token_logits(network, hidden.states, temperature=1.0), own)
    if not gap < tolerance(network):
        raise ValueError(
            f"the logits of {type(network).__name__} are not its output projection, soft-capped or "
            f"scaled as its configuration says (they differ by {gap:.1e} of their size): palate "
            "cannot score this architecture"
        )


def relative_gap(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference as a fraction of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def tolerance(network: PreTrainedModel) -> float:
    """The relative gap that rounding explains; a wrong mask or position exceeds it by far."""
    return 1e-4 if network.dtype in (torch.float32, torch.float64) else 5e-2


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    hidden = torch.finfo(dtype).min
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, hidden).unsqueeze(1)


def _read(
    network: PreTrainedModel,
    hidden: Hidden,
    readings: Sequence[Callable[[Tensor, Tensor], Tensor]],
    temperature: float,
    chunk: int,
) -> list[Tensor]:
    """[response, time] readings of the logits at response tokens, a chunk of them at a time."""

    def read(states: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        logits = token_logits(network, states, temperature=temperature)
        return tuple(reading(logits, targets) for reading in readings)

    def recomputed(states: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return checkpoint(read, states, targets, use_reentrant=False, preserve_rng_state=False)

    states, targets = hidden.states[hidden.mask], hidden.targets[hidden.mask]
    count, head = len(states), _head(network)
    # A head with adapters must not be recomputed: by then other adapters may be active.
    again = type(head) is nn.Linear and count * head.out_features > KEPT
    spare = few(count) - count
    states, targets = pad(states, (0, 0, 0, spare)), pad(targets, (0, spare))
    pieces = zip(states.split(chunk), targets.split(chunk), strict=True)
    parts = [(recomputed if again else read)(*piece) for piece in pieces]
    zeros = torch.zeros(hidden.mask.shape, device=hidden.mask.device)
    columns = [torch.cat(column)[:count] for column in zip(*parts, strict=True)]
    return [zeros.to(column.dtype).masked_scatter(hidden.mask, column) for column in columns]
