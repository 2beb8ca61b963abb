"""Every script in tests/attack, with its default number of attempts: none may do harm."""

import importlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attack.kill import killed
from tests.attack.signals import ended_well
from tests.attack.tally import MISSES, Missed, Tally
from tests.processes import ROOT, start

SCRIPTS = sorted(
    path
    for path in (ROOT / "tests/attack").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def test_the_scripts_are_found() -> None:
    names = {path.stem for path in SCRIPTS}
    assert names >= {"kill", "signals", "limits"} and "tally" not in names


def attempts_of(script: Path) -> int:
    default: int = importlib.import_module(f"tests.attack.{script.stem}").DEFAULT
    return default


def test_together_they_make_a_thousand_attempts() -> None:
    assert sum(map(attempts_of, SCRIPTS)) >= 1000


def test_failures_and_too_few_attempts_are_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def ended(act: Callable[[Tally, int], object]) -> tuple[int, int]:
        """Exit code, and numbers that were tried of 3 that are wanted."""
        tally = Tally("x", 3)
        numbers = [act(tally, number) for number in tally.numbers()]
        return tally.finish(), len(numbers)

    assert ended(lambda tally, number: tally.record("a", None)) == (0, 3)
    assert ended(lambda tally, number: tally.record("a", "harm" if number else None)) == (1, 3)
    assert "FAILED a: harm\n" in capsys.readouterr().out
    late = lambda tally, n: tally.miss() if n % 2 else tally.record("a", None)  # noqa: E731
    assert ended(late) == (0, 5)
    assert ended(lambda tally, number: tally.miss()) == (1, 3 * MISSES + 1)
    assert Tally("x", 0).finish() == 1, "an attack that tried nothing proves nothing"


def test_an_attempt_that_came_too_late_is_no_attempt() -> None:
    with pytest.raises(Missed):
        killed(60, "precompute/plan.py", "--help")
    done = start("precompute/plan.py", "--help")
    with pytest.raises(Missed):
        ended_well(done, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_no_attack_does_harm(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    attempts, failures = (int(word) for word in done.stdout.split()[-4::2])
    assert attempts >= attempts_of(script) and failures == 0
