"""Data and rewards of the smollm2 recipe, from three public sets in files.

Sources: (1) self-instruct tasks with `instruction` and `instances` (`input`, `output`), (2) persona
statements with `trait`, `question`, `answer_matching` and `answer_not_matching`, (3) SVAMP word
problems with `question` and `answer`. Statements and problems are split by a hash of their text.
"""

import hashlib
import re

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
from palate.store.rows import Row, read_rows

TRAIT = "agreeableness"
MAX_CHARACTERS = 400
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def prepare(sources: list[str], seed: int) -> dict[str, list]:
    """Tables for `sft`, `dpo`, `grpo` and the two evaluations."""
    tasks, statements, problems = ([row for _, row in read_rows(file)] for file in sources)
    pairs = [pair(row) for row in statements if row["trait"] == TRAIT]
    asked = [problem(row) for row in problems]
    taught = [demonstration(row) for row in tasks]
    return {
        "demonstrations": [row for row in taught if size(row) <= MAX_CHARACTERS],
        "preferences": [row for row in pairs if not is_held_out(row.group.prompt)],
        "held_out": [row for row in pairs if is_held_out(row.group.prompt)],
        "held_out_statements": [row.group.prompt for row in pairs if is_held_out(row.group.prompt)],
        "prompts": [prompt for prompt in asked if not is_held_out(prompt)],
        "held_out_prompts": [prompt for prompt in asked if is_held_out(prompt)],
    }


def is_held_out(prompt: Prompt) -> bool:
    """One prompt in four, by the hash of its text: the same in every run."""
    return int(hashlib.sha256(prompt.text.encode()).hexdigest(), 16) % 4 == 0


def demonstration(row: Row) -> Demonstration:
    """A task, with its first input where it has one, and the answer that a person wrote."""
    instance = row["instances"][0]
    asked = "\n\n".join(filter(None, (row["instruction"], instance["input"])))
    return Demonstration(
        messages=(
            Message(role="user", content=asked),
            Message(role="assistant", content=instance["output"]),
        )
    )


def size(row: Demonstration) -> int:
    """Characters of all turns."""
    return sum(len(message.content) for message in row.messages)


def pair(row: Row) -> PreferenceGroup:
    """The answer that somebody with the trait gives, preferred to the other one."""
    good, bad = (row[name].strip() for name in ("answer_matching", "answer_not_matching"))
    prompt = user_prompt(f"{row['question']}\nAnswer Yes or No.", reference=good)
    group = Group(prompt=prompt, responses=(Response(text=good), Response(text=bad)))
    return PreferenceGroup(group=group, preferences=(Preference(winner=0, loser=1),))


def problem(row: Row) -> Prompt:
    """A word problem and its number."""
    asked = f"{row['question']} Answer with the number alone."
    return user_prompt(asked, reference=f"{row['answer']:g}")


def agrees(prompt: str, response: str, reference: str) -> float:
    """1 for an answer that begins with the word of the reference."""
    return float(response.strip().lower().startswith(reference.lower()))


def right(prompt: str, response: str, reference: str) -> float:
    """1 for the right number alone, 0.2 for another number alone, else 0."""
    answer = response.strip().removesuffix(".").replace(",", "")
    if not NUMBER.fullmatch(answer):
        return 0.0
    return 1.0 if float(answer) == float(reference) else 0.2
