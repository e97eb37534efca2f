"""Reward functions are called the way that their signature asks for."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from palate.feedback.scorers import FunctionScorer
from palate.records import Group, Message, Prompt, Response
from palate.store.formats import prompt_row, read_groups, read_prompts, write_rows


def rows(path: Path, *given: dict) -> list[Group]:
    """Two responses, of one letter and of two, to every prompt of a file of these rows."""
    (path / "rows.jsonl").write_text("\n".join(map(json.dumps, given)))
    return [
        Group(prompt=prompt, responses=(Response(text="a"), Response(text="bb")))
        for prompt in read_prompts(str(path / "rows.jsonl"))
    ]


EASY = {"prompt": "1 + 1?", "answer": "2", "difficulty": 3, "hints": ["add"]}
HARD = {"prompt": [{"role": "system", "content": "Sum."}, {"role": "user", "content": "2 + 2?"}]}


def test_three_arguments_go_by_place_and_more_by_name(tmp_path):
    def score(question, text, gold, difficulty, hints=(), *, tag):
        assert (question, gold, hints, tag) == ("1 + 1?", "2", ["add"], "")
        return len(text) * difficulty

    assert FunctionScorer("f", score).score(rows(tmp_path, EASY)) == [(3.0, 6.0)]


def test_fewer_arguments_go_by_their_names(tmp_path):
    def score(response, answer):
        return len(response) + int(answer)

    assert FunctionScorer("f", score).score(rows(tmp_path, EASY)) == [(3.0, 4.0)]


def test_a_batch_function_gets_lists_and_every_field(tmp_path):
    def score(prompts, completions, **kwargs):
        assert prompts == ["1 + 1?", "1 + 1?"]
        assert kwargs["difficulty"] == [3, 3]
        assert kwargs["answer"] == ["2", "2"]
        return [len(text) for text in completions]

    assert FunctionScorer("f", score).score(rows(tmp_path, EASY)) == [(1.0, 2.0)]


def test_prompts_of_several_turns_are_messages_in_a_batch(tmp_path):
    def score(completions, prompts):
        assert prompts[0] == HARD["prompt"]
        return torch.tensor([len(turns[0]["content"]) for turns in completions])

    assert FunctionScorer("f", score).score(rows(tmp_path, HARD)) == [(1.0, 2.0)]


def test_an_annotation_says_whether_completions_are_texts_or_messages(tmp_path):
    def texts(completions: list[str], **kwargs):
        return [len(text) for text in completions]

    def messages(completions: list[list[dict[str, str]]], **kwargs):
        return [len(turns[0]["content"]) for turns in completions]

    for groups in (rows(tmp_path, EASY), rows(tmp_path, HARD)):
        assert FunctionScorer("f", texts).score(groups) == [(1.0, 2.0)]
        assert FunctionScorer("f", messages).score(groups) == [(1.0, 2.0)]


def test_async_functions_are_awaited_together(tmp_path):
    waiting = []

    async def score(prompt, response, reference):
        waiting.append(response)
        while len(waiting) < 2:
            await asyncio.sleep(0)
        return len(response)

    async def batch(completions):
        return [len(text) for text in completions]

    for function in (score, batch):
        assert FunctionScorer("f", function).score(rows(tmp_path, EASY)) == [(1.0, 2.0)]


@pytest.mark.parametrize(
    "value", [np.float32(0.5), np.int64(2), np.bool_(True), torch.tensor(0.5), np.array(0.5), True]
)
def test_whatever_is_one_number_is_a_score(tmp_path, value):
    scorer = FunctionScorer("f", lambda prompt, response, reference: value)
    assert scorer.score(rows(tmp_path, EASY)) == [(float(value), float(value))]


@pytest.mark.parametrize("value", [None, "1", [0.5], torch.zeros(2), np.zeros(2), float("inf")])
def test_whatever_is_not_one_finite_number_is_refused(tmp_path, value):
    scorer = FunctionScorer("f", lambda prompt, response, reference: value)
    with pytest.raises(ValueError, match=r"f returned .* Remedy: return a finite number"):
        scorer.score(rows(tmp_path, EASY))


def test_a_batch_of_another_length_is_refused(tmp_path):
    scorer = FunctionScorer("f", lambda completions: [1.0])
    with pytest.raises(ValueError, match=r"f returned \[1\.0\] for 2 completions"):
        scorer.score(rows(tmp_path, EASY))


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda a, b: 1, lambda text: 1, lambda response, prompt, x, /: 1]
)
def test_another_signature_is_refused_when_the_function_is_loaded(function):
    with pytest.raises(ValueError, match=r"write f\(prompt, response, reference\).*completions"):
        FunctionScorer("f", function)


def test_a_field_that_the_rows_lack_is_named(tmp_path):
    scorer = FunctionScorer("f", lambda prompt, response, reference, level: 1)
    with pytest.raises(ValueError, match=r"f wants level, and the row .* has .*difficulty"):
        scorer.score(rows(tmp_path, EASY))


def test_further_fields_of_prompts_survive_files_and_leave_those_without_as_they_were(tmp_path):
    easy, hard = rows(tmp_path, EASY, HARD)
    write_rows(tmp_path / "prompts.jsonl", [prompt_row(easy.prompt)])
    assert list(read_prompts(str(tmp_path / "prompts.jsonl"))) == [easy.prompt]
    write_rows(tmp_path / "groups.jsonl", [easy.model_dump(mode="json")])
    assert list(read_groups(str(tmp_path / "groups.jsonl"))) == [easy]
    plain = Prompt(messages=(Message(role="user", content="1 + 1?"),), reference="2")
    assert easy.prompt.id == plain.id
    assert set(hard.prompt.model_dump()) == {"messages", "token_ids", "reference", "tag"}
