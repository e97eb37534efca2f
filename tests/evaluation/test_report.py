import re
import subprocess
import sys

import pytest

from palate.evaluation.figures import COLORS, TrainingCurve
from palate.evaluation.report import (
    Credit,
    Report,
    ReportInputs,
    best_answers,
    by_policy,
    credit_scale,
    credit_tokens,
    page,
    report,
)
from palate.evaluation.restraints import LOWERED, RAISED
from palate.evaluation.results import Answer, AnswerScore, Evaluation, RowResult, Sample
from palate.evaluation.story import headline
from palate.records.trust import TrustCheck
from tests.evaluation.conftest import ANSWERS

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> & \'"'
SECTIONS = (
    "before-after",
    "win-rates",
    "credit",
    "comparison",
    "answers",
    "rows",
    "group",
    "clip",
    "kl",
    "frontier",
    "training",
    "reward-model",
    "not-good-yet",
    "trust",
    "concepts",
    "reproduce",
)


@pytest.fixture(scope="module")
def bare(inputs: ReportInputs) -> ReportInputs:
    """The least that makes a report: a baseline, one policy and one judge."""
    evaluation = inputs.evaluation
    least = evaluation.model_copy(
        update={
            "proxy": "",
            "policies": tuple(p.model_copy(update={"rows": ()}) for p in evaluation.policies[:2]),
            "reward_model": None,
            "best_of_n": (),
            "samples": (),
        }
    )
    return ReportInputs(title="Bare", evaluation=least, facts=inputs.facts)


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return page(report(inputs))


def test_the_page_has_every_section(html: str):
    assert re.findall(r'<section id="([^"]+)"', html) == list(SECTIONS)
    assert set(re.findall(r'<a href="#([^"]+)"', html)) == set(SECTIONS)


def test_the_answers_before_and_after_come_before_any_figure(html: str):
    story = html[: html.index("<svg")]
    assert (
        story.index("ppo wins") < story.index("We have many drinks") < story.index(ANSWERS["ppo"])
    )
    assert story.index("Chosen by a rule: of the 1 prompts below") < story.index("<nav>")


def test_every_link_on_a_bare_page_leads_to_one_of_its_sections(bare: ReportInputs):
    text = page(report(bare))
    ids = set(re.findall(r'<section id="([^"]+)"', text))
    assert set(re.findall(r'<a href="#([^"]+)"', text)) <= ids


def test_answers_stand_in_one_row_or_in_rows_of_three(inputs: ReportInputs, html: str):
    assert 'class="answers of5"' in html  # three and two
    assert 'class="answers of3"' in html
    assert re.search(r"\.answers \{[^}]*repeat\(3,", html)


def test_every_table_scrolls_in_its_box(html: str):
    assert set(re.findall(r"(.{20})<table", html)) == {'<div class="scroll">'}


def test_a_group_shows_rewards_and_advantages(html: str):
    assert "<td>+1.50</td><td>+1.25</td><td>+0.75</td>" in html
    assert 'class="bar minus" style="width:4.00rem"' in html


def test_the_policy_with_the_largest_advantage_tells_the_credit_first():
    faint, strong = (
        Credit(policy="ppo", prompt=str(a), tokens=("a",), advantages=(a,)) for a in (0.1, -2.0)
    )
    assert by_policy((faint, strong)) == {"ppo": [strong, faint]}


def test_no_policy_has_a_color_of_credit(html: str):
    tinted = [f"{int(c[1:3], 16)}, {int(c[3:5], 16)}, {int(c[5:], 16)}" for c in COLORS]
    for name in ("plus", "minus"):
        for red, green, blue in re.findall(rf"--{name}: (\d+), (\d+), (\d+)", html):
            assert f"{red}, {green}, {blue}" not in tinted
    assert not {RAISED, LOWERED} & set(COLORS)


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(html: str):
    assert not re.search(r"<(script|link|iframe|object|embed|img|base|form)\b", html)
    assert not re.search(r"\b(src|action|on[a-z]+)\s*=", html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert set(re.findall(r'\bhref="(?!#)([^"]+)"', html)) == set()
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) == namespaces
    assert "default-src 'none'; style-src 'unsafe-inline'" in html


def test_ids_on_the_page_are_unique(html: str):
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_the_page_is_the_same_every_time(bare: ReportInputs):
    assert page(report(bare)) == page(report(bare))


def test_the_numbers_of_the_evaluation_are_on_the_page(html: str, evaluation: Evaluation):
    rate = evaluation.policies[-1].against_baseline("cafe").win_rate
    shown = f"{100 * rate.estimate:.1f}% [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    assert shown in html
    assert f"{evaluation.policies[-1].kl.estimate:.2f}" in html
    assert "at most 1.84" in html
    assert "Every method was trained once" in html
    assert "palate run runs/cafe/recipe.toml" in html
    assert "E[r] - 0.1 KL; hold on" in html
    assert "0f3a9c1d22e44b10" in html


def evil_inputs(inputs: ReportInputs) -> ReportInputs:
    """The example in which every text is an attack."""
    evaluation = inputs.evaluation
    names = {p.name: f"{p.name}{EVIL}" for p in evaluation.policies if p.name != "sft"}
    policies = tuple(
        p.model_copy(
            update={
                "name": names.get(p.name, p.name),
                "rows": tuple(r.model_copy(update={"name": r.name + EVIL}) for r in p.rows),
            }
        )
        for p in evaluation.policies
    )
    answer = Answer(policy=names["ppo"], text=EVIL, scores=(AnswerScore(judge=EVIL, value=1.0),))
    return inputs.model_copy(
        update={
            "title": EVIL,
            "evaluation": evaluation.model_copy(
                update={
                    "policies": policies,
                    "samples": (Sample(prompt=EVIL, answers=(answer,)),),
                }
            ),
            "credits": (Credit(policy=EVIL, prompt=EVIL, tokens=(EVIL,), advantages=(1.0,)),),
        }
    )


def test_what_models_and_people_wrote_is_escaped(inputs: ReportInputs):
    html = page(report(evil_inputs(inputs.model_copy(update={"curves": ()}))))
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;alert(") > 10


def test_text_that_looks_like_a_template_stays_text(bare: ReportInputs):
    html = page(report(bare.model_copy(update={"title": "{{ 7 * 7 }}{% raw %}"})))
    assert "{{ 7 * 7 }}{% raw %}" in html


def test_a_report_survives_json(inputs: ReportInputs):
    made = report(inputs)
    again = Report.model_validate_json(made.model_dump_json())
    assert again == made


def test_an_evaluation_survives_json_with_named_interval_ends(evaluation: Evaluation):
    text = evaluation.model_dump_json()
    assert Evaluation.model_validate_json(text) == evaluation
    assert '"win_rate":{"estimate":' in text


def test_a_bare_evaluation_still_makes_a_page(bare: ReportInputs):
    sections = re.findall(r'<section id="([^"]+)">', page(report(bare)))
    assert sections == [
        "win-rates",
        "comparison",
        "frontier",
        "not-good-yet",
        "concepts",
        "reproduce",
    ]


def test_rows_that_never_applied_are_left_out(bare: ReportInputs):
    rows = (RowResult(name="safe", value=0.8, n=40), RowResult(name="unasked", value=0.0, n=0))
    policies = tuple(p.model_copy(update={"rows": rows}) for p in bare.evaluation.policies)
    evaluation = bare.evaluation.model_copy(update={"policies": policies})
    html = page(report(bare.model_copy(update={"evaluation": evaluation})))
    assert "safe" in html
    assert "unasked" not in html
    assert "(40 responses of sft per row" in html


def test_a_baseline_alone_says_that_there_is_nothing_to_compare(bare: ReportInputs):
    alone = bare.evaluation.model_copy(update={"policies": bare.evaluation.policies[:1]})
    assert "nothing to compare" in headline(alone)
    assert "nothing to compare" in page(report(bare.model_copy(update={"evaluation": alone})))


def test_without_findings_the_page_says_what_the_rules_know(bare: ReportInputs):
    clean = Report(inputs=bare, findings=())
    assert "No rule fired. That is not proof" in page(clean)


def test_the_headline_is_the_policy_with_the_highest_lower_bound(evaluation: Evaluation):
    assert headline(evaluation).startswith("ppo wins")
    without = evaluation.model_copy(update={"policies": evaluation.policies[:2]})
    assert headline(without).endswith("at most 1.8 nats away from it.")


def test_the_best_answer_is_the_one_that_the_taste_prefers():
    answers = tuple(
        Answer(
            policy=name,
            text="",
            scores=(AnswerScore(judge="cafe", value=v), AnswerScore(judge="rm", value=-v)),
        )
        for name, v in (("sft", 0.1), ("ppo", 0.9), ("dpo", 0.3))
    )
    sample = Sample(prompt="?", answers=answers)
    unscored = Sample(prompt="?", answers=(Answer(policy="sft", text=""),))
    of = Evaluation.model_construct(taste="cafe", samples=(sample, unscored))
    assert best_answers(of) == ("ppo", "")


def test_credit_is_a_share_of_the_largest_on_the_page():
    one = Credit(policy="ppo", prompt="?", tokens=("a", "b"), advantages=(0.5, -0.25))
    two = Credit(policy="ppo", prompt="?", tokens=("c",), advantages=(-2.0,))
    scale = credit_scale((one, two))
    assert scale == 2.0
    assert [token.share for token in credit_tokens(one, scale)] == [0.25, -0.125]
    assert credit_scale(()) == 1.0


def test_every_token_needs_its_advantage():
    with pytest.raises(ValueError, match="2 tokens but 1 advantages"):
        Credit(policy="ppo", prompt="?", tokens=("a", "b"), advantages=(0.5,))


def test_a_curve_gives_the_steps_at_which_a_metric_was_logged():
    rows = ({"step": 0.0, "reward/score": 1.0}, {"step": 1.0}, {"step": 2.0, "reward/score": 3.0})
    curve = TrainingCurve(name="ppo", stage="ppo", steps=rows)
    assert curve.series("reward/score") == ([0.0, 2.0], [1.0, 3.0])


@pytest.mark.slow
def test_the_report_needs_no_torch():
    code = "import sys, palate.evaluation.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_check_that_does_not_hold_is_a_problem_and_the_first_one(inputs: ReportInputs):
    assert "trust" not in {finding.rule for finding in report(inputs).findings}
    missed = TrustCheck(row="N3", claim="sampler equals scorer", value=0.5, gate=1e-4)
    (stage,) = inputs.trust
    record = stage.record.model_copy(update={"checks": (*stage.record.checks, missed)})
    broken = inputs.model_copy(update={"trust": (stage.model_copy(update={"record": record}),)})
    first = report(broken).findings[0]
    assert (first.rule, first.severity) == ("trust", "problem")
    assert first.text == (
        "ppo failed a check of itself: N3: sampler equals scorer: off by 0.5, at most 0.0001 is "
        "rounding"
    )
    html = page(report(broken))
    assert "<td>N3: sampler equals scorer</td><td>5.0e-01</td><td>0.0001</td><td>NO</td>" in html
    assert "<td>N1: sums</td><td>2.0e-07</td><td>1e-05</td><td>yes</td>" in html
