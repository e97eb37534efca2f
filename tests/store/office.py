"""People at work on the questions of a project, at times that a test tells."""

from palate.records import (
    Answer,
    Choice,
    Group,
    LabelTask,
    Response,
    user_prompt,
)
from palate.store.database import Store
from palate.store.labelling import Desk, accounts, answers, items, lease, review

PROJECT = 1


def group(i: int, k: int = 2) -> Group:
    responses = tuple(Response(text=f"answer {i}.{j}", policy="sft") for j in range(k))
    return Group(prompt=user_prompt(f"question {i}"), responses=responses)


class Office:
    """A desk with a clock that only moves when it is told to, and people who work at it."""

    def __init__(self, url: str, groups: int, k: int = 2, **task: object) -> None:
        with Store(url) as store:
            store.add_groups("cafe", [group(i, k) for i in range(groups)])
        self.url = url
        self.now = 1000.0
        self.desk = Desk(url, clock=lambda: self.now)
        with self.desk.writing() as connection:
            items.save_task(connection, PROJECT, LabelTask.model_validate(task))

    def hire(self, name: str, role: accounts.Role = "annotator") -> int:
        with self.desk.writing() as connection:
            person = accounts.add_person(connection, name, "hash", owner=False, now=self.now)
            accounts.join(connection, PROJECT, person.id, role, now=self.now)
        return person.id

    def claim(self, person: int) -> answers.Assignment | None:
        with self.desk.writing() as connection:
            id = lease.claim(connection, PROJECT, person, now=self.now)
            return id and answers.assignment(connection, PROJECT, person, id)

    def submit(self, person: int, asked: answers.Assignment, answer: Answer):
        with self.desk.writing() as connection:
            return answers.submit(
                connection,
                PROJECT,
                person,
                asked.id,
                answer,
                revision=asked.revision,
                now=self.now,
            )

    def answer(self, person: int, chosen: int = 0) -> answers.Assignment:
        asked = self.claim(person)
        assert asked is not None
        self.submit(person, asked, choice(chosen))
        return asked

    def undo(self, person: int) -> str:
        with self.desk.writing() as connection:
            return answers.undo(connection, PROJECT, person, now=self.now)

    def progress(self, person: int) -> review.Progress:
        with self.desk.reading() as connection:
            return review.progress(connection, PROJECT, person)

    def member(self, name: str) -> accounts.Member:
        with self.desk.reading() as connection:
            (found,) = [m for m in accounts.members(connection, PROJECT) if m.name == name]
        return found

    def judgements(self):
        with Store(self.url) as store:
            return list(store.judgements("cafe"))


def choice(chosen: int, seconds: float = 5.0) -> Answer:
    return Answer(verdicts=(Choice(chosen=chosen, strength=2),), seconds=seconds)


def gold(office: Office, number: int) -> None:
    """Checks whose right answer is response 1."""
    owner = office.hire("olga", "owner")
    with office.desk.writing() as connection:
        for i in range(number):
            check = Group(
                prompt=user_prompt(f"check {i}"),
                responses=(Response(text="bad"), Response(text="good", policy="check:olga")),
            )
            review.add_attention(connection, PROJECT, owner, check, choice(1), now=office.now)
