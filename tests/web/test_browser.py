"""What people do in a browser, by keys and by clicks, with scripts and without."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from palate.records import Choice, Group, Ranking, Rating, Response, Skip, Tie
from palate.store.labelling import accounts
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, Site, group, served, site

AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def live(url: str, tmp_path: Path) -> Iterator[Site]:
    """Thirty pairs, on each database."""
    with site(tmp_path, [group(i) for i in range(30)], url=url) as made, served(made):
        yield made


def enter(live: Site, context: BrowserContext, person: int) -> Page:
    """A page with somebody's question; any error of its scripts fails the test."""
    context.add_cookies([{"name": COOKIE, "value": live.session(person), "url": live.address}])
    page = context.new_page()
    page.on("pageerror", lambda error: live.errors.append(str(error)))
    page.on(
        "console",
        lambda said: "Content Security Policy" in said.text and live.errors.append(said.text),
    )
    page.goto(f"{live.address}/projects/{PROJECT}/label")
    return page


def prompt(page: Page) -> str:
    return page.locator(".turn .rendered").first.inner_text().strip()


def answer(page: Page, letter: str) -> str:
    return page.locator(f'[data-letter="{letter}"] .rendered').inner_text().strip()


def saved(page: Page, question: str) -> None:
    """Wait for a question, and until the answer before it has been confirmed."""
    expect(page.locator(".turn .rendered").first).to_have_text(question)
    expect(page.locator("html[data-sending]")).to_have_count(0)


def test_a_comparison_by_keys_alone_with_undo_skip_and_note(
    live: Site, context: BrowserContext
) -> None:
    page = enter(live, context, live.person("ann"))
    assert prompt(page) == "question 0"
    left = answer(page, "A")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    saved(page, "question 1")
    (first,) = live.judgements()
    assert first.verdict == Choice(chosen=int(left[-1]), strength=2)
    assert first.judge == "person:ann"
    assert 0 <= first.seconds < 60

    page.keyboard.press("u")
    saved(page, "question 0")
    assert answer(page, "A") == left
    assert live.judgements()[-1].verdict == Skip(reason="undone")

    page.keyboard.press("0")
    page.keyboard.press("n")
    page.keyboard.type("neither is true")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    saved(page, "question 1")
    assert live.judgements()[-1].verdict == Tie(both_bad=True)
    assert live.judgements()[-1].note == "neither is true"

    page.keyboard.press("s")
    page.get_by_label("Why skip?").select_option("expertise")
    page.get_by_role("button", name="Skip", exact=True).click()
    saved(page, "question 2")
    assert live.judgements()[-1].verdict == Skip(reason="expertise")

    page.keyboard.press("4")
    page.keyboard.press("Enter")
    saved(page, "question 3")
    assert live.judgements()[-1].verdict == Tie()


def test_keys_are_shown_and_do_nothing_while_somebody_writes(
    live: Site, context: BrowserContext
) -> None:
    page = enter(live, context, live.person("ann"))
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    page.keyboard.press("n")
    page.keyboard.type("1 u s 0")
    assert page.locator("input[name=choice]:checked").count() == 0
    assert page.get_by_label("In your words").input_value() == "1 u s 0"
    assert live.judgements() == []


def test_a_draft_survives_a_reload(live: Site, context: BrowserContext) -> None:
    page = enter(live, context, live.person("ann"))
    page.keyboard.press("6")
    page.get_by_label("too long").check()
    page.get_by_label("In your words").fill("half a thought")
    expect(page.locator(".saved")).to_have_text("Draft saved")
    page.reload()
    assert page.get_by_label("In your words").input_value() == "half a thought"
    assert page.locator("input[name=choice]:checked").get_attribute("value") == "1:2"
    assert page.get_by_label("too long").is_checked()


def test_views_show_markdown_source_and_differences(
    tmp_path: Path, context: BrowserContext
) -> None:
    texts = ("**two** cups of tea", "**two** mugs of tea")
    pair = group(0).model_copy(update={"responses": tuple(Response(text=t) for t in texts)})
    with site(tmp_path, [pair]) as made, served(made) as live:
        page = enter(live, context, live.person("ann"))
        assert page.locator(".answer .rendered strong").count() == 2
        page.keyboard.press("v")
        raw = [page.locator(".answer .raw pre").nth(i).text_content() for i in range(2)]
        assert sorted(raw) == sorted(texts)
        expect(page.locator(".answer .raw").first).to_be_visible()
        expect(page.locator(".answer .rendered").first).to_be_hidden()
        page.keyboard.press("v")
        marked = page.locator(".answer mark").all_text_contents()
        assert sorted(marked) == ["cups", "mugs"]
        page.reload()
        expect(page.locator(".answer mark").first).to_be_visible()


def test_a_better_answer_is_a_third_response_that_wins(live: Site, context: BrowserContext) -> None:
    page = enter(live, context, live.person("ann"))
    page.keyboard.press("e")
    page.get_by_role("button", name="Start from B").click()
    page.keyboard.press("End")
    page.keyboard.type(" improved")
    written = answer(page, "B") + " improved"
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_have_text("Choose an answer first.")
    assert page.locator("textarea[name=better]").input_value() == written
    page.keyboard.press("7")
    page.keyboard.press("Enter")
    saved(page, "question 1")
    choice, ranking = (j.verdict for j in live.judgements())
    assert isinstance(choice, Choice)
    assert isinstance(ranking, Ranking)
    assert ranking.ranks[2] == 0
    assert ranking.ranks[choice.chosen] == 1


def test_a_ranking_by_keys_and_by_clicks_with_ties_and_a_tail(
    url: str, tmp_path: Path, context: BrowserContext
) -> None:
    groups = [group(i, 4) for i in range(3)]
    with site(tmp_path, groups, url=url, kind="ranking") as made, served(made) as live:
        page = enter(live, context, live.person("ann"))
        shown = [int(answer(page, letter)[-1]) for letter in "ABCD"]
        for key in "314=":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        saved(page, "question 1")
        ranks: list[int | None] = [None] * 4
        ranks[shown[2]], ranks[shown[0]], ranks[shown[3]] = 0, 1, 1
        assert live.judgements()[-1].verdict == Ranking(ranks=tuple(ranks))

        shown = [int(answer(page, letter)[-1]) for letter in "ABCD"]
        for letter in "ABC":
            page.get_by_role("button", name=f"Rank {letter} next").click()
        page.get_by_role("button", name="Move C up").click()
        page.get_by_role("button", name="Take A out of the order").click()
        page.keyboard.press("Enter")
        saved(page, "question 2")
        ranks = [None] * 4
        ranks[shown[2]], ranks[shown[1]] = 0, 1
        assert live.judgements()[-1].verdict == Ranking(ranks=tuple(ranks))


def test_ratings_by_digits_go_from_line_to_line(
    url: str, tmp_path: Path, context: BrowserContext
) -> None:
    task = {"kind": "rating", "dimensions": ("helpful", "honest")}
    with (
        site(tmp_path, [group(i) for i in range(2)], url=url, **task) as made,
        served(made) as live,
    ):
        page = enter(live, context, live.person("ann"))
        shown = [int(answer(page, letter)[-1]) for letter in "AB"]
        for key in "5124":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        saved(page, "question 1")
        helpful, honest = live.judgements()
        first, second = ((5, 2), (1, 4)) if shown == [0, 1] else ((2, 5), (4, 1))
        assert helpful.verdict == Rating(dimension="helpful", values=first)
        assert honest.verdict == Rating(dimension="honest", values=second)


@pytest.mark.parametrize("kind", ["pairwise", "ranking", "rating"])
def test_every_task_works_without_scripts(
    url: str, tmp_path: Path, browser: Browser, kind: str
) -> None:
    groups = [group(i) for i in range(2)]
    with (
        site(tmp_path, groups, url=url, kind=kind, dimensions=["helpful"]) as made,
        served(made) as live,
    ):
        context = browser.new_context(java_script_enabled=False)
        page = enter(live, context, live.person("ann"))
        if kind == "pairwise":
            page.locator('input[value="0:3"]').check(force=True)
        elif kind == "ranking":
            page.get_by_label("Rank of B").select_option("1")
        else:
            page.locator('input[name=rate_0_0][value="4"]').check(force=True)
            page.locator('input[name=rate_0_1][value="2"]').check(force=True)
        page.locator("#send").click()
        saved(page, "question 1")
        assert [j.verdict.kind for j in live.judgements()] == [
            {"pairwise": "choice"}.get(kind, kind)
        ]
        page.get_by_role("button", name="Undo").click()
        saved(page, "question 0")
        context.close()


def test_first_run_invitation_and_second_person(tmp_path: Path, browser: Browser) -> None:
    with site(tmp_path, [group(0)]) as made, served(made) as live:
        with live.desk.writing() as connection:
            token = accounts.first_run_token(connection, now=live.desk.clock())
        owner = browser.new_context()
        page = owner.new_page()
        page.goto(f"{live.address}/")
        assert page.url.endswith("/setup")
        page.get_by_label("First-run token").fill(token)
        page.get_by_label("Name").fill("olga")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Create the account").click()
        page.get_by_role("link", name="Label cafe").click()
        assert prompt(page) == "question 0"
        page.get_by_role("link", name="People").click()
        page.get_by_role("button", name="Make a link").click()
        link = page.locator(".link").input_value()
        guest = browser.new_context()
        other = guest.new_page()
        other.goto(link)
        other.get_by_label("Name").fill("ann")
        other.get_by_label("Password").fill("battery staple")
        other.get_by_role("button", name="Join").click()
        expect(other.get_by_role("heading", name="All done")).to_be_visible()
        assert other.get_by_role("link", name="People").count() == 0
        owner.close()
        guest.close()


def test_the_theme_changes_at_once_and_stays(live: Site, context: BrowserContext) -> None:
    page = enter(live, context, live.person("ann"))
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert after != before
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


PAGES = (
    "label",
    "answers",
    "questions",
    "data",
    "disagreements",
    "disagreements/1",
    "quality",
    "people",
    "settings",
    "run",
)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["pairwise", "ranking", "rating"])
def test_axe_finds_nothing_on_any_page(
    tmp_path: Path, browser: Browser, theme: str, kind: str
) -> None:
    groups: list[Group] = [group(i, 2 if kind == "pairwise" else 3) for i in range(3)]
    task = {"kind": kind, "guidelines": "Be **fair**.", "pairs_per_group": 1}
    with site(tmp_path, groups, **task) as made, served(made) as live:
        context = browser.new_context(
            color_scheme=theme,
            viewport={"width": 1280 if theme == "light" else 390, "height": 900},
            bypass_csp=True,
        )
        page = enter(live, context, live.person("olga", "owner"))
        for path in PAGES if kind == "pairwise" else ("label", "disagreements/1"):
            page.goto(f"{live.address}/projects/{PROJECT}/{path}")
            page.evaluate(AXE)
            found = page.evaluate(
                "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', "
                "'wcag22aa', 'best-practice']})"
            )
            told = [
                (v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found["violations"]
            ]
            assert told == [], f"{path} {theme}"
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, f"{path} scrolls sideways"
        context.close()


def test_the_first_page_weighs_less_than_100_kb(live: Site, context: BrowserContext) -> None:
    asked: list[Request] = []
    context.on("requestfinished", lambda request: asked.append(request))  # noqa: PLW0108 - no builtin
    page = enter(live, context, live.person("ann"))
    page.wait_for_load_state("networkidle")
    sizes = [request.sizes()["responseBodySize"] for request in asked]
    assert 20_000 < sum(sizes) < 100_000, sizes


def test_the_next_question_is_there_before_the_server_answers(
    live: Site, context: BrowserContext
) -> None:
    page = enter(live, context, live.person("ann"))
    held: list[Route] = []
    page.wait_for_load_state("networkidle")

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/assignments/*", hold)
    left = answer(page, "A")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".turn .rendered").first).to_have_text("question 1")
    assert live.judgements() == []  # it is still on its way
    page.keyboard.press("7")
    held[0].continue_()
    expect(page.locator(".done progress")).to_have_attribute("value", "1")
    (first,) = live.judgements()
    assert first.verdict == Choice(chosen=int(left[-1]), strength=3)
    assert page.locator("input[name=choice]:checked").get_attribute("value") == "1:3"
    with live.desk.reading() as connection:
        held_now = connection.exec_driver_sql(
            "select count(*) from assignments where state = 'open'"
        ).scalar_one()
    assert held_now <= 2
