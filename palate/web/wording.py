"""Words for what happened and for lengths of time."""

from palate.web.strings import STRINGS, text


def did(action: str, *, about: str, word: str, number: int) -> str:
    """What an event of the audit was, in words; an action that has none is its own word.

    >>> did("set paused", about="ann", word="", number=1)
    'paused ann'
    """
    told = STRINGS.get(f"did_{action.replace(' ', '_')}", action)
    shown = STRINGS.get(f"role_{word}", STRINGS.get(f"reason_{word}", word))
    return told.format(about=about, word=shown or STRINGS["unnamed"], number=number)


def span(seconds: float) -> str:
    """A length of time, in its largest unit.

    >>> span(59), span(120), span(7500), span(3 * 86400)
    ('1 min', '2 min', '2 h', '3 days')
    """
    if seconds < 90 * 60:
        return text("minutes", number=max(1, round(seconds / 60)))
    if seconds < 36 * 3600:
        return text("hours_whole", number=round(seconds / 3600))
    return text("days_whole", number=round(seconds / 86400))


def ago(seconds: float) -> str:
    """How long ago something was.

    >>> ago(3), ago(7200)
    ('just now', '2 h ago')
    """
    return text("just_now") if seconds < 60 else text("ago", time=span(seconds))
