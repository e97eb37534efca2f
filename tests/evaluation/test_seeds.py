"""Several training runs of one recipe: means, intervals over runs, spread between runs."""

import math

import pytest
from rich.console import Console
from scipy import special

from palate.evaluation.seeds import SeveralSeeds, combined, spread, tables
from tests.evaluation.evaluations import evaluation


def three() -> SeveralSeeds:
    runs = [
        evaluation(ppo=0.7, dpo=0.6),
        evaluation(ppo=0.8, dpo=0.7),
        evaluation(ppo=0.9, dpo=0.8),
    ]
    return combined(runs, ["a", "b", "c"])


def test_the_spread_between_runs_in_closed_form():
    found = spread([0.7, 0.8, 0.9])
    assert found.deviation == pytest.approx(0.1)
    half = special.stdtrit(2, 0.975) * 0.1 / math.sqrt(3)
    assert found.mean == pytest.approx((0.8, 0.8 - half, 0.8 + half))


def test_every_method_is_averaged_over_runs():
    ppo = three().methods[1]
    assert ppo.name == "ppo"
    assert ppo.win_rates[0].spread == spread([0.7, 0.8, 0.9])
    assert ppo.kl.mean.estimate == pytest.approx(8.0)
    assert three().methods[0].win_rates == ()


def test_methods_are_compared_within_each_run():
    (gap,) = three().gaps
    assert (gap.method, gap.other) == ("ppo", "dpo")
    assert gap.win_rate.mean == pytest.approx((0.1, 0.1, 0.1))


def test_runs_of_other_methods_are_refused():
    with pytest.raises(ValueError, match="b evaluated sft, grpo by cafe, and a sft, ppo by cafe"):
        combined([evaluation(ppo=0.7), evaluation(grpo=0.7)], ["a", "b"])


def test_the_tables_show_means_intervals_and_deviations():
    console = Console(width=200, record=True, quiet=False)
    for table in tables(three()):
        console.print(table)
    page = console.export_text()
    assert "80.0% [55.2, 100.0] +- 10.0" in page
    assert "+10.0 points [+10.0, +10.0]" in page
