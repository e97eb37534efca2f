"""Statistics that are kept until there is something new to count."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
_FRESH_SECONDS = 15.0


class Kept(Generic[T]):
    """One value per key: made again for a new version, but not sooner than every 15 seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._values: dict[Hashable, tuple[int, float, T]] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, key: Hashable, version: int, make: Callable[[], T]) -> T:
        """The value of a key; callers that want one at the same time wait for one computation."""
        with self._lock:
            known = self._values.get(key)
            if known is None or (known[0] != version and self._clock() - known[1] > _FRESH_SECONDS):
                known = (version, self._clock(), make())
                self._values[key] = known
            return known[2]
