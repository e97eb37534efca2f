"""Nobody judges half an answer unaware, on a screen or on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from palate.records import Group, Response, user_prompt
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, Site, served, site
from tests.web.test_browser import enter

LONG = "\n\n".join(f"Paragraph {i}. " + "The beans are roasted slowly. " * 9 for i in range(40))
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def pair(number: int) -> Group:
    texts = (f"{LONG} {number}", f"{LONG[:80]} {number}")
    responses = tuple(Response(text=text, policy="sft") for text in texts)
    return Group(prompt=user_prompt("Tell me about coffee. " * 200), responses=responses)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, [pair(0), pair(1)], guidelines="Be fair.") as made, served(made):
        yield made


def phone(live: Site, browser: Browser, path: str, *, person: int) -> Page:
    context = browser.new_context(**PHONE)
    secret = live.session(person)
    context.add_cookies([{"name": COOKIE, "value": secret, "url": live.address}])
    page = context.new_page()
    page.goto(f"{live.address}/projects/{PROJECT}/{path}")
    return page


def test_a_long_answer_says_that_it_goes_on_and_opens(live: Site, context) -> None:
    page = enter(live, context, live.person("ann"))
    long = page.locator(".answer .fold", has_text="Paragraph 39")
    short = page.locator(".answer .fold", has_not_text="Paragraph 39")
    expect(long).to_have_class(re.compile(r"\bcut\b"))
    expect(short.get_by_role("button", name="Show all")).to_have_count(0)
    mask = "(box) => getComputedStyle(box).maskImage"
    assert "gradient" in long.locator("> .written").evaluate(mask)
    assert short.locator("> .written").evaluate(mask) == "none"
    conversation = page.locator(".context .fold")
    conversation.get_by_role("button", name="Show all").click()
    height = "(box) => [box.scrollHeight, box.clientHeight]"
    whole, visible = conversation.locator("> .turns").evaluate(height)
    assert whole == visible
    page.keyboard.press("a")  # closes what is open ...
    expect(conversation.get_by_role("button", name="Show all")).to_be_visible()
    page.keyboard.press("a")  # ... and opens everything
    whole, visible = long.locator("> .written").evaluate(height)
    assert whole == visible
    expect(long.get_by_role("button", name="Show less")).to_be_visible()


def test_the_fade_goes_where_the_end_is_seen(live: Site, context) -> None:
    page = enter(live, context, live.person("ann"))
    box = page.locator(".answer .fold", has_text="Paragraph 39").locator("> .written")
    box.evaluate("(box) => box.scrollTo(0, box.scrollHeight)")
    expect(page.locator(".answer .fold.cut.end")).to_have_count(1)
    assert box.evaluate("(box) => getComputedStyle(box).maskImage") == "none"


def test_guidelines_are_open_until_the_first_answer(live: Site, context) -> None:
    page = enter(live, context, live.person("ann"))
    expect(page.get_by_text("Be fair.")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator(".done progress")).to_have_attribute("value", "1")
    page.reload()
    expect(page.get_by_text("Be fair.")).to_be_hidden()


def test_on_a_phone_the_scale_is_in_sight_with_every_line_of_the_answers(
    live: Site, browser: Browser
) -> None:
    page = phone(live, browser, "label", person=live.person("ann"))
    for at in (300, 2000):
        page.evaluate(f"scrollTo(0, {at})")
        box = page.locator(".scale").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] == pytest.approx(844, abs=2)
        assert box["height"] < 130
    page.locator(".steps .step").nth(1).tap()
    page.locator(".now").tap()
    expect(page.locator(".done progress")).to_have_attribute("value", "1")
    (said,) = live.judgements()
    assert said.verdict.strength == 2
    page.context.close()


def test_a_touch_screen_is_told_of_no_keys(live: Site, browser: Browser) -> None:
    page = phone(live, browser, "label", person=live.person("ann"))
    assert page.locator("kbd:visible").count() == 0
    expect(page.get_by_role("button", name="Keys")).to_be_hidden()
    page.context.close()


def test_on_a_phone_the_tab_of_the_page_and_the_project_are_in_sight(
    live: Site, browser: Browser
) -> None:
    page = phone(live, browser, "run", person=live.person("olga", "owner"))
    tab = page.locator(".tabs [aria-current]").bounding_box()
    assert tab is not None
    assert tab["x"] >= 0
    assert tab["x"] + tab["width"] <= 390
    expect(page.locator(".project-name")).to_be_visible()
    page.context.close()


def test_a_ranked_answer_shows_its_rank(tmp_path: Path, context) -> None:
    texts = ("one", "two", "three")
    three = Group(prompt=user_prompt("?"), responses=tuple(Response(text=t) for t in texts))
    with site(tmp_path, [three], kind="ranking") as made, served(made) as live:
        page = enter(live, context, live.person("ann"))
        ask = page.get_by_role("heading", name="Put the answers in order")
        assert ask.last.bounding_box()["y"] < page.locator(".answer").first.bounding_box()["y"]
        page.get_by_role("button", name="Rank B next").click()
        page.get_by_role("button", name="Rank A next").click()
        card = page.locator('.answer[data-letter="A"]')
        expect(card.get_by_role("button")).to_have_text(re.compile("Rank 2: take out"))
        assert card.locator("h2").get_attribute("data-rank") == "2"
        card.get_by_role("button").last.click()
        expect(page.get_by_role("button", name="Rank A next")).to_be_visible()
