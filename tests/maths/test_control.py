import math

import numpy as np
import pytest

from palate.maths.control import adaptive_step, dual_step, kl_upper_bound


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(12.0, 1.002), (6.6, 1.001), (6.0, 1.0), (5.4, 0.999), (0.0, 0.998), (-5.0, 0.998)],
)
def test_adaptive_step_moves_by_a_clipped_share_of_the_error(kl, factor):
    got = adaptive_step(0.3, kl, target=6.0, horizon=10_000, episodes=100)
    assert got == pytest.approx(0.3 * factor, rel=1e-12)


@pytest.mark.parametrize("kl", [0.0, 100.0])
def test_adaptive_step_stays_above_zero_however_large_a_step_is(kl):
    got = adaptive_step(0.3, kl, target=6.0, horizon=10, episodes=1000)
    assert got == pytest.approx(0.3 * (1.2 if kl else 0.8))


def gaussian_kl(coef):
    """KL of the optimum of E[x] - coef KL against N(0, 1), which is N(1 / coef, 1)."""
    return 1 / (2 * coef**2)


@pytest.mark.parametrize("budget", [0.25, 1.0, 6.0])
def test_dual_ascent_finds_the_coefficient_that_spends_the_budget(budget):
    coef = 1.0
    for _ in range(2000):
        coef = dual_step(coef, gaussian_kl(coef), budget=budget, lr=0.05)
    assert coef == pytest.approx(1 / math.sqrt(2 * budget), rel=1e-6)


def test_adaptive_steps_settle_where_the_kl_is_the_target():
    coef = 1.0
    for _ in range(2000):
        coef = adaptive_step(coef, gaussian_kl(coef), target=2.0, horizon=1000, episodes=100)
    assert gaussian_kl(coef) == pytest.approx(2.0, rel=1e-6)


def test_dual_step_is_exponential_and_never_negative():
    assert dual_step(0.5, 3.0, budget=2.0, lr=0.1) == pytest.approx(0.5 * math.exp(0.05))
    assert dual_step(0.5, -100.0, budget=2.0, lr=0.1) > 0


def test_kl_upper_bound_by_hand():
    """Mean 2, two clusters with sums of residuals -1 and 1, t(0.95, 1) = 6.3138."""
    error = math.sqrt(2 / 1 * (1 + 1)) / 4
    got = kl_upper_bound([1.0, 2.0, 2.0, 3.0], ["a", "a", "b", "b"], level=0.95)
    assert got == pytest.approx(2 + 6.313752 * error, rel=1e-6)


def test_kl_upper_bound_covers_at_its_level_when_responses_share_a_prompt():
    rng, covered = np.random.default_rng(0), 0
    clusters = np.repeat(np.arange(64), 8)
    for _ in range(1000):
        prompt = rng.exponential(1.0, 64)
        covered += kl_upper_bound(prompt[clusters] + rng.normal(0, 1, 512), clusters) >= 1.0
    assert 0.92 <= covered / 1000 <= 0.97
