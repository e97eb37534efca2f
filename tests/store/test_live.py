"""Prompts that people put to policies: asked once, answered once, voted on first by who asked."""

from collections.abc import Iterator

import pytest

from palate.records import Answer, Choice, Group, LabelTask, Response, user_prompt
from palate.store import queries
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, answers, checks, items, lease, live, review
from palate.store.labelling.errors import Refused

PROJECT = 1
TWO = (Response(text="yes", policy="ppo"), Response(text="no", policy="sft"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def desk(url: str) -> Iterator[Desk]:
    with Desk(url, clock=Clock()) as desk:
        with desk.writing() as connection:
            queries.open_project(connection, "arena")
            items.save_task(connection, PROJECT, LabelTask(compare="policies"))
        yield desk


def person(desk: Desk, name: str) -> int:
    with desk.writing() as connection:
        made = accounts.add_person(connection, name, "no hash", owner=False, now=0)
        accounts.join(connection, PROJECT, made.id, "annotator", now=0)
    return made.id


def put(desk: Desk, who: int, text: str, *, after: float = 0.0) -> str:
    desk.clock.now += after
    with desk.writing() as connection:
        return live.put(connection, PROJECT, who, text, now=desk.clock())


def take(desk: Desk) -> live.LivePrompt | None:
    with desk.writing() as connection:
        return live.take(connection, PROJECT, now=desk.clock())


def answer(desk: Desk, asked: live.LivePrompt, responses=TWO) -> None:
    with desk.writing() as connection:
        live.answer(connection, asked, responses, now=desk.clock())


def own(desk: Desk, who: int, id: str) -> live.LivePrompt:
    with desk.reading() as connection:
        return live.own(connection, PROJECT, who, id)


def claimed(desk: Desk, who: int) -> str | None:
    with desk.writing() as connection:
        return lease.claim(connection, PROJECT, who, now=desk.clock())


def progress(desk: Desk, who: int) -> review.Progress:
    with desk.reading() as connection:
        return review.progress(connection, PROJECT, who)


def test_who_asked_votes_on_the_answers_and_nobody_else_does(desk: Desk, url: str) -> None:
    ann, bob = person(desk, "ann"), person(desk, "bob")
    id = put(desk, ann, "  Do you have oat milk?\n")
    asked = take(desk)
    assert asked is not None
    assert (asked.id, asked.prompt.messages[-1].content) == (id, "Do you have oat milk?")
    assert claimed(desk, ann) is None
    answer(desk, asked)
    held = own(desk, ann, id).assignment
    assert claimed(desk, bob) is None
    assert claimed(desk, ann) == held
    assert (progress(desk, ann).remaining, progress(desk, ann).wanted) == (1, 1)
    vote = Answer(verdicts=(Choice(chosen=1),), seconds=2.0)
    with desk.writing() as connection:
        answers.submit(connection, PROJECT, ann, held, vote, revision=0, now=desk.clock())
    with Store(url) as store:
        ((group, (judgement,)),) = store.judged_groups("arena")
    assert [r.policy for r in group.responses] == ["ppo", "sft"]
    assert (judgement.judge, judgement.verdict) == ("person:ann", Choice(chosen=1))
    assert claimed(desk, ann) is None
    assert progress(desk, ann).remaining == 0


def test_with_arms_a_live_prompt_counts_once(desk: Desk, url: str) -> None:
    ann = person(desk, "ann")
    with desk.writing() as connection:
        task = LabelTask(compare="policies", arms=("outlier",))
        items.save_task(connection, PROJECT, task)
        two = tuple(Response(text=p, policy=p) for p in ("ppo", "sft"))
        groups = [Group(prompt=user_prompt(f"q{i}"), responses=two) for i in range(5)]
        queries.insert_groups(connection, "arena", groups)
    for number in (6, 7):
        put(desk, ann, f"prompt {number}")
        answer(desk, take(desk))
        assert progress(desk, ann).wanted == number


def test_a_person_waits_for_one_prompt_at_a_time(desk: Desk) -> None:
    ann, bob = person(desk, "ann"), person(desk, "bob")
    first = put(desk, ann, "one")
    assert put(desk, ann, "two") == first
    assert put(desk, bob, "three") != first
    answer(desk, take(desk))
    assert put(desk, ann, "two") != first


def test_a_prompt_is_taken_by_one_and_again_when_that_one_died(desk: Desk) -> None:
    ann, bob = person(desk, "ann"), person(desk, "bob")
    first = put(desk, ann, "one")
    second = put(desk, bob, "two", after=1)
    taken = take(desk)
    assert taken.id == first
    assert take(desk).id == second
    assert take(desk) is None
    desk.clock.now += 200
    again = take(desk)
    assert again.id == first
    answer(desk, again)
    held = own(desk, ann, first).assignment
    answer(desk, taken, (TWO[1], TWO[0]))
    assert own(desk, ann, first).assignment == held
    assert progress(desk, ann).wanted == 1


def test_what_was_released_is_free_at_once_and_what_was_refused_is_not(desk: Desk) -> None:
    ann = person(desk, "ann")
    id = put(desk, ann, "one")
    taken = take(desk)
    with desk.writing() as connection:
        live.release(connection, taken)
    assert take(desk).id == id
    with desk.writing() as connection:
        live.refuse_long(connection, taken)
    desk.clock.now += 200
    with desk.reading() as connection:
        assert not live.waits(connection, PROJECT, now=desk.clock())
    assert own(desk, ann, id).problem == "prompt_too_long"
    assert put(desk, ann, "shorter") != id


@pytest.mark.parametrize("text", ["", " \n", "x" * (live.LONGEST + 1)])
def test_prompts_have_a_length(desk: Desk, text: str) -> None:
    with pytest.raises(Refused, match="prompt_length"):
        put(desk, person(desk, "ann"), text)


def test_only_active_members_ask_and_only_in_an_arena(desk: Desk) -> None:
    ann, bob = person(desk, "ann"), person(desk, "bob")
    id = put(desk, ann, "one")
    with pytest.raises(Refused, match="not_found"):
        own(desk, bob, id)
    with desk.writing() as connection:
        checks.set_state(connection, lease.member_of(connection, PROJECT, bob), "paused", "", now=0)
    with pytest.raises(Refused, match="paused"):
        put(desk, bob, "hello")
    with desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask(compare="policies", qualification=3))
    with pytest.raises(Refused, match="not_qualified"):
        put(desk, person(desk, "cem"), "hello")
    with desk.writing() as connection:
        items.save_task(connection, PROJECT, LabelTask())
    with pytest.raises(Refused, match="no_arena"):
        put(desk, ann, "hello")


def test_policies_are_two_or_there_is_nothing_to_ask(desk: Desk) -> None:
    put(desk, person(desk, "ann"), "one")
    asked = take(desk)
    with pytest.raises(ValueError, match="two policies"):
        answer(desk, asked, (TWO[0], TWO[0]))
