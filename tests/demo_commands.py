"""The commands of `make demo`, as make itself would run them."""

import re
import shlex
import subprocess

from tests.processes import ROOT


def demo_commands() -> list[list[str]]:
    """A script and its flags, one after the other, without what the shell does with the output."""
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/ready", "demo", "BIN=bin"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    text = done.stdout.replace("\\\n", " ")
    lines = [line.partition("bin/python ")[2] for line in text.splitlines() if "bin/python" in line]
    return [shlex.split(re.split(r"\s>+ ", line)[0]) for line in lines]
