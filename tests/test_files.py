"""The map of the files in docs/files.md names every one of them once."""

import re

from tests.pages import text_of
from tests.processes import ROOT


def test_the_file_map_names_every_file_once() -> None:
    parts = re.split(r"^    (?=\S)", text_of("docs/files.md"), flags=re.MULTILINE)[1:]
    named = {re.split(r"/\s", part)[0]: re.findall(r"\w+\.py", part) for part in parts}
    rooms = [path.parent for path in (ROOT / "shared").glob("*/__init__.py")]
    assert len(rooms) >= 10
    for folder in (
        "precompute",
        "train",
        "train/losses",
        "train/logs",
        "shared/epochs/staging",
        "shared",
        *(f"shared/{room.name}" for room in rooms),
    ):
        there = [path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]
        assert sorted(named[folder]) == sorted(there), folder
    for folder in named:
        assert (ROOT / folder).is_dir() or folder in ("data", "runs"), folder
