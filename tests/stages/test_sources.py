from palate.records import Group, Response, user_prompt
from palate.stages.sources import cluster_of


def group(asked: str, *responses: str) -> Group:
    return Group(prompt=user_prompt(asked), responses=tuple(Response(text=r) for r in responses))


def test_groups_of_one_prompt_share_a_cluster():
    one, two = group("How much is tea?", "2.50", "Two."), group("How much is tea?", "Ask Sam.", "3")
    assert cluster_of(one) == cluster_of(two) != cluster_of(group("And cocoa?", "2.50", "Two."))


def test_groups_without_a_prompt_share_nothing():
    assert cluster_of(group("", "fine film", "dull film")) != cluster_of(group("", "good", "bad"))
