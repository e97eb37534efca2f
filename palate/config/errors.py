"""What a person gets for a wrong configuration: every problem at once, each with its key."""

from collections.abc import Sequence


class ConfigError(ValueError):
    """A recipe or override that cannot be used; `problems` has one line per mistake."""

    def __init__(self, problems: Sequence[str], *, source: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("\n  ".join([f"{source}:", *problems] if source else problems))
