"""Each rule fires on numbers that deserve it and is silent on the numbers beside them."""

import pytest

from palate.evaluation.findings import Finding, Targets, findings
from palate.evaluation.results import (
    Comparison,
    Difference,
    Evaluation,
    PolicyResult,
    RewardModelResult,
    RowResult,
    Settings,
)
from palate.maths.statistics import Interval
from palate.records import Sampling

CLEAR = Interval(0.8, 0.74, 0.85)


def comparison(judge: str = "cafe", *, rate: Interval = CLEAR, **more) -> Comparison:
    fields = {
        "policy": "ppo",
        "baseline": "sft",
        "judge": judge,
        "prompts": 200,
        "wins": 160,
        "ties": 0,
        "losses": 40,
        "win_rate": rate,
        "length_controlled": Interval(0.78, 0.7, 0.85),
        "longer_wins": Interval(0.5, 0.4, 0.6),
    }
    return Comparison(**(fields | more))


def policy(name: str = "ppo", **more) -> PolicyResult:
    fields = {
        "name": name,
        "responses": 200,
        "comparisons": (comparison(),) if name != "sft" else (),
        "kl": Interval(5.0, 4.5, 5.5) if name != "sft" else Interval(0.0, 0.0, 0.0),
        "scores": (),
        "mean_length": Interval(20.0, 19.0, 21.0),
        "distinct_1": 0.2,
        "distinct_2": 0.5,
        "repetition": 0.02,
        "eos_rate": 0.99,
        "rows": (RowResult(name="safe", value=0.8, n=200),),
        "sums_right": RowResult(name="sums right", value=0.6, n=100),
    }
    return PolicyResult(**(fields | more))


def reward_model(**more) -> RewardModelResult:
    fields = {
        "accuracy": Interval(0.78, 0.74, 0.82),
        "length_ruler_accuracy": 0.55,
        "bayes_accuracy": 0.8,
        "ece": 0.03,
        "ece_null_mean": 0.03,
        "ece_null_p95": 0.05,
        "brier": 0.15,
        "log_loss": 0.45,
        "bins": (),
        "n_pairs": 500,
        "n_prompts": 100,
        "probe": (RowResult(name="safe", value=0.9, n=40),),
    }
    return RewardModelResult(**(fields | more))


def evaluation(contender: PolicyResult | None = None, **more) -> Evaluation:
    fields = {
        "baseline": "sft",
        "taste": "cafe",
        "proxy": "rm",
        "policies": (policy("sft"), contender or policy()),
        "reward_model": reward_model(),
        "settings": Settings(prompts="held out", num_prompts=200, k=1, sampling=Sampling()),
        "seeds": (0, 1, 2, 3, 4),
    }
    return Evaluation(**(fields | more))


def rules(of: Evaluation) -> list[str]:
    return [finding.rule for finding in findings(of)]


def found(of: Evaluation, rule: str) -> Finding:
    return next(finding for finding in findings(of) if finding.rule == rule)


def test_good_numbers_are_not_complained_about():
    assert rules(evaluation()) == []


FIRES = {
    "win rate": {"comparisons": (comparison(rate=Interval(0.65, 0.59, 0.71)),)},
    "length-controlled": {
        "comparisons": (comparison(length_controlled=Interval(0.56, 0.48, 0.64)),)
    },
    "length drift": {"mean_length": Interval(25.1, 24.0, 26.0)},
    "large KL": {"kl": Interval(20.1, 19.0, 21.0)},
    "negative KL": {"kl": Interval(-0.5, -0.8, -0.2)},
    "row got worse": {"rows": (RowResult(name="safe", value=0.7, n=200),)},
    "diversity": {"distinct_2": 0.29},
    "repetition": {"repetition": 0.13},
    "order": {"comparisons": (comparison(flip_rate=0.21),)},
    "invalid verdicts": {"comparisons": (comparison(invalid=11),)},
    "few prompts": {"comparisons": (comparison(rate=Interval(0.8, 0.7, 0.85)),)},
    "unfinished answers": {"eos_rate": 0.94},
}
SILENT = {
    "win rate": {"comparisons": (comparison(rate=Interval(0.66, 0.6, 0.72)),)},
    "length-controlled": {
        "comparisons": (comparison(length_controlled=Interval(0.58, 0.51, 0.64)),)
    },
    "length drift": {"mean_length": Interval(24.9, 24.0, 26.0)},
    "large KL": {"kl": Interval(19.9, 19.0, 21.0)},
    "negative KL": {"kl": Interval(-0.1, -0.3, 0.1)},
    "row got worse": {"rows": (RowResult(name="safe", value=0.73, n=200),)},
    "diversity": {"distinct_2": 0.31},
    "repetition": {"repetition": 0.11},
    "order": {"comparisons": (comparison(flip_rate=0.19),)},
    "invalid verdicts": {"comparisons": (comparison(invalid=10),)},
    "few prompts": {"comparisons": (comparison(rate=Interval(0.8, 0.72, 0.85)),)},
    "unfinished answers": {"eos_rate": 0.95},
}


@pytest.mark.parametrize("rule", FIRES)
def test_a_policy_rule_fires_alone(rule: str):
    assert rules(evaluation(policy(**FIRES[rule]))) == [rule]


@pytest.mark.parametrize("rule", SILENT)
def test_a_policy_rule_is_silent_just_inside_its_bound(rule: str):
    assert rules(evaluation(policy(**SILENT[rule]))) == []


REWARD_FIRES = {
    "reward accuracy": {"accuracy": Interval(0.765, 0.74, 0.79)},
    "length ruler": {"length_ruler_accuracy": 0.74},
    "calibration": {"ece": 0.051},
    "row not learned": {"probe": (RowResult(name="safe", value=0.6, n=40),)},
}


@pytest.mark.parametrize("rule", REWARD_FIRES)
def test_a_reward_model_rule_fires_alone(rule: str):
    assert rules(evaluation(reward_model=reward_model(**REWARD_FIRES[rule]))) == [rule]


def test_no_limit_is_claimed_when_the_noise_is_unknown():
    unknown = reward_model(accuracy=Interval(0.6, 0.57, 0.63), bayes_accuracy=None)
    assert rules(evaluation(reward_model=unknown)) == []


def test_reward_up_and_taste_down_is_hacking():
    contender = policy(
        comparisons=(
            comparison(rate=Interval(0.4, 0.34, 0.46), length_controlled=Interval(0.4, 0.3, 0.5)),
            comparison("rm", rate=Interval(0.9, 0.86, 0.93)),
        )
    )
    finding = found(evaluation(contender), "reward hacking")
    assert finding.severity == "problem"
    assert "90.0% [86.0, 93.0]" in finding.text
    assert "worse than where it started" in found(evaluation(contender), "win rate").text


def test_a_reward_model_that_believes_too_much_is_a_caution():
    contender = policy(comparisons=(comparison(), comparison("rm", rate=Interval(0.9, 0.86, 0.93))))
    assert found(evaluation(contender), "reward hacking").severity == "caution"


def test_a_reward_model_that_agrees_with_the_taste_is_fine():
    contender = policy(comparisons=(comparison(), comparison("rm", rate=Interval(0.9, 0.84, 0.93))))
    assert rules(evaluation(contender)) == []


@pytest.mark.parametrize(("low", "fires"), [(0.01, True), (-0.01, False)])
def test_what_the_reward_model_claims_beyond_the_taste_is_judged_by_the_paired_difference(
    low: float, fires: bool
):
    """Their intervals overlap in both cases, or are apart in neither."""
    excess = Interval(0.05, low, 0.09)
    rate = Interval(0.85, 0.8, 0.89)
    contender = policy(comparisons=(comparison(), comparison("rm", rate=rate, over_taste=excess)))
    assert (rules(evaluation(contender)) == ["reward hacking"]) is fires


@pytest.mark.parametrize(("high", "fires"), [(-0.01, True), (0.01, False)])
def test_a_row_got_worse_when_the_paired_change_says_so(high: float, fires: bool):
    change = Interval(-0.05, -0.1 - high, high)
    row = RowResult(name="safe", value=0.75, n=200, change=change)
    assert (rules(evaluation(policy(rows=(row,)))) == ["row got worse"]) is fires


def test_the_best_method_is_told_from_the_others_by_paired_differences():
    def versus(other: str, gap: Interval, *, turned: bool = False) -> Difference:
        names = (other, "ppo") if turned else ("ppo", other)
        return Difference(policy=names[0], other=names[1], judge="cafe", win_rate=gap)

    rivals = [
        policy(name, comparisons=(comparison(rate=Interval(0.75, 0.7, 0.8)),))
        for name in ("dpo", "grpo")
    ]
    of = evaluation(
        policies=(policy("sft"), policy(), *rivals),
        differences=(
            versus("dpo", Interval(0.05, 0.01, 0.09)),
            versus("grpo", Interval(-0.02, -0.06, 0.02), turned=True),
        ),
    )
    finding = found(of, "no clear best")
    assert finding.text.startswith(
        "ppo is not shown to win more often than grpo (+2.0 points [-2.0, +6.0]): "
    )


def test_a_policy_that_cannot_be_told_from_the_baseline_is_a_problem():
    contender = policy(
        comparisons=(
            comparison(rate=Interval(0.52, 0.46, 0.58), length_controlled=Interval(0.5, 0.4, 0.6)),
        )
    )
    finding = found(evaluation(contender), "win rate")
    assert finding.severity == "problem"
    assert "cannot be told" in finding.text


def test_sums_that_got_worse_are_a_row_like_any_other():
    contender = policy(sums_right=RowResult(name="sums right", value=0.4, n=100))
    text = found(evaluation(contender), "row got worse").text
    assert text == 'ppo got worse than sft at "sums right" from 60.0% to 40.0%.'


def test_rows_that_were_not_measured_say_nothing():
    contender = policy(sums_right=RowResult(name="sums right", value=0.0, n=0))
    assert rules(evaluation(contender)) == []


def test_an_unfinished_baseline_is_reported_too():
    of = evaluation(policies=(policy("sft", eos_rate=0.5), policy()))
    assert "sft" in found(of, "unfinished answers").text


def test_one_training_seed_is_a_caution():
    assert rules(evaluation(seeds=(0,))) == ["one seed"]


def test_problems_come_before_cautions():
    of = evaluation(policy(mean_length=Interval(40.0, 39.0, 41.0), eos_rate=0.5), seeds=(0,))
    assert [f.severity for f in findings(of)] == ["problem", "caution", "caution"]


def test_targets_move_the_bounds():
    assert [f.rule for f in findings(evaluation(), Targets(win_rate=0.75))] == ["win rate"]
    assert [f.rule for f in findings(evaluation(), Targets(kl_nats=4.0))] == ["large KL"]
