"""The pages for users, README.md and docs/*.md, and what is read out of them."""

import re
import shlex
from pathlib import Path

from tests.processes import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def commands_of(name: str) -> list[list[str]]:
    """The words of every command in a block that is indented by four spaces; \\ joins lines."""
    text = text_of(name).replace("\\\n", " ")
    started = r"^ {4}((?:python|torchrun|sbatch|make|docker|pip) .*)$"
    return [shlex.split(line, comments=True) for line in re.findall(started, text, re.M)]


def python_of(name: str, of: str) -> str:
    """The Python block that has `of` in it."""
    blocks = re.findall(r"```python\n(.*?)```", text_of(name), re.DOTALL)
    (code,) = (block for block in blocks if of in block)
    return str(code)


def table_after(name: str, head: str) -> list[list[str]]:
    """The cells of the rows of the one table whose first line begins with `head`."""
    (table,) = re.findall(rf"^{re.escape(head)}.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", text_of(name), re.M)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def anchors_of(page: Path) -> set[str]:
    """Names of the headings, as GitHub makes them: lower case, no punctuation, - for spaces."""
    outside_of_code = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", outside_of_code, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
