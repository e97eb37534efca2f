"""The answer form: what a person clicked, in places as shown, into an answer in stored order."""

from dataclasses import dataclass

from starlette.datastructures import FormData

from palate.records import Answer, Choice, LabelTask, Ranking, Rating, Skip, Tie, Verdict
from palate.store.labelling.answers import Assignment
from palate.store.labelling.errors import Refused
from palate.store.schema import Body
from palate.web.visitor import whole, word, words

SKIPS = ("unclear", "expertise", "offensive", "broken")
LONGEST_DRAFT = 120_000
_LONGEST_LOOK = 3600.0
"""Seconds that one correction may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One button of the scale: its form value, its text, and the key that presses it."""

    value: str
    label: str
    short: str
    key: str
    letter: str


def scale(task: LabelTask) -> list[Step]:
    """The scale from the first answer to the second; a tie is its middle."""
    strengths = (3, 2, 1) if task.steps == 7 else (3, 1)
    names = {3: ("much_better", "much"), 2: ("better", "more"), 1: ("slightly_better", "slightly")}
    left = [(0, strength) for strength in strengths]
    right = [(1, strength) for strength in reversed(strengths)]
    steps: list[Step] = []
    for key, (place, strength) in enumerate((*left, (None, 0), *right), 1):
        if place is None:
            steps.append(Step(value="tie", label="tie", short="tie", key=str(key), letter=""))
        else:
            label, short = names[strength]
            steps.append(
                Step(
                    value=f"{place}:{strength}",
                    label=label,
                    short=short,
                    key=str(key),
                    letter="AB"[place],
                )
            )
    return steps


def read_answer(form: FormData, asked: Assignment, *, now: float) -> Answer:
    """The answer in a form; a `Refused` says what is missing."""
    elapsed = max(0.0, now - asked.created_at)
    focused = whole(form, "focused", default=-1)
    seconds = elapsed if focused < 0 else min(elapsed, focused / 1000)
    if word(form, "action") == "skip":
        reason = word(form, "skip_reason")
        verdict = Skip(reason=reason if reason in SKIPS else "unclear")
        return Answer(verdicts=(verdict,), seconds=seconds, note=word(form, "note")[:10_000])
    read = {"pairwise": _pairwise, "ranking": _ranking, "rating": _ratings}[asked.task.kind]
    return Answer(
        verdicts=read(form, asked),
        seconds=seconds,
        reasons=tuple(r for r in asked.task.reasons if r in words(form, "reasons")),
        note=word(form, "note").strip()[:10_000],
        better=word(form, "better").replace("\r\n", "\n")[:100_000],
    )


def read_correction(form: FormData, asked: Assignment) -> Answer:
    """What somebody would rather have said; it takes the time in which the page had the focus."""
    answer = read_answer(form, asked, now=asked.created_at + _LONGEST_LOOK)
    timed = whole(form, "focused", default=-1) >= 0
    return answer if timed else answer.model_copy(update={"seconds": 0.0})


def _pairwise(form: FormData, asked: Assignment) -> tuple[Verdict, ...]:
    chosen = word(form, "choice")
    if chosen in ("tie", "bad"):
        return (Tie(both_bad=chosen == "bad"),)
    if chosen not in {step.value for step in scale(asked.task)}:
        raise Refused("choose_first")
    place, strength = map(int, chosen.split(":"))
    return (Choice(chosen=asked.order[place], strength=strength),)


def _ranking(form: FormData, asked: Assignment) -> tuple[Verdict, ...]:
    if word(form, "choice") == "bad":
        return (Tie(both_bad=True),)
    said = [whole(form, f"rank_{place}", default=-1) for place in range(len(asked.order))]
    given = {place: rank for place, rank in enumerate(said) if rank >= 0}
    if not given:
        raise Refused("rank_first")
    levels = sorted(set(given.values()))
    ranks: list[int | None] = [None] * asked.group.k
    for place, rank in given.items():
        ranks[asked.order[place]] = levels.index(rank)
    return (Ranking(ranks=tuple(ranks)),)


def _ratings(form: FormData, asked: Assignment) -> tuple[Verdict, ...]:
    verdicts: list[Verdict] = []
    for number, dimension in enumerate(asked.task.dimensions):
        values = [0] * asked.group.k
        for place, index in enumerate(asked.order):
            value = word(form, f"rate_{number}_{place}")
            if value not in ("1", "2", "3", "4", "5"):
                raise Refused("rate_all")
            values[index] = int(value)
        verdicts.append(Rating(dimension=dimension, values=tuple(values)))
    return tuple(verdicts)


def read_draft(form: FormData) -> Body:
    """The fields of a form that is not finished."""
    kept: Body = {}
    for name in form:
        if name in ("note", "better", "choice", "reasons") or name.startswith(("rank_", "rate_")):
            kept[name] = [value[:LONGEST_DRAFT] for value in words(form, name)]
    return kept
