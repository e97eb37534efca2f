import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from palate.evaluation import drawing, figures
from palate.evaluation.drawing import Panel
from palate.evaluation.figures import TrainingCurve
from palate.evaluation.report import ReportInputs
from palate.evaluation.results import Evaluation
from palate.maths.statistics import Interval


def texts(panel: Panel) -> list[str]:
    root = ElementTree.fromstring(panel.svg)
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_there_is_a_frontier_for_the_taste_and_one_for_the_reward_model(inputs: ReportInputs):
    taste, proxy = figures.frontier(inputs.evaluation, inputs.curves)
    assert taste.title == "Score by cafe against KL"
    for panel in (taste, proxy):
        assert {"sft", "best-of-16", "dpo", "grpo", "ppo", "n=16"} <= set(texts(panel))
    while_training = "opacity: 0.55"
    assert (taste.svg.count(while_training), proxy.svg.count(while_training)) == (0, 2)


def test_only_quantities_that_were_logged_get_a_panel(evaluation: Evaluation):
    rows = tuple({"step": float(i), "policy/entropy": 1.0 / (i + 1)} for i in range(5))
    curve = TrainingCurve(name="ppo", stage="ppo", steps=rows)
    panels = figures.training_curves(evaluation, (curve,))
    assert [panel.title for panel in panels] == ["Entropy of the policy"]
    assert figures.training_curves(evaluation, ()) == ()


def test_a_policy_keeps_its_color_in_every_figure(inputs: ReportInputs):
    evaluation = inputs.evaluation
    color = figures.policy_colors(evaluation)["ppo"]
    panels = [
        figures.win_rates(evaluation),
        figures.rows_before_after(evaluation),
        *figures.frontier(evaluation, inputs.curves),
        figures.training_curves(evaluation, inputs.curves)[0],
    ]
    assert all(color in panel.svg for panel in panels)
    assert len(set(figures.policy_colors(evaluation).values())) == len(evaluation.policies)


def test_figures_take_the_color_of_the_page_and_carry_no_size(evaluation: Evaluation):
    svg = figures.win_rates(evaluation).svg
    assert "currentColor" in svg
    assert drawing.TEXT not in svg
    assert "#000000" not in svg
    opening = re.match(r"<svg[^>]*>", svg)
    assert opening
    assert not re.search(r" (width|height)=", opening.group())
    assert 'aria-label="Win rate against sft"' in opening.group()


def test_names_are_text_and_never_formulas_or_markup(evaluation: Evaluation):
    policies = tuple(
        p.model_copy(update={"name": "<b>$x$</b>"}) if p.name == "ppo" else p
        for p in evaluation.policies
    )
    panel = figures.win_rates(evaluation.model_copy(update={"policies": policies}))
    assert "<b>$x$</b>" in texts(panel)
    assert "<b>" not in panel.svg


def test_long_names_do_not_crowd_out_the_figure(evaluation: Evaluation):
    policies = tuple(
        p.model_copy(update={"name": "runs/a/05-ppo/model"}) if p.name == "ppo" else p
        for p in evaluation.policies
    )
    panel = figures.win_rates(evaluation.model_copy(update={"policies": policies}))
    assert "runs/a/05-ppo/m..." in texts(panel)


def test_an_interval_that_rounding_puts_below_its_estimate_is_drawn():
    assert drawing.reach(Interval(1.0, 0.9, 1.0 - 1e-16)) == [[pytest.approx(0.1)], [0.0]]


def test_smoothing_keeps_a_constant_and_the_length():
    assert drawing.smooth([2.0] * 50).tolist() == pytest.approx([2.0] * 50)
    assert drawing.smooth([1.0, 3.0]).tolist() == [1.0, 3.0]


def test_a_drawing_leaves_matplotlib_as_it_was(evaluation: Evaluation):
    before = dict(mpl.rcParams)
    figures.win_rates(evaluation)
    assert dict(mpl.rcParams) == before
