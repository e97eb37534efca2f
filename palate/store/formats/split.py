"""Which prompts are held out, so that all judgements of a prompt land on the same side."""

import hashlib

from palate.records import PromptId


def split_by_prompt(id: PromptId, *, fraction: float, seed: int) -> bool:
    """True for the held-out `fraction` of prompts: a hash of seed and id, whatever else there is.

    >>> sum(split_by_prompt(PromptId(str(i)), fraction=0.1, seed=0) for i in range(10_000))
    975
    """
    digest = hashlib.sha256(f"{seed}:{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64
