"""Orthogonalization against singular value decompositions in double precision."""

import pytest
import torch

from palate.maths.orthogonal import orthogonalized

SHAPES = [(1, 1), (24, 8), (8, 24), (16, 16), (12, 20), (6, 90)]
TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.04}


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def by_singular_values(matrix: torch.Tensor) -> torch.Tensor:
    """U f(S) V^T: f is five times 3.4445 s - 4.7750 s^3 + 2.0315 s^5, from S / |S|."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ values.diag() @ right


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_go_through_the_quintic_five_times_and_vectors_stay(shape, precision):
    matrix = drawn(*shape)
    (found,) = orthogonalized(matrix[None], precision=precision)
    assert found.dtype == torch.float32
    gap = (found - by_singular_values(matrix)).abs().max()
    assert gap < TOLERANCE[precision]


@pytest.mark.parametrize("shape", [(3, 64, 8), (3, 8, 64)])
def test_a_matrix_of_low_rank_keeps_its_precision(shape):
    matrices = drawn(*shape)
    matrices[:, 2:, :] = matrices[:, :1, :] * 1e-4 + matrices[:, 2:, :] * 1e-6
    for matrix, found in zip(
        matrices, orthogonalized(matrices, precision=torch.float32), strict=True
    ):
        assert (found - by_singular_values(matrix)).abs().max() < 2e-4


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_singular_values_that_are_not_tiny_come_near_one(precision):
    (found,) = orthogonalized(drawn(1, 16, 48), precision=precision)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(4, 24, 8), (4, 12, 20), (4, 6, 90)])
def test_a_matrix_gets_the_same_alone_transposed_and_at_another_scale(shape, precision):
    matrices = drawn(*shape)
    together = orthogonalized(matrices, precision=precision)
    alone = torch.cat([orthogonalized(one[None], precision=precision) for one in matrices])
    transposed = orthogonalized(matrices.mT, precision=precision).mT
    scaled = orthogonalized(1000 * matrices, precision=precision)
    for other in (alone, transposed, scaled):
        torch.testing.assert_close(other, together, atol=TOLERANCE[precision], rtol=0)


def test_zeros_stay_zeros():
    assert not orthogonalized(torch.zeros(2, 3, 9), precision=torch.float32).any()
