"""What somebody answered, in words, by the letters under which a page shows the responses."""

from collections.abc import Sequence

from palate.records import Answer, Choice, LabelTask, Ranking, Rating, Skip, Tie, Verdict
from palate.web.forms import SKIPS
from palate.web.questions import LETTERS
from palate.web.strings import text

_STRENGTHS = {1: "slightly_better", 2: "better", 3: "much_better"}


def answer_words(answer: Answer, order: Sequence[int]) -> str:
    """An answer about responses that are shown in this order.

    >>> from palate.records import Choice
    >>> answer_words(Answer(verdicts=(Choice(chosen=1, strength=3),), seconds=1), (1, 0))
    'A is much better'
    """
    letter = {index: LETTERS[place % 26] for place, index in enumerate(order)}
    return "; ".join(_words(verdict, letter) for verdict in answer.verdicts)


def _words(verdict: Verdict, letter: dict[int, str]) -> str:
    match verdict:
        case Choice(chosen=chosen, strength=strength):
            return text(_STRENGTHS.get(strength, "much_better"), letter=letter[chosen])
        case Tie(both_bad=True):
            return text("both_bad" if len(letter) == 2 else "none_good")
        case Ranking(ranks=ranks):
            return _order(ranks, letter)
        case Rating(dimension=dimension, values=values):
            rated = ", ".join(f"{name} {values[index]}" for index, name in letter.items())
            return f"{dimension}: {rated}"
        case Skip(reason=reason):
            why = text(f"skip_{reason}") if reason in SKIPS else reason
            return f"{text('skipped')}: {why}"
        case _:
            return text("tie")


def _order(ranks: Sequence[int | None], letter: dict[int, str]) -> str:
    """Best first: `A > C = B`; what has no rank is left out."""
    levels: dict[int, list[str]] = {}
    for index, name in letter.items():
        if (rank := ranks[index]) is not None:
            levels.setdefault(rank, []).append(name)
    return " > ".join(" = ".join(levels[rank]) for rank in sorted(levels))


def as_form(answer: Answer, task: LabelTask, order: Sequence[int]) -> dict[str, object]:
    """The fields of the answer form that say the same, by places as shown."""
    fields: dict[str, object] = {
        "reasons": list(answer.reasons),
        "note": [answer.note],
        "better": [answer.better],
    }
    place = {index: shown for shown, index in enumerate(order)}
    for verdict in answer.verdicts:
        match verdict:
            case Choice(chosen=chosen, strength=strength):
                fields["choice"] = [f"{place[chosen]}:{strength}"]
            case Tie(both_bad=bad):
                fields["choice"] = ["bad" if bad else "tie"]
            case Ranking(ranks=ranks):
                for index, rank in enumerate(ranks):
                    if rank is not None and index in place:
                        fields[f"rank_{place[index]}"] = [str(rank + 1)]
            case Rating(dimension=dimension, values=values) if dimension in task.dimensions:
                line = task.dimensions.index(dimension)
                for index, value in enumerate(values):
                    fields[f"rate_{line}_{place[index]}"] = [str(value)]
            case _:
                pass
    return fields
