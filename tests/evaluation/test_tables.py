import io

from rich.console import Console

from palate.evaluation.results import Evaluation
from palate.evaluation.tables import StageCost, headers, machines_of, summary_rows, summary_table
from palate.records.machine import Machine


def test_every_row_has_a_cell_for_every_header(evaluation: Evaluation):
    rows = summary_rows(evaluation)
    assert [row.name for row in rows] == ["sft", "best-of-16", "dpo", "grpo", "ppo"]
    assert {len(row.cells) for row in rows} == {len(headers(evaluation))}
    assert [row.is_baseline for row in rows] == [True, False, False, False, False]


def test_time_and_memory_are_those_of_the_stage_that_made_the_policy(evaluation: Evaluation):
    took = StageCost(name="grpo", stage="grpo", seconds=95.0, peak_memory_mib=812)
    rows = {row.name: row.cells[-2:] for row in summary_rows(evaluation, [took])}
    assert rows["grpo"] == ("1 min 35 s", "812 MiB")
    assert rows["ppo"] == rows["best-of-16"] == ("-", "-")


def test_the_baseline_is_not_compared_with_itself(evaluation: Evaluation):
    cells = dict(zip(headers(evaluation), summary_rows(evaluation)[0].cells, strict=True))
    assert cells["win rate, cafe"] == cells["KL (nats)"] == "-"


def test_the_kl_of_best_of_n_is_a_bound(evaluation: Evaluation):
    cells = dict(zip(headers(evaluation), summary_rows(evaluation)[1].cells, strict=True))
    assert cells["KL (nats)"] == "at most 1.84"


def test_without_a_reward_model_there_is_one_win_rate(evaluation: Evaluation):
    alone = evaluation.model_copy(update={"proxy": ""})
    assert headers(alone)[:2] == ("win rate, cafe", "KL (nats)")


def test_the_terminal_shows_the_same_cells(evaluation: Evaluation):
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(summary_table(evaluation))
    shown = console.export_text()
    for row in summary_rows(evaluation):
        assert all(cell in shown for cell in row.cells)


def test_stages_are_named_by_the_machines_that_they_were_made_on():
    one = Machine(
        processor="Xeon", cores=2, memory_mib=2048, device="cpu", fast_bf16=True, torch="2.13.0"
    )
    other = one.model_copy(update={"device": "H200"})
    costs = [
        StageCost(name=name, stage="sft", seconds=1.0, peak_memory_mib=1, machines=machines)
        for name, machines in {"a": (one,), "b": (one, other), "c": ()}.items()
    ]
    assert machines_of(costs) == {one.text: ["a", "b"], other.text: ["b"]}
