"""What precompute/show.py refuses: one line, before any work, and nothing is written."""

from pathlib import Path

import pytest

from precompute.show import make_parser
from precompute.shown import show
from tests.helpers import require_refused
from tests.show.caches import WRONG, make
from tests.show.caches import show as command
from tests.stores import flip_middle_bit, refused


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    make(folder, left_out=(3,))
    return folder


def test_as_a_command_it_is_one_line(tmp_path: Path) -> None:
    """The only test here that starts the command itself."""
    done = command(tmp_path / "none", "--out", tmp_path / "page.html", check=False)
    require_refused(done, "--cache must hold train/manifest.json", "does not exist")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--split", "val"], "--cache must hold val/manifest.json"),
        (["--out", "page.pdf"], "--out must end in .html or .png: got page.pdf"),
        (["--out", "page"], "--out must end in .html or .png"),
        (["--out", "{folder}/file/page.html"], "{folder}/file is not a folder that can be written"),
        (["--worst", "{folder}/list.txt"], "--worst must end in .csv"),
        (["--samples", "41"], "a page shows 0 to 40 samples: got 41"),
        (["--samples", "-1"], "a page shows 0 to 40 samples: got -1"),
        (["--index", "30"], "--index must be 0 to 29, a sample of the split: got 30"),
        (["--index", "3"], "--index 3 is an image that does not decode"),
        (["--view", "3"], "--view must be a complete view of the cache, 0 to 2: got 3"),
        (["--images", "{folder}/gone"], "no such folder"),
    ],
)
def test_bad_flags(cache: Path, tmp_path: Path, flags: list[str], parts: str) -> None:
    (tmp_path / "file").touch()
    out = ["--out", str(tmp_path / "page.html")]
    given = [*out, *(flag.replace("{folder}", str(tmp_path)) for flag in flags)]
    parsed = make_parser().parse_args(["--cache", str(cache), *given])
    text = refused(lambda: show(parsed))
    assert parts.replace("{folder}", str(tmp_path)) in text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_list_needs_logits(tmp_path: Path) -> None:
    make(tmp_path, targets=("channels",))
    worst = str(tmp_path / "worst.csv")
    parsed = make_parser().parse_args(["--cache", str(tmp_path), "--worst", worst])
    assert "--worst needs the teacher's loss" in refused(lambda: show(parsed))


def test_a_damaged_block(tmp_path: Path) -> None:
    cache = make(tmp_path)
    for path in cache.receipt(1, WRONG // 8).files:
        flip_middle_bit(tmp_path / "train" / path)
    out = tmp_path / "page.html"
    parsed = make_parser().parse_args(["--cache", str(tmp_path), "--out", str(out)])
    assert "is damaged" in refused(lambda: show(parsed))
    assert not out.exists()
