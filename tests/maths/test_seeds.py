import itertools

import torch

from palate.maths.seeds import seed


def test_seed_is_the_documented_hash_and_fits_a_generator():
    assert seed(0, "sample", 3, "prompt") == 1154913805561231273
    torch.Generator().manual_seed(seed(0, "sample", 3, "prompt"))


def test_every_name_and_its_place_matters():
    names = [(), ("a",), ("a", "b"), ("b", "a"), ("ab",), ("a", 1), ("a", "1"), (1, "a")]
    seeds = [seed(run, *name) for run in (0, 1, -1) for name in names]
    assert len(set(seeds)) == len(seeds)


def test_seeds_have_63_uniform_bits():
    seeds = [seed(0, i) for i in range(2000)]
    assert all(0 <= s < 2**63 for s in seeds)
    ones = [sum(s >> bit & 1 for s in seeds) for bit in range(63)]
    assert all(abs(count - 1000) < 120 for count in ones)
    assert not any(a == b for a, b in itertools.pairwise(seeds))
