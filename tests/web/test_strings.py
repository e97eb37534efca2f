"""Every text of the app stands in the catalogue, and every text of the catalogue is used."""

import re
from pathlib import Path

import palate.web
from palate.records.labelling import LabelTask
from palate.web.forms import SKIPS
from palate.web.strings import STRINGS

WEB = Path(palate.web.__file__).parent
FAMILIES = (
    *("speaker_", "role_", "kind_", "ask_", "view_", "skip_", "paused_", "state_", "reason_"),
    *("scope_", "compare_", "pick_", "arm_", "judges_", "names_", "did_"),
)
"""Prefixes to which pages add a word."""


def pages() -> str:
    files = [*WEB.glob("templates/*.html"), *WEB.glob("routes/*.py"), *WEB.glob("*.py")]
    files += WEB.parent.glob("store/labelling/*.py")
    files.remove(WEB / "strings.py")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_every_text_that_a_page_names_exists() -> None:
    for key in re.findall(r"""\bt\(["'](\w+)["'](?! ~)""", pages()):
        assert key in STRINGS, key
    for key in re.findall(r'Refused\("(\w+)"\)', pages()):
        assert key in STRINGS, key
    for name in LabelTask.model_fields:
        assert name in STRINGS or name in ("kind", "reasons"), name
    assert {f"skip_{reason}" for reason in SKIPS} <= set(STRINGS)


def test_every_text_of_the_catalogue_is_used() -> None:
    used = pages()
    for key in STRINGS:
        named = re.search(rf"""["']{re.escape(key)}["']""", used)
        assert named or key.startswith(FAMILIES), key


def test_templates_hold_no_words_of_their_own() -> None:
    for file in WEB.glob("templates/*.html"):
        html = file.read_text(encoding="utf-8")
        html = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", html, flags=re.DOTALL)
        bare = re.sub(r"<[^>]*>|&\w+;", " ", html, flags=re.DOTALL)
        words = set(re.findall(r"[A-Za-z]{2,}", bare)) - {"Enter", "Esc", "min"}
        assert not words, (file.name, words)
