"""Every script in tests/attack, with its default number of attempts: none may do harm."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

SCRIPTS = sorted(
    path
    for path in (ROOT / "tests/attack").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def test_the_scripts_are_found() -> None:
    names = {path.stem for path in SCRIPTS}
    assert names >= {"kill", "signals", "limits"} and "tally" not in names


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_no_attack_does_harm(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    attempts, failures = (int(word) for word in done.stdout.split()[-4::2])
    assert attempts > 0 and failures == 0
