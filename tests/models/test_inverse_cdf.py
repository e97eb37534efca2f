"""Rare tokens of a large vocabulary keep their place on the unit line."""

import torch

from palate.models.generate import inverse_cdf


def test_tokens_rarer_than_single_precision_resolves_are_drawn_where_they_lie():
    """After one likely token come 9,999 of 1e-9 each; single precision would be 20 tokens off."""
    tokens = torch.arange(50, 10_000, 50)
    p = torch.full((len(tokens), 10_000), 1e-9)
    p[:, 0] = 1.0
    whole = p[0].double().cumsum(-1)
    middle = (whole[tokens] + whole[tokens - 1]) / 2
    assert torch.equal(inverse_cdf(p, middle / whole[-1]), tokens)
