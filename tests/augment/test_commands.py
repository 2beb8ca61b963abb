"""Through the commands, with every operation: the student sees the pixels that its teacher saw."""

import shutil
from pathlib import Path

import pytest
import torch

from shared.images.source import open_source
from shared.pixels.mix import draw_mix
from shared.store.opening import open_cache
from tests.augment.conftest import ALL, KD, SAMPLES, SIZE, Made
from tests.helpers import STUDENT, require_refused, run, run_train, snapshot, turn_upside_down
from tests.processes import start_halting
from tests.runs import load, metrics, require_equal, require_same_run
from tests.verified import require_failed, verify

both = pytest.mark.parametrize(
    "store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)]
)


@both
def test_verify_passes_to_the_last_bit(made: Made, store: str) -> None:
    done = verify(made.cache(store), "--samples", 2 * SAMPLES)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| logits")]
    assert row.startswith(f"| logits | 0 | 0.00e+00 | 0 of {2 * SAMPLES} |")


@both
@pytest.mark.slow
def test_training_from_the_cache_is_training_with_the_live_teacher(
    made: Made, tmp_path: Path, store: str
) -> None:
    for teacher, workers in (("cached", 0), ("live", 2 if store == "zarr" else 0)):
        made.train(
            made.cache(store), tmp_path / teacher, "--teacher", teacher, "--workers", workers
        )
    cached, live = (load(tmp_path / teacher / "last.pt") for teacher in ("cached", "live"))
    require_equal(cached["student"], live["student"])
    assert metrics(tmp_path / "cached") == metrics(tmp_path / "live")


@pytest.mark.slow
def test_batches_workers_and_a_kill_leave_the_same_bytes(made: Made, tmp_path: Path) -> None:
    flags = (
        *("--split", "train", "--images", made.images, "--weights", made.folder / "teacher.pt"),
        *("--teacher", "cifar_resnet20", "--size", SIZE, "--block", 8, "--batch-size", 7),
        *("--views", 2, "--codec", "exact", "--augment", ALL, "--format", "webdataset"),
    )
    command = ("precompute/run.py", *flags, "--cache", tmp_path / "killed", "--workers", 1)
    process = start_halting("*/train/receipts/*", 2, tmp_path / "halted", *command)
    process.signal(9)
    assert process.wait().returncode == -9
    last = run(*command)
    assert "of 6 blocks are there" in last.stdout and "0 of 6" not in last.stdout
    assert snapshot(tmp_path / "killed") == snapshot(made.cache("webdataset"))


def test_verify_finds_a_changed_partner(made: Made, tmp_path: Path) -> None:
    """The image of a sample whose own views no checksum covers, mixed into one that it does."""
    cache = open_cache(made.cache("zarr"), "train")
    checked = {view: set(cache.receipt(view, 0).pixels) for view in (0, 1)}
    how = cache.manifest.view_policy.augmentation
    assert how is not None
    covered = {index for block in range(3) for index in cache.receipt(0, block).pixels}
    mixes = [draw_mix(how, 0, view, i, SAMPLES, SIZE) for view in checked for i in checked[view]]
    partner = next(mix.partner for mix in mixes if mix and mix.partner not in covered)
    images = tmp_path / "images"
    shutil.copytree(made.images, images)
    key = open_source(str(images), "train").keys[partner]
    turn_upside_down(images / "train" / key)
    require_failed(
        verify(made.cache("zarr"), "--images", images, "--samples", 1),
        f"(or {key}, with which it is mixed) does not have the pixels that the teacher saw",
    )


@pytest.mark.slow
def test_a_converted_cache_keeps_the_labels_of_mixed_views(made: Made, tmp_path: Path) -> None:
    run(
        "precompute/convert.py", "--cache", made.cache("webdataset"), "--to", tmp_path / "to",
        "--codec", "half",
    )  # fmt: skip
    made.precompute(tmp_path / "made", "--format", "webdataset", "--codec", "half")
    assert snapshot(tmp_path / "to") == snapshot(tmp_path / "made")


def test_refusals(made: Made, tmp_path: Path) -> None:
    cache = made.cache("zarr")
    before = snapshot(cache)

    def refused(*flags: object, to: Path = tmp_path / "new") -> tuple[object, ...]:
        return (made.precompute(to, *flags, check=False),)

    require_refused(*refused("--augment", "mixpu=0.2"), "no part 'mixpu': did you mean mixup?")
    require_refused(
        *refused("--policy", "center", "--views", 1), "--augment does not fit the policy center"
    )
    require_refused(*refused("--split", "val"), "--augment does not fit --split val")
    require_refused(
        *refused("--augment", "mixup=0.2", to=cache),
        f'was made with augment "{ALL}" and this run asks for "mixup=0.2": give the same',
    )
    guided = "s_resnet18.t_resnet34.cd.kdv2.lrdv2"
    require_refused(
        made.train(cache, tmp_path / "run", "--recipe", guided, check=False),
        f"recipe {guided} cannot be used with the mixed views of {cache}/train ({ALL}): its term "
        f"gkd reads one label for each image, and a mixed view has two",
    )
    require_refused(
        made.train(cache, tmp_path / "run", "--set", "augment=erasing=1", check=False),
        f"augments views by erasing=1, and the teacher of {cache}/train saw {ALL}: make a cache",
    )
    assert snapshot(cache) == before and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_a_cache_a_recipe_may_augment(made: Made, tmp_path: Path) -> None:
    for name, workers, augment in (("a", 0, ALL), ("b", 2, ALL), ("plain", 0, "none")):
        run_train(
            *("--teacher", "none", "--recipe", "resnet18.ce", *STUDENT, "--images", made.images),
            *("--set", f"augment={augment}", f"size={SIZE}", "stem=cifar"),
            *("--epochs", 2, "--batch-size", 8, "--lr", 0.02, "--workers", workers),
            *("--out", tmp_path / name),
        )
    a, b, plain = (load(tmp_path / name / "last.pt")["student"] for name in ("a", "b", "plain"))
    require_equal(a, b)
    assert not all(torch.equal(a[name], plain[name]) for name in a)


@pytest.mark.slow
def test_a_run_that_goes_on_replays_the_same_pixels(made: Made, tmp_path: Path) -> None:
    """A run that is stopped in the middle of an epoch ends as one that is not."""
    made.train(made.cache("zarr"), tmp_path / "whole", "--checkpoint-every", 1)
    flags = (
        *(*STUDENT, "--cache", made.cache("zarr"), "--images", made.images, "--recipe", KD),
        *("--epochs", 3, "--batch-size", 8, "--lr", 0.02, "--checkpoint-every", 1),
    )
    command = ("train/run.py", *flags, "--out", tmp_path / "stopped")
    process = start_halting("*/stopped/last.pt", 6, tmp_path / "halted", *command)
    process.signal(9)
    assert process.wait().returncode == -9
    assert load(tmp_path / "stopped" / "last.pt")["step"] > 0
    run(*command)
    require_same_run(tmp_path / "stopped", tmp_path / "whole")
