"""The documentation is held to the code: names, links, formats, recipes, commands and metrics."""

import ast
import importlib
import json
import math
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest

from palate.cli.main import STAGE_VERBS, app
from palate.config.common import SamplingConfig
from palate.config.load import load_recipe, load_section, load_stage
from palate.config.presets import PRESETS
from palate.config.stages import STAGES
from palate.evaluation.alarms import BOUNDS, Bound
from palate.evaluation.concepts import ADAPTIVE, CONCEPTS, HACKING, HARD, NOT_IN_PALATE, Concept
from palate.exchange.exporting import AS_SAID, JUDGED, UNJUDGED
from palate.feedback.verifiers import VERIFIERS
from palate.store import formats
from palate.store.formats import read
from palate.verify.catalog import QUICK, SLOW
from palate.verify.checks import Check

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
OBJECTIVES = ("sft", "reward", "ppo", "grpo", "reinforce", "rloo", "online_dpo", "dpo")
GENERATED = "<!-- demo -->"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(text(file))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL)
    return [block for tag, block in fenced if tag == language]


def all_blocks(language: str) -> list[tuple[str, str]]:
    """(page and number, block) of every fenced block in one language."""
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, block in enumerate(blocks(page, language))
    ]


def in_each(language: str) -> pytest.MarkDecorator:
    found = all_blocks(language)
    return pytest.mark.parametrize("block", [b for _, b in found], ids=[name for name, _ in found])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Pages, links, functions


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_page_that_is_linked(stage: str) -> None:
    assert text(DOCS / f"{stage}.md").startswith(f"# {stage}\n")
    assert f"docs/{stage}.md" in text(ROOT / "README.md")
    assert f"({stage}.md)" in text(DOCS / "README.md")


@every_page
def test_every_page_is_in_the_index(page: Path) -> None:
    if page.parent == DOCS and page.name != "README.md":
        assert f"({page.name})" in text(DOCS / "README.md")


@every_page
def test_every_relative_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target} has no such heading"


@every_page
def test_every_file_and_function_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`(palate/[\w/]+\.py)(?::\w+)?`", text(page)):
        assert (ROOT / name).is_file(), f"{page.name} names {name}"
    for path, name in re.findall(r"`(palate/[\w/]+\.py):(\w+)`", text(page)):
        kinds = (ast.FunctionDef, ast.ClassDef)
        defined = [node.name for node in tree(ROOT / path).body if isinstance(node, kinds)]
        assert name in defined, f"{page.name} names {path}:{name}"


@pytest.mark.parametrize("stage", OBJECTIVES)
def test_every_objective_says_formula_optimum_defaults_and_metrics(stage: str) -> None:
    page = text(DOCS / f"{stage}.md")
    assert re.search(r"`palate/maths/\w+\.py:\w+`", page)
    assert "arXiv:" in page
    for heading in ("Formula", "What it converges to", "What to watch"):
        assert re.search(rf"^## {heading}", page, flags=re.MULTILINE), f"no {heading}"
    assert f"config.md#{stage}" in page
    assert "metrics.md" in page


def test_every_loss_of_the_dpo_family_is_documented() -> None:
    page = text(DOCS / "dpo.md")
    for loss in STAGES["dpo"].model_fields["loss"].annotation.__args__:
        assert page.count(f"`{loss}`") >= 2, f"{loss} lacks its formula or its optimum"


@pytest.mark.parametrize("stage", PRESETS)
def test_every_preset_is_documented_with_its_source(stage: str) -> None:
    page = text(DOCS / f"{stage}.md")
    for preset in PRESETS[stage]:
        assert preset == "default" or f"| `{preset}` |" in page


@pytest.mark.parametrize("check", [*QUICK, *SLOW], ids=lambda check: check.name)
def test_every_proof_is_documented(check: Check) -> None:
    page = text(DOCS / "verify.md")
    slow = re.findall(r"[\w+-]+", page.rsplit("`--slow` also: ", 1)[-1])
    assert f"| {check.name} | {check.row} |" in page or check.name in slow


@pytest.mark.parametrize("stage", STAGES)
def test_the_settings_that_a_page_explains_exist_with_those_values(stage: str) -> None:
    """Rows of the tables whose first column is a key, and `key = value` in the text."""
    page = text(DOCS / f"{stage}.md")
    table = re.search(r"^\| key \| default .*?\n\n", page, flags=re.MULTILINE | re.DOTALL)
    rows = table[0].strip().splitlines()[2:] if table else []
    assert rows or stage in ("prepare", "report")
    for row in rows:
        for key in re.findall(r"`([\w.]+)`", row.split("|")[1]):
            value: object = STAGES[stage]()
            for part in key.split("."):
                assert hasattr(value, part), f"{stage}.md explains {key}"
                value = getattr(value, part)
            assert shown(value) & said(row.split("|")[2]), f"{stage}.md: {key} is {value}"


def shown(value: object) -> set[float | str]:
    """A value as the tables may show it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {float(value)}
    return {str(value).lower(), json.dumps(list(value)) if isinstance(value, tuple) else ""} - {""}


def said(cell: str) -> set[float | str]:
    """The numbers and words of a cell."""
    words = cell.replace("`", "").strip()
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?", words)
    return {float(number) for number in numbers} | {words.lower()} | set(words.lower().split(", "))


# Metrics

AREAS = "optimizer|sft|reward|dpo|kl|response|group|policy|critic|held_out|reward_model"


def strings(files: Iterable[Path]) -> Iterator[str]:
    """Every string of some Python files; of an f-string, its constant parts."""
    for file in files:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@cache
def logged() -> set[str]:
    """Metric names that the code holds, and endings such as `/grad_norm` of those it makes up."""
    rooms = [ROOT / "palate" / room for room in ("algorithms", "training")]
    names = {s for s in strings(f for r in rooms for f in r.glob("*.py")) if _is_metric(s)}
    stages = strings((ROOT / "palate" / "stages").glob("*.py"))
    return names | {s for s in stages if re.fullmatch(rf"({AREAS})/[a-z_0-9]+", s)}


def _is_metric(value: str) -> bool:
    return bool(re.fullmatch(r"[a-z_0-9]*/[a-z_0-9]+", value))


@cache
def documented() -> set[str]:
    """Metric names in the first two columns of docs/metrics.md's tables, but not of its alarms."""
    page = re.sub(r"^## Alarms\n.*?(?=^## )", "", text(DOCS / "metrics.md"), flags=re.M | re.S)
    rows = [line.split("|")[1:3] for line in page.splitlines() if "|" in line]
    return {n for row in rows for cell in row for n in re.findall(r"`([\w]+/[\w]+)`", cell)}


def test_every_metric_in_the_code_is_documented() -> None:
    assert {"policy/clip_fraction", "reward/accuracy", "/grad_norm"} <= logged()
    for name in logged():
        found = [n for n in documented() if n == name or (name[0] == "/" and n.endswith(name))]
        assert found, f"docs/metrics.md does not define {name}"


def test_every_documented_metric_is_in_the_code() -> None:
    evaluate = set(strings([ROOT / "palate" / "stages" / "evaluate.py"]))
    for name in documented():
        ending = name[name.index("/") :]
        known = ending in evaluate if name.startswith("POLICY/") else name in logged()
        if name.startswith("held_out/"):
            known |= any(f"{area}{ending}" in logged() for area in ("sft", "dpo", "reward"))
        assert known or ending in logged(), f"nothing logs {name}"


@every_page
def test_metrics_that_a_page_mentions_are_defined(page: Path) -> None:
    for name in re.findall(rf"`((?:{AREAS})/[a-z_0-9]+)`", text(page)):
        assert name in documented(), f"{page.name} mentions {name}"


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.metric)
def test_every_alarm_s_bound_is_documented(bound: Bound) -> None:
    side = f"below {bound.low:g}" if math.isfinite(bound.low) else f"above {bound.high:g}"
    page = text(DOCS / "metrics.md")
    row = rf"^\| {bound.rule} \| `{bound.metric}` \| lately {re.escape(side)}[ ,]"
    assert re.search(row, page, flags=re.MULTILINE), f"no row for {bound.metric}, {side}"


# Commands


def words_of_commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every `palate ...` line in the shell blocks."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.splitlines():
                if line.startswith("palate "):
                    yield page.name, shlex.split(line, comments=True)[1:]


COMMANDS = list(words_of_commands())


def test_every_verb_is_shown() -> None:
    shown = {words[0] for _, words in COMMANDS} | set(
        re.findall(r"`palate (\w+)", "".join(map(text, PAGES)))
    )
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert verbs <= shown


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(w[:3]) for _, w in COMMANDS])
def test_every_command_is_accepted(page: str, words: list[str]) -> None:
    check_accepted(page, words)


def check_accepted(page: str, words: list[str]) -> None:
    """The command loads with these words, as far as that shows without running it."""
    verb, *rest = words
    recipe = next((ROOT / w for w in rest if w.endswith(".toml") and "=" not in w), None)
    recipe = recipe if recipe and recipe.is_file() else None
    overrides = [w for w in rest if "=" in w]
    if verb in STAGE_VERBS:
        load_stage(verb, recipe, overrides)
    elif verb == "run" and recipe:
        load_recipe(recipe, overrides)
    elif verb == "chat":
        load_section(SamplingConfig(), overrides)
    else:
        known = {command.name or command.callback.__name__ for command in app.registered_commands}
        assert verb in known, f"{page}: palate {' '.join(words)}"


@pytest.mark.parametrize("concept", [*CONCEPTS, ADAPTIVE, HARD, HACKING], ids=lambda one: one.name)
def test_every_command_of_the_report_is_accepted_and_in_the_glossary(concept: Concept) -> None:
    check_accepted("report", shlex.split(concept.command)[1:])
    assert f"`{concept.command}`" in text(DOCS / "glossary.md")


# The glossary

GLOSSARY = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in text(DOCS / "glossary.md").splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| word |", "| picture in words |"))
]
TAUGHT = (
    *("SFT", "RLHF", "alignment", "pairwise comparison", "ranking", "Likert", "Bradley-Terry"),
    *("reward model", "PPO", "clipping", "advantage", "credit assignment", "KL penalty, soft"),
    *("KL constraint, hard", "adaptive beta", "mode collapse", "reward hacking", "length penalty"),
    *("ensemble", "people who watch", "DPO", "GRPO", "constitution", "critique and revision"),
    *("RLAIF", "verifiable task", "unverifiable task", "agent, environment", "state, action"),
    *("policy gradient", "four models", "emails", "manager", "barista", "wine", "taste predictor"),
    *("commentator", "dog", "soccer", "driving lesson", "foam", "teaching to the test"),
    *("smoothies", "sommeliers", "guidebook"),
)


@pytest.mark.parametrize("row", GLOSSARY, ids=lambda row: row[0])
def test_every_word_has_a_sentence_a_command_and_a_place(row: list[str]) -> None:
    word, sentence, command, place = row
    assert word
    assert sentence
    assert (command[0], command[-1]) == ("`", "`")
    check_accepted("glossary.md", shlex.split(command.strip("`"))[1:])
    template = text(ROOT / "palate" / "evaluation" / "templates" / "report.html")
    sections = re.findall(r"`#([\w-]+)`", place)
    assert all(f'<section id="{name}"' in template for name in sections)
    assert sections or "](" in place


def test_what_the_report_calls_absent_the_readme_calls_absent_too() -> None:
    absent = text(ROOT / "README.md").split("## What palate does not do yet")[1]
    assert "constitution" in NOT_IN_PALATE[0]
    assert "constitution" in absent
    assert "ensembles" in NOT_IN_PALATE[1]
    assert "no ensembles" in absent


@pytest.mark.parametrize("word", TAUGHT)
def test_what_courses_teach_is_in_the_glossary(word: str) -> None:
    assert any(word in row[0] for row in GLOSSARY)


@every_page
def test_folders_of_the_demo_have_the_numbers_that_the_recipe_gives_them(page: Path) -> None:
    names = list(load_recipe(ROOT / "recipes" / "cafe.toml").stages)
    for number, name in re.findall(r"runs/cafe/(\d\d)-(\w+)", text(page)):
        assert names[int(number) - 1] == name, f"{page.name}: runs/cafe/{number}-{name}"


# Examples


@in_each("python")
def test_python_examples_compile_and_import_what_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("palate"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@in_each("toml")
def test_toml_examples_load(block: str, tmp_path: Path) -> None:
    tables = tomllib.loads(block)
    if "name" in tables:
        path = tmp_path / "recipe.toml"
        path.write_text(block, encoding="utf-8")
        assert load_recipe(path).name == tables["name"]
    for name, table in tables.items():
        if isinstance(table, dict):
            assert table.get("stage", name) in STAGES


READERS: dict[str, Callable[..., Iterator[object]]] = {
    "Prompts": formats.read_prompts,
    "Demonstrations": formats.read_demonstrations,
    "Preferences": formats.read_preferences,
    "Judgements": partial(formats.read_judged, judge="import:rows"),
    "Labelled responses": formats.read_unpaired,
    "Groups": formats.read_groups,
    "Text": formats.read_texts,
}


@pytest.mark.parametrize("kind", READERS)
def test_every_example_row_is_read_by_the_reader_of_its_kind(kind: str, tmp_path: Path) -> None:
    (section,) = re.findall(rf"^## {kind}\n(.*?)^## ", text(DOCS / "data.md"), re.M | re.S)
    rows = "".join(re.findall(r"^```jsonl\n(.*?)^```", section, re.M | re.S))
    path = tmp_path / "rows.jsonl"
    path.write_text(rows, encoding="utf-8")
    assert len(list(READERS[kind](str(path)))) == len(rows.splitlines()) > 0


def test_every_format_that_is_read_has_an_example_row() -> None:
    page = text(DOCS / "data.md")
    rows = [json.loads(line) for line in page.splitlines() if line.startswith("{")]
    tables = (read.PROMPTS, read.DEMONSTRATIONS, read.PREFERENCES, read.UNPAIRED, read.GROUPS)
    for table in tables:
        for format in table:
            assert any(set(format.needs) <= set(row) for row in rows), f"no row for {format.name}"


def test_every_export_format_and_judge_is_documented() -> None:
    data, judge = text(DOCS / "data.md"), text(DOCS / "judge.md")
    assert all(f"| `{name}` |" in data for name in (*JUDGED, *AS_SAID, *UNJUDGED))
    assert all(f"`verifier:{name}`" in judge for name in VERIFIERS)


@in_each("json")
def test_json_examples_are_preferences(block: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(block, encoding="utf-8")
    assert len(list(formats.read_preferences(str(path)))) == 1


# The README


def test_the_readme_opens_with_the_two_commands_the_report_and_the_tree() -> None:
    page = text(ROOT / "README.md")
    assert page.index("make demo") < page.index("make test") < page.index("docs/demo.png")
    assert page.index("docs/demo.png") < page.index("\npalate/\n") < page.index(GENERATED)
    assert page.index(GENERATED) < page.index("<!-- /demo -->") < page.index("\n## ")


def test_the_tree_of_the_readme_has_every_room() -> None:
    (drawn,) = blocks(ROOT / "README.md", "")
    rooms = [p.name for p in (ROOT / "palate").iterdir() if (p / "__init__.py").is_file()]
    assert all(f"\n  {room}/" in drawn for room in rooms)
    assert all((ROOT / line.split()[0]).is_dir() for line in drawn.splitlines() if line[0] != " ")


@every_page
def test_pages_are_ascii(page: Path) -> None:
    for number, line in enumerate(text(page).splitlines(), start=1):
        assert line.isascii(), f"{page.name}:{number}"
