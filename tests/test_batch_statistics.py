"""A cache of a teacher that used the statistics of fixed batches: --teacher-statistics batch."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import precompute.plan
import precompute.run
import train.run
from precompute import blocks, job, measure
from precompute.flags import make_parser
from shared import choices
from shared.cache.opening import Cache, open_cache
from shared.cache.stored_views import shard
from shared.errors import run_command
from shared.models.build import build_model
from shared.models.staged import StagedModel
from shared.pixels.jpeg import decode_pixels
from shared.records.identity import cache_id
from shared.records.permutation import permutation
from shared.records.teacher_batches import (
    TEACHER_BATCH,
    batches_of,
    fitting_block,
    least_batch,
    misfit,
)
from shared.targets.teacher import load_teacher
from tests.helpers import (
    STUDENT,
    require_refused,
    run,
    run_precompute,
    snapshot,
    write_image_folder,
    write_teacher,
)
from tests.processes import Finished, finish, start_halting, start_world

CLASSES = 4
BATCH = 32  # of most tests, where it is 256 in earnest
SAMPLES, BLOCK = 102, 64  # two batches, and one with the six that remain
CUT = [(0, 32), (32, 64), (64, 102)]
BAD = "class1/004.jpg"


# ---- which batches


@given(rows=st.integers(1, 3000), batch=st.integers(2, 300))
def test_batches_cut_a_block(rows: int, batch: int) -> None:
    cut = batches_of(rows, batch)
    assert [row for one in cut for row in one] == list(range(rows))
    assert all(len(one) == batch for one in cut[:-1])
    assert len(cut[-1]) < batch + least_batch(batch)
    assert len(cut[-1]) >= min(rows, least_batch(batch))


def test_the_last_batch_of_the_real_size() -> None:
    assert TEACHER_BATCH == 256 and least_batch(256) == 64
    for rows, last in ((1024, 256), (1024 - 192, 64), (1024 - 193, 256 + 63), (64, 64), (319, 319)):
        assert len(batches_of(rows, 256)[-1]) == last, rows
    assert make_parser("", ()).parse_args(["--split", "x"]).batch_size == TEACHER_BATCH
    assert f"batches of {TEACHER_BATCH} " in choices.STATISTICS["batch"]


@given(samples=st.integers(64, 10**7), usual=st.integers(1, 9000))
def test_a_block_that_fits_is_found(samples: int, usual: int) -> None:
    block = fitting_block(samples, usual, 256)
    assert block >= usual and misfit(samples, block, 256) is None
    last = samples % block
    assert block % 256 == 0 and (last == 0 or last >= 64)
    smaller = range(256 * -(-usual // 256), block, 256)
    assert all(misfit(samples, other, 256) for other in smaller), "an earlier one fits"


def test_the_block_of_imagenet_stays_the_usual_one() -> None:
    assert {fitting_block(n, 1024, 256) for n in (1_281_167, 50_000)} == {1024}
    assert fitting_block(1024 + 63, 1024, 256) == 1280


# ---- the caches


@dataclass(frozen=True)
class World:
    folder: Path  # 320 images of train, 16 of val

    @property
    def source(self) -> Path:
        return self.folder / "images"

    @property
    def whole(self) -> Path:
        """Codec exact, 2 views."""
        return self.folder / "exact"

    def flags(self, cache: Path, *more: object) -> tuple[object, ...]:
        return (
            *("--images", self.source, "--weights", self.folder / "teacher.pt", "--size", 32),
            *("--teacher", "cifar_resnet20", "--format", "webdataset", "--workers", 0),
            *("--teacher-statistics", "batch", "--cache", cache, "--codec", "exact"),
            *("--policy", "pad-crop", "--views", 2, *more),
        )

    def precompute(self, cache: Path, *more: object, split: str = "train") -> Finished:
        """The command in this process, with batches of BATCH and blocks of BLOCK."""
        small = ("--limit", SAMPLES, "--block", BLOCK, "--batch-size", BATCH)
        flags = self.flags(cache, *(small if split == "train" else small[4:]), *more)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(job, "TEACHER_BATCH", BATCH)
            return in_process(precompute.run, "--split", split, *flags)


def in_process(module: Any, *flags: object) -> Finished:
    out, error = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(error),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [module.__name__, *map(str, flags)])
        run_command(module.main)
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, out.getvalue(), error.getvalue())


def require_done(done: Finished) -> Finished:
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_image_folder(folder / "images", classes=CLASSES, train=80, val=4, side=36)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    world = World(folder)
    done = require_done(world.precompute(world.whole))
    assert "fp32 on cpu, statistics of batches of 32, 0 decoding processes" in done.stdout
    return world


def rows_in_order(cache: Cache, view: int, names: list[str]) -> dict[str, NDArray[Any]]:
    """(N, ...) by position."""
    whole = cache.read_view(view, names)
    order = permutation(cache.manifest.seed, cache.manifest.samples)
    return {name: values[order] for name, values in whole.items()}


def pixels_in_order(cache: Cache, view: int) -> tuple[NDArray[np.int64], torch.Tensor]:
    """(n,) samples and (n, 3, S, S), as they lie in the shards."""
    found = [
        (sample.index, decode_pixels(sample.jpeg))
        for block in range(cache.manifest.blocks)
        for sample in shard(cache, view, block)
    ]
    return np.array([index for index, _ in found]), torch.stack([pixels for _, pixels in found])


def slow(model: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits and channel means of one batch of a network in train mode, in float64."""
    outputs: list[torch.Tensor] = []
    model = model.double().train()
    layers = [value for name, value in model.named_children() if name.startswith("layer")]
    hooks = [layer.register_forward_hook(lambda m, i, out: outputs.append(out)) for layer in layers]
    with torch.no_grad():
        if isinstance(model, StagedModel):  # its own head is in float32
            model.stages(x)
            logits = model.fc(outputs[-1].mean((2, 3)))
        else:
            logits = model(x)
    for hook in hooks:
        hook.remove()
    return logits, [output.mean((2, 3)) for output in outputs]


def require_near(
    cache: Cache, view: int, model: torch.nn.Module, cut: list[tuple[int, int]]
) -> None:
    """The targets are those of the slow computation on batches `cut`, of usable samples."""
    samples, pixels = pixels_in_order(cache, view)
    assert cut[-1][1] == len(samples)
    stored = cache.read_view(view, ["logits", "channels", "pred"])
    mean, std = (
        torch.tensor(facts, dtype=torch.float64).view(1, 3, 1, 1)
        for facts in (cache.manifest.mean, cache.manifest.std)
    )
    for start, stop in cut:
        logits, means = slow(model, (pixels[start:stop].double() / 255 - mean) / std)
        rows = samples[start:stop]
        for name, expected in (("logits", logits), ("channels", torch.cat(means, 1))):
            error = np.abs(stored[name][rows] - expected.numpy()).max()
            assert error < 1e-4 * expected.abs().max(), (name, start, stop)
        assert (stored["pred"][rows] == stored["logits"][rows].argmax(1)).all()


def teacher_of(world: World) -> torch.nn.Module:
    model = build_model("cifar_resnet20", CLASSES)
    model.load_state_dict(torch.load(world.folder / "teacher.pt", weights_only=True))
    return model


# ---- the targets


def test_targets_are_those_of_a_slow_computation(world: World) -> None:
    cache = open_cache(world.whole, "train")
    assert cache.manifest.statistics == "batch" and cache.manifest.teacher_batch == BATCH
    for view in range(2):
        require_near(cache, view, teacher_of(world), CUT)
    # Negative controls: other batches of the same images.
    for cut in ([(0, 64), (64, 102)], [(0, 32), (32, 64), (64, 96), (96, 102)]):
        with pytest.raises(AssertionError):
            require_near(cache, 0, teacher_of(world), cut)
    first = [cache.receipt(0, block).arithmetic for block in range(2)]
    assert [facts and facts.batch_size for facts in first] == [BATCH, BATCH]


def test_targets_are_those_of_plain_torchvision(world: World, tmp_path: Path) -> None:
    write_teacher(tmp_path / "teacher.pt", "resnet18", CLASSES)
    flags = ("--teacher", "resnet18", "--weights", tmp_path / "teacher.pt", "--views", 1)
    flags = (*flags, "--size", 64, "--policy", "random-resized-crop")
    require_done(world.precompute(tmp_path / "cache", *flags))
    plain = torchvision.models.resnet18(num_classes=CLASSES)
    plain.load_state_dict(torch.load(tmp_path / "teacher.pt", weights_only=True))
    require_near(open_cache(tmp_path / "cache", "train"), 0, plain, CUT)


def test_a_second_run_and_grown_views_and_lost_blocks_give_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    expected = snapshot(world.whole)
    require_done(world.precompute(tmp_path, "--views", 1))
    assert len(snapshot(tmp_path)) < len(expected)
    require_done(world.precompute(tmp_path))
    assert snapshot(tmp_path) == expected
    (tmp_path / "train/receipts/v0001-b000001.json").unlink()
    (tmp_path / "train/shards/v0000-b000000.tar").write_bytes(b"")
    require_done(world.precompute(tmp_path))
    assert snapshot(tmp_path) == expected


def test_derived_logits_and_a_conversion(world: World, tmp_path: Path) -> None:
    """The codec tiny, made by the teacher and by convert.py, byte for byte; facts and all."""
    tiny = tmp_path / "tiny"
    require_done(world.precompute(tiny, "--codec", "tiny"))
    to = tmp_path / "converted"
    run("precompute/convert.py", "--cache", world.whole, "--to", to, "--codec", "tiny")
    assert snapshot(to) == snapshot(tiny)
    exact, small = (open_cache(folder, "train") for folder in (world.whole, tiny))
    assert small.manifest.teacher_batch == BATCH
    head = small.head()
    assert head is not None
    stored = rows_in_order(exact, 1, ["logits", "channels"])
    for start, stop in CUT:  # over 16 rows at a time, as the teacher does it
        last = torch.from_numpy(stored["channels"][start:stop, -64:])
        last = torch.nn.functional.pad(last, (0, 0, 0, -len(last) % 16))
        parts = [torch.nn.functional.linear(x, head.weight, head.bias) for x in last.split(16)]
        assert np.array_equal(
            torch.cat(parts)[: stop - start].numpy(), stored["logits"][start:stop]
        )


def test_an_image_that_does_not_decode_is_out_of_its_batch(world: World, tmp_path: Path) -> None:
    images = spoilt(world, tmp_path, [BAD])
    flags = ("--images", images, "--skip-bad", 0.1)
    for workers in (0, 1):
        cache = tmp_path / f"cache{workers}"
        require_done(world.precompute(cache, *flags, "--workers", workers))
    assert snapshot(tmp_path / "cache0") == snapshot(tmp_path / "cache1")
    found = open_cache(cache, "train")
    ((index, key, _),) = found.skipped()
    assert key == BAD
    place = int(found.manifest.place(np.array([index]))[0])
    cut, at = [], 0
    for start, stop in CUT:
        length = stop - start - (start <= place < stop)
        cut.append((at, at + length))
        at += length
    for view in range(2):
        require_near(found, view, teacher_of(world), cut)
    arrays = found.read_view(0, ["logits", "channels", "pred"])
    assert arrays["pred"][index] == -1 and not arrays["channels"][index].any()
    done = run("precompute/verify.py", "--cache", cache, "--samples", 1000, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "cached against live: 202 views, 0 of which" in done.stdout


def spoilt(world: World, folder: Path, keys: list[str]) -> Path:
    """The images, with some that do not decode."""
    images = folder / "images"
    for path in sorted((world.source / "train").rglob("*.jpg")):
        copy = images / path.relative_to(world.source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.hardlink_to(path)
    for key in keys:
        copy = images / "train" / key
        copy.unlink()
        copy.write_bytes(b"?" * 100)
    return images


def test_too_few_good_images_in_a_batch_are_refused(world: World, tmp_path: Path) -> None:
    keys = [str(p.relative_to(world.source / "train")) for p in world.source.rglob("train/*/*")]
    images = spoilt(world, tmp_path, sorted(keys)[::5] + sorted(keys)[1::5] + sorted(keys)[2::5])
    cache = tmp_path / "cache"
    keep = world.precompute(cache, "--images", images, "--skip-bad", 1)
    assert keep.returncode == 0, "8 or more of every 32 are left"
    images = spoilt(world, tmp_path / "more", sorted(keys)[:-10])
    done = world.precompute(tmp_path / "other", "--images", images, "--skip-bad", 1)
    require_refused(
        done,
        "needs 8 images or more in a batch",
        "of the 32 images from ",
        "--teacher-statistics eval",
    )


# ---- verify


@pytest.mark.parametrize(("asked", "compared"), [(1, 70), (33, 70), (96, 108), (1000, 204)])
def test_verify_compares_whole_batches(world: World, asked: int, compared: int) -> None:
    done = run("precompute/verify.py", "--cache", world.whole, "--samples", asked, check=False)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)
    assert f"cached against live: {compared} views, 0 of which the live argmax" in done.stdout
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line[0] == "|"][2:]
    assert len(rows) == 4
    for _, largest, _, beyond, wrong in rows:
        assert float(largest) < 1e-4 and beyond.strip() == f"0 of {compared}"
        assert float(wrong.split(",")[0]) > 0.05


def test_verify_of_derived_logits(world: World, tmp_path: Path) -> None:
    require_done(world.precompute(tmp_path, "--codec", "tiny"))
    done = run("precompute/verify.py", "--cache", tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, ""), (done.stdout, done.stderr)


def test_verify_finds_a_teacher_in_eval_mode(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_teacher", lambda *all_: load_teacher(*all_[:-1], "eval"))
    require_not_verified(world, tmp_path)


def test_verify_finds_other_batches(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "batches_of", lambda rows, batch: batches_of(rows, 2 * batch))
    require_not_verified(world, tmp_path)


def require_not_verified(world: World, cache: Path) -> None:
    require_done(world.precompute(cache))
    assert open_cache(cache, "train").manifest == open_cache(world.whole, "train").manifest
    done = run("precompute/verify.py", "--cache", cache, check=False)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "integrity: 4 of 4 blocks intact" in done.stdout
    assert "FAILED: cached and live channels, stage 3 differ in " in done.stderr


def test_repair_makes_the_same_bytes(world: World, tmp_path: Path) -> None:
    require_done(world.precompute(tmp_path))
    for path in (tmp_path / "train/receipts").iterdir():  # none is left to tell the batch size
        path.unlink()
    run("precompute/verify.py", "--cache", tmp_path, "--repair")
    assert snapshot(tmp_path) == snapshot(world.whole)


# ---- as a command, with batches of 256


@pytest.fixture(scope="module")
def real(world: World) -> Iterator[Path]:
    """320 images in two blocks, the second of 64; one view."""
    cache = world.folder / "real"
    done = run_precompute(*world.flags(cache, "--views", 1, "--block", 256))
    assert "statistics of batches of 256" in done.stdout
    yield cache


def test_a_kill_costs_nothing(world: World, real: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    flags = ("--split", "train", *world.flags(cache, "--views", 1, "--block", 256))
    process = start_halting("*receipts/*", 1, tmp_path / "note", "precompute/run.py", *flags)
    process.signal(9)
    process.wait()
    assert len(list((cache / "train/receipts").iterdir())) == 1
    assert "1 of 2 blocks are there" in run("precompute/run.py", *flags).stdout
    assert snapshot(cache) == snapshot(real)


def test_two_processes_make_the_same_bytes(world: World, real: Path, tmp_path: Path) -> None:
    flags = ("--split", "train", *world.flags(tmp_path, "--views", 1, "--block", 256))
    finish(start_world(2, "precompute/run.py", *flags))
    assert snapshot(tmp_path) == snapshot(real)


def test_the_default_block_holds_whole_batches(world: World, real: Path, tmp_path: Path) -> None:
    run_precompute(*world.flags(tmp_path, "--views", 1))
    manifest = open_cache(tmp_path, "train").manifest
    assert (manifest.block, manifest.blocks) == (512, 1)  # 256, and 64 in a batch of their own
    assert cache_id(manifest) != cache_id(open_cache(real, "train").manifest)


# ---- refusals


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--format", "zarr"), ("the format zarr keeps the order of the source, which may be "
                                "sorted by class; use --format webdataset",)),
        (("--batch-size", 128), ("--batch-size must be 256 with --teacher-statistics batch",
                                 "got 128; leave it out")),
        (("--block", 300), ("blocks of 300 samples do not hold whole batches of 256; use "
                            "--block 512",)),
        (("--block", 256, "--limit", 310), ("the last block of 310 samples in blocks of 256 would "
                                            "hold 54, and a batch must hold 64 or "
                                            "more; use --block 512",)),
        (("--limit", 63), ("needs 64 images or more", "has 63 in this split",
                           "use --teacher-statistics eval")),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    world: World, tmp_path: Path, flags: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    done = in_process(precompute.run, "--split", "train", *world.flags(tmp_path / "c", *flags))
    require_refused(done, *parts)
    assert not (tmp_path / "c").exists()


def test_the_two_are_never_mixed(world: World, tmp_path: Path) -> None:
    done = world.precompute(world.whole, "--teacher-statistics", "eval")
    require_refused(done, 'was made with statistics "batch" and this run asks for "eval"')
    require_done(world.precompute(tmp_path, "--teacher-statistics", "eval", "--block", 50))
    text = (tmp_path / "train/manifest.json").read_text()
    assert "statistics" not in text and "teacher_batch" not in text
    eval_targets, targets = (
        open_cache(folder, "train").read_view(0, ["channels"])["channels"]
        for folder in (tmp_path, world.whole)
    )
    assert np.abs(eval_targets - targets).max() > 0.05
    require_refused(
        world.precompute(tmp_path), 'was made with statistics "eval" and this run asks for "batch"'
    )


# ---- what else meets such a cache


def test_plan_says_it(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.2)
    flags = world.flags(tmp_path / "cache")
    done = require_done(in_process(precompute.plan, "--split", "train", *flags))
    assert "32 px, fp32, batch statistics, codec exact, format webdataset, " in done.stdout
    assert not (tmp_path / "cache").exists()


def test_training_and_agreement(world: World, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    require_done(world.precompute(cache))
    require_done(world.precompute(cache, "--policy", "center", "--views", 1, split="val"))
    common = (*STUDENT, "--cache", cache, "--out", tmp_path / "run", "--batch-size", 32)
    flags = (*common, "--epochs", 1, "--workers", 0, "--device", "cpu")
    done = in_process(train.run, *flags, "--teacher", "live")
    require_refused(
        done, f"{cache}/train, whose teacher used the statistics of batches", "use --teacher cached"
    )
    assert not (tmp_path / "run").exists()
    done = require_done(in_process(train.run, *flags))
    assert "teacher cifar_resnet20, batch statistics, from the cache" in done.stdout
    checkpoint = tmp_path / "run/best.pt"
    done = run("train/eval.py", "--checkpoint", checkpoint, "--cache", cache, "--workers", 0)
    assert "agrees with the teacher's top-1 on" in done.stdout and " of 16, KL" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line == (
        f"NOTE: the teacher of {cache}/val used the statistics of batches of 32 val images: "
        f"agreement is with what it said in those"
    )
