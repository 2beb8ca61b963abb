"""The plan says what a run then takes, writes nothing, and a run that the disk has no room for is
refused before it starts."""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import precompute.plan
import precompute.run
from precompute import estimate, measure
from precompute.estimate import count_files, require_space
from precompute.flags import add_flags
from precompute.job import Job, make_job
from shared.cache.opening import Cache, open_cache
from shared.errors import InputError
from shared.files.local import LocalFiles
from shared.records.block import Work
from tests.helpers import run, run_precompute, snapshot, write_image_folder, write_teacher

VIEWS = 3
KINDS = [("zarr", "half"), ("webdataset", "compact")]  # format, codec


@dataclass(frozen=True)
class Inputs:
    folder: Path

    def flags(self, store: str, codec: str, *more: object) -> tuple[object, ...]:
        return (
            *("--images", self.folder / "images", "--weights", self.folder / "teacher.pt"),
            *(
                "--teacher",
                "resnet18",
                "--size",
                32,
                "--device",
                "cpu",
                "--cache",
                self.folder / "c",
            ),
            *("--views", VIEWS, "--block", 128, "--format", store, "--codec", codec, *more),
        )

    def job(self, store: str, codec: str) -> Job:
        parser = argparse.ArgumentParser()
        add_flags(parser)
        flags = ["--split", "train", *map(str, self.flags(store, codec))]
        return make_job(parser.parse_args(flags))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("plan")
    write_image_folder(folder / "images", classes=3, train=80, val=4)
    write_teacher(folder / "teacher.pt", "resnet18", 3)
    return Inputs(folder)


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind))
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    kind: tuple[str, str] = request.param
    return kind


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
    views = {int(row[0]): row[1:] for row in rows if len(row) == 4 and row[0] != "views"}
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
    run_precompute(*flags)
    cache = open_cache(tmp_path / "cache", "train")
    written = sum(cache.num_bytes(view) for view in range(VIEWS)) / (VIEWS * 240)
    assert number(facts["bytes a view"]) == pytest.approx(written, rel=0.3)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
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
    assert sorted(rows) == [1, 2, 3, 4, 10, 50]
    view = number(facts["bytes a view"])
    pipeline = number(facts["decode + teacher + encode"]) / 1000
    teacher = number(facts["teacher alone"]) / 1000
    student = number(facts["ResNet-18 forward and backward"]) / 1000
    assert 0 < teacher <= pipeline
    live = number(facts["device time of an epoch, live / cached"])
    assert live == pytest.approx((student + teacher) / student, rel=0.06)  # two digits are shown
    assert number(facts["bytes to write a second"]) == pytest.approx(view / pipeline, rel=0.02)
    total = [facts["bytes, total"], facts["teacher time, one process"], facts["break-even"]]
    for views, (size, time, epochs) in [*rows.items(), (VIEWS, total)]:
        assert number(size) == pytest.approx(view * views * 240, rel=0.01)
        assert seconds(time) == pytest.approx(pipeline * views * 240, rel=0.06)
        assert number(epochs) == pytest.approx(views * pipeline / teacher, rel=0.06)


def test_says_that_the_disk_is_too_small(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    facts, _ = tables(monkeypatch, capsys, *inputs.flags("zarr", "half"))
    assert facts["bytes free on its disk"] == "1 kB (NOT ENOUGH)"


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


def test_the_warm_up_reads_images_from_the_whole_source(inputs: Inputs) -> None:
    source = inputs.job("zarr", "half").source
    spread = measure.spread_samples(source, 50)
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


def test_room_for_what_is_written_and_no_more_than_twice_that(
    inputs: Inputs, kind: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*inputs.flags(*kind), "--cache", tmp_path / "cache")
    run_precompute(*flags)
    written = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*"))
    cache = open_cache(tmp_path / "cache", "train")
    source = inputs.job(*kind).source
    units = [Work(*unit) for unit in cache.units()]

    def with_free(free: int, missing: list[Work], processes: int = 1) -> None:
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: usage)
        require_space(cache, source, missing, processes)

    with_free(2 * written, units)
    with_free(2 * written, units[::2], processes=2)
    with_free(0, [])
    for missing, processes in ((units, 1), (units[::2], 2)):
        with pytest.raises(InputError):
            with_free(written, missing, processes)
    with_free(2 * written // VIEWS, units[: len(units) // VIEWS])


def test_a_run_stops_before_the_teacher_starts(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*inputs.flags("zarr", "half"), "--cache", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["run.py", "--split", "train", *map(str, flags)])
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(InputError, match=r"lacks 720 views of up to 1\.63 MB in all, and 1 MB "):
        precompute.run.main()
    assert not list(tmp_path.rglob("receipts"))


def test_error_text(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = inputs.job("zarr", "half")
    cache = Cache(LocalFiles(tmp_path / "new" / "train"), job.manifest)
    asked = []

    def disk_usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=12_345)

    monkeypatch.setattr(estimate.shutil, "disk_usage", disk_usage)
    with pytest.raises(InputError) as caught:
        require_space(cache, job.source, [Work(*unit) for unit in cache.units()])
    # 720 views of 2 x (3 + 960) + 21 bytes, 6 blocks of 6 files of up to 4096 more, 5 % room
    assert str(caught.value) == (
        f"the disk has no room for the cache: {tmp_path}/new/train lacks 720 views of up to "
        f"1.63 MB in all, and 12.3 kB are free; make room, give a --cache on a larger disk, a "
        f"smaller --codec, fewer --views or fewer --targets (precompute/plan.py tells sizes)"
    )
    assert asked == [tmp_path]


def test_count_files_knows_the_head(inputs: Inputs) -> None:
    half, compact = (inputs.job("webdataset", codec).manifest for codec in ("half", "compact"))
    assert count_files(compact) - count_files(half) == 1
    assert count_files(half) == 3 + VIEWS * 2 * 2  # manifest, targets.json, channels.json
