"""The quality report says what simulated annotators were made to do."""

import math

import numpy as np
import pytest

from palate.evaluation.ballots import FIRST, SECOND, TIED, ballots, reliability, said
from palate.evaluation.quality import QualityReport, power_sentence, quality_report, rate_policies
from palate.records import (
    Choice,
    Group,
    Judgement,
    Ranking,
    Rating,
    Response,
    Skip,
    Tie,
    judge_kind,
    user_prompt,
)

PEOPLE = {"person:right": 0.95, "person:fair": 0.8, "person:guess": 0.5}


def asked(number, *texts, policies=("", "")):
    written = zip(texts, (*policies, "", ""), strict=False)
    return Group(
        prompt=user_prompt(f"question {number}"),
        responses=tuple(Response(text=text, policy=policy) for text, policy in written),
    )


def by(judge, group, verdict, order=(0, 1), **more):
    return Judgement(group_id=group.id, judge=judge, verdict=verdict, order=order, **more)


def simulated(prompts=300, seed=0):
    """Policy "strong" is truly better in 80 % of pairs; the sides are shuffled."""
    rng = np.random.default_rng(seed)
    for number in range(prompts):
        policies = ("strong", "weak") if rng.random() < 0.5 else ("weak", "strong")
        group = asked(number, "short", "a longer answer", policies=policies)
        truth = policies.index("strong") if rng.random() < 0.8 else policies.index("weak")
        judgements = []
        for judge, accuracy in PEOPLE.items():
            chosen = truth if rng.random() < accuracy else 1 - truth
            order = (0, 1) if rng.random() < 0.5 else (1, 0)
            judgements.append(by(judge, group, Choice(chosen=chosen), order, seconds=3.0))
        yield group, judgements


@pytest.fixture(scope="module")
def report() -> QualityReport:
    return quality_report(simulated(), seed=0, draws=200)


def value(report, about, statistic):
    return next(a for a in report.agreements if (a.about, a.statistic) == (about, statistic)).value


def test_agreement_is_what_the_accuracies_imply(report):
    """Two judges agree with probability p q + (1 - p) (1 - q); here the mean of three pairs."""
    pairs = [(0.95, 0.8), (0.95, 0.5), (0.8, 0.5)]
    expected = np.mean([p * q + (1 - p) * (1 - q) for p, q in pairs])
    raw = value(report, "choice", "raw agreement")
    assert raw.low < expected < raw.high
    assert raw.high - raw.low < 0.1
    alpha = value(report, "choice", "Krippendorff's alpha (nominal)")
    assert alpha.estimate == pytest.approx(2 * raw.estimate - 1, abs=0.02)
    assert value(report, "choice", "Fleiss' kappa").estimate == pytest.approx(
        alpha.estimate, abs=0.01
    )


def test_annotators_are_ordered_by_both_models_and_by_the_majority(report):
    right, fair, guess = report.annotators
    assert right.accuracy.value > fair.accuracy.value > guess.accuracy.value
    assert guess.accuracy.value == pytest.approx(0.5, abs=0.1)
    assert right.ability.value > guess.ability.value
    assert right.with_majority.value.estimate > guess.with_majority.value.estimate
    assert (right.kind, right.judgements, right.median_seconds) == ("person", 300, 3.0)


def test_the_stronger_policy_leads_and_the_pairs_are_counted(report):
    first, second = report.leaderboard
    assert (first.policy, second.policy) == ("strong", "weak")
    assert first.wins == second.losses > 500
    assert first.elo.estimate == pytest.approx(-second.elo.estimate)
    assert first.elo.estimate > 30
    assert (first.best_rank, first.worst_rank) == (1, 2)  # three voters are too few to be sure
    assert report.power.decided == 900
    assert (0.55, 783) in report.power.needed
    assert report.warnings == ()


def test_a_report_survives_json(report):
    assert QualityReport.model_validate_json(report.model_dump_json()) == report


def test_side_and_length_biases_are_found_and_warned_about():
    """The judge takes whatever is shown first; the first shown is longer in every other pair."""
    judged = []
    for number in range(60):
        group = asked(number, "long answer" if number % 2 else "a", "answer")
        order = (0, 1) if number % 4 < 2 else (1, 0)
        judged.append((group, [by("person:left", group, Choice(chosen=order[0]), order)]))
    (left,) = quality_report(judged, seed=0).annotators
    assert left.first_wins.value.estimate == 1.0
    assert left.longer_wins.value.estimate == pytest.approx(0.5)
    assert quality_report(judged, seed=0).warnings == (
        "person:left prefers the response shown first in 100% of 60 votes",
    )


def test_a_share_has_the_error_of_independent_votes():
    judged = []
    for number in range(100):
        group = asked(number, "a", "bb")
        judged.append((group, [by("person:x", group, Choice(chosen=int(number < 80)))]))
    (annotator,) = quality_report(judged, seed=0).annotators
    assert annotator.longer_wins.value.estimate == 0.8
    assert annotator.longer_wins.error == pytest.approx((0.8 * 0.2 / 99) ** 0.5)


def test_votes_keep_their_direction_whatever_the_order_shown():
    group = asked(0, "a", "b", "c")
    cast = ballots(
        [
            (
                group,
                [
                    by("one", group, Choice(chosen=2), (2, 0)),
                    by("two", group, Tie(), (1, 0)),
                    by("three", group, Ranking(ranks=(0, 1, 2)), ()),
                ],
            )
        ]
    )
    assert cast.value.tolist() == [SECOND, TIED, FIRST, FIRST, FIRST]
    assert cast.toward_first.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert cast.pair.tolist() == [0, 1, 1, 0, 2]
    assert cast.votes[:, 2].tolist() == [-1, -1, 0, 0, 0]


def test_the_last_word_of_a_judge_counts_and_retractions_are_no_skips():
    group = asked(0, "a", "b")
    everything = said(
        [
            (
                group,
                [
                    by("person:x", group, Choice(chosen=0)),
                    by("person:x", group, Choice(chosen=1)),
                    by("person:x", group, Skip(reason="undone")),
                    by("person:x", group, Skip(reason="too hard")),
                ],
            )
        ]
    )
    assert everything.ballots.value.tolist() == [SECOND]
    assert (everything.tallies["person:x"].judgements, everything.tallies["person:x"].skipped) == (
        2,
        1,
    )


def test_ratings_and_rankings_have_their_own_agreement():
    judged = []
    for number in range(4):
        group = asked(number, "a", "b", "c")
        judgements = [
            by(judge, group, Rating(dimension="clear", values=(1, 3, 5)), ()) for judge in "xy"
        ]
        judgements += [by(judge, group, Ranking(ranks=(0, 1, 2)), ()) for judge in "xy"]
        judged.append((group, judgements))
    report = quality_report(judged, seed=0)
    assert value(report, "rating: clear", "Krippendorff's alpha (ordinal)") == (1.0, 1.0, 1.0)
    assert value(report, "ranking", "Kendall's W") == pytest.approx((1.0, 1.0, 1.0))


def voted(votes):
    """Judged pairs of "good" and "poor"; votes[judge] is (votes for good, votes for poor)."""
    for judge, counts in votes.items():
        for chosen, count in enumerate(counts):
            for number in range(count):
                pair = asked(f"{judge} {chosen} {number}", "a", "b", policies=("good", "poor"))
                yield pair, [by(judge, pair, Choice(chosen=chosen))]


def test_a_voter_who_decides_the_first_place_alone_is_noticed_and_not_named():
    honest = {"person:ann": (30, 20), "person:bob": (28, 22)}
    assert rate_policies(ballots(voted(honest)), seed=0, draws=5)[1] == ()
    stuffed = honest | {"person:eve": (0, 40)}
    ratings, warnings = rate_policies(ballots(voted(stuffed)), seed=0, draws=5)
    assert [one.policy for one in ratings] == ["poor", "good"]
    assert warnings == (
        "the first place rests on single voters (1 of 3): without the 40 votes of one (of 140), "
        "good would be first",
    )


def test_in_a_crowd_one_voter_of_many_votes_cannot_decide_alone():
    honest = {f"person:{name}": (6, 4) for name in "abcdefg"}
    stuffed = honest | {"person:eve": (0, 900)}
    ratings, _ = rate_policies(ballots(voted(stuffed)), seed=0, draws=5)
    eve = sum((6, 4)) * 7 / 3  # a quarter of all weight
    difference = ratings[0].elo.estimate - ratings[1].elo.estimate
    assert ratings[0].policy == "poor"
    assert difference == pytest.approx(400 * math.log10((28 + eve) / 42), abs=1)
    few = dict(list(stuffed.items())[3:])
    ratings, _ = rate_policies(ballots(voted(few)), seed=0, draws=5)
    assert ratings[0].elo.estimate - ratings[1].elo.estimate > 400


def test_of_several_voters_who_decide_the_one_with_the_fewest_votes_is_told():
    votes = {"person:ann": (9, 0), "person:bob": (6, 0), "person:eve": (0, 12)}
    _, warnings = rate_policies(ballots(voted(votes)), seed=0, draws=5)
    assert warnings == (
        "the first place rests on single voters (2 of 3): without the 6 votes of one (of 27), "
        "poor would be first",
    )


def test_what_cannot_be_known_says_why():
    group = asked(0, "a", "b")
    report = quality_report([(group, [by("person:x", group, Choice(chosen=0))])], seed=0)
    assert {a.undefined for a in report.agreements} == {"no unit has two annotators"}
    assert report.annotators[0].accuracy is None
    assert report.single_label_accuracy is None
    assert report.leaderboard == ()
    assert quality_report([], seed=0).judgements == 0


def test_policies_that_never_lose_to_the_others_are_named():
    judged = []
    for number in range(10):
        group = asked(number, "a", "b", policies=("up", "down"))
        judged.append((group, [by("person:x", group, Choice(chosen=0))]))
    (warning,) = quality_report(judged, seed=0).warnings[:1]
    assert "fall into 2 sets" in warning
    assert "up" in warning


def test_reliability_needs_two_votes_on_a_pair():
    group = asked(0, "a", "b")
    assert reliability(ballots([(group, [by("x", group, Tie())])])) is None


def test_judges_are_known_by_their_prefix():
    kinds = [judge_kind(name) for name in ("person:ann", "annotator:cafe", "import:a.jsonl", "rm")]
    assert kinds == ["person", "simulated", "imported", "model"]


def test_power_is_said_before_anybody_labels():
    assert power_sentence(0.55) == "To tell 55% from 50% you need 783 decided pairs."
    assert power_sentence(0.52) == "To tell 52% from 50% you need 4,904 decided pairs."
