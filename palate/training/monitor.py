"""Where loops report to: one call per step, plain numbers."""

from collections.abc import Mapping
from typing import Protocol


class Monitor(Protocol):
    """Receives what a loop measured."""

    def log(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Metrics of step `step` (from 0) of `total`."""
        ...
