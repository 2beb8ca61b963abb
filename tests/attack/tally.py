"""What every attack script counts: attempts, and those that did harm.

    python tests/attack/SCRIPT.py [ATTEMPTS]

An attempt fails where the product shows a traceback, hangs, ends with an undocumented exit code,
or loses or changes anything that was finished. What did not come about, because the command had
ended before the signal or the file would have held what it held before, is no attempt: another
takes its place. A script prints one line per failure, then the two numbers, and exits with 1 if
there was any failure or if too little came about.
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

MISSES = 4  # times the attempts that are wanted: then an attack gives up


class Missed(Exception):
    """The attempt did not come about: it says nothing about the product."""


@dataclass
class Tally:
    script: str
    wanted: int
    attempts: int = 0
    missed: int = 0
    failures: list[str] = field(default_factory=list)

    def numbers(self) -> Iterator[int]:
        """0, 1, 2, ... until as many attempts as are wanted have come about."""
        for number in itertools.count():
            if self.attempts >= self.wanted or self.missed > MISSES * self.wanted:
                return
            yield number

    def record(self, attempt: str, problem: str | None) -> None:
        """`problem`: what went wrong in one line, None where the product held."""
        self.attempts += 1
        if problem is not None:
            self.failures.append(attempt)
            print(f"FAILED {attempt}: {problem}", flush=True)

    def miss(self) -> None:
        self.missed += 1

    def finish(self) -> int:
        """The exit code."""
        too_few = self.attempts < self.wanted or self.attempts == 0
        if too_few:
            print(f"FAILED: {self.missed} attempts of {self.script} did not come about")
        print(f"{self.script}: {self.attempts} attempts, {len(self.failures)} failures")
        return 1 if self.failures or too_few else 0


def attempts_wanted(default: int) -> int:
    """From the command line."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def problem_of(returncode: int, stderr: str, allowed: frozenset[int]) -> str | None:
    """None for a command that ended as documented: an allowed exit code, no traceback, and after
    bad input (exit code 2) exactly one line that starts with "error: "."""
    if "Traceback" in stderr:
        return f"traceback, last line {stderr.strip().splitlines()[-1][:200]!r}"
    if returncode not in allowed:
        return f"exit code {returncode}, allowed {sorted(allowed)}: {stderr.strip()[-200:]!r}"
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    if returncode == 2 and len(lines) != 1:
        return f"{len(lines)} error lines instead of one: {stderr.strip()[-200:]!r}"
    return None
