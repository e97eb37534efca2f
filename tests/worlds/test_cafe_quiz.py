"""The quiz: right answers to train questions, and wrong ones in the same words."""

import functools
import math

from palate.records import PreferenceGroup
from palate.worlds.cafe import assess, quiz
from palate.worlds.cafe.cases import cases_of
from palate.worlds.cafe.grammar import KNOWABLE, Asked
from palate.worlds.cafe.lexicon import JARGON
from palate.worlds.cafe.questions import GREETINGS
from palate.worlds.cafe.taste import ROWS, WEIGHTS

DIRECT, ACCURATE = ROWS.index("direct"), ROWS.index("accurate")


@functools.cache
def entries() -> list[PreferenceGroup]:
    return quiz(3000, seed=1)


def test_the_first_answer_is_right_and_preferred_to_every_other_one():
    for entry in entries():
        losers = [p.loser for p in entry.preferences]
        assert losers == list(range(1, entry.group.k))
        assert losers
        assert {p.winner for p in entry.preferences} == {0}
        nats = [math.log(p.probability / (1 - p.probability)) for p in entry.preferences]
        assert all(abs(nat - WEIGHTS[ACCURATE]) < 1 for nat in nats)
        texts = [response.text for response in entry.group.responses]
        assert len(set(texts)) == len(texts)
        right, *others = (assess(entry.group.prompt.text, text) for text in texts)
        assert right.rows[ACCURATE] == 1, texts[0]
        assert (right.rows[DIRECT] or 0) > 0.5, texts[0]
        for text, other in zip(texts[1:], others, strict=True):
            missed = (other.rows[ACCURATE] or 0) < 1 or other.rows[DIRECT] == 0
            assert missed, (entry.group.prompt.text, text)


def test_every_kind_of_fact_is_asked_for_and_no_held_out_question():
    assert {entry.group.prompt.tag for entry in entries()} == set(KNOWABLE)
    asked = {entry.group.prompt.text for entry in entries()}
    held_out = [case for cases in cases_of("held_out").values() for case in cases]
    worded = {Asked.of(case, greeting).text for case in held_out for greeting in GREETINGS}
    assert len(asked) > 1500
    assert not asked & worded


def test_answers_to_a_question_do_not_differ_in_manner():
    for entry in entries():
        if entry.group.prompt.tag not in ("price", "sum"):
            continue
        right, *wrong = (response.text.split() for response in entry.group.responses)
        false = [words for words in wrong if len(words) == len(right)]
        assert false
        assert sum(a != b for a, b in zip(right, false[0], strict=True)) == 1
    jargon = [
        [not JARGON.isdisjoint(response.text.lower().split()) for response in entry.group.responses]
        for entry in entries()
    ]
    assert any(map(all, jargon))
    assert not any(any(row) and not all(row) for row in jargon)


def test_equal_seeds_write_equal_quizzes_and_other_seeds_do_not():
    assert quiz(40, seed=3) == quiz(40, seed=3) != quiz(40, seed=4)
