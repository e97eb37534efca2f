"""Data of the sentiment recipe: openings to continue, and preferences from labelled sentences.

Sources: (1) review text with a `text` field, (2) short labelled sentences with `text` and `label`
(pos / neg, or 1 / 0). Half of the labelled sentences (by a hash of the text) become preferences for
the reward model; the other half trains an independent judge, so the gap between the two is honest.
"""

import hashlib
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from palate.records import (
    Demonstration,
    Group,
    Message,
    Preference,
    PreferenceGroup,
    Prompt,
    Response,
    user_prompt,
)
from palate.store.rows import read_rows

OPENING_WORDS = 5
SENTENCE_WORDS = range(8, 33)


def side(text: str, parts: int) -> int:
    """A text's part by its hash: the same in every run."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % parts


def labelled(source: str) -> list[tuple[str, bool]]:
    """(sentence, is positive) of every row."""
    rows = (row for _, row in read_rows(source))
    return [(str(row["text"]).strip(), str(row["label"]) in ("pos", "1")) for row in rows]


def sentences(documents: Iterable[str]) -> list[str]:
    """Lines of reviews that are about as long as a sentence."""
    lines = (line.strip() for document in documents for line in document.split("\n"))
    return [line for line in lines if len(line.split()) in SENTENCE_WORDS]


def opening(sentence: str) -> tuple[str, str]:
    """(the first words, the rest with its leading space)."""
    words = sentence.split(" ")
    return " ".join(words[:OPENING_WORDS]), " " + " ".join(words[OPENING_WORDS:])


def prepare(sources: list[str], seed: int) -> dict[str, list]:
    """Tables for `pretrain`, `sft`, `reward`, the online stages, `evaluate` and the judge below."""
    reviews = [str(row["text"]) for _, row in read_rows(sources[0])]
    labels = labelled(sources[1])
    ours = [row for row in labels if side(row[0], 2) == 0]
    other = [row for row in labels if side(row[0], 2) == 1]
    texts = sentences(reviews) + [text for text, _ in ours if len(text.split()) in SENTENCE_WORDS]
    parts = {text: opening(text) for text in dict.fromkeys(texts)}
    train = [pair for text, pair in parts.items() if side(text, 10)]
    held = [pair for text, pair in parts.items() if not side(text, 10)]
    generator = random.Random(seed)
    generator.shuffle(train)
    prompts = list(dict.fromkeys(first for first, _ in train))[:3000]
    seen = {first for first, _ in train}
    held_prompts = [p for p in dict.fromkeys(first for first, _ in held) if p not in seen]
    return {
        "corpus": [*reviews, *(text for text, _ in ours)],
        "demonstrations": [demonstration(*pair) for pair in train[:8000]],
        "prompts": [user_prompt(text) for text in prompts],
        "held_out_prompts": [user_prompt(text) for text in held_prompts[:400]],
        "preferences": pairs([row for row in ours if side(row[0], 20) > 2], generator),
        "held_out": pairs([row for row in ours if side(row[0], 20) <= 2], generator),
        "judge": [{"text": text, "label": int(good)} for text, good in other],
    }


def demonstration(first: str, rest: str) -> Demonstration:
    """An opening and how its author went on."""
    return Demonstration(
        messages=(Message(role="user", content=first), Message(role="assistant", content=rest))
    )


def pairs(rows: list[tuple[str, bool]], generator: random.Random) -> list[PreferenceGroup]:
    """Every positive sentence against a negative one that begins with no common words."""
    good = [text for text, positive in rows if positive]
    bad = [text for text, positive in rows if not positive]
    generator.shuffle(good)
    generator.shuffle(bad)
    empty = Prompt(messages=(Message(role="user", content=""),))
    return [
        PreferenceGroup(
            group=Group(prompt=empty, responses=(Response(text=chosen), Response(text=rejected))),
            preferences=(Preference(winner=0, loser=1),),
        )
        for chosen, rejected in zip(good, bad, strict=False)
    ]


def independent(folder: str) -> Callable[[str, str, str], float]:
    """A bag-of-words logistic regression on the other half: log-odds of being positive."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [row for _, row in read_rows(str(Path(folder) / "judge.jsonl"))]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=4.0, max_iter=1000),
    )
    model.fit([str(row["text"]) for row in rows], [row["label"] for row in rows])

    def score(prompt: str, response: str, reference: str) -> float:
        return float(model.decision_function([prompt + response])[0])

    return score
