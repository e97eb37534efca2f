"""Every page of the app in both themes and at both widths, as four sheets to look at.

python -m tests.web.pictures FOLDER
"""

import argparse
import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from palate.records import Answer, Choice, Group, LabelTask, Message, Prompt, Response, user_prompt
from palate.records.sample import Sample
from palate.store.database import Store
from palate.store.labelling import accounts, answers, items, lease, live
from palate.store.runs import SAMPLES, StageDir
from palate.web.visitor import COOKIE
from tests.web.conftest import CHROMIUM
from tests.web.site import PROJECT, Site, served, site

QUESTIONS = (
    "Do you have oat milk?",
    "What do three lattes at 4.50 come to?",
    "When do you open on Sunday?",
    "Is the cheesecake good?",
    "Who will win the match tonight?",
    "Can I bring my dog?",
    "What is in the soup?",
)
SIZES = {"wide": (1280, 860), "phone": (390, 844)}


def pair(question: str) -> Group:
    asked = (
        Message(role="user", content="Hello!"),
        Message(role="assistant", content="Welcome to the Blue Door. What can I get you?"),
        Message(role="user", content=question),
    )
    texts = (
        "Yes: **oat**, soy and almond.\n\n- Oat: +0.50\n- Soy: +0.40",
        "I think so. Let me see. There may be some; it depends on many things.",
    )
    named = zip(texts, ("ppo", "sft"), strict=True)
    return Group(
        prompt=Prompt(messages=asked), responses=tuple(Response(text=t, policy=p) for t, p in named)
    )


def said(made: Site) -> None:
    """What three people think of the pairs; they disagree about two."""
    for name in ("ann", "bob", "cem"):
        person = made.person(name)
        for _ in QUESTIONS[:-1]:
            now = made.desk.clock()
            with made.desk.writing() as connection:
                id = lease.claim(connection, PROJECT, person, now=now)
                assert id
                asked = answers.assignment(connection, PROJECT, person, id)
                number = QUESTIONS.index(asked.group.prompt.messages[-1].content)
                contrary = number < 2 and name == "bob"
                answer = Answer(
                    verdicts=(Choice(chosen=int(contrary), strength=1 + number % 3),),
                    seconds=5.0 + number,
                    reasons=("wrong facts",) if contrary else ("clear",),
                )
                answers.submit(connection, PROJECT, person, id, answer, revision=0, now=now)


def grown(root: Path) -> None:
    """A run whose reward rises while its answers grow."""
    stage = StageDir(root / "runs" / "cafe" / "06-ppo")
    stage.write_config("{}")
    rows: list[Sample] = []
    for step in range(20):
        values = {"reward/score": step / 6, "reward/score_std": 0.5, "response/length": 18.0 + step}
        stage.log(step, values | {"kl/policy_reference": 1.2 * step, "policy/clip_fraction": 0.1})
        if step % 5 == 0:
            text = "Yes, we do." + " Have a cookie." * (step // 5)
            response = Response(text=text, policy="ppo")
            prompt = user_prompt(QUESTIONS[0])
            rows.append(
                Sample(step=step, prompt=prompt, response=response, score=step / 6, kl=1.2 * step)
            )
    stage.write_jsonl(SAMPLES, rows)


def projects(made: Site, owner: int) -> dict[str, int]:
    """Beside the pairs: a ranking, a rating, and an arena with a prompt that waits."""
    kinds = {
        "ranking": LabelTask(kind="ranking"),
        "rating": LabelTask(kind="rating"),
        "arena": LabelTask(compare="policies"),
    }
    found: dict[str, int] = {}
    for number, (name, task) in enumerate(kinds.items(), start=2):
        texts = ("At seven.", "We open at seven, and on Sunday at nine.", "Come and see!")
        four = tuple(Response(text=text, policy=f"p{i}") for i, text in enumerate(texts))
        with Store(made.url) as store:
            store.add_groups(name, [Group(prompt=user_prompt(QUESTIONS[2]), responses=four)])
        with made.desk.writing() as connection:
            items.save_task(connection, number, task)
            accounts.join(connection, number, owner, "owner", now=0)
        found[name] = number
    return found


def pages(made: Site, owner: int) -> dict[str, str]:
    """Path of every page by its name."""
    number = projects(made, owner)
    with made.desk.writing() as connection:
        asked = live.put(connection, number["arena"], owner, QUESTIONS[3], now=made.desk.clock())
    return {
        "log in": "/login",
        "projects": "/",
        "a comparison": "/projects/1/label",
        "a ranking": f"/projects/{number['ranking']}/label",
        "ratings": f"/projects/{number['rating']}/label",
        "disagreements": "/projects/1/disagreements",
        "a decision": "/projects/1/disagreements/1",
        "quality": "/projects/1/quality",
        "leaderboard": "/projects/1/leaderboard",
        "people": "/projects/1/people",
        "settings": "/projects/1/settings",
        "a run": "/projects/1/run",
        "ask the policies": f"/projects/{number['arena']}/live",
        "waiting": f"/projects/{number['arena']}/live/{asked}",
        "not found": "/projects/99/label",
    }


def shots(made: Site, context: BrowserContext, owner: int, paths: dict[str, str]) -> Iterator[str]:
    """An image element with its name for every page."""
    page = context.new_page()
    cookie = {"name": COOKIE, "value": made.session(owner), "url": made.address}
    for name, path in paths.items():
        context.clear_cookies()
        if path != "/login":
            context.add_cookies([cookie])
        page.goto(made.address + path)
        source = f"data:image/png;base64,{base64.b64encode(page.screenshot()).decode()}"
        yield f'<figure><img src="{source}"><figcaption>{name}</figcaption></figure>'


def sheet(browser: Browser, figures: list[str], file: Path, *, width: int) -> None:
    """All images in one."""
    style = (
        "body{margin:8px;font:13px sans-serif;background:#888;display:flex;flex-wrap:wrap;gap:8px}"
        f"figure{{margin:0;width:{width}px}}img{{width:100%}}figcaption{{color:#fff}}"
    )
    page = browser.new_page(viewport={"width": 1240, "height": 400})
    page.set_content(f"<style>{style}</style>{''.join(figures)}")
    page.screenshot(path=file, full_page=True)
    page.close()


def main() -> None:
    """Write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    groups = [pair(question) for question in QUESTIONS]
    with (
        tempfile.TemporaryDirectory() as place,
        site(Path(place), groups, overlap=3, guidelines="Prefer what is **true**.") as made,
        served(made),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        owner = made.person("olga", "owner")
        said(made)
        grown(made.root)
        paths = pages(made, owner)
        for theme in ("light", "dark"):
            for size, (width, height) in SIZES.items():
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=theme
                )
                figures = list(shots(made, context, owner, paths))
                context.close()
                wanted = {"wide": 400, "phone": 236}[size]
                sheet(browser, figures, folder / f"label-{theme}-{size}.png", width=wanted)
        browser.close()


if __name__ == "__main__":
    main()
