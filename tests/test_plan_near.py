"""What plan says comes near what the run then takes: bytes within 3 %, time within 15 %."""

from pathlib import Path
from statistics import median

import pytest

from precompute import measure
from shared.store import receipt_index
from shared.targets.codecs import CODECS
from tests.bench.scale_plan import planned, run, write_photographs
from tests.helpers import write_teacher

SIDE = 64
ROUNDS = 7  # of timed runs, at most: other work on the machine disturbs some


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("near")
    write_photographs(folder / "images", 120)
    for teacher in ("cifar_resnet20", "resnet18"):
        write_teacher(folder / f"{teacher}.pt", teacher, 4)
    return folder


def flags(folder: Path, teacher: str, *more: object) -> list[str]:
    return [
        *("--split", "train", "--images", str(folder / "images"), "--teacher", teacher),
        *("--weights", str(folder / f"{teacher}.pt"), "--size", str(SIDE), "--device", "cpu"),
        *("--workers", "0", *map(str, more)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_bytes(
    store: str, codec: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small network, in whose rows headers count; two blocks of 50 images and one of 20."""
    monkeypatch.setattr(measure, "SECONDS", 0.2)
    monkeypatch.setattr(receipt_index, "YOUNG", 0.0)  # the index has the last receipts too
    kinds = ("--format", store, "--codec", codec, "--block", 50, "--views", 3)
    argv = flags(folder, "cifar_resnet20", *kinds)
    expected, _ = planned(argv)
    run([*argv, "--cache", str(tmp_path)])
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert expected == pytest.approx(written, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_time(store: str, folder: Path, tmp_path: Path) -> None:
    argv = flags(folder, "resnet18", "--format", store, "--views", 4)
    ratios: list[float] = []
    before = planned(argv)[1]
    while len(ratios) < 3 or (abs(median(ratios) - 1) > 0.15 and len(ratios) < ROUNDS):
        seconds = run([*argv, "--cache", str(tmp_path / str(len(ratios)))])
        after = planned(argv)[1]
        ratios.append((before + after) / 2 / seconds)
        before = after
    assert median(ratios) == pytest.approx(1, abs=0.15), ratios
