"""What a stage's folder holds already: skip it, go on with it, begin again, or ask first.

Work behind a checkpoint is never thrown away unasked.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from palate.store.errors import DataError
from palate.store.origin import VERSION, Begun, Change, Origin, changes
from palate.store.runs import StageDir

Onward = Literal["ask", "restart", "resume"]
"""What becomes of begun work: refused where something has changed, begun again, or gone on with."""

_HOW_IT_RUNS = ("compute.", "optimizer.", "critic_optimizer.", "checkpoint_", "sampling.rows")
"""Settings that the same weights, moments and data go on with."""
_WHAT_IT_IS = ("optimizer.name", "critic_optimizer.name")


def taken_up(
    folder: StageDir, now: Origin, onward: Onward, *, unit: str, say: Callable[[str], None]
) -> Begun | None:
    """What the stage begins or goes on with; None when what it would make is there.

    `unit` is what a checkpoint counts, `say` is told why a stage does not do what it did before.
    """
    if folder.has_finished():
        reason = _outdated(folder, now)
        if not reason:
            return None
        say(f"runs again: {reason}")
        return _anew(folder, now)
    before = _begun(folder)
    changed = changes(before.origin, now) if before else []
    if onward != "restart":
        if before and not changed:
            return before
        if done := folder.saved_steps():
            told = _told(changed) or "begun.json, which says what they began with, is no more"
            sound = before is not None and all(can_go_on(change) for change in changed)
            if before is None or not sound or onward == "ask":
                raise _refusal(folder, f"{done} {unit}s are done, but {told}", sound=sound)
            say(f"goes on behind {unit} {done} although {told}")
            resumed = (*before.resumed, f"behind {unit} {done}: {told}")
            begun = Begun(origin=now, resumed=resumed)
            folder.begin(begun)
            return begun
    if folder.take_back(now.fingerprint):
        return None
    if changed:
        say(f"begins again: {_told(changed)}")
    return _anew(folder, now)


def can_go_on(change: Change) -> bool:
    """Whether training that has begun is still the same training: other code, or another way to
    compute it, but the same model, data, seed and objective."""
    if change.name.startswith(_HOW_IT_RUNS):
        return change.name not in _WHAT_IT_IS
    return change.name == VERSION or change.name.endswith(".py")


def _anew(folder: StageDir, now: Origin) -> Begun:
    begun = Begun(origin=now)
    folder.start_over()
    folder.begin(begun)
    return begun


def _outdated(folder: StageDir, now: Origin) -> str:
    """Why a finished stage has to run again; empty when it has not."""
    try:
        return _told(folder.changes(now))
    except DataError as error:
        return error.problem


def _begun(folder: StageDir) -> Begun | None:
    try:
        return folder.begun()
    except DataError:
        return None


def _told(changed: Sequence[Change]) -> str:
    texts = [change.text for change in changed]
    more = f" (and {len(texts) - 3} more)" if texts[3:] else ""
    return ", ".join(texts[:3]) + more


def _refusal(folder: StageDir, problem: str, *, sound: bool) -> DataError:
    remedy = "undo that to go on with them; --restart begins again without them"
    if sound:
        remedy += "; --resume goes on with them all the same"
    return DataError(problem, source=str(folder.path), remedy=remedy)
