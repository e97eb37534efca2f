"""Requests to stop, by SIGINT (Ctrl-C) or SIGTERM: kept until a loop has saved what it has done."""

import os
import signal
import threading
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAID = b"\nstopping after this update, with a checkpoint; once more stops at once\n"


class Stopped(KeyboardInterrupt):
    """A loop stopped when it was asked to by this signal; its work is in a checkpoint."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequests:
    """Context manager: the first request waits for `leave`, the second stops at once.

    Signals that the process ignores stay ignored; only the main thread can receive any.
    """

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> "StopRequests":
        main = threading.current_thread() is threading.main_thread()
        heard = [s for s in _SIGNALS if main and signal.getsignal(s) not in (signal.SIG_IGN, None)]
        self._before = {number: signal.signal(number, self._keep) for number in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise Stopped(number)
        self.received = number
        os.write(2, _SAID)  # a handler may not enter a stream that is being written to

    def leave(self) -> None:
        """Stop if that was asked for."""
        if self.received:
            raise Stopped(self.received)
