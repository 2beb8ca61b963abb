"""The lines quoted in docs/troubleshooting.md are lines that the commands print."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.pages import text_of
from tests.processes import ROOT


@cache
def texts() -> frozenset[str]:
    """Every text in the code of the product; a formatted value in it is a null character."""
    files = [
        path for room in ("shared", "precompute", "train") for path in (ROOT / room).rglob("*.py")
    ]
    return frozenset(text for path in files for text in texts_in(path))


def texts_in(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values)
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def quoted() -> list[str]:
    lines = section_of_lines().splitlines()
    rows = [line.removeprefix("| `").split("` | ")[0] for line in lines if line.startswith("| `")]
    return [row for row in rows if row]


def section_of_lines() -> str:
    return text_of("docs/troubleshooting.md").partition("\n## The lines")[2].partition("\n## ")[0]


def is_printed(line: str) -> bool:
    pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")), re.DOTALL)
    return any(pattern.match(text) for text in texts())


@pytest.mark.parametrize("line", quoted())
def test_the_line_is_in_the_code(line: str) -> None:
    assert is_printed(line)


def test_a_line_that_is_not_printed_is_found() -> None:
    assert len(quoted()) >= 30
    assert not is_printed("the loss is not finite any more: in step …")
