"""A grader of mathematical answers that no answer can hang: it works in a process of its own."""

import atexit
import json
import subprocess
import sys
from threading import Lock
from typing import IO, cast

CPU_SECONDS = 2.0
"""What one answer may take of the grader's own CPU time: how busy the machine is changes nothing.
Most take milliseconds."""


class Grader:
    """Grades one answer at a time; a process that an answer has ended is replaced.

    `ended` counts those answers.
    """

    def __init__(self, *, cpu_seconds: float = CPU_SECONDS) -> None:
        self.cpu_seconds, self.ended = cpu_seconds, 0
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def right(self, reference: str, response: str) -> bool | None:
        """Whether the response's answer equals the reference; None when that ended the process."""
        return cast("bool | None", self._ask([reference, response]))

    def complaint(self, reference: str) -> str:
        """Why nothing can be compared with a reference; empty when it earns 1 as an answer."""
        said = self._ask([reference, None])
        return f"takes over {self.cpu_seconds:g} s to grade" if said is None else cast(str, said)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, question: list[str | None]) -> object:
        with self._lock:
            process = self._process or self._started()
            try:
                cast("IO[str]", process.stdin).write(json.dumps(question) + "\n")
                cast("IO[str]", process.stdin).flush()
                line = cast("IO[str]", process.stdout).readline()
            except BrokenPipeError:
                line = ""
            if not line:
                self.close()
                self.ended += 1
                return None
            return json.loads(line)

    def _started(self) -> subprocess.Popen[str]:
        module = "palate.feedback.mathematics.worker"
        command = [sys.executable, "-P", "-m", module, str(self.cpu_seconds)]
        self._process = process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            start_new_session=True,  # an interrupt from the keyboard is for palate alone
        )
        atexit.register(self.close)
        if not cast("IO[str]", process.stdout).readline():
            self.close()
            raise RuntimeError(
                f"the grader of verifier:math does not start. Remedy: see why: {' '.join(command)}"
            )
        return process
