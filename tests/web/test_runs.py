"""The Run page: curves and alarms as they grow, answers over time, and answers sent to people."""

import json
import re
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from starlette.testclient import TestClient

from palate.records import Choice, Group, Rating, Response, Sampling, user_prompt
from palate.records.sample import Sample
from palate.records.trust import TrustCheck, TrustRecord
from palate.store.database import Store
from palate.store.labelling import accounts
from palate.store.runs import SAMPLES, TRUST, StageDir
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, Site, csrf, group, served, site
from tests.web.test_browser import AXE, saved

ANSWERS = {0: "We open.", 2: "We open at **seven**.", 4: "We open at **seven**.", 6: "Seven, dear."}


def stage(root: Path, name: str = "06-ppo", run: str = "cafe") -> StageDir:
    folder = root / "runs" / run / name
    folder.mkdir(parents=True, exist_ok=True)
    return StageDir(folder)


def samples(answers: dict[int, str], question: str = "When do you open?") -> list[Sample]:
    sampling = Sampling(temperature=0.7, max_tokens=32)
    return [
        Sample(
            step=step,
            prompt=user_prompt(question, tag="hours"),
            response=Response(text=text, token_ids=(step, 2), policy="ppo", sampling=sampling),
            score=step / 4,
            kl=step / 2,
        )
        for step, text in answers.items()
    ]


def write(folder: StageDir, rows: Sequence[Sample]) -> None:
    folder.write_jsonl(SAMPLES, sorted(rows, key=lambda row: row.step))


def grow(folder: StageDir, steps: int, **values: float) -> None:
    for step in range(steps):
        folder.log(step, {name.replace("__", "/"): value for name, value in values.items()})


def shown(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def owner(made: Site) -> TestClient:
    return made.client(made.person("olga", "owner"))


def send(client: TestClient, *values: str, **fields: str) -> tuple[int, str]:
    """The status, and what the page then says (or where it leads)."""
    token = csrf(client.get("/projects/1/run").text)
    data = {"csrf": token, "sample": list(values), "run": "cafe"} | fields
    response = client.post("/projects/1/run/samples", data=data)
    return response.status_code, response.headers.get("location", shown(response.text))


def value(step: int, source: str = "cafe/06-ppo", question: str = "When do you open?") -> str:
    return f"{source}/{step}/{user_prompt(question).id}"


def groups(made: Site, project: str = "cafe") -> list[Group]:
    with Store(made.url) as store:
        return list(store.groups(project))


def test_curves_grow_and_a_line_that_is_still_being_written_waits(cafe: Site) -> None:
    folder = stage(cafe.root, "01-sft")
    lines = '{"step": 1, "sft/nll": 2.5}\n{"step": 2, "sft/nll": 1.5}\n{"step": 3, "sf'
    (folder.path / "metrics.jsonl").write_text(lines, encoding="utf-8")
    client = owner(cafe)
    html = client.get("/projects/1/run").text
    assert "01-sft" in html
    assert "1.5" in html
    assert "not finished" in html
    assert "No alarm so far." in html
    (folder.path / "metrics.jsonl").write_text(lines + 't/nll": 0.75}\n', encoding="utf-8")
    assert "0.75" in client.get("/projects/1/run").text


def test_alarms_stand_on_top_and_mark_the_stage_and_the_run(cafe: Site) -> None:
    grow(stage(cafe.root), 6, policy__clip_fraction=0.42)
    config = {"stage": "ppo", "kl": {"control": "hard", "target": 3.0}}
    stage(cafe.root, "07-grpo").write_config(json.dumps(config))
    grow(stage(cafe.root, "07-grpo"), 6, kl__policy_reference=4.0)
    check = TrustCheck(row="N3", claim="sampler equals scorer", value=0.5, gate=1e-4)
    record = TrustRecord(step=0, precision="fp32", checks=(check,), left_out="")
    stage(cafe.root, "07-grpo").write_json(TRUST, record.model_dump(mode="json"))
    grow(stage(cafe.root, "01-sft", "zoo"), 6, sft__nll=1.0)
    with cafe.desk.writing() as connection:
        chief = accounts.add_person(connection, "chief", "-", owner=True, now=0)
    html = cafe.client(chief.id).get("/projects/1/run").text
    said = shown(html)
    order = ["N3: sampler equals scorer", "policy/clip_fraction is 0.42 lately; above 0.3"]
    order += ["kl/policy_reference is 4 nats lately; its target is 3.", "06-ppo not finished"]
    assert sorted(order, key=said.index) == order
    assert re.search(r"06-ppo not finished . Step 5 1 alarm ", said)
    assert re.search(r"07-grpo not finished . Step 5 2 alarms ", said)
    assert re.search(r"cafe 3 alarms zoo Alarms", said)
    assert html.count("badge grave") == 2  # of the run, and of the stage with the miss
    assert "No alarm so far." in cafe.client(chief.id).get("/projects/1/run?run=zoo").text


def test_a_damaged_file_of_one_stage_hides_no_other(cafe: Site) -> None:
    grow(stage(cafe.root, "01-sft"), 6, sft__nll=1.25)
    (stage(cafe.root).path / TRUST).write_text('{"step": 0', encoding="utf-8")
    said = shown(owner(cafe).get("/projects/1/run").text)
    assert "06-ppo damaged file What 06-ppo wrote cannot be read" in said
    assert "sft/nll 1.25" in said


def test_owners_see_the_runs_of_their_own_projects_only(cafe: Site) -> None:
    grow(stage(cafe.root), 2, sft__nll=1.0)
    grow(stage(cafe.root, "01-sft", "secret"), 2, sft__nll=1.0)
    write(stage(cafe.root, "01-sft", "secret"), samples(ANSWERS))
    client = owner(cafe)
    assert "secret" not in client.get("/projects/1/run").text
    assert "secret" not in client.get("/projects/1/run?beside=secret/01-sft").text
    assert client.get("/projects/1/run?run=secret").status_code == 404
    assert client.get("/projects/1/run?run=../secret").status_code == 404
    assert send(client, value(6, "secret/01-sft"))[0] == 404


def test_answers_over_time_are_shown_once_with_the_steps_for_which_they_stood(cafe: Site) -> None:
    write(stage(cafe.root), samples(ANSWERS) + samples({0: "Yes."}, "Have you tea?"))
    said = shown(owner(cafe).get("/projects/1/run").text)
    times = re.findall(r"Steps? \d+(?: to \d+)? score \S+, KL \S+", said)
    assert times == [
        "Step 0 score 0.00, KL 0.0",
        "Steps 2 to 4 score 1.00, KL 2.0",
        "Step 6 score 1.50, KL 3.0",
    ]
    prompt = user_prompt("Have you tea?").id
    other = shown(owner_again(cafe).get(f"/projects/1/run?prompt={prompt}").text)
    assert "Yes." in other
    assert "Seven, dear." not in other


def owner_again(made: Site) -> TestClient:
    return made.client(made.person("oscar", "owner"))


def test_two_answers_become_one_group_with_their_policies_and_sampling(cafe: Site) -> None:
    write(stage(cafe.root), samples(ANSWERS))
    client = owner(cafe)
    status, place = send(client, value(6), value(2))
    assert (status, place.rpartition("done=")[2]) == (303, "sent")
    assert "Sent. It is the next question" in client.get(place).text
    made = groups(cafe)[-1]
    assert [r.policy for r in made.responses] == ["cafe/06-ppo/step-2", "cafe/06-ppo/step-6"]
    assert [r.text for r in made.responses] == [ANSWERS[2], ANSWERS[6]]
    assert [r.token_ids for r in made.responses] == [(2, 2), (6, 2)]
    assert made.responses[0].sampling == Sampling(temperature=0.7, max_tokens=32)
    assert made.prompt == user_prompt("When do you open?", tag="hours")
    status, place = send(client, value(2), value(6))  # whatever the order
    assert (status, place.rpartition("done=")[2]) == (303, "sent_before")
    assert len(groups(cafe)) == 31
    assert "answers of runs sent" in shown(client.get("/projects/1/people").text)


def test_one_answer_is_set_against_the_first_of_its_stage(cafe: Site) -> None:
    write(stage(cafe.root), samples(ANSWERS))
    client = owner(cafe)
    assert send(client, value(4))[0] == 303
    policies = [r.policy for r in groups(cafe)[-1].responses]
    assert policies == ["cafe/06-ppo/step-0", "cafe/06-ppo/step-4"]


def test_one_answer_is_rated_alone_where_ratings_are_asked_for(tmp_path: Path) -> None:
    with site(tmp_path, [group(0)], kind="rating", dimensions=["helpful"]) as made:
        write(stage(made.root), samples(ANSWERS))
        assert send(owner(made), value(0))[0] == 303
        annotator = made.client(made.person("ann"))
        html = annotator.get("/projects/1/label").text
        assert "We open." in html
        path = re.search(r'action="(/projects/1/assignments/\w+)"', html)[1]
        data = {"csrf": csrf(html), "rate_0_0": "4", "revision": "0", "action": "answer"}
        assert annotator.post(path, data=data).status_code == 303
        (said,) = made.judgements()
        assert said.verdict == Rating(dimension="helpful", values=(4,))
        assert said.group_id == groups(made)[-1].id


@pytest.mark.parametrize(
    ("picked", "why"),
    [
        ((), "Tick one answer, or two."),
        ((0, 2, 6), "Tick one answer, or two."),
        ((2, 4), "Both answers are the same"),
        ((0,), "Both answers are the same"),  # it is the first itself
    ],
)
def test_what_is_no_question_is_refused_with_the_reason(
    cafe: Site, picked: tuple[int, ...], why: str
) -> None:
    write(stage(cafe.root), samples(ANSWERS))
    status, said = send(owner(cafe), *map(value, picked))
    assert status == 400
    assert why in said
    assert len(groups(cafe)) == 30


def test_answers_to_two_prompts_and_answers_that_are_not_there_are_refused(cafe: Site) -> None:
    write(stage(cafe.root), samples(ANSWERS) + samples({0: "Yes."}, "Have you tea?"))
    client = owner(cafe)
    status, said = send(client, value(6), value(0, question="Have you tea?"))
    assert (status, "different prompts" in said) == (400, True)
    for wrong in (value(3), value(6, "cafe/09-none"), value(6, "none/06-ppo"), "x", "////"):
        assert send(client, wrong)[0] == 404


def test_two_runs_can_be_compared_in_a_project_that_one_owns(cafe: Site) -> None:
    write(stage(cafe.root), samples(ANSWERS))
    write(stage(cafe.root, "03-grpo", "other"), samples({0: "At eight.", 9: "Eight."}))
    with Store(cafe.url) as store:
        store.add_groups("other", [group(0)])
        store.add_groups("foreign", [group(0)])
    olga = cafe.person("olga", "owner")
    with cafe.desk.writing() as connection:
        accounts.join(connection, 2, olga, "owner", now=0)
        accounts.join(connection, 3, olga, "reviewer", now=0)
    client = cafe.client(olga)
    html = client.get("/projects/1/run?beside=other/03-grpo").text
    assert [*re.findall(r"<h3>(.*?)</h3>", html)] == ["cafe/06-ppo", "other/03-grpo"]
    assert "foreign" not in html
    assert send(client, value(6), value(9, "other/03-grpo"), to="3")[0] == 403
    assert send(client, value(6), value(9, "other/03-grpo"), to="2")[0] == 303
    policies = [r.policy for r in groups(cafe, "other")[-1].responses]
    assert policies == ["cafe/06-ppo/step-6", "other/03-grpo/step-9"]
    assert len(groups(cafe)) == 30


def test_hostile_answers_and_prompts_are_shown_and_not_obeyed(cafe: Site) -> None:
    evil = "<script>x</script>\u202e <img src=x onerror=y> half \ud83d"
    rows = [
        row.model_copy(update={"response": row.response.model_copy(update={"text": evil})})
        for row in samples({0: ""}, f"{evil} asked")
    ]
    write(stage(cafe.root), rows)
    html = owner(cafe).get("/projects/1/run").text
    assert "<script>x" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 4


# In a browser


@pytest.fixture
def live(cafe: Site) -> Iterator[Site]:
    grow(stage(cafe.root), 6, policy__clip_fraction=0.42)
    write(stage(cafe.root), samples(ANSWERS))
    with served(cafe) as site:
        yield site


def enter(live: Site, context: BrowserContext, person: int, path: str) -> Page:
    context.add_cookies([{"name": COOKIE, "value": live.session(person), "url": live.address}])
    page = context.new_page()
    page.on("pageerror", lambda error: live.errors.append(str(error)))
    page.goto(f"{live.address}/projects/{PROJECT}/{path}")
    return page


@pytest.mark.parametrize("scripts", [True, False])
def test_from_the_run_page_to_an_annotator_s_answer(
    live: Site, browser: Browser, scripts: bool
) -> None:
    first, second = (browser.new_context(java_script_enabled=scripts) for _ in range(2))
    page = enter(live, first, live.person("olga", "owner"), "run")
    page.get_by_label("Answer of cafe/06-ppo, step 6").and_(page.locator("input")).check()
    page.get_by_label("Answer of cafe/06-ppo, step 0").and_(page.locator("input")).check()
    page.get_by_role("button", name="Send what is ticked").click()
    expect(page.get_by_role("status")).to_contain_text("Sent.")
    other = enter(live, second, live.person("ann"), "label")
    expect(other.locator(".turn .rendered").first).to_have_text("When do you open?")
    assert "ppo" not in other.content()
    shown = other.locator('[data-letter="B"] .rendered').inner_text().strip()
    other.locator('input[value="1:3"]').check(force=True)
    other.locator("#send").click()
    saved(other, "question 0")
    (said,) = live.judgements()
    asked = groups(live)[-1]
    assert said.group_id == asked.id
    assert said.verdict == Choice(chosen=[ANSWERS[0], ANSWERS[6]].index(shown), strength=3)
    first.close()
    second.close()


def test_the_page_keeps_up_with_a_run_and_keeps_what_was_ticked_and_closed(
    live: Site, context: BrowserContext
) -> None:
    context.clock.install()
    page = enter(live, context, live.person("olga", "owner"), "run")
    tick = page.get_by_label("Answer of cafe/06-ppo, step 4").and_(page.locator("input"))
    tick.check()
    page.locator("#stage-06-ppo summary").click()
    write(stage(live.root), samples(ANSWERS | {8: "At seven sharp."}))
    context.clock.run_for(5_000)
    expect(page.locator("#samples")).to_contain_text("At seven sharp.")
    expect(tick).to_be_checked()
    expect(page.locator("#stage-06-ppo table")).to_be_hidden()
    (stage(live.root).path / "manifest.json").write_text("{}")
    context.clock.run_for(5_000)
    expect(page.locator("#stage-06-ppo summary")).not_to_contain_text("not finished")
    assert page.locator("#stages").get_attribute("hx-get") is None
    page.get_by_role("button", name="Send what is ticked").click()
    expect(page.get_by_role("status")).to_contain_text("Sent.")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_a_full_run_page(live: Site, browser: Browser, theme: str) -> None:
    write(stage(live.root, "07-grpo"), samples({0: "word " * 400, 3: "x" * 300}))
    context = browser.new_context(
        color_scheme=theme,
        viewport={"width": 1280 if theme == "light" else 390, "height": 900},
        bypass_csp=True,
    )
    page = enter(live, context, live.person("olga", "owner"), "run?beside=cafe/06-ppo")
    page.evaluate(AXE)
    rules = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"
    found = page.evaluate(f"axe.run(document, {{runOnly: {rules}}})")
    told = [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found["violations"]]
    assert told == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    context.close()


def test_a_reviewer_asks_one_more_person(tmp_path: Path, browser: Browser) -> None:
    with site(tmp_path, [group(i) for i in range(4)], overlap=2) as made, served(made) as live:
        for name, choice in (("ann", "0:3"), ("bob", "1:3")):
            client = made.client(made.person(name))
            html = client.get("/projects/1/label").text
            path = re.search(r'action="(/projects/1/assignments/\w+)"', html)[1]
            left = re.search(r'data-letter="A".*?answer 0\.(\d)', html, re.DOTALL)[1]
            side = choice if left == "0" else {"0:3": "1:3", "1:3": "0:3"}[choice]
            data = {"csrf": csrf(html), "choice": side, "revision": "0", "action": "answer"}
            assert client.post(path, data=data).status_code == 303
        context = browser.new_context()
        page = enter(live, context, live.person("rev", "reviewer"), "disagreements/1")
        page.get_by_role("button", name="Ask one more person").click()
        expect(page.get_by_text("waits for one more answer")).to_be_visible()
        context.close()
        html = made.client(made.person("carl")).get("/projects/1/label").text
        assert "question 0" in html
