"""Simulated annotators follow Bradley-Terry; votes add up to soft labels; functions are checked."""

import math
from collections import Counter

import pytest

from palate.feedback.aggregate import settled, vote_weight
from palate.feedback.functions import load_function, parse_function
from palate.feedback.judges import ScorerJudge, SimulatedAnnotator
from palate.feedback.scorers import FunctionScorer, RewardModelScorer
from palate.feedback.verifiers import VERIFIERS
from palate.records import Choice, Group, Judgement, Ranking, Response, Scores, Tie, user_prompt


def group(*texts: str, prompt: str = "How long?") -> Group:
    responses = tuple(Response(text=text) for text in texts)
    return Group(prompt=user_prompt(prompt), responses=responses)


LENGTH = FunctionScorer("length", lambda prompt, response, reference: float(len(response)))


def test_choices_follow_bradley_terry_and_do_not_depend_on_the_side():
    annotator = SimulatedAnnotator(LENGTH, noise=2.0, ask="pairs", pairs_per_group=0)
    groups = [group("abc", "a", prompt=f"question {i}") for i in range(4000)]
    judged = annotator.judge(groups, seed=3)
    right = sum(j.verdict == Choice(chosen=0) for j in judged) / len(judged)
    expected = 1 / (1 + math.exp(-(3 - 1) / 2.0))
    assert abs(right - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)
    first = sum(j.order[0] == 0 for j in judged) / len(judged)
    assert abs(first - 0.5) < 4 * 0.5 / math.sqrt(4000)


def test_rankings_put_the_better_first_with_the_same_odds_as_choices():
    annotator = SimulatedAnnotator(LENGTH, noise=1.0, ask="ranking", pairs_per_group=0)
    groups = [group("ab", "a", prompt=f"question {i}") for i in range(4000)]
    top = sum(
        isinstance(j.verdict, Ranking) and j.verdict.ranks[0] == 0
        for j in annotator.judge(groups, seed=0)
    )
    assert abs(top / 4000 - 1 / (1 + math.exp(-1))) < 0.03


def test_the_same_seed_gives_the_same_judgements_in_any_order_and_another_seed_others():
    annotator = SimulatedAnnotator(LENGTH, noise=5.0, ask="pairs", pairs_per_group=2)
    groups = [group("abc", "ab", "a", prompt=f"question {i}") for i in range(50)]
    forward = annotator.judge(groups, seed=1)
    backward = annotator.judge(groups[::-1], seed=1)
    assert Counter(j.id for j in forward) == Counter(j.id for j in backward)
    assert [j.verdict for j in forward] != [j.verdict for j in annotator.judge(groups, seed=2)]


def test_pairs_per_group_limits_what_is_asked_without_repeating_a_pair():
    annotator = SimulatedAnnotator(LENGTH, noise=1.0, ask="pairs", pairs_per_group=3)
    judged = annotator.judge([group("a", "ab", "abc", "abcd")], seed=0)
    assert len({frozenset(j.order) for j in judged}) == 3


def test_without_noise_the_better_always_wins_and_equals_tie():
    judge = ScorerJudge(LENGTH, ask="pairs", pairs_per_group=0)
    verdicts = {j.order: j.verdict for j in judge.judge([group("abc", "a", "xyz")], seed=0)}
    for order, verdict in verdicts.items():
        expected = Tie() if set(order) == {0, 2} else Choice(chosen=0 if 0 in order else 2)
        assert verdict == expected
    assert judge.judge([group("a", "ab")], seed=0)[0].judge == "length"


def test_scores_are_passed_through_and_best_names_the_highest():
    (scores,) = ScorerJudge(LENGTH, ask="scores", pairs_per_group=0).judge(
        [group("ab", "a")], seed=0
    )
    assert scores.verdict == Scores(values=(2.0, 1.0))
    (best,) = ScorerJudge(LENGTH, ask="best", pairs_per_group=0).judge(
        [group("a", "abc", "ab")], seed=0
    )
    assert best.verdict == Choice(chosen=1)


def judgement(verdict, order=()):
    return Judgement(group_id="g", judge="someone", verdict=verdict, order=order)


def test_several_votes_about_a_pair_become_one_soft_label():
    votes = [judgement(Choice(chosen=c), (0, 1)) for c in (1, 1, 0, 1)]
    row = settled(group("a", "b"), [*votes, judgement(Tie(), (1, 0))])
    (preference,) = row.preferences
    assert (preference.winner, preference.loser) == (1, 0)
    assert preference.probability == pytest.approx((3 + 0.5) / 5)


def test_two_equal_texts_are_never_preferred_to_one_another():
    assert settled(group("same", "same"), [judgement(Choice(chosen=0), (0, 1))]) is None


def test_nothing_said_settles_nothing():
    assert settled(group("a", "b"), []) is None


def test_a_reward_function_that_returns_no_finite_number_is_named():
    scorer = FunctionScorer("mine", lambda prompt, response, reference: float("nan"))
    with pytest.raises(ValueError, match=r"mine returned nan.*finite number"):
        scorer.score([group("a")])


def test_a_zero_reward_is_a_reward():
    scorer = FunctionScorer("zero", lambda prompt, response, reference: 0)
    assert scorer.score([group("a", "b")]) == [(0.0, 0.0)]


class Lengths:
    """An encoder of groups that are not to be encoded."""

    def encode_group(self, group):
        return group


def test_reward_model_scores_are_centered_and_keep_their_places():
    def read(groups):
        return [float(len(r.text)) for g in groups for r in g.responses]

    scorer = RewardModelScorer("rm", read, Lengths(), center=2.0, policy_ids=True)
    assert scorer.score([group("a", "abc"), group("abcd")]) == [(-1.0, 1.0), (2.0,)]


def test_functions_come_from_a_users_file_and_errors_say_what_it_has(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def shout(prompt, response, reference):\n    return response.count('!')\n")
    assert load_function(f"{file}:shout")("", "hey!!", "") == 2
    with pytest.raises(ValueError, match=r"no function 'shuot'.*shout"):
        load_function(f"{file}:shuot")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_function(f"{tmp_path / 'other.py'}:shout")
    assert parse_function("a/b.py:make(@data)").argument == "@data"
    assert parse_function("owner/model") is None


@pytest.mark.parametrize(
    ("name", "response", "reference", "value"),
    [
        ("exact", " 42\n", "42", 1.0),
        ("exact", "it is 42", "42", 0.0),
        ("exact", "", "", 0.0),
        ("contains", "It is PARIS.", "Paris", 1.0),
        ("contains", "It is Rome.", "Paris", 0.0),
        ("math", r"The answer is $\frac{1}{2}$.", "0.5", 1.0),
        ("math", "The answer is 355.", "345", 0.0),
    ],
)
def test_verifiers(name, response, reference, value):
    assert VERIFIERS[name]("a question", response, reference) == value


def test_margins_are_towards_the_winner():
    """Two slight votes for b, one clear vote for a: b wins, by less than nothing on average."""
    votes = [judgement(Choice(chosen=1), (0, 1))] * 2
    votes.append(judgement(Choice(chosen=0, strength=4), (0, 1)))
    (preference,) = settled(group("a", "b"), votes).preferences
    assert (preference.winner, preference.loser) == (1, 0)
    assert preference.margin == pytest.approx(-1.0)


def test_weighted_votes_keep_ties_and_single_votes_as_they_are():
    weights = {"someone": 0.3, "other": 0.9}
    tie = [judgement(Tie(), (0, 1)), judgement(Tie(), (0, 1)).model_copy(update={"judge": "other"})]
    assert settled(group("a", "b"), tie, weights=weights).preferences[0].probability == 0.5
    one = [judgement(Choice(chosen=1), (0, 1))]
    assert settled(group("a", "b"), one, weights=weights).preferences[0].probability == 1.0
    split = [*one, judgement(Choice(chosen=0), (0, 1)).model_copy(update={"judge": "other"})]
    (preference,) = settled(group("a", "b"), split, weights=weights).preferences
    assert preference.winner == 0
    assert preference.probability == pytest.approx(0.75)


def test_a_guess_weighs_nothing_and_a_worse_one_no_less():
    assert vote_weight(0.5) == vote_weight(0.2) == 0.0
    assert vote_weight(0.9) == pytest.approx(math.log(9))


def test_a_reward_that_raises_names_file_line_function_and_prompt(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(prompt, response, reference):\n    return {}[prompt]\n")
    asked = group("abc")
    scorer = FunctionScorer("score", load_function(f"{file}:score"))
    with pytest.raises(ValueError, match=r"mine\.py, line 2, in score: KeyError") as caught:
        scorer.score([asked])
    assert f"prompt {asked.prompt.id} ('How long?'), response 'abc'" in str(caught.value)
    assert "Remedy: correct the function" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_file_that_cannot_be_imported_names_its_line(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("x = 1\ny = 1 / 0\n")
    with pytest.raises(ValueError, match=r"broken\.py, line 2, in <module>: ZeroDivisionError"):
        load_function(f"{file}:score")


def test_a_reward_model_that_gives_no_number_is_named():
    scorer = RewardModelScorer(
        "rm", lambda groups: [1.0, math.nan], Lengths(), center=0.0, policy_ids=True
    )
    with pytest.raises(ValueError, match="reward model rm gave a score that is no finite number"):
        scorer.score([group("a", "b")])
