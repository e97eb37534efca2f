import pytest
from pydantic import ValidationError

from palate.evaluation.results import Evaluation, RowResult


def test_the_baseline_comes_first_and_is_no_contender(evaluation: Evaluation):
    assert evaluation.reference.name == "sft"
    assert [p.name for p in evaluation.contenders] == ["best-of-16", "dpo", "grpo", "ppo"]
    shuffled = evaluation.policies[::-1]
    with pytest.raises(ValidationError, match="sft first"):
        Evaluation(**(dict(evaluation) | {"policies": shuffled}))


def test_two_policies_cannot_share_a_name(evaluation: Evaluation):
    twice = (*evaluation.policies, evaluation.policies[-1])
    with pytest.raises(ValidationError, match="different names"):
        Evaluation(**(dict(evaluation) | {"policies": twice}))


def test_a_row_is_a_fraction():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        RowResult(name="safe", value=1.2, n=3)


def test_a_policy_is_asked_by_judge(evaluation: Evaluation):
    ppo = evaluation.policies[-1]
    assert ppo.against_baseline("reward model").judge == "reward model"
    assert ppo.against_baseline("nobody") is None
    assert ppo.score("cafe") == ppo.scores[0].mean
    assert evaluation.reference.against_baseline("cafe") is None
