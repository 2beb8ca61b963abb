"""The tails of a teacher's channel means: what is measured, kept beside a cache, and told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from precompute.tell_tails import tell_tails
from shared.cache import tails_file
from shared.cache.opening import Cache, open_cache
from shared.cache.tails_file import (
    CHANNELS,
    encode,
    keep_tails,
    measure,
    read_tails,
    require_tails,
)
from shared.errors import InputError
from shared.files.sealed import seal
from shared.records.identity import cache_id
from shared.targets.tails import Tails, tails_of
from tests.helpers import (
    STUDENT,
    TEACHER,
    Finished,
    require_refused,
    run,
    run_precompute,
    run_train,
    snapshot,
    start_halting,
    write_image_folder,
    write_teacher,
)
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put
from train.run_files import read_run

RCD = "s_resnet18.t_resnet34.rcd.ce"


# ---- what is measured


def slow(means: np.ndarray) -> tuple[float, float, list[float]]:
    """Of one stage (n, C), straight from the definitions."""
    n, width = means.shape
    squares = sorted(((means - means.mean(0)) ** 2).sum(1).tolist())
    share = sum(squares[-max(1, -(-n // 100)) :]) / sum(squares)
    distances = [square**0.5 for square in squares]
    farthest = distances[-1] / distances[(n - 1) // 2]
    spread = [np.std(sorted(means[:, c].tolist())[: -(-99 * n // 100)]) for c in range(width)]
    least = 0.01 * float(np.mean(spread))
    return share, farthest, [max(float(s), least) for s in spread]


@pytest.mark.parametrize("samples", [1000, 150, 37])
def test_equals_the_slow_computation(samples: int) -> None:
    generator = np.random.default_rng(samples)
    stages = [np.exp(generator.normal(0, 1 + s, (samples, 3 + s))) for s in range(3)]
    found = tails_of(tuple(torch.from_numpy(stage).float() for stage in stages))
    assert found.samples == samples
    for stage, *mine in zip(stages, found.share, found.farthest, found.spread, strict=True):
        share, farthest, spread = slow(stage.astype(np.float32).astype(np.float64))
        assert mine[0] == pytest.approx(share, rel=1e-5)
        assert mine[1] == pytest.approx(farthest, rel=1e-5)
        assert mine[2] == pytest.approx(spread, rel=1e-5)


def test_one_image_in_a_hundred_is_a_tail() -> None:
    means = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    light = tails_of((means,))
    assert light.share[0] < 0.06 and not light.are_heavy
    means[::100] += 500
    heavy = tails_of((means,))
    assert heavy.share[0] > 0.98 and heavy.are_heavy and heavy.farthest[0] > 10
    # The spread is that of the others.
    assert heavy.spread[0] == pytest.approx(light.spread[0], rel=0.05)


@pytest.mark.parametrize(
    ("means", "spread"),
    [
        (torch.ones(50, 2), (1, 1)),  # a teacher that says the same of all images
        (torch.tensor([[3.0, 4.0]]), (1, 1)),  # one image
        # A channel that never moves gets a hundredth of the mean of its stage's.
        (torch.stack([torch.arange(2.0).repeat(50), torch.zeros(100)], 1), (0.5, 0.0025)),
    ],
)
def test_no_channel_is_divided_by_zero(means: Tensor, spread: tuple[float, ...]) -> None:
    found = tails_of((means,))
    assert found.spread[0] == pytest.approx(spread, rel=0.01)
    assert all(np.isfinite([*found.share, *found.farthest]))


def test_spread_lies_where_training_runs() -> None:
    (spread,) = Tails(1, (0.1,), (2.0,), ((0.25, 0.5),)).on(torch.device("cpu"))
    assert spread.dtype == torch.float32 and spread.tolist() == [0.25, 0.5]


# ---- of a cache


def channels_of(cache: Cache, samples: list[int]) -> tuple[Tensor, ...]:
    arrays = cache.read_view(0, ["channels"])
    rows = torch.from_numpy(arrays["channels"][samples]).float()
    return torch.split(rows, list(cache.manifest.teacher.channels), dim=1)


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
@pytest.mark.parametrize("codec", ["exact", "half", "compact"])
def test_a_cache_is_measured_by_its_first_view(tmp_path: Path, store: str, codec: str) -> None:
    cache = make_cache(tmp_path, make_manifest(samples=40, block=8, codec=codec, store=store))
    assert measure(cache) == tails_of(channels_of(cache, list(range(40))))


@pytest.mark.parametrize("most", [10, 17])
def test_of_a_large_cache_rows_from_all_over_it(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source may be sorted by class."""
    monkeypatch.setattr(tails_file, "SAMPLES", most)
    cache = make_cache(tmp_path, make_manifest(samples=40, block=8, codec="exact"))
    step = -(-40 // most)
    assert measure(cache) == tails_of(channels_of(cache, list(range(0, 40, step))))


def test_of_large_view_shards_some_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails_file, "SAMPLES", 16)
    manifest = make_manifest(samples=40, block=8, codec="exact", store="webdataset")
    cache = make_cache(tmp_path, manifest)
    read = []
    whole = Cache.read_block

    def reading(self: Cache, view: int, block: int, *more: Any) -> Any:
        read.append((view, block))
        return whole(self, view, block, *more)

    monkeypatch.setattr(Cache, "read_block", reading)
    assert measure(cache).samples == 16
    assert len(read) == 2 and {view for view, _ in read} == {0}


def test_images_that_were_left_out_are_not_counted(tmp_path: Path) -> None:
    manifest = make_manifest(samples=8, block=8, views=1, codec="exact")
    cache = open_empty(tmp_path, manifest)
    block = make_block(manifest, 0, 0)
    block.fields["channels"][3] = 0
    block.pred[3] = -1
    put(cache, replace(block, skipped=((3, "cat/3.jpg", "cut off"),), pixels={}))
    rest = [0, 1, 2, 4, 5, 6, 7]
    assert measure(cache) == tails_of(channels_of(cache, rest))


def test_the_file_is_written_once_and_read_back(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest())
    assert read_tails(cache) is None and require_tails(cache) == measure(cache)
    kept = keep_tails(cache)
    before = snapshot(tmp_path)
    assert read_tails(cache) == keep_tails(cache) == kept == measure(cache)
    assert snapshot(tmp_path) == before
    facts = json.loads((tmp_path / "train" / CHANNELS).read_bytes())
    assert facts["cache"] == cache_id(cache.manifest)
    widths = [len(stage["spread"]) for stage in facts["stages"]]
    assert widths == list(cache.manifest.teacher.channels)


def damaged(cache: Cache) -> dict[str, bytes]:
    good = encode(cache, measure(cache))
    facts = {k: v for k, v in json.loads(good).items() if k != "sha256_of_the_rest"}
    stages = facts["stages"]
    return {
        "cut off": good[:100],
        "changed": good.replace(b"0.", b"1.", 1),
        "no json": b"\x00\x01",
        "of another cache": seal({**facts, "cache": "0" * 12}),
        "newer": seal({**facts, "version": 2}),
        "too few stages": seal({**facts, "stages": stages[:2]}),
        "a channel of no spread": seal(
            {**facts, "stages": [{**stages[0], "spread": [0.0] * 4}, *stages[1:]]}
        ),
    }


@pytest.mark.parametrize(
    "kind",
    ["cut off", "changed", "no json", "of another cache", "newer", "too few stages",
     "a channel of no spread"],
)  # fmt: skip
def test_a_damaged_file_is_refused_and_written_again(tmp_path: Path, kind: str) -> None:
    cache = make_cache(tmp_path, make_manifest())
    cache.files.write(CHANNELS, damaged(cache)[kind])
    for read in (read_tails, require_tails):
        with pytest.raises(InputError, match=r"channels\.json, .* cannot be used \(.*run the same"):
            read(cache)
    assert keep_tails(cache) == measure(cache) == read_tails(cache)


# ---- what is told


def test_heavy_tails_are_told_with_the_recipe_to_take(capsys: pytest.CaptureFixture[str]) -> None:
    tell_tails(Tails(100, (0.14, 0.51, 0.9, 0.47), (3.0, 8.0, 22.0, 15.0), ((1.0,),) * 4))
    said = capsys.readouterr()
    assert said.out == (
        "tails    the farthest 1 % of images hold 0.14 0.51 0.9 0.47 of the variance of the "
        "channel means, stage by stage; the farthest lies 3 8 22 15 times as far out as the "
        "median\n"
    )
    assert said.err.startswith("NOTE: ") and "rcd" in said.err and said.err.count("\n") == 1
    tell_tails(Tails(100, (0.14, 0.2), (3.0, 8.0), ((1.0,),) * 2))
    tell_tails(Tails(99, (0.14, 0.9), (3.0, 8.0), ((1.0,),) * 2))  # one sample is more than 1 %
    assert capsys.readouterr().err == ""


# ---- through the commands


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    for store in ("zarr", "webdataset"):
        precompute(folder, store)
    return folder


def precompute(folder: Path, store: str, *flags: object) -> Finished:
    return run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt", *TEACHER),
        *("--size", 32, "--views", 2, "--block", 8, "--codec", "exact", "--format", store),
        *("--cache", folder / store, *flags),
    )


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_every_command_tells_them(made: Path, tmp_path: Path, store: str) -> None:
    line = require_tails(open_cache(made / store, "train")).line()
    assert (made / store / "train" / CHANNELS).exists()
    assert line in precompute(made, store).stdout
    assert line in run("precompute/verify.py", "--split", "train", "--cache", made / store).stdout
    flags = (*STUDENT, "--cache", made / store, "--recipe", RCD, "--epochs", 1)
    out = tmp_path / "run"
    flags = (*flags, "--batch-size", 12, "--out", out)
    assert line in run_train(*flags, "--dry-run").stdout
    run_train(*flags)
    shares = open_cache(made / store, "train")
    assert read_run(out, "cache")["cache"]["tails"] == list(require_tails(shares).share)
    report = run("train/report.py", out, "--out", tmp_path / "curves.png").stdout
    assert " ".join(f"{x:.2g}" for x in require_tails(shares).share) + " |" in report


def test_a_cached_and_a_live_teacher_end_with_the_same_student(made: Path, tmp_path: Path) -> None:
    states = []
    for teacher in ("cached", "live"):
        run_train(
            *(*STUDENT, "--cache", made / "zarr", "--recipe", RCD, "--epochs", 2, "--lr", 0.02),
            *("--batch-size", 12, "--teacher", teacher, "--out", tmp_path / teacher),
        )
        states.append(torch.load(tmp_path / teacher / "best.pt", weights_only=True))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_cache_of_an_earlier_version_trains_and_ends_alike(made: Path, tmp_path: Path) -> None:
    """It has no channels.json; a run measures what it needs, and writes nothing there."""
    shutil.copytree(made / "zarr", tmp_path / "old")
    (tmp_path / "old" / "train" / CHANNELS).unlink()
    before = snapshot(tmp_path / "old")
    flags = (*STUDENT, "--recipe", RCD, "--epochs", 1, "--batch-size", 12)
    for cache, out in ((made / "zarr", "new run"), (tmp_path / "old", "old run")):
        run_train(*flags, "--cache", cache, "--out", tmp_path / out)
    assert snapshot(tmp_path / "old") == before
    states = [
        torch.load(tmp_path / out / "best.pt", weights_only=True) for out in ("new run", "old run")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_verify_finds_a_file_that_says_something_else(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "zarr", tmp_path / "cache")
    cache = open_cache(tmp_path / "cache", "train")
    found = measure(cache)
    twice = tuple(tuple(2 * value for value in stage) for stage in found.spread)
    wrong = replace(found, spread=twice)
    cache.files.write(CHANNELS, encode(cache, wrong))
    done = run(
        "precompute/verify.py", "--split", "train", "--cache", tmp_path / "cache", check=False
    )
    assert done.returncode == 1
    assert "channels.json does not follow from the channel means" in done.stderr


def test_a_damaged_file_ends_training_in_one_line(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "zarr", tmp_path / "cache")
    (tmp_path / "cache" / "train" / CHANNELS).write_bytes(b"{}")
    done = run_train(
        *(*STUDENT, "--cache", tmp_path / "cache", "--recipe", RCD, "--out", tmp_path / "run"),
        check=False,
    )
    require_refused(
        done,
        "channels.json, which says how ",
        " cannot be used (",
        "run the same precompute/run.py command",
    )


def test_a_cache_that_is_filled_in_parts_has_them_at_its_end(made: Path, tmp_path: Path) -> None:
    """Wherever it is stopped, the file is there only when all blocks are."""
    flags = ("--images", made / "images", "--weights", made / "teacher.pt", *TEACHER)
    flags = ("--split", "train", *flags, "--size", 32, "--views", 2, "--block", 8)
    flags = (*flags, "--codec", "exact", "--cache", tmp_path / "cache")
    halted = start_halting("*/receipts/*", 3, tmp_path / "note", "precompute/run.py", *flags)
    assert not (tmp_path / "cache" / "train" / CHANNELS).exists()
    halted.signal(9)
    halted.wait()
    run("precompute/run.py", *flags)
    assert snapshot(tmp_path / "cache") == snapshot(made / "zarr")
