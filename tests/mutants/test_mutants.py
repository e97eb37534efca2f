"""The list of mutations is of today's source, and its page of today's list."""

from collections import Counter

import pytest

from tests.mutants.mutation import LAYERS, MUTATIONS, PAGE, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_mutation_changes_one_place_and_its_tests_exist(mutation: Mutation) -> None:
    source = (ROOT / mutation.path).read_text(encoding="utf-8")
    assert source.count(mutation.before) == 1
    assert mutation.after != mutation.before
    assert mutation.layer in LAYERS
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.split('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8") or not name


def test_every_mutation_has_its_own_words() -> None:
    assert not [what for what, n in Counter(m.what for m in MUTATIONS).items() if n > 1]


def test_the_page_lists_every_mutation_as_killed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if "| `" in line]
    assert len(listed) == len(MUTATIONS), "run make mutants"
    for mutation in MUTATIONS:
        assert f"| {mutation.what} | `{mutation.file}` | {mutation.layer} | `" in page
