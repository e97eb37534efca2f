"""Attention as matrix products that stay in the precision of matrix products, for CPUs."""

import inspect
import sys

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.models.llama import modeling_llama

PRODUCTS = "palate_products"
"""The name of `matrix_products` among the attention implementations of transformers."""


def matrix_products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """softmax(scaling query key^T + mask) value (Vaswani et al. 2017, equation 1), per head.

    `query` is [row, head, token, size], `key` and `value` may have fewer heads, the result is [row,
    token, head, size]. transformers' eager attention computes the same, but scales and masks copies
    of the [token, token] products and keeps their softmax in fp32, which under bf16 autocast takes
    several times the memory traffic.
    """
    shared = query.shape[1] // key.shape[1]
    keys, values = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    products = (query * scaling) @ keys.transpose(2, 3)
    if attention_mask is not None:
        products += attention_mask.to(products.dtype)
    weights = nn.functional.dropout(products.softmax(-1), p=dropout, training=module.training)
    return (weights @ values).transpose(1, 2).contiguous(), None


def products_for(network: PreTrainedModel) -> str:
    """`PRODUCTS` for architectures whose eager attention is Llama's word for word, as most are;
    `eager` for those that cap, bias or otherwise change it."""
    own = getattr(sys.modules[type(network).__module__], "eager_attention_forward", None)
    llamas = inspect.getsource(modeling_llama.eager_attention_forward)
    return PRODUCTS if own and inspect.getsource(own) == llamas else "eager"


AttentionInterface.register(PRODUCTS, matrix_products)
AttentionMaskInterface.register(PRODUCTS, eager_mask)
