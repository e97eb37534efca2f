"""How much memory a training stage will take, from parameter counts and a few sizes.

Weights, gradients and Adam's two moments are fp32 throughout (Muon keeps one); an adapter counts
among the weights and is what trains. With P weights of which T train, U of them by Muon, F in
copies, R of a reward model and C of a critic, L layers of width d and feed-forward width f,
vocabulary V, c cached numbers per token and layer, b bytes per number of a matrix product (4, or 2
under bf16 autocast, which also keeps a copy of the weights), n copies of the logits of t tokens (of
all up to `KEPT` logits, else of a chunk) and m of what trains, S of a model that is only there at
the start, w sizes of weight matrices and s shapes of micro-batches:

    peak = 4 P + 4 F + 4 R + max(4 S, 12 T - 4 U + 16 C + max(activations, cache, step, merged))
           + kernels
    activations = h (tokens ((L + 2) ((32 + 4 b) d + 4 b f) + 16 d) + L heads a attended
                     + 4 t V n) + (4 - b) P
    cache = b L cached_tokens c
    step = 4 (T - U / 3 + C) m
    merged = 4 P with an adapter, else 0
    kernels = s (3 w + 6) q

A block keeps about 8 + b vectors of its width (norms stay fp32) and 4 of its feed-forward width;
two more blocks' worth is in flight in the backward pass. Attention as matrix products keeps the
weights of every head, a bytes for each pair of a token and a column of its row. On a CPU, h is what
the allocator holds for each byte in use, and q what each bf16 product keeps that is compiled: for
every shape one forward and two backward per size of matrix, and six for attention. Both are
measured (`benchmarks/memory.py`). Weights are there twice when an adapter is merged to be saved,
which counts where little else is kept. What the process holds before comes on top.
"""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from palate.models.attention import PRODUCTS, products_for
from palate.models.forward import CHUNK, KEPT, backbone_of
from palate.training.optimizers import is_block_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a causal language model that decide its memory; counts of numbers.

    `feed_forward` is the widest matrix of a layer, `cached` what a layer keeps per token for
    generation (keys and values), `matrices` how many sizes of weight matrices there are, and
    `block_weights` the weights of those that are in blocks: what Muon would take. `products` tells
    whether `products_for` chooses `matrix_products`.
    """

    parameters: int
    backbone: int
    width: int
    layers: int
    feed_forward: int
    vocabulary: int
    cached: int
    heads: int
    matrices: int
    block_weights: int
    products: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a stage has in memory: parameter counts by role, tokens by what they are kept for.

    Muon has `by_muon` of those `trained`. `copies` only compute or wait: the reference, the
    certified weights of a hard KL budget; `passing` models are gone before training begins.
    `tokens` is one micro-batch, `attended` the pairs of a token and a column of its row in the one
    that has most, `shapes` how many shapes micro-batches have (one that is only read counts a
    third), `cached_tokens` the rollouts generated at once.
    """

    trained: int
    by_muon: int = 0
    copies: int = 0
    passing: int = 0
    reward: int = 0
    critic: int = 0
    tokens: int = 0
    attended: int = 0
    shapes: float = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """How a stage computes: bytes of a number in matrix products, and what that costs.

    `attention_bytes` are kept per head, token and column of its row (0 for a fused kernel),
    `held` is what the allocator holds for each byte of activations, `kernel` what each compiled
    product keeps (bytes), `clones` how many copies of the trained numbers an optimizer step or a
    checkpoint makes for a moment, `logits` how many of a chunk's logits there are at a time.
    """

    number_bytes: int
    attention_bytes: int = 0
    held: float = 1.0
    kernel: float = 0.0
    clones: float = 1.0
    logits: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes at the peak of a stage; `working` is the largest of what comes and goes."""

    weights: float
    gradients: float
    moments: float
    copies: float
    reward: float
    critic: float
    working: float
    kernels: float

    @property
    def peak(self) -> float:
        """All of it."""
        lasting = self.weights + self.gradients + self.moments
        return lasting + self.copies + self.reward + self.critic + self.working + self.kernels

    @property
    def saved(self) -> float:
        """Bytes on disk: three checkpoints (two kept, one being written) and the model."""
        return self.weights + 3 * (self.gradients + self.moments + 0.75 * self.critic)


def predicted_memory(shape: Shape, load: Load, how: Arithmetic) -> Memory:
    """Bytes, by the formula above."""
    d, b = shape.width, how.number_bytes
    per_block = (32 + 4 * b) * d + 4 * b * shape.feed_forward
    attention = shape.layers * shape.heads * how.attention_bytes * load.attended
    kept = load.tokens * ((shape.layers + 2) * per_block + 16 * d) + attention
    few = load.tokens * shape.vocabulary <= KEPT
    logits = 4 * (load.tokens if few else min(load.tokens, CHUNK)) * shape.vocabulary * how.logits
    activations = how.held * (kept + logits) + (4 - b) * shape.parameters
    cache = b * shape.layers * load.cached_tokens * shape.cached
    step = 4 * (load.trained - load.by_muon / 3 + load.critic) * how.clones
    adapters = load.trained if load.trained < shape.parameters else 0
    moments = 8 * load.trained - 4 * load.by_muon
    start = 4 * load.passing - (4 * load.trained + moments + 16 * load.critic)
    return Memory(
        weights=4 * (shape.parameters + adapters),
        gradients=4 * load.trained,
        moments=moments,
        copies=4 * load.copies,
        reward=4 * load.reward,
        critic=16 * load.critic,
        working=max(activations, cache, step, start, 4 * shape.parameters * (adapters > 0)),
        kernels=how.kernel * load.shapes * (3 * shape.matrices + 6),
    )


def shape_of(network: PreTrainedModel) -> Shape:
    """The sizes of a network; its weights may be on the meta device."""
    config = network.config.get_text_config()
    backbone = backbone_of(network)
    matrices = [
        parameter
        for module in backbone.modules()
        if not isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
    ]
    heads = config.num_attention_heads
    # Absent from architectures without grouped queries, or whose heads divide the width.
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Shape(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        backbone=sum(parameter.numel() for parameter in backbone.parameters()),
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        feed_forward=max(max(parameter.shape) for parameter in matrices),
        vocabulary=config.vocab_size,
        cached=2 * groups * head_width,
        heads=heads,
        matrices=len({matrix.shape for matrix in matrices}),
        block_weights=sum(
            weight.numel()
            for name, weight in backbone.named_parameters()
            if is_block_matrix(name, weight)
        ),
        products=products_for(backbone) == PRODUCTS,
    )
