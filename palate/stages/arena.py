"""`arena`: policies that answer what people ask them in the labelling app, blind and in pairs."""

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import OperationalError

from palate.config.common import SamplingConfig
from palate.maths.seeds import seed
from palate.models.tokens import TooLong
from palate.records import LabelTask, Response
from palate.stages.chat import open_chat
from palate.stages.context import MODEL
from palate.stages.policies import OpenPolicy
from palate.stages.progress import quiet_libraries
from palate.stages.sample import sampling_record
from palate.store import queries
from palate.store.errors import DataError
from palate.store.labelling import Desk, items, live
from palate.store.schema import GroupRow

_LOOK = 0.2
"""Seconds between two looks for prompts."""
_AGAIN = 2.0
"""Seconds until a database that failed is asked again."""
Respond = Callable[[live.LivePrompt], list[Response]]
"""(a prompt) -> responses of two policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Policies by their names, and how they are sampled."""

    policies: dict[str, OpenPolicy]
    sampling: SamplingConfig

    def respond(self, asked: live.LivePrompt) -> list[Response]:
        """One response of each of two policies, drawn by the prompt's id."""
        names = sorted(self.policies)
        two = random.Random(seed(0, "arena", asked.id)).sample(names, 2)
        return [self._response(asked, name) for name in two]

    def _response(self, asked: live.LivePrompt, name: str) -> Response:
        policy = self.policies[name]
        prompt = policy.encoder.encode_prompt(asked.prompt)
        policy.encoder.admits_prompt(prompt, max_response_tokens=self.sampling.max_tokens)
        own_seed = seed(0, "arena", asked.id, name)
        ((rollout,),) = policy.sampler(self.sampling).sample([prompt], 1, seed=own_seed)
        return policy.encoder.response(
            rollout, policy=name, sampling=sampling_record(self.sampling)
        )


def run(
    models: Sequence[str],
    *,
    project: str,
    url: str,
    sampling: SamplingConfig,
    console: Console,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Answer the prompts that people put to a project, until it is interrupted or `stopped`.

    A project that is new becomes an arena. A database that fails for a while is tried again.
    """
    names = policy_names(models)
    quiet_libraries()
    policies = {name: open_chat(source) for name, source in names.items()}
    host = Host(policies=policies, sampling=sampling)
    with Desk(url) as desk:
        id = _arena(desk, project)
        console.print(f"{', '.join(names)} answer in {project}; Ctrl-C ends", highlight=False)
        console.print("people ask at: palate label, Ask the policies", highlight=False)
        _serve(desk, id, host, console, stopped)


def _serve(
    desk: Desk, project: int, host: Host, console: Console, stopped: Callable[[], bool]
) -> None:
    failing = False
    while not stopped():
        try:
            served = serve_next(desk, project, host.respond, console)
        except OperationalError as error:
            if not failing:
                console.print(f"the database fails, trying on: {error.orig}", markup=False)
            failing = True
            time.sleep(_AGAIN)
            continue
        if failing:
            console.print("the database is back")
        failing = False
        if not served:
            time.sleep(_LOOK)


def policy_names(models: Sequence[str]) -> dict[str, str]:
    """Model by the name under which it is rated: of a run's stage the stage's, with its run where
    another run's has the same, else the model's own.

    >>> policy_names(["runs/cafe/06-ppo/model", "me/my-model"])
    {'ppo': 'runs/cafe/06-ppo/model', 'me/my-model': 'me/my-model'}
    >>> list(policy_names(["runs/a/06-ppo/model", "runs/b/05-ppo/model"]))
    ['a/ppo', 'b/ppo']
    """
    if len(set(models)) < max(2, len(models)):
        raise ValueError(f"an arena compares two different policies or more, not {list(models)}")
    short = [_stage_name(model) for model in models]
    names = [
        f"{Path(model).parent.parent.name}/{name}" if short.count(name) > 1 else name
        for model, name in zip(models, short, strict=True)
    ]
    found = dict(zip(names, models, strict=True))
    if len(found) < len(models):
        raise ValueError(f"two of {list(models)} have one name; copy or link one elsewhere")
    return found


def _stage_name(model: str) -> str:
    stage = re.fullmatch(r"[0-9]+-(.+)", Path(model).parent.name)
    return stage[1] if stage and Path(model).name == MODEL else model


def serve_next(desk: Desk, project: int, respond: Respond, console: Console) -> bool:
    """Answer the prompt that has waited longest; False when none waits."""
    with desk.reading() as connection:
        if not live.waits(connection, project, now=desk.clock()):
            return False
    with desk.writing() as connection:
        asked = live.take(connection, project, now=desk.clock())
    if asked is None:
        return False
    begun = desk.clock()
    try:
        responses = respond(asked)
    except TooLong as error:
        console.print(f"prompt {asked.id[:8]}: {escape(error.problem)}", highlight=False)
        with desk.writing() as connection:
            live.refuse_long(connection, asked)
        return True
    except BaseException:
        with desk.writing() as connection:
            live.release(connection, asked)
        raise
    with desk.writing() as connection:
        live.answer(connection, asked, responses, now=desk.clock())
    took = desk.clock() - begun
    console.print(f"prompt {asked.id[:8]}: answered in {took:.1f} s", highlight=False)
    return True


def _arena(desk: Desk, name: str) -> int:
    """The id of a project in which policies are compared."""
    with desk.writing() as connection:
        id = queries.open_project(connection, name)
        empty = not queries.last_position(connection, GroupRow, id)
        if empty and not items.has_task(connection, id):
            items.save_task(connection, id, LabelTask(compare="policies"))
        elif items.task_of(connection, id).compare != "policies":
            raise DataError(
                source=f"project {name}",
                problem="its task compares responses, not policies",
                remedy="give another --project, or change the task in the settings of palate label",
            )
    return id
