"""What stands for people in files that leave: a keyed hash of the name with which they log in.

The key is the project's and stays in the database. So a person has one pseudonym in all exports of
a project and another one in the next project, and nobody can compute it from a name.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence

from palate.records import Group, Judgement

BY_PERSON = "person:"
"""The prefix of the judges, and of the authors of better answers, that are people."""
BY_OWNER = "check:"
"""The prefix of the authors of answers that were written to check attention."""
_MARK = "~"
"""Begins a pseudonym; no name with which somebody logs in can hold it."""

Naming = Callable[[str], str]
"""What a judge or an author is called outside."""


def pseudonym(name: str, *, key: str) -> str:
    """The name of a person, after its prefix, as `~` and 12 hex digits of its HMAC-SHA256.

    What is no person, and what is a pseudonym already, keeps its name.

    >>> pseudonym("person:ann", key="0"), pseudonym("annotator:cafe", key="0")
    ('person:~c19b3b12082f', 'annotator:cafe')
    """
    assert key
    for prefix in (BY_PERSON, BY_OWNER):
        login = name.removeprefix(prefix)
        if login != name and not login.startswith(_MARK):
            drawn = hmac.digest(key.encode(), login.encode(), hashlib.sha256).hex()[:12]
            return f"{prefix}{_MARK}{drawn}"
    return name


def is_pseudonym(name: str) -> bool:
    """Whether a judge or an author is a person under a pseudonym.

    >>> is_pseudonym("person:~c19b3b12082f"), is_pseudonym("person:ann")
    (True, False)
    """
    return name.startswith((BY_PERSON + _MARK, BY_OWNER + _MARK))


def called(
    group: Group, judgements: Sequence[Judgement], naming: Naming
) -> tuple[Group, tuple[Judgement, ...]]:
    """A group and its judgements with other names for judges and authors.

    The ids change with the names; so what a judgement supersedes is left out.
    """
    about: dict[str, object] = {"supersedes": None}
    authors = [naming(response.policy) for response in group.responses]
    if authors != [response.policy for response in group.responses]:
        responses = tuple(
            response.model_copy(update={"policy": author})
            for response, author in zip(group.responses, authors, strict=True)
        )
        group = Group(prompt=group.prompt, responses=responses)
        about["group_id"] = group.id
    said = (j.model_copy(update=about | {"judge": naming(j.judge)}) for j in judgements)
    return group, tuple(said)
