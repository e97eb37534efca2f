"""Randomness has names: a seed is a hash of the run's seed and what the draw is for."""

import hashlib
import json


def seed(run_seed: int, *names: str | int) -> int:
    """A 63-bit seed from a run's seed and names, by SHA-256; any change of a name changes it.

    >>> seed(0, "sample", 3, "prompt") == seed(0, "sample", 3, "prompt")
    True
    >>> seed(0, "sample", 1) == seed(0, "sample", "1")
    False
    """
    digest = hashlib.sha256(json.dumps([run_seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
