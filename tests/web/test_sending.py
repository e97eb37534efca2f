"""What happens to answers on a bad line, and to keys that are pressed faster than the line is."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from palate.records import Choice, Group
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, Site, group, served, site
from tests.web.test_browser import answer, enter, live, prompt, saved  # noqa: F401 - a fixture


def settled(page: Page) -> None:
    """Wait until the next question is ready as well."""
    page.wait_for_load_state("networkidle")


def test_an_answer_that_does_not_arrive_is_told_of_and_sent_until_it_does(
    live: Site,  # noqa: F811
    context: BrowserContext,
) -> None:
    page = enter(live, context, live.person("ann"))
    settled(page)
    left = answer(page, "A")
    context.set_offline(True)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    told = page.get_by_role("alert")
    expect(told).to_contain_text("Not sent: the server is out of reach")
    assert live.judgements() == []
    assert prompt(page) == "question 1"  # which can be answered meanwhile, and waits its turn
    page.keyboard.press("7")
    page.keyboard.press("Enter")
    context.set_offline(False)
    saved(page, "question 2")
    expect(told).to_be_hidden()
    first, second = live.judgements()
    assert first.verdict == Choice(chosen=int(left[-1]), strength=3)
    assert isinstance(second.verdict, Choice)


def test_without_a_question_ahead_the_answer_waits_on_the_page(
    live: Site,  # noqa: F811
    context: BrowserContext,
) -> None:
    page = enter(live, context, live.person("ann"))
    page.route("**/ahead", lambda route: route.abort())
    page.reload()
    tried: list[str] = []

    def refuse(route: Route) -> None:
        tried.append(route.request.post_data or "")
        if len(tried) > 2:
            route.continue_()
        elif len(tried) == 2:
            route.fulfill(status=502, body="<h1>Bad gateway</h1>")
        else:
            route.abort()

    page.route("**/assignments/*", refuse)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Not sent")
    assert prompt(page) == "question 0"
    assert page.locator("input[name=choice]:checked").get_attribute("value") == "0:3"
    page.keyboard.press("7")  # on the question that will come
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".turn .rendered").first).to_have_text("question 1", timeout=10_000)
    assert len(live.judgements()) == 1
    assert len(set(tried)) == 1
    expect(page.locator("input[name=choice]:checked")).to_have_attribute("value", "1:3")


def test_an_answer_whose_confirmation_was_lost_counts_once(
    live: Site,  # noqa: F811
    context: BrowserContext,
) -> None:
    page = enter(live, context, live.person("ann"))
    settled(page)
    lost: list[Route] = []

    def lose(route: Route) -> None:
        lost.append(route)
        if len(lost) == 1:
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.continue_()

    page.route("**/assignments/*", lose)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    saved(page, "question 1")
    assert len(lost) == 2
    assert len(live.judgements()) == 1


def test_an_undo_whose_confirmation_was_lost_is_not_repeated(
    live: Site,  # noqa: F811
    context: BrowserContext,
) -> None:
    page = enter(live, context, live.person("ann"))
    for number in (1, 2):
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        saved(page, f"question {number}")

    def lose(route: Route) -> None:
        route.fetch(max_redirects=0)
        route.abort()

    page.route("**/undo", lose)
    page.keyboard.press("u")
    saved(page, "question 1")
    assert [j.verdict.kind for j in live.judgements()] == ["choice", "skip"]


def test_a_refused_undo_leaves_the_address_of_the_page(
    live: Site,  # noqa: F811
    context: BrowserContext,
) -> None:
    page = enter(live, context, live.person("ann"))
    page.keyboard.press("u")
    expect(page.get_by_text("There is nothing that can be undone.")).to_be_visible()
    page.reload()
    assert prompt(page) == "question 0"


@pytest.mark.parametrize("milliseconds", [5, 40])
def test_no_answer_is_lost_to_fast_keys(
    tmp_path: Path, context: BrowserContext, milliseconds: int
) -> None:
    groups: list[Group] = [group(i) for i in range(30)]
    with site(tmp_path, groups, kind="pairwise") as made, served(made):
        page = enter(made, context, made.person("ann"))
        settled(page)
        for number in range(15):
            page.keyboard.press("17"[number % 2])
            page.wait_for_timeout(milliseconds)
            page.keyboard.press("Enter")
            page.wait_for_timeout(milliseconds)
        saved(page, "question 15")
        assert len(made.judgements()) == 15
        page.keyboard.press("Escape")


def test_no_inline_style_or_script_is_tried_while_people_work(
    live: Site,  # noqa: F811
    browser: Browser,
) -> None:
    context = browser.new_context()
    context.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.log('VIOLATED ' + "
        "e.violatedDirective + e.sourceFile))"
    )
    secret = live.session(live.person("olga", "owner"))
    context.add_cookies([{"name": COOKIE, "value": secret, "url": live.address}])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text))
    page.goto(f"{live.address}/projects/{PROJECT}/label")
    settled(page)
    for key in ("1", "Enter", "u", "v", "?", "Escape", "7", "Enter"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
    settled(page)
    for path in ("quality", "people", "settings", "run", "disagreements", "label"):
        page.goto(f"{live.address}/projects/{PROJECT}/{path}")
    page.go_back()
    assert [one for one in said if "VIOLATED" in one or "Content Security" in one] == []
    context.close()
