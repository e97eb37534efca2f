"""What the cafe's grammar writes: splits, quality, vocabulary and matched pairs."""

import functools
import math
import random
import re
import statistics

import pytest

from palate.worlds.cafe import (
    ROWS,
    assess,
    corpus,
    demonstrations,
    probe_pairs,
    prompts,
    sum_is_right,
)
from palate.worlds.cafe.cases import all_cases, cases_of
from palate.worlds.cafe.grammar import SHARES, Manner, respond, some_manner
from palate.worlds.cafe.lexicon import JARGON, WORDS
from palate.worlds.cafe.menu import BASKETS, HOURS, MENU, amount, spoken, total_cents
from palate.worlds.cafe.question import understand
from palate.worlds.cafe.questions import GREETINGS

WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


def test_thousands_of_distinct_prompts_are_there_and_the_splits_share_no_question():
    train, held_out = prompts("train", 5000, seed=0), prompts("held_out", 900, seed=0)
    assert len({prompt.id for prompt in train}) == 5000
    assert len({prompt.id for prompt in held_out}) == 900
    assert {prompt.tag for prompt in held_out} == {prompt.tag for prompt in train} == set(SHARES)
    asked = {case.text.lower() for case in all_cases() if case.split == "held_out"}
    for before, after in GREETINGS:
        bare = {prompt.text.removeprefix(before).removesuffix(after).lower() for prompt in train}
        assert not bare & asked


def test_asking_for_more_prompts_than_there_are_says_how_many_there_are():
    with pytest.raises(ValueError, match=r"the cafe has \d+ held_out prompts; asked for 99999"):
        prompts("held_out", 99999, seed=0)


def test_no_held_out_question_appears_in_the_corpus_or_the_demonstrations():
    text = "\n".join(corpus(3000, seed=0))
    text += "\n".join(demo.prompt.text for demo in demonstrations(3000, seed=0))
    held_out = [case.text for case in all_cases() if case.split == "held_out"]
    assert len(held_out) > 250
    assert not [question for question in held_out if question in text]


def test_the_corpus_covers_every_fact():
    text = "\n".join(corpus(4000, seed=1)).lower()
    for item in MENU.values():
        assert text.count(f"{item.name} is {amount(item.cents)}") > 5
    for basket in BASKETS:
        assert f"{spoken(basket)} come to {amount(total_cents(basket))}" in text
    for day, hours in HOURS.items():
        assert ("closed on " if hours is None else "open at ") + day.lower() in text or hours


def test_equal_seeds_write_equal_text_and_other_seeds_do_not():
    for write in (
        lambda seed: corpus(50, seed=seed),
        lambda seed: demonstrations(50, seed=seed),
        lambda seed: prompts("train", 50, seed=seed),
        lambda seed: probe_pairs(50, seed=seed),
    ):
        assert write(3) == write(3)
        assert write(3) != write(4)


def test_the_taste_understands_every_prompt_the_grammar_writes():
    for split in ("train", "held_out"):
        for prompt in prompts(split, 900, seed=2):
            question = understand(prompt.text)
            assert question.kind == prompt.tag, prompt.text
            assert prompt.reference == (amount(question.total) if question.total else "")


def test_the_vocabulary_is_small_and_the_taste_knows_it():
    text = "\n".join(corpus(4000, seed=0)).lower()
    words = set(WORD.findall(text))
    assert 450 < len(words) < 750
    assert not {
        word for word in words if word not in WORDS and word.removesuffix("'s") not in WORDS
    }
    assert len(JARGON & words) > 30


@pytest.mark.slow
def test_a_vocabulary_of_1024_spends_few_tokens_on_a_word():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    documents = corpus(2000, seed=0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    texts = corpus(300, seed=1)
    tokens = sum(len(tokenizer.encode(text).ids) for text in texts)
    assert tokens / sum(len(text.split()) for text in texts) < 1.6


@functools.cache
def _scores(n: int) -> tuple[list[float], list[int]]:
    written = demonstrations(n, seed=11)
    scores = [assess(demo.prompt.text, demo.response).score for demo in written]
    return scores, [len(demo.response.split()) for demo in written]


def test_demonstrations_are_mixed_and_their_scores_are_centered():
    scores, lengths = _scores(2000)
    assert abs(statistics.mean(scores)) < 0.2
    assert 1.5 < statistics.pstdev(scores) < 2.5
    assert 10 < statistics.mean(lengths) < 20
    assert max(lengths) < 70
    assert 0.28 < sum(score > 1.5 for score in scores) / len(scores) < 0.55


def test_length_says_little_about_the_score():
    scores, lengths = _scores(2000)
    assert abs(statistics.correlation(scores, lengths)) < 0.3


def _pairs(n: int) -> list[tuple[str, str, float]]:
    rng = random.Random(5)
    found = []
    for _ in range(n):
        kind = rng.choice(list(SHARES))
        case = rng.choice(cases_of("train")[kind])
        first, second = (respond(case, some_manner(kind, rng), rng) for _ in range(2))
        margin = assess(case.text, first).score - assess(case.text, second).score
        if first != second:
            found.append((first, second, 1 / (1 + math.exp(-margin))))
    return found


def test_a_bradley_terry_annotator_is_right_four_times_in_five_and_the_longer_wins_half():
    pairs = _pairs(1500)
    bayes = statistics.mean(max(p, 1 - p) for _, _, p in pairs)
    assert 0.77 < bayes < 0.86
    uneven = [(len(first) > len(second), p) for first, second, p in pairs]
    longer = statistics.mean(p if first_is_longer else 1 - p for first_is_longer, p in uneven)
    assert 0.42 < longer < 0.58


@pytest.mark.parametrize("kind", SHARES)
def test_good_manners_beat_every_flaw(kind):
    rng = random.Random(1)
    for case in rng.sample(cases_of("train")[kind], 60):
        good = assess(case.text, respond(case, Manner(), rng)).score
        assert good > 1.3, case.text
        flaws = [Manner(content="wrong"), Manner(content="evasive"), Manner(form="jargon")]
        for flaw in (*flaws, Manner(rambles=3)):
            response = respond(case, flaw, rng)
            assert assess(case.text, response).score < good - 0.5, (case.text, response)


def test_right_answers_are_right_and_wrong_ones_are_not():
    rng = random.Random(2)
    for kind in ("price", "sum"):
        for case in rng.sample(cases_of("train")[kind], 60):
            assert sum_is_right(case.text, respond(case, Manner(), rng))
            assert not sum_is_right(case.text, respond(case, Manner(content="wrong"), rng))
            assert not sum_is_right(case.text, respond(case, Manner(content="evasive"), rng))


def test_probe_pairs_differ_in_their_row_alone():
    pairs = probe_pairs(600, seed=0)
    assert [row for row, *_ in pairs[:6]] == list(ROWS)
    for row, prompt, better, worse in pairs:
        good, bad = assess(prompt.text, better), assess(prompt.text, worse)
        assert good.score > bad.score, (row, prompt.text, worse)
        for name, high, low in zip(ROWS, good.rows, bad.rows, strict=True):
            if name == row:
                assert (high or 0) - (low or 0) > 0.2, (row, prompt.text, worse)
            else:
                assert abs((high or 0) - (low or 0)) < 0.25, (row, name, prompt.text, worse)


def test_probe_pairs_are_on_held_out_prompts():
    held_out = [case.text for case in all_cases() if case.split == "held_out"]
    lower = {text.lower() for text in held_out}
    for _, prompt, _, _ in probe_pairs(60, seed=1):
        assert any(text in prompt.text.lower() for text in lower)
