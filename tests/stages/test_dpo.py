"""What KTO compares the policy with: responses to other prompts."""

from palate.batches.groups import token_group
from palate.stages.dpo import mismatched


def test_kto_reads_every_prompt_with_the_response_of_the_next_row():
    batch = [token_group(name, (1, i), ((5 + i, 2),)) for i, name in enumerate("abc")]
    shifted = mismatched(batch)
    assert [group.prompt for group in shifted] == [(1, 0), (1, 1), (1, 2)]
    assert [group.responses for group in shifted] == [((6, 2),), ((7, 2),), ((5, 2),)]
