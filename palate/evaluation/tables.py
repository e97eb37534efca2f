"""The comparison of all policies as text: the same cells for the page and the terminal."""

from rich.table import Table

from palate.evaluation.results import Evaluation, PolicyResult
from palate.evaluation.words import duration, interval, memory
from palate.records import Record

NOTHING = "-"


class SummaryRow(Record):
    """One policy in words; each cell goes with the header of the same place in `headers`."""

    name: str
    is_baseline: bool
    cells: tuple[str, ...]


def headers(evaluation: Evaluation) -> tuple[str, ...]:
    """What the cells of every `SummaryRow` say."""
    judges = [f"win rate, {judge}" for judge in evaluation.judges]
    return (*judges, "KL (nats)", "length (tokens)", "ended", "time", "peak memory")


def summary_rows(evaluation: Evaluation) -> tuple[SummaryRow, ...]:
    """One row per policy, in order."""
    return tuple(
        SummaryRow(
            name=policy.name,
            is_baseline=policy.name == evaluation.baseline,
            cells=_cells(evaluation, policy),
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
        duration(policy.seconds) if policy.seconds else NOTHING,
        memory(policy.peak_memory_mib) if policy.peak_memory_mib else NOTHING,
    )


def summary_table(evaluation: Evaluation) -> Table:
    """The comparison as a table for the terminal."""
    reference = evaluation.baseline
    table = Table(title=f"Against {reference}, {evaluation.settings.num_prompts} held-out prompts")
    table.add_column("policy", style="bold", no_wrap=True)
    for header in headers(evaluation):
        table.add_column(header, justify="right")
    for row in summary_rows(evaluation):
        table.add_row(row.name, *row.cells, style="dim" if row.is_baseline else "")
    return table
