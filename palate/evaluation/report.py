"""The report: one self-contained HTML page, and the same content as JSON.

What models wrote is untrusted: every text is escaped, and the page forbids scripts and requests.
"""

from typing import NamedTuple, Self

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import model_validator

from palate.evaluation import figures
from palate.evaluation.concepts import ADAPTIVE, HACKING, HARD, NOT_IN_PALATE, seen
from palate.evaluation.figures import TrainingCurve
from palate.evaluation.findings import Finding, Targets, findings
from palate.evaluation.restraints import KlControl, StageRatios, control_panels, ratio_panel
from palate.evaluation.results import Evaluation
from palate.evaluation.story import before_after, distance_in_words, headline
from palate.evaluation.tables import StageCost, headers, machines_of, summary_rows
from palate.evaluation.words import difference, duration, interval, memory, percent, points
from palate.records import Record
from palate.records.trust import TRUST_REMEDY, TrustRecord, complaint


class Credit(Record):
    """One response with the advantage of each of its tokens (positive: more of this)."""

    policy: str
    prompt: str
    tokens: tuple[str, ...]
    advantages: tuple[float, ...]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.tokens) != len(self.advantages):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.advantages)} advantages")
        return self


class ConfigText(Record):
    """The resolved configuration of a stage, as text."""

    name: str
    text: str


class PolicyNote(Record):
    """How a policy came about, in one sentence."""

    name: str
    text: str


class GroupAnswer(Record):
    """One answer of a group: its score, the reward that training made of it, and its advantage."""

    text: str
    score: float
    reward: float
    advantage: float


class SampledGroup(Record):
    """All answers to one prompt that a policy compared with each other in one step."""

    policy: str
    prompt: str
    answers: tuple[GroupAnswer, ...]


class StageObjective(Record):
    """What the settings of an on-policy stage really optimize, and what follows from it."""

    name: str
    sentences: tuple[str, ...]


class StageTrust(Record):
    """What an on-policy stage found out about itself."""

    name: str
    record: TrustRecord


class RunFacts(Record):
    """What somebody needs to make the same run again.

    `command` and `seed` are the recipe's; stages that were run one by one have none. `seeds` and
    `hashes` are those of the stages, by name.
    """

    command: str
    seed: int | None
    machine: str
    versions: dict[str, str]
    seeds: dict[str, int]
    hashes: dict[str, str]


class ReportInputs(Record):
    """Everything on the page but what is computed from it."""

    title: str
    evaluation: Evaluation
    targets: Targets = Targets()
    curves: tuple[TrainingCurve, ...] = ()
    costs: tuple[StageCost, ...] = ()
    credits: tuple[Credit, ...] = ()
    configs: tuple[ConfigText, ...] = ()
    notes: tuple[PolicyNote, ...] = ()
    groups: tuple[SampledGroup, ...] = ()
    ratios: tuple[StageRatios, ...] = ()
    controls: tuple[KlControl, ...] = ()
    objectives: tuple[StageObjective, ...] = ()
    trust: tuple[StageTrust, ...] = ()
    facts: RunFacts


class Report(Record):
    """The inputs and what was found in them: `report.json`."""

    inputs: ReportInputs
    findings: tuple[Finding, ...]


class CreditToken(NamedTuple):
    """A token, its advantage, and the advantage as a share of the page's largest."""

    text: str
    advantage: float
    share: float


def report(inputs: ReportInputs) -> Report:
    """Apply the rules."""
    untrusted = [
        Finding(
            rule="trust",
            severity="problem",
            text=f"{stage.name} failed a check of itself: {complaint(check)}",
            remedy=TRUST_REMEDY,
        )
        for stage in inputs.trust
        for check in stage.record.missed
    ]
    return Report(
        inputs=inputs, findings=(*untrusted, *findings(inputs.evaluation, inputs.targets))
    )


def page(report: Report) -> str:
    """The report as one HTML document without scripts, requests or outside files."""
    inputs, evaluation = report.inputs, report.inputs.evaluation
    return (
        _environment()
        .get_template("report.html")
        .render(
            inputs=inputs,
            machines=machines_of(inputs.costs),
            evaluation=evaluation,
            findings=report.findings,
            headline=headline(evaluation),
            distance=distance_in_words(evaluation),
            pair=before_after(evaluation),
            notes={note.name: note.text for note in inputs.notes},
            headers=headers(evaluation),
            rows=summary_rows(evaluation, inputs.costs),
            colors=figures.policy_colors(evaluation),
            gray=figures.BASELINE_COLOR,
            best=best_answers(evaluation),
            win_rates=figures.win_rates(evaluation),
            taste_rows=figures.rows_before_after(evaluation) if evaluation.measured_rows else None,
            frontier=figures.frontier(evaluation, inputs.curves),
            curves=figures.training_curves(evaluation, inputs.curves),
            reliability=figures.reliability(evaluation.reward_model)
            if evaluation.reward_model
            else None,
            credit_scale=credit_scale(inputs.credits),
            credits=by_policy(inputs.credits),
            clips=[
                (one, ratio_panel(one), clip_share(one, inputs.curves)) for one in inputs.ratios
            ],
            control_panels=control_panels(
                inputs.curves, inputs.controls, figures.policy_colors(evaluation)
            ),
            sections=sections(inputs),
            concepts=seen(sections(inputs), inputs.controls, {f.rule for f in report.findings}),
            commands={concept.name: concept.command for concept in (ADAPTIVE, HARD, HACKING)},
            not_in_palate=NOT_IN_PALATE,
        )
    )


def sections(inputs: ReportInputs) -> set[str]:
    """Those sections of the page that are only there when there is something to show."""
    evaluation = inputs.evaluation
    shown = {
        "before-after": before_after(evaluation),
        "credit": inputs.credits,
        "rows": evaluation.measured_rows,
        "answers": evaluation.samples,
        "group": inputs.groups,
        "clip": inputs.ratios,
        "kl": inputs.controls,
        "frontier": evaluation.best_of_n,
        "reward-model": evaluation.reward_model,
    }
    return {name for name, content in shown.items() if content}


def by_policy(credits: tuple[Credit, ...]) -> dict[str, list[Credit]]:
    """The responses of each policy, that with the largest advantage first."""
    found: dict[str, list[Credit]] = {}
    for credit in sorted(credits, key=lambda one: -credit_scale((one,))):
        found.setdefault(credit.policy, []).append(credit)
    return found


def clip_share(stage: StageRatios, curves: tuple[TrainingCurve, ...]) -> float:
    """The mean over all steps of the share of tokens whose ratio was clipped."""
    curve = next((curve for curve in curves if curve.name == stage.name), None)
    _, shares = curve.series("policy/clip_fraction") if curve else ([], [])
    return sum(shares) / len(shares) if shares else 0.0


def best_answers(evaluation: Evaluation) -> tuple[str, ...]:
    """For each sample, the policy whose answer the taste scores highest; empty: none is scored."""
    best = []
    for sample in evaluation.samples:
        scores = {
            answer.policy: score
            for answer in sample.answers
            if (score := answer.score(evaluation.taste)) is not None
        }
        best.append(max(scores, key=lambda policy: scores[policy]) if scores else "")
    return tuple(best)


def credit_scale(credits: tuple[Credit, ...]) -> float:
    """The largest absolute advantage on the page: full color."""
    return max((abs(a) for credit in credits for a in credit.advantages), default=0.0) or 1.0


def credit_tokens(credit: Credit, scale: float) -> list[CreditToken]:
    """The tokens of a response with their share of the scale, -1 to 1."""
    pairs = zip(credit.tokens, credit.advantages, strict=True)
    return [CreditToken(text, advantage, advantage / scale) for text, advantage in pairs]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("palate.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "interval": interval,
        "difference": difference,
        "duration": duration,
        "memory": memory,
        "credit_tokens": credit_tokens,
    }
    return environment
