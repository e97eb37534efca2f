"""Errors that a person can act on become one message and an exit code."""

import errno
import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

BAD_INPUT = 2
FAILURE = 1


@contextmanager
def guard(*, debug: bool) -> Generator[None]:
    """Exit 2 for input that has to change, 1 for what the machine refused, 130 for Ctrl-C (143 for
    SIGTERM).

    Anything else is a bug in palate and keeps its traceback, as everything does with `--debug`.
    """
    from palate.config.errors import ConfigError
    from palate.store.errors import DataError
    from palate.store.runs import RunLocked

    try:
        yield
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        _leave("interrupted; run the same command again to resume", 128 + number)
    except BrokenPipeError:
        raise  # the reader of `palate show ppo | head` has seen enough; typer ends quietly
    except (ConfigError, DataError) as error:
        _explain(error, BAD_INPUT, debug=debug)
    except (ValueError, FileNotFoundError) as error:
        _explain(error, BAD_INPUT, debug=debug, hint="\n(--debug shows where)")
    except (OSError, RunLocked) as error:
        _explain(error, FAILURE, debug=debug)


def _explain(error: Exception, code: int, *, debug: bool, hint: str = "") -> NoReturn:
    if debug:
        raise error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = f"no space left for {error.filename or 'the run'}; free some and run this again"
    else:
        message = str(error) or type(error).__name__
    _leave(message + hint, code)


def _leave(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(Text(message, style="red"), soft_wrap=True)
    raise typer.Exit(code)
