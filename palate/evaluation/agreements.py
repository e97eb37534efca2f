"""How far annotators agree about choices, strengths, ratings and rankings, clustered by prompt."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from palate.evaluation.ballots import TIED, Said
from palate.evaluation.results import Estimate
from palate.maths.agreement import (
    UndefinedError,
    bootstrap,
    cohen_kappa,
    coincidences,
    fleiss_kappa,
    kendall_w,
    krippendorff_alpha,
    observed_agreement,
)
from palate.maths.statistics import bootstrap_mean
from palate.records import Record

Array = NDArray[np.floating]
Indices = NDArray[np.intp]


class Agreement(Record):
    """How far annotators agree about one thing; `undefined` says why there is no value.

    `units` are pairs, responses or groups that two annotators or more judged.
    """

    about: str
    statistic: str
    value: Estimate | None = None
    units: int = 0
    annotators: int = 0
    undefined: str = ""


RAW, ALPHA, FLEISS = "raw agreement", "Krippendorff's alpha", "Fleiss' kappa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """N grades: which value a judge gave a unit, and the prompt that the unit is about."""

    value: Array
    unit: Indices
    prompt: Indices
    judge: Indices

    def where(self, kept: NDArray[np.bool_]) -> "Grades":
        """Some of the grades."""
        return Grades(
            value=self.value[kept],
            unit=self.unit[kept],
            prompt=self.prompt[kept],
            judge=self.judge[kept],
        )


def agreement(everything: Said, *, seed: int, draws: int) -> tuple[Agreement, ...]:
    """Agreement about choices, their strength, each rated dimension, and rankings."""
    cast = everything.ballots
    measure = partial(_measured, seed=seed, draws=draws)
    columns = {"unit": cast.pair, "prompt": cast.prompt, "judge": cast.judge}
    choices = _shared(Grades(value=cast.votes[:, 0], **columns))
    strengths = Grades(value=cast.votes[:, 1], **columns)
    found = [*_choice_agreement(choices, measure)]
    graded = {"strength": strengths.where(np.isfinite(strengths.value))}
    graded |= {f"rating: {name}": _ratings(units) for name, units in everything.ratings.items()}
    for about, grades in graded.items():
        shared = _shared(grades)
        values, parts = _coincidences(shared)
        alpha = partial(krippendorff_alpha, values=values, metric="ordinal")
        found.append(measure(shared, parts, alpha, about=about, statistic=f"{ALPHA} (ordinal)"))
    if everything.rankings:
        found.append(_ranking_agreement(everything, seed=seed, draws=draws))
    return tuple(found)


def _ratings(units: Mapping[tuple[int, int, int], Mapping[int, int]]) -> Grades:
    rows = [
        (rating, unit, place[0], judge)
        for unit, (place, ratings) in enumerate(units.items())
        for judge, rating in ratings.items()
    ]
    value, unit, prompt, judge = np.array(rows, np.intp).T
    return Grades(value=value.astype(float), unit=unit, prompt=prompt, judge=judge)


def _shared(grades: Grades) -> Grades:
    """The grades of units that two judges or more graded."""
    return grades.where(
        np.bincount(grades.unit)[grades.unit] > 1 if len(grades.unit) else np.zeros(0, bool)
    )


def _coincidences(grades: Grades) -> tuple[Array, Array]:
    """The different values, and the coincidences of each prompt: votes about one prompt are
    resampled together."""
    values, value = np.unique(grades.value, return_inverse=True)
    units, unit = np.unique(grades.unit, return_inverse=True)
    counts = np.zeros((len(units), len(values)))
    np.add.at(counts, (unit, value), 1)
    prompts, prompt = np.unique(grades.prompt, return_inverse=True)
    of_unit = np.zeros(len(units), np.intp)
    of_unit[unit] = prompt
    parts = np.zeros((len(prompts), len(values), len(values)))
    np.add.at(parts, of_unit, coincidences(counts))
    return values, parts


def _measured(
    grades: Grades,
    parts: Array,
    coefficient: Callable[[Array], float],
    *,
    about: str,
    statistic: str,
    seed: int,
    draws: int,
) -> Agreement:
    judges, units = len(np.unique(grades.judge)), len(np.unique(grades.unit))
    made = {"about": about, "statistic": statistic, "units": units, "annotators": judges}
    if len(parts) < 2:
        why = "all shared units are about one prompt" if units else "no unit has two annotators"
        return Agreement(undefined=why, **made)
    try:
        return Agreement(value=bootstrap(coefficient, parts, seed=seed, draws=draws), **made)
    except UndefinedError as error:
        return Agreement(undefined=str(error), **made)


def _choice_agreement(choices: Grades, measure: Callable[..., Agreement]) -> list[Agreement]:
    """Raw and alpha; Cohen's kappa of two annotators, else Fleiss' of equally many votes a pair."""
    values, parts = _coincidences(choices)
    alpha = partial(krippendorff_alpha, values=values, metric="nominal")
    found = [
        measure(choices, parts, observed_agreement, about="choice", statistic=RAW),
        measure(choices, parts, alpha, about="choice", statistic=f"{ALPHA} (nominal)"),
    ]
    decided = _shared(choices.where(choices.value != TIED))
    parts_decided = _coincidences(decided)[1]
    found.append(
        measure(decided, parts_decided, observed_agreement, about="choice, ties out", statistic=RAW)
    )
    votes = np.unique(choices.unit, return_counts=True)[1]
    if len(np.unique(choices.judge)) == 2:
        found.append(
            measure(
                choices, _tables(choices), cohen_kappa, about="choice", statistic="Cohen's kappa"
            )
        )
    elif len(np.unique(votes)) == 1:
        found.append(measure(choices, parts, fleiss_kappa, about="choice", statistic=FLEISS))
    return found


def _tables(choices: Grades) -> Array:
    """Per prompt how often the first judge said v and the second w about the same unit."""
    values, value = np.unique(choices.value, return_inverse=True)
    _, prompt = np.unique(choices.prompt, return_inverse=True)
    order = np.lexsort((choices.judge, choices.unit))  # a unit's two votes, in judges' order
    one, two = order[::2], order[1::2]
    tables = np.zeros((int(prompt.max()) + 1, len(values), len(values)))
    np.add.at(tables, (prompt[one], value[one], value[two]), 1)
    return tables


def _ranking_agreement(everything: Said, *, seed: int, draws: int) -> Agreement:
    """The mean concordance of the groups that two judges or more ranked completely."""
    shared = {place: ranks for place, ranks in everything.rankings.items() if len(ranks) > 1}
    values: list[float] = []
    prompts: list[int] = []
    for (prompt, _), ranks in shared.items():
        with suppress(UndefinedError):  # every ranking of the group is one tie
            values.append(kendall_w(list(ranks.values())))
            prompts.append(prompt)
    judges = len({judge for ranks in shared.values() for judge in ranks})
    made = {"about": "ranking", "statistic": "Kendall's W", "units": len(values)}
    if len(set(prompts)) < 2:
        why = "fewer than two prompts have two complete rankings"
        return Agreement(undefined=why, annotators=judges, **made)
    mean = bootstrap_mean(values, prompts, seed=seed, draws=draws)
    return Agreement(value=mean, annotators=judges, **made)
