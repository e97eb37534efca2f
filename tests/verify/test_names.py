"""The names of checks are known without the checks."""

import subprocess
import sys

from palate.config.checks import NAMES
from palate.verify.catalog import QUICK, SLOW


def test_every_check_is_named_and_every_name_is_a_check() -> None:
    assert [check.name for check in (*QUICK, *SLOW)] == NAMES


def test_a_misspelt_check_is_refused_before_torch_is_imported() -> None:
    program = (
        "import sys\n"
        "from palate.cli.main import app\n"
        "try:\n"
        "    app(['verify', 'rlooo'])\n"
        "except SystemExit as stop:\n"
        "    print(stop.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert "rlooo: no such check; did you mean rloo" in done.stderr
    code, torch = done.stdout.split()
    assert code != "0"
    assert torch == "False"
