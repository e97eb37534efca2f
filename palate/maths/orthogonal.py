"""Newton-Schulz orthogonalization of matrices, for Muon's updates.

Jordan 2024 (https://kellerjordan.github.io/posts/muon/).
"""

import torch
from torch import Tensor

from palate.maths.shapes import Matrices

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of the quintic a s + b s^3 + c s^5, steep at 0; Jordan 2024."""

ITERATIONS = 5


def orthogonalized(matrices: Matrices, *, precision: torch.dtype) -> Matrices:
    """U f(S) V^T of every matrix U S V^T: f brings singular values that are not tiny near 1.

    f is the quintic, `ITERATIONS` times, of the singular values over their Euclidean norm; matrix
    products are computed in `precision`. A matrix of zeros stays one.
    """
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    norms = wide.square().sum((1, 2), keepdim=True).sqrt()
    scaled = (wide / norms.clamp(min=1e-7)).to(precision)
    # Factors of wide matrices are small, but their product rounds more than bf16 has to spare.
    short = precision != torch.bfloat16 and wide.shape[2] >= 2 * wide.shape[1]
    result = (_by_product if short else _by_turns)(scaled).to(matrices.dtype)
    return result if wide is matrices else result.mT


def _by_turns(matrices: Tensor) -> Tensor:
    """X <- (a + b X X^T + c (X X^T)^2) X, again and again."""
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = matrices @ matrices.mT
        square = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        matrices = torch.baddbmm(matrices, square, matrices, beta=a)
    return matrices


def _by_product(matrices: Tensor) -> Tensor:
    """The same with one factor, P = P_n ... P_1 of the Gram matrices G <- P_i G P_i: all but two
    products are of square matrices with as many rows as X has."""
    a, b, c = COEFFICIENTS
    gram = matrices @ matrices.mT
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    product = identity.expand_as(gram)
    for _ in range(ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * identity
        product = factor @ product
        gram = factor @ gram @ factor
    return product @ matrices
