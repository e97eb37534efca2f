"""Pictures of the clip and of KL control, and what the page says when there is none."""

import re
import warnings

import pytest

from palate.evaluation.concepts import ADAPTIVE, CONCEPTS, HACKING, HARD, seen
from palate.evaluation.figures import TrainingCurve
from palate.evaluation.report import ReportInputs, clip_share, page, report
from palate.evaluation.restraints import KlControl, control_panels, ratio_panel
from palate.records.ratios import RATIO_BINS
from tests.evaluation.test_figures import texts

STEPS = tuple({"step": float(i), "kl/coef": 0.1 + i, "kl/policy_reference": 2.0} for i in range(3))
MOVED = (TrainingCurve(name="ppo", stage="ppo", steps=STEPS),)


def control(kind: str) -> KlControl:
    return KlControl.model_validate({"name": "ppo", "control": kind, "coef": 0.1, "target": 1.5})


def test_the_picture_of_ratios_names_both_bounds(inputs: ReportInputs):
    panel = ratio_panel(inputs.ratios[0])
    assert panel.title == "Ratios of ppo against its bounds"
    assert {"0.8", "1", "1.25", "1,000"} <= set(texts(panel))


def test_the_share_of_clipped_tokens_is_a_mean_over_all_steps(inputs: ReportInputs):
    rows = tuple({"step": float(i), "policy/clip_fraction": v} for i, v in enumerate((0.1, 0.3)))
    curve = TrainingCurve(name="ppo", stage="ppo", steps=rows)
    assert clip_share(inputs.ratios[0], (curve,)) == pytest.approx(0.2)
    assert clip_share(inputs.ratios[0], ()) == 0.0


@pytest.mark.parametrize("kind", ["adaptive", "hard"])
def test_a_moving_coefficient_is_drawn_beside_the_kl_and_its_target(inputs: ReportInputs, kind):
    kl, coef = control_panels(MOVED, (control(kind),), {"ppo": "#123456"})
    assert (kl.svg.count("stroke-dasharray"), coef.svg.count("stroke-dasharray")) == (1, 0)
    assert "#123456" in kl.svg
    html = page(report(inputs.model_copy(update={"curves": MOVED, "controls": (control(kind),)})))
    assert "The price of a nat (coefficient)" in html
    assert f"<dd>{kind}: " in html
    assert "Every coefficient stays as it is" not in html
    assert ("weights that kept it come back" in html) == (kind == "hard")


def test_with_soft_control_alone_the_page_names_the_commands_of_the_others(inputs: ReportInputs):
    assert control_panels(MOVED, (control("soft"),), {}) == ()
    html = page(report(inputs))
    assert "Every coefficient stays as it is" in html
    for concept in (ADAPTIVE, HARD, HACKING):
        assert f"not in this run: <code>{concept.command}</code>" in html


def test_an_idea_is_on_the_page_or_has_a_command():
    shown = {c.name: c for c in seen({"clip"}, [control("hard")], {"reward hacking"})}
    assert len(shown) == len(CONCEPTS) + 3
    places = {name: c.section for name, c in shown.items() if c.section}
    assert places == {
        "PPO's clip: ratios against their bounds": "clip",
        HARD.name: "kl",
        HACKING.name: "not-good-yet",
    }
    assert all(re.match(r"palate \w+", c.command) for c in shown.values())


def test_a_stage_in_which_no_token_moved_has_a_panel_too(inputs: ReportInputs):
    stage = inputs.ratios[0]
    still = tuple(
        step.model_copy(update={"raised": (0,) * RATIO_BINS, "lowered": (0,) * RATIO_BINS})
        for step in stage.steps
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ratio_panel(stage.model_copy(update={"steps": still}))
