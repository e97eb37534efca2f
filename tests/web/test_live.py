"""Asking the policies of an arena, in a browser: ask, wait, vote, read the names, ask again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from palate.records import Response
from palate.store.labelling import Desk, live
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, Site, served, site

AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")
TWO = (
    Response(text="Yes, **oat** and soy.", policy="alpha"),
    Response(text="We do have oat milk.", policy="omega"),
)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, [], compare="policies") as made, served(made):
        yield made


@contextmanager
def policies(desk: Desk) -> Iterator[None]:
    """Two policies that answer every prompt with the same words."""
    done = threading.Event()

    def serve() -> None:
        while not done.wait(0.05):
            with desk.writing() as connection:
                if asked := live.take(connection, PROJECT, now=desk.clock()):
                    live.answer(connection, asked, TWO, now=desk.clock())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def entered(made: Site, context: BrowserContext, person: int) -> Page:
    context.add_cookies([{"name": COOKIE, "value": made.session(person), "url": made.address}])
    page = context.new_page()
    page.on("pageerror", lambda error: made.errors.append(str(error)))
    page.goto(f"{made.address}/projects/{PROJECT}/label")
    page.get_by_role("link", name="Ask the policies").click()
    return page


def violations(page: Page) -> list[str]:
    page.evaluate(AXE)
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a','wcag2aa','wcag21aa','wcag22aa']})"
    )
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found["violations"]]


def test_a_person_asks_waits_votes_and_asks_again(arena: Site, context: BrowserContext) -> None:
    page = entered(arena, context, arena.person("ann"))
    assert violations(page) == []
    page.get_by_label("Your question").fill("Do you have oat milk?")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("status")).to_have_text("Two policies are writing")
    expect(page.locator(".turn .rendered")).to_have_text("Do you have oat milk?")
    context.set_offline(True)  # the page would be looking again meanwhile
    assert violations(page) == []
    context.set_offline(False)
    with policies(arena.desk):
        expect(page.locator(".answer")).to_have_count(2)
        assert "alpha" not in page.content()
        left = page.locator('[data-letter="A"] .rendered').inner_text().strip()
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page.locator(".named")).to_contain_text("alpha")
        first = "alpha" if left == "Yes, oat and soy." else "omega"
        expect(page.locator(".named b", has_text="A").locator("..")).to_contain_text(first)
        page.get_by_role("link", name="Ask the policies").click()
        page.get_by_label("Your question").fill("And soy?")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator(".answer")).to_have_count(2)
    (judgement,) = arena.judgements()
    assert TWO[judgement.verdict.chosen].policy == first


def test_the_page_says_how_policies_are_started_when_none_answers(
    arena: Site, context: BrowserContext
) -> None:
    page = entered(arena, context, arena.person("ann"))
    page.get_by_label("Your question").fill("Anybody there?")
    clock = arena.desk.clock
    arena.desk.clock = lambda: clock() - 60
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("status")).to_be_visible()
    arena.desk.clock = clock
    expect(page.get_by_text("palate arena MODEL MODEL_B --project cafe")).to_be_visible()


def test_without_scripts_a_link_looks_again(arena: Site, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = entered(arena, context, arena.person("ann"))
    page.get_by_label("Your question").fill("Do you have oat milk?")
    page.get_by_role("button", name="Ask").click()
    with policies(arena.desk):
        for _ in range(100):
            if page.locator(".answer").count():
                break
            page.get_by_role("link", name="Look again").click()
        expect(page.locator(".answer")).to_have_count(2)
    context.close()
