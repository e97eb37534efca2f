"""Picks what people are asked next, when a project's arms do, and says what that brought."""

import math
from typing import TYPE_CHECKING

from palate.maths.seeds import seed
from palate.records import Arm, PromptId, preferred
from palate.store.labelling import Desk, asking
from palate.store.labelling.items import next_position, task_of

if TYPE_CHECKING:
    from palate.evaluation.asking import ArmResult

BATCH = 40
_ANSWERS = 2000


def fill(desk: Desk, project: int) -> bool:
    """Ask the next batch in a random order, so that no arm comes first; False if none is left."""
    with desk.reading() as connection:
        task = task_of(connection, project)
        if not task.arms:
            return False
        found = asking.candidates(connection, project, task)
        names = ("ask", project, next_position(connection, project))
    from palate.evaluation.asking import arm_scores, next_questions  # scipy: not at the start

    new = sum(candidate.item is None for candidate in found)
    rows = [(one.group, one.judgements, one.shown) for one in found]
    scores = arm_scores(task.arms, rows, new=new)
    picked = next_questions(
        scores, new=new, count=BATCH, control=task.control, seed=seed(0, *names)
    )
    picked = sorted(picked, key=lambda question: seed(0, "order", question.index, *names))
    with desk.writing() as connection:
        if not new:
            asking.finish_queue(connection, project)
        chosen: list[tuple[asking.Candidate, Arm]] = [
            (found[question.index], question.arm) for question in picked
        ]
        return asking.ask(connection, project, chosen, now=desk.clock()) > 0


def arms(desk: Desk, project: int) -> "tuple[ArmResult, ...]":
    """What each arm brought, over the newest answers whose groups a reward model scored."""
    with desk.reading() as connection:
        said = asking.arm_answers(connection, project, limit=_ANSWERS)
    from palate.evaluation.asking import compare_arms, contradicts, model_scores

    wrong = [
        contradicts(model_scores(one.scores), one.shown, preferred(one.answer.verdicts, one.shown))
        for one in said
    ]
    known = [(one, value) for one, value in zip(said, wrong, strict=True) if not math.isnan(value)]
    return compare_arms(
        [one.arm for one, _ in known],
        [value for _, value in known],
        [one.answer.seconds for one, _ in known],
        [PromptId(one.prompt) for one, _ in known],
    )
