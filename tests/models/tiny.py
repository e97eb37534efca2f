"""Causal language models of a few thousand weights, one per family of architectures."""

import itertools
from collections.abc import Callable

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from palate.batches.groups import TokenGroup, token_group

VOCABULARY = 37
EOS, PAD, BOS = 3, 3, 4  # padding is a real token, on purpose


def llama(vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """Rotary positions, grouped-query attention."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=None,
    )
    return _random(LlamaForCausalLM(config))


def qwen3(vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """Normalized queries and keys, tied embeddings, a list of layer types."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=None,
    )
    return _random(Qwen3ForCausalLM(config))


def gpt2(vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """Learned absolute positions: the only family here that sees a wrong position id."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return _random(GPT2LMHeadModel(config))


def gemma2(vocabulary: int = VOCABULARY) -> PreTrainedModel:
    """Soft-capped logits and attention, and a sliding window shorter than the test sequences."""
    config = Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=6,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=4.0,
        max_position_embeddings=64,
        pad_token_id=None,
    )
    return _random(Gemma2ForCausalLM(config))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": llama,
    "qwen3": qwen3,
    "gpt2": gpt2,
    "gemma2": gemma2,
}


def tiny_network(family: str) -> PreTrainedModel:
    """A new network of a family, the same weights every time."""
    return FAMILIES[family]()


def _random(network: PreTrainedModel) -> PreTrainedModel:
    """Weights from N(0, 1/d), with which no policy is near uniform or near certain."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.copy_(32**-0.5 * torch.randn(parameter.shape, generator=draw))
    return network.eval()


def random_groups(*, seed: int = 0, vocabulary: int = VOCABULARY) -> list[TokenGroup]:
    """Groups of many shapes: k from 1 to 4, lengths from 1 to 12, one truncated to nothing."""
    draw = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (length,), generator=draw).tolist())

    shapes = [(9, (3, 12, 1)), (2, (5,)), (7, (4, 4, 4, 4)), (1, (2, 0)), (4, (1, 6))]
    return [
        token_group(
            f"prompt-{i}", (BOS, *ids(prompt - 1)), tuple(ids(length) for length in lengths)
        )
        for i, (prompt, lengths) in enumerate(shapes)
    ]


def enumerated(*, length: int) -> tuple[tuple[int, ...], ...]:
    """Every response over tokens 0 to 4 that ends at its first EOS (3) or at the length limit."""
    going_on = [token for token in range(5) if token != EOS]
    finished = [
        (*prefix, EOS)
        for time in range(length)
        for prefix in itertools.product(going_on, repeat=time)
    ]
    return (*finished, *itertools.product(going_on, repeat=length))
