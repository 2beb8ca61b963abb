"""What every attack script counts: attempts, and those that did harm.

    python tests/attack/SCRIPT.py [ATTEMPTS]

An attempt fails where the product shows a traceback, hangs, ends with an undocumented exit code,
or loses or changes anything that was finished. A script prints one line per failure, then the two
numbers, and exits with 1 if there was any failure.
"""

import sys
from dataclasses import dataclass, field


@dataclass
class Tally:
    script: str
    attempts: int = 0
    failures: list[str] = field(default_factory=list)

    def record(self, attempt: str, problem: str | None) -> None:
        """`problem`: what went wrong in one line, None where the product held."""
        self.attempts += 1
        if problem is not None:
            self.failures.append(attempt)
            print(f"FAILED {attempt}: {problem}", flush=True)

    def finish(self) -> int:
        """The exit code."""
        assert self.attempts > 0, "an attack that tried nothing proves nothing"
        print(f"{self.script}: {self.attempts} attempts, {len(self.failures)} failures")
        return 1 if self.failures else 0


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
