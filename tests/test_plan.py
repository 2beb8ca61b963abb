"""The plan says what a run then takes, and writes nothing."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import precompute.plan
import precompute.run
from precompute import estimate, measure, pipeline
from shared.store import receipt_index
from shared.store.opening import open_cache
from tests.helpers import run, snapshot
from tests.plans import VIEWS, Inputs, inputs, kind

__all__ = ["inputs", "kind"]  # fixtures of the tests below


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.2)


def tables(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *flags: object,
    split: str = "train",
) -> tuple[dict[str, str], dict[int, list[str]]]:
    """What the command prints: the value of each line, and the columns of each number of views."""
    monkeypatch.setattr(sys, "argv", ["plan.py", "--split", split, *map(str, flags)])
    assert precompute.plan.main() == 0
    return parse(capsys.readouterr().out)


def parse(text: str) -> tuple[dict[str, str], dict[int, list[str]]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    facts = {row[0]: row[1] for row in rows if len(row) == 2}
    facts["advice"] = "".join(
        line for line in text.splitlines() if line.startswith("Measured gain")
    )
    views = {int(row[0]): row[1:] for row in rows if len(row) == 5 and row[0].isdecimal()}
    return facts, views


def number(text: str) -> float:
    """12.3 MB -> 12300000.0"""
    match = re.match(r"([\d,.]+) ?([kMGT]?)", text)
    assert match, text
    factor = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[match[2]]
    return float(match[1].replace(",", "")) * factor


def seconds(text: str) -> float:
    """3.5 min -> 210.0"""
    amount, unit = text.split(" ")
    return float(amount.replace(",", "")) * {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}[unit]


def test_says_what_the_run_takes_and_writes_nothing(
    inputs: Inputs,
    kind: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = (*inputs.flags(*kind), "--cache", tmp_path / "cache")
    before = snapshot(inputs.folder)
    facts, _ = tables(monkeypatch, capsys, *flags)
    assert snapshot(inputs.folder) == before and not (tmp_path / "cache").exists()
    monkeypatch.setattr(receipt_index, "YOUNG", 0.0)  # the index has the last receipts too
    monkeypatch.setattr(sys, "argv", ["run.py", "--split", "train", *map(str, flags)])
    assert precompute.run.main() == 0
    cache = open_cache(tmp_path / "cache", "train")
    written = sum(cache.num_bytes(view) for view in range(VIEWS)) / (VIEWS * 240)
    assert number(facts["bytes a view"]) == pytest.approx(written, rel=0.02)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    assert number(facts["bytes, total"]) == pytest.approx(total, rel=0.02)
    assert int(facts["files"].replace(",", "")) == len(files)


def test_numbers_agree_with_each_other(
    inputs: Inputs,
    kind: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 10**9))
    facts, rows = tables(monkeypatch, capsys, *inputs.flags(*kind))
    assert (facts["images"], facts["views"]) == ("240", str(VIEWS))
    assert facts["bytes free on its disk"] == "5 GB (enough)"
    assert f"Recommended: --views 8 in place of {VIEWS}," in facts["advice"]
    assert sorted(rows) == [1, 2, 3, 4, 8, 16, 50]
    view = number(facts["bytes a view"])
    pipeline = number(facts["decode + teacher + encode"]) / 1000
    teacher = number(facts["teacher alone"]) / 1000
    student = number(facts["ResNet-18 forward and backward"]) / 1000
    assert 0 < teacher < 1.5 * pipeline  # measured one after the other, on cores that may be busy
    live = number(facts["device time of an epoch, live / cached"])
    assert live == pytest.approx((student + teacher) / student, rel=0.06)  # two digits are shown
    assert number(facts["bytes to write a second"]) == pytest.approx(view / pipeline, rel=0.02)
    rows_of_one, rows_of_two = number(rows[1][0]), number(rows[2][0])
    growth = rows_of_two - rows_of_one  # of a view, with its receipts
    assert 0.99 * view * 240 < growth < 1.2 * view * 240
    total = [facts["bytes, total"], facts["teacher time, one process"], facts["break-even"]]
    for views, (size, time, epochs, *_) in [*rows.items(), (VIEWS, total)]:
        assert number(size) == pytest.approx(rows_of_one + (views - 1) * growth, rel=0.01)
        if views == VIEWS:  # with others an image is decoded more often or less often
            assert seconds(time) == pytest.approx(pipeline * views * 240, rel=0.06)
            assert number(epochs) == pytest.approx(views * pipeline / teacher, rel=0.06)


def test_says_that_the_disk_is_too_small(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    facts, _ = tables(monkeypatch, capsys, *inputs.flags("zarr", "half"))
    assert facts["bytes free on its disk"] == "1 kB (NOT ENOUGH)"
    assert facts["advice"].endswith("A single view would take more than 80 % of the free bytes.")


def test_an_object_store_has_no_limit(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = inputs.flags("zarr", "half", "--cache", "memory://cache")
    facts, _ = tables(monkeypatch, capsys, *flags)
    assert facts["bytes free on its disk"] == "no limit known"


def test_center_has_one_view(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = inputs.flags("zarr", "half", "--views", 1)
    facts, rows = tables(monkeypatch, capsys, *flags, split="val")
    assert (facts["images"], facts["views"], list(rows)) == ("12", "1", [1])
    assert facts["advice"] == ""


def test_the_warm_up_reads_images_from_the_whole_source(inputs: Inputs) -> None:
    source = inputs.job("zarr", "half").source
    spread = pipeline.spread_samples(source, 50)
    places = [list(source.keys).index(key) for key in spread.keys]
    assert len(set(places)) == len(spread) == 50
    assert len({place // 60 for place in places[:8]}) == 4, "eight in a row miss a quarter"
    for row, place in enumerate(places):
        assert spread.read(row) == source.read(place)
        assert spread.labels[row] == source.labels[place]


@pytest.mark.slow
def test_as_a_command(inputs: Inputs) -> None:
    done = run("precompute/plan.py", "--split", "train", *inputs.flags("zarr", "tiny"))
    facts, _ = parse(done.stdout)
    assert facts["images"] == "240"
