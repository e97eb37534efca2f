"""The report in a browser: nothing is wider than the page, in either theme, on a telephone too."""

from typing import Literal

import pytest
from playwright.sync_api import Browser

from palate.evaluation.report import ReportInputs, page, report
from tests.evaluation.conftest import example_inputs

LONG = "runs/the-second-try-with-a-long-name/05-ppo/model"
WIDER = """[...document.querySelectorAll("body *")].filter(element =>
    element.getBoundingClientRect().right > innerWidth + 1
    && !element.closest(".scroll, pre, svg")).map(element => element.outerHTML.slice(0, 80))"""
CUT = """[...document.querySelectorAll(".scroll")].filter(box =>
    getComputedStyle(box).overflowX !== "auto").length"""


@pytest.fixture(scope="module")
def pages() -> tuple[str, ...]:
    """The example as it is and renamed."""
    inputs = example_inputs()
    return tuple(page(report(some)) for some in (inputs, renamed(inputs)))


def renamed(inputs: ReportInputs) -> ReportInputs:
    """The same with a policy whose name has no place to break, and an answer without spaces."""
    text = inputs.model_dump_json().replace('"ppo"', f'"{LONG}"').replace("Four.", "4" * 300)
    return ReportInputs.model_validate_json(text)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_the_page(
    browser: Browser, pages: tuple[str, ...], width: int, theme: Literal["light", "dark"]
) -> None:
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    for html in pages:
        shown.set_content(html)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate(WIDER) == []
        assert shown.evaluate(CUT) == 0
    shown.close()


def test_every_idea_that_is_on_the_page_is_one_click_away(
    browser: Browser, pages: tuple[str, ...]
) -> None:
    shown = browser.new_page(viewport={"width": 1280, "height": 900})
    shown.set_content(pages[0])
    for link in shown.locator("nav a, #concepts a").all():
        target = link.get_attribute("href")
        assert shown.locator(f"section{target}").count() == 1
    shown.close()
