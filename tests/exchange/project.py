"""A project with judgements of every kind, and its exports."""

import json
from pathlib import Path

from rich.console import Console

from palate.config.exchange import Format
from palate.exchange.exporting import Selection, export_project
from palate.records import (
    Choice,
    Group,
    Judgement,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    Scores,
    Skip,
    Tie,
    Verdict,
    user_prompt,
)
from palate.store.database import Store


def group(name: str, *texts: str) -> Group:
    prompt = Prompt(
        messages=(
            Message(role="user", content=f"Question {name}?"),
            Message(role="assistant", content="Which one?"),
            Message(role="user", content="Gr\u00fc\u00dfe \u2028 that one."),
        )
    )
    if name.startswith("single"):
        prompt = user_prompt(f"Question {name}?")
    return Group(
        prompt=prompt,
        responses=tuple(Response(text=text, policy=f"p{i}") for i, text in enumerate(texts)),
    )


def by(judge: str, about: Group, verdict: Verdict, order: tuple[int, ...] = ()) -> Judgement:
    return Judgement(group_id=about.id, judge=judge, verdict=verdict, order=order, seconds=1.5)


def fill(url: str, judges: tuple[str, str] = ("person:ann", "person:bob")) -> None:
    """Pairs with votes that agree and differ, a tie, a ranking, ratings and a skip."""
    with Store(url) as store:
        for number in range(6):
            pair = group(f"pair {number}", "Yes.", "No, it is not.")
            store.add_groups("mine", [pair])
            ann = by(judges[0], pair, Choice(chosen=number % 2, strength=1 + number % 4), (1, 0))
            bob = by(judges[1], pair, Tie() if number == 3 else Choice(chosen=0), (0, 1))
            store.add_judgements("mine", [ann, bob])
        rated = group("single rated", "a", "b", "c")
        ranked = group("ranked", "a", "b", "c", "d")
        tied = group("tied", "a", "b")
        store.add_groups("mine", [rated, ranked, tied])
        store.add_judgements(
            "mine",
            [
                by(judges[0], rated, Scores(values=(0.5, 2.25, -1.0))),
                by(judges[0], rated, Rating(dimension="honest", values=(1, 4, 5))),
                by(judges[0], ranked, Ranking(ranks=(1, 0, 1, 2))),
                by(judges[1], tied, Tie(), (0, 1)),
                by(judges[1], tied, Skip(reason="unsure"), (0, 1)),
            ],
        )


def export(url: str, out: Path, format: Format, **selection) -> bytes:
    """The bytes of an export of the project `mine`, or of another one."""
    chosen = Selection(**{"project": "mine"} | selection)
    export_project(chosen, format=format, out=out, url=url, console=Console(quiet=True))
    return out.read_bytes()


def rows(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]
