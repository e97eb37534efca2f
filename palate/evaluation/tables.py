"""The comparison of all policies as text: the same cells for the page and the terminal."""

from collections.abc import Sequence

from rich.table import Table

from palate.evaluation.results import Evaluation, PolicyResult
from palate.evaluation.words import duration, interval, memory
from palate.records import Record
from palate.records.machine import Machine

NOTHING = "-"


class StageCost(Record):
    """What one stage of the run took, and on which machines; 0 predicted: nothing was."""

    name: str
    stage: str
    seconds: float
    cpu_seconds: float = 0.0
    peak_memory_mib: float
    predicted_memory_mib: float = 0.0
    machines: tuple[Machine, ...] = ()


def machines_of(costs: Sequence[StageCost]) -> dict[str, list[str]]:
    """The names of the stages that were made, or partly made, on each machine."""
    found: dict[str, list[str]] = {}
    for cost in costs:
        for machine in cost.machines:
            found.setdefault(machine.text, []).append(cost.name)
    return found


class SummaryRow(Record):
    """One policy in words; each cell goes with the header of the same place in `headers`."""

    name: str
    is_baseline: bool
    cells: tuple[str, ...]


def headers(evaluation: Evaluation) -> tuple[str, ...]:
    """What the cells of every `SummaryRow` say."""
    judges = [f"win rate, {judge}" for judge in evaluation.judges]
    return (*judges, "KL (nats)", "length (tokens)", "ended", "time", "peak memory")


def summary_rows(evaluation: Evaluation, costs: Sequence[StageCost] = ()) -> tuple[SummaryRow, ...]:
    """One row per policy, in order; time and memory are those of the stage of its name."""
    took = {cost.name: cost for cost in costs}
    return tuple(
        SummaryRow(
            name=policy.name,
            is_baseline=policy.name == evaluation.baseline,
            cells=(*_cells(evaluation, policy), *_cost(took.get(policy.name))),
        )
        for policy in evaluation.policies
    )


def _cells(evaluation: Evaluation, policy: PolicyResult) -> tuple[str, ...]:
    comparisons = [policy.against_baseline(judge) for judge in evaluation.judges]
    kl = f"{policy.kl.estimate:.2f} [{policy.kl.low:.2f}, {policy.kl.high:.2f}]"
    if policy.kl_method == "bound":
        kl = f"at most {policy.kl.estimate:.2f}"
    return (
        *(interval(c.win_rate) if c else NOTHING for c in comparisons),
        NOTHING if policy.name == evaluation.baseline else kl,
        f"{policy.mean_length.estimate:.1f}",
        f"{100 * policy.eos_rate:.0f}%",
    )


def _cost(took: StageCost | None) -> tuple[str, str]:
    if took is None or not took.seconds:
        return NOTHING, NOTHING
    return duration(took.seconds), memory(took.peak_memory_mib)


def summary_table(evaluation: Evaluation, costs: Sequence[StageCost] = ()) -> Table:
    """The comparison as a table for the terminal."""
    reference = evaluation.baseline
    table = Table(title=f"Against {reference}, {evaluation.settings.num_prompts} held-out prompts")
    table.add_column("policy", style="bold", no_wrap=True)
    for header in headers(evaluation):
        table.add_column(header, justify="right")
    for row in summary_rows(evaluation, costs):
        table.add_row(row.name, *row.cells, style="dim" if row.is_baseline else "")
    return table
