"""The process that grades: reads [reference, response] lines, answers each with a line of JSON.

The CPU time of an answer is limited, and a timer of the kernel ends the process when it is used up:
some expressions keep sympy in one call for ever, where nothing else can interrupt it.
"""

import json
import logging
import resource
import signal
import sys

from palate.feedback.mathematics.reading import complaint, right

_MEMORY = 4 << 30


def main(seconds: float) -> None:
    """Grade what comes in until there is no more; a null response asks about the reference."""
    logging.disable()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, hard))
    right("$1$", "$\\frac{2}{2}$")  # loads the parser before any time is counted
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        reference, response = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        said = complaint(reference) if response is None else right(reference, response)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
