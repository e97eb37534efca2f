"""Attention as matrix products that stay in the precision of matrix products, for CPUs."""

import inspect
import sys

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.models.llama import modeling_llama

PRODUCTS = "palate_products"
"""The name of `matrix_products` among the attention implementations of transformers."""

_LLAMAS = inspect.getsource(modeling_llama.eager_attention_forward)


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
    token, head, size]. transformers' eager attention computes the same and ignores the same further
    arguments (windows, positions), but scales and masks copies of the [token, token] products and
    keeps their softmax in fp32: under bf16 autocast that is three times as much to keep.
    """
    shared, rest = divmod(query.shape[1], key.shape[1])
    assert rest == 0, f"{query.shape[1]} heads cannot share {key.shape[1]} keys"
    keys, values = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    products = (query * scaling) @ keys.transpose(2, 3)
    if attention_mask is not None:
        # The least number of fp32 is -inf in bf16, and a row of nothing else has no softmax.
        least = torch.finfo(products.dtype).min
        products += attention_mask.clamp(min=least).to(products.dtype)
    weights = nn.functional.dropout(products.softmax(-1), p=dropout, training=module.training)
    return (weights @ values).transpose(1, 2).contiguous(), None


def products_for(network: PreTrainedModel) -> str:
    """`PRODUCTS` for architectures whose eager attention is Llama's word for word, `eager` for
    those that cap, bias or otherwise change it.

    A module that names `eager` treats it apart: sparse attention masks there, and nowhere else.
    """
    module = sys.modules[type(network).__module__]
    # Absent from architectures with an attention from before the interface.
    own = getattr(module, "eager_attention_forward", None)
    same = own is not None and inspect.getsource(own) == _LLAMAS
    return PRODUCTS if same and '"eager"' not in inspect.getsource(module) else "eager"


AttentionInterface.register(PRODUCTS, matrix_products)
AttentionMaskInterface.register(PRODUCTS, eager_mask)
