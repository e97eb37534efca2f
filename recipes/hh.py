"""Data of the HH recipe: one source of preference pairs, split by prompt before any training.

The source has `prompt`, `chosen` and `rejected` as messages, or `chosen` and `rejected` as HH text.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from palate.records import Demonstration, Message, PreferenceGroup
from palate.store.formats import read_preferences

MAX_CHARACTERS = 1600


def held_out(row: PreferenceGroup) -> bool:
    """One prompt in five, by the hash of its first turn: related conversations stay together."""
    first = row.group.prompt.messages[0].content
    return int(hashlib.sha256(first.encode()).hexdigest(), 16) % 5 == 0


def size(row: PreferenceGroup) -> int:
    """Characters of the prompt and the longer response."""
    return len(row.group.prompt.text) + max(len(r.text) for r in row.group.responses)


def prepare(sources: list[str], seed: int) -> dict[str, list]:
    """Tables for `pretrain`, `sft`, `reward`, `dpo` and the baseline below."""
    skipped: list = []
    rows = [
        row
        for row in read_preferences(sources[0], bad_rows=skipped.append)
        if size(row) <= MAX_CHARACTERS
    ]
    train = [row for row in rows if not held_out(row)]
    held = [row for row in rows if held_out(row)]
    return {
        "corpus": [text for row in train for text in texts(row)],
        "demonstrations": [chosen(row) for row in train],
        "preferences": train,
        "held_out": held,
        "prompts": [row.group.prompt for row in train],
        "held_out_prompts": [row.group.prompt for row in held],
    }


def texts(row: PreferenceGroup) -> list[str]:
    """The prompt and both responses as plain text."""
    return [row.group.prompt.text, *(response.text for response in row.group.responses)]


def chosen(row: PreferenceGroup) -> Demonstration:
    """The conversation with the preferred answer."""
    best = row.group.responses[row.preferences[0].winner].text
    turns = (*row.group.prompt.messages, Message(role="assistant", content=best))
    return Demonstration(messages=turns)


def bag_of_words(folder: str) -> Callable[[str, str, str], float]:
    """The baseline: logistic regression on the difference of the two answers' word counts."""
    import numpy as np
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = list(read_preferences(str(Path(folder) / "preferences.jsonl")))
    good = [row.group.responses[row.preferences[0].winner].text for row in rows]
    bad = [row.group.responses[row.preferences[0].loser].text for row in rows]
    words = TfidfVectorizer(min_df=3, ngram_range=(1, 2), sublinear_tf=True).fit(good + bad)
    difference = words.transform(good) - words.transform(bad)
    model = LogisticRegression(C=0.3, fit_intercept=False, max_iter=1000)
    model.fit(vstack([difference, -difference]), np.repeat([1, 0], len(rows)))

    def score(prompt: str, response: str, reference: str) -> float:
        return float(model.decision_function(words.transform([response]))[0])

    return score
