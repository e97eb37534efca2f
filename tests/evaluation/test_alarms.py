"""Alarms while a stage trains: quiet about health, and each fault heard once in its own words."""

import math

import pytest

from palate.config.common import KlConfig
from palate.evaluation.alarms import BOUNDS, alarms
from palate.records.trust import TrustCheck, TrustRecord

HEALTHY = {
    "reward/score": 0.5,
    "reward/score_std": 1.0,
    "kl/policy_reference": 2.0,
    "kl/old_policy": 0.01,
    "response/finished": 0.99,
    "response/length": 20.0,
    "policy/entropy": 0.4,
    "policy/clip_fraction": 0.05,
    "policy/sampler_mismatch": 1e-4,
    "group/dead_fraction": 0.1,
    "critic/explained_variance": 0.6,
}


def course(steps=20, **changes):
    """Lines of a healthy run; a change is a value, or a function of the step."""
    lines = []
    for step in range(steps):
        own = {name.replace("__", "/"): value for name, value in changes.items()}
        made = {name: value(step) if callable(value) else value for name, value in own.items()}
        lines.append({"step": float(step)} | HEALTHY | made)
    return lines


def rules(lines, **known):
    return [finding.rule for finding in alarms(lines, **known)]


def test_a_healthy_run_raises_no_alarm_at_any_step():
    lines = course(30, reward__score=lambda s: 0.05 * s, kl__policy_reference=lambda s: 0.2 * s)
    for steps in range(len(lines) + 1):
        assert alarms(lines[:steps]) == ()


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.metric)
def test_every_bound_is_heard_on_its_side_only_and_not_too_early(bound):
    name = bound.metric.replace("/", "__")
    limit = bound.low if math.isfinite(bound.low) else bound.high
    outside = -1 if math.isfinite(bound.low) else 1
    bad, good = limit + outside * 0.01 * (1 + limit), limit - outside * 0.01 * (1 + limit)
    if bound.metric == "reward/score_std":
        bad = 0.0
    assert rules(course(**{name: bad})) == [bound.rule]
    assert rules(course(**{name: good})) == []
    assert rules(course(bound.after - 1, **{name: bad})) == []
    assert rules(course(bound.after, **{name: bad})) == [bound.rule]


def test_a_bound_speaks_of_the_mean_of_the_last_five_steps():
    spike = course(policy__clip_fraction=lambda s: 0.9 if s == 17 else 0.1)  # mean 0.26
    assert rules(spike) == []
    twice = course(policy__clip_fraction=lambda s: 0.9 if s in (16, 17) else 0.1)  # mean 0.42
    (found,) = alarms(twice)
    assert found.text == "policy/clip_fraction is 0.42 lately; above 0.3, steps are too large."
    assert rules(course(policy__clip_fraction=lambda s: 0.9 if s < 15 else 0.1)) == []


def test_the_first_value_that_is_no_number_is_named_with_its_step():
    lines = course()
    lines[7]["policy/loss"] = math.nan
    lines[9]["kl/old_policy"] = math.inf
    (found,) = alarms(lines)
    assert (found.rule, found.severity) == ("not a number", "problem")
    assert found.text == "policy/loss: no finite number at step 7."


def test_a_kl_above_its_target_is_heard_where_there_is_a_target():
    lines = course(kl__policy_reference=7.0)
    assert rules(lines, kl=KlConfig(control="soft", target=6)) == []
    assert rules(lines, kl=KlConfig(control="hard", target=6)) == ["KL target"]
    assert rules(lines, kl=KlConfig(control="hard", target=8)) == []
    assert rules(lines, kl=KlConfig(control="adaptive", target=6)) == []  # moves around it
    assert rules(lines, kl=KlConfig(control="adaptive", target=4)) == ["KL target"]


def test_a_kl_that_doubles_within_ten_steps_runs_away_once_it_is_large():
    assert rules(course(kl__policy_reference=lambda s: 1.3**s / 8)) == ["KL runs away"]
    assert rules(course(kl__policy_reference=lambda s: 1.2**s / 4)) == []  # still below 10 nats


def test_a_kl_below_zero_counts_when_it_is_no_noise():
    noise = course(kl__policy_reference=lambda s: 0.5 * (-1) ** s - 0.01)
    assert rules(noise) == []
    assert rules(course(kl__policy_reference=-0.2)) == ["negative KL"]


def test_entropy_has_collapsed_when_four_fifths_are_gone():
    assert rules(course(policy__entropy=lambda s: 0.4 if s < 10 else 0.07)) == ["entropy collapse"]
    assert rules(course(policy__entropy=lambda s: 0.4 if s < 10 else 0.09)) == []
    assert rules(course(policy__entropy=0.01)) == []  # it never had more


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ({"kl__policy_reference": 25.0}, "the KL is 25 nats"),
        ({"response__finished": lambda s: 0.99 if s < 10 else 0.9}, "90.0% of responses end"),
        ({"response__length": lambda s: 20 if s < 10 else 40}, "from 20 to 40 tokens"),
        ({"response__length": lambda s: 20 if s < 10 else 8}, "from 20 to 8 tokens"),
    ],
)
def test_a_score_that_rises_at_a_price_is_told_with_the_price(price, words):
    rising = course(reward__score=lambda s: 0.0 if s < 10 else 0.6, **price)
    (found,) = [f for f in alarms(rising) if f.rule == "reward at a price"]
    assert words in found.text
    assert "from 0 to 0.6" in found.text
    flat = course(reward__score=lambda s: 0.0 if s < 10 else 0.4, **price)
    assert "reward at a price" not in rules(flat)


def test_misses_of_the_trust_record_come_before_cautions():
    checks = (
        TrustCheck(row="N3", claim="sampler equals scorer", value=0.5, gate=1e-4),
        TrustCheck(row="I7", claim="the ratio is one", value=0.0, gate=1e-4),
    )
    trust = TrustRecord(step=0, precision="fp32", checks=checks, left_out="")
    found = alarms(course(policy__clip_fraction=0.5), trust=trust)
    assert [(f.rule, f.severity) for f in found] == [
        ("trust record", "problem"),
        ("large steps", "caution"),
    ]
    assert found[0].text.startswith("N3: sampler equals scorer: off by 0.5")


def test_a_stage_that_logged_nothing_or_something_else_raises_no_alarm():
    assert alarms([]) == ()
    assert alarms([{"step": float(s), "sft/nll": 2.0} for s in range(20)]) == ()
