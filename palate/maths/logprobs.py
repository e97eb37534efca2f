"""From logits to log-probabilities and entropy, in nats and at least single precision."""

import torch
from torch import Tensor

from palate.maths.shapes import Ids, Logits, PerId


def _log_softmax(logits: Tensor) -> Tensor:
    precise = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits, dim=-1, dtype=precise)


def selected_logprobs(logits: Logits, ids: Ids) -> PerId:
    """log softmax(logits)[id] of every id, in nats."""
    return _log_softmax(logits).gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Logits) -> PerId:
    """Entropy -sum_v p_v log p_v of softmax(logits), in nats."""
    logprobs = _log_softmax(logits)
    return -(logprobs.exp() * logprobs).sum(-1)
