"""Showing text that a model wrote: nothing in it runs, loads or hides, and nothing is changed.

Markdown is rendered without HTML, then filtered by an allow-list. The raw view holds the text
itself; what would be invisible in it, or reorder it, is shown as its code point.
"""

import re
import unicodedata

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

LONGEST_MARKDOWN = 20_000
"""Characters; longer texts are shown raw, because laying them out could take seconds."""

_TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li"),
    *("h4", "table", "thead", "tbody", "tr", "th", "td", "a"),
}
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "*": set[str]()}

_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
_markdown.enable(["table", "strikethrough"]).disable("image")


def rendered(text: str) -> Markup:
    """Markdown as HTML in which only text, layout and http(s) links are left."""
    if len(text) > LONGEST_MARKDOWN:
        return raw(text)
    html = _demoted(_markdown.render(_printable(text)))
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_absolute,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(_INVISIBLE.sub(_marked, clean))


def _absolute(tag: str, attribute: str, value: str) -> str | None:
    """A relative link would lead to a page of this app."""
    return None if attribute == "href" and not value.startswith(("http:", "https:")) else value


def raw(text: str) -> Markup:
    """The text itself, to the character, in a `pre` element."""
    marked = _INVISIBLE.sub(_marked, str(escape(_printable(text))))
    return Markup(f'<pre class="text">\n{marked}</pre>')


def inline(text: str) -> Markup:
    """The text itself for use inside a line."""
    return Markup(_INVISIBLE.sub(_marked, str(escape(_printable(text)))))


def line(text: str, longest: int = 90) -> str:
    """The beginning of a text where no markup is possible: what is invisible becomes U+FFFD.

    >>> ascii(line("Do you \u202e have\\n  tea?")), line("aaaaa", 3)
    ("'Do you \\\\ufffd have tea?'", 'aaa...')
    """
    shown = _INVISIBLE.sub("\ufffd", _printable(" ".join(text[: 2 * longest].split())))
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def _demoted(html: str) -> str:
    """Headings of a text must not outrank those of the page around it."""
    return re.sub(r"<(/?)h[1-6]>", r"<\1h4>", html)


_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")
_INVISIBLE = re.compile(
    "[\x01-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)


def _printable(text: str) -> str:
    """HTML has no way to hold NUL or half of a surrogate pair: U+FFFD stands for them."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _marked(found: re.Match[str]) -> str:
    """An invisible character, still there, whose code point the style sheet shows."""
    character = found[0]
    name = unicodedata.name(character, "")
    if name.startswith("VARIATION SELECTOR"):
        return character  # emoji would not look the same
    held = f"&#{ord(character)};" if character == "\r" else character
    return f'<span class="invisible" data-code="U+{ord(character):04X}">{held}</span>'
