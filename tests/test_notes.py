"""What is said beside errors is one line each, too, whatever a name or a field of a file holds."""

from pathlib import Path

import pytest

from shared.errors import note
from shared.records.block import Arithmetic
from shared.store.checks import note_arithmetic
from tests.small_cache import make_block, make_cache, make_manifest, put
from tests.test_report import write_run
from train.reported import kinds_of, read_runs
from train.table import markdown, table_of

HOSTILE = "\x1b[2K\nerror: all is well\udcff"
ESCAPED = r"\x1b[2K\nerror: all is well\udcff"


def test_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    note(f"about {HOSTILE}")
    assert capsys.readouterr().err == f"NOTE: about {ESCAPED}\n"


def test_devices_of_receipts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever gave the cache away wrote them."""
    manifest = make_manifest()
    cache = make_cache(tmp_path, manifest)
    block = make_block(manifest, 0, 0)
    object.__setattr__(block, "arithmetic", Arithmetic(HOSTILE, "2", False, False, 4))
    put(cache, block)
    note_arithmetic(cache)
    assert f"1 blocks by {ESCAPED}, torch 2" in capsys.readouterr().err


def test_names_of_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a\nb\x1b[2K", "Recipe()", 0, [50.0])
    (row,) = markdown(*table_of(kinds_of(read_runs([run])))).splitlines()[2:]
    assert row.startswith(r"| a\nb\x1b[2K | 1 | ")
