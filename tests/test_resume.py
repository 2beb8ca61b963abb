"""A run that is stopped and started again ends with the bits of one that never stopped."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import torchvision

from shared.models.build import build_model
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run_precompute,
    run_train,
    snapshot,
    start,
    start_halting,
    write_image_folder,
    write_teacher,
)
from tests.runs import load, metrics, require_same_run
from train.recipes import DEFAULT_RECIPE
from train.run_files import read_metrics

CLASSES = 3
EPOCHS = 3
VIEWS = 2
PLAIN = ("--teacher", "none", "--recipe", "resnet18.ce")  # the cache's boxes, no targets
SHORT = ("--epochs", 2)
MODES: dict[str, tuple[object, ...]] = {"cached": (), "none": PLAIN}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_image_folder(folder / "images", classes=CLASSES, train=4, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", CLASSES)
    run_precompute(
        *("--images", folder / "images", "--weights", folder / "teacher.pt"),
        *(*TEACHER, "--cache", folder / "cache", "--views", VIEWS),
        *("--size", 32, "--block", 8, "--batch-size", 7),
    )
    return folder / "cache"


def flags(cache: Path, out: Path, mode: str) -> tuple[object, ...]:
    """The default recipe has every kind of loss; 12 images in batches of 5 make sizes 4 and 4."""
    common = (
        *(*STUDENT, "--cache", cache, "--out", out, "--epochs", EPOCHS, "--batch-size", 5),
        *("--lr", 0.02),
    )
    return (*common, *MODES[mode])


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def whole(cache: Path, mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / mode
    run_train(*flags(cache, out, mode))
    return out


def kill(draw: random.Random, seconds: float, *arguments: object) -> bool:
    """True where SIGKILL hit a running process: at a random instant, up to so many seconds after
    it finished an epoch."""
    out = Path(str(arguments[arguments.index("--out") + 1]))
    before = num_finished(out)
    process = start("train/run.py", *arguments)
    while process.alive and num_finished(out) == before:
        time.sleep(0.01)
    time.sleep(draw.uniform(0, seconds))
    if process.alive:
        process.signal(signal.SIGKILL)
    done = process.wait()
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def num_finished(run: Path) -> int:
    """Epochs that are told of in metrics.jsonl, train and val each a line."""
    return len(read_metrics(run)) // 2


@pytest.fixture(scope="module")
def halfway(cache: Path, mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed twice: while it began, and after epoch 0."""
    out = tmp_path_factory.mktemp("halfway") / mode
    # An epoch writes last.pt twice: after its steps, and after val.
    for number, (file, count) in enumerate((("run.json", 1), ("last.pt", 2))):
        process = start_halting(
            *(f"*/{file}", count, out.with_name(f"halted{number}")),
            *("train/run.py", *flags(cache, out, mode)),
        )
        process.signal(signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    return out


def test_an_uninterrupted_run_is_what_it_should_be(whole: Path, mode: str) -> None:
    state, records = load(whole / "last.pt"), metrics(whole)
    assert state["epoch"] == EPOCHS
    assert [(record["epoch"], record["split"]) for record in records] == [
        (epoch, split) for epoch in range(EPOCHS) for split in ("train", "val")
    ]
    train, val = records[::2], records[1::2]
    assert [record["view"] for record in train] == [epoch % VIEWS for epoch in range(EPOCHS)]
    assert state["best_top1"] == max(record["top1"] for record in val)
    assert len({record["total"] for record in train}) == EPOCHS, "it does not learn"
    assert set(train[0]["loss"]) == ({"ce"} if mode == "none" else {"ce", "gkd", "cd"})
    for record in train:
        weighted = [record["weight"][name] * loss for name, loss in record["loss"].items()]
        assert record["total"] == pytest.approx(sum(weighted), rel=1e-5)


def test_killed_three_times_it_ends_the_same(
    cache: Path, whole: Path, halfway: Path, mode: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(halfway, out)
    seconds = sum(record["seconds"] for record in read_metrics(whole)) / EPOCHS
    # In whatever comes next: one of the files, steps, val.
    kill(random.Random(mode), seconds, *flags(cache, out, mode))
    done = run_train(*flags(cache, out, mode))
    assert f"{out}: going on at epoch " in done.stdout
    require_same_run(out, whole)


def test_metrics_without_their_checkpoint_are_not_kept_twice(
    cache: Path, whole: Path, halfway: Path, mode: str, tmp_path: Path
) -> None:
    """The state of a run that was killed between metrics.jsonl and last.pt."""
    out = tmp_path / "run"
    shutil.copytree(halfway, out)
    epoch = load(out / "last.pt")["epoch"]
    assert 0 < epoch < EPOCHS
    lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
    ahead = [line for line in lines if json.loads(line)["epoch"] <= epoch]
    assert len(ahead) == 2 * epoch + 2
    (out / "metrics.jsonl").write_text("".join(ahead))
    shutil.copy(whole / "best.pt", out / "best.pt")
    done = run_train(*flags(cache, out, mode))
    assert f"{out}: going on at epoch {epoch} of {EPOCHS}" in done.stdout
    require_same_run(out, whole)


def test_best_loads_into_plain_torchvision(cache: Path, tmp_path: Path) -> None:
    run_train(*flags(cache, tmp_path, "none"), "--student", "resnet18", "--epochs", 1)
    state = load(tmp_path / "best.pt")
    plain = torchvision.models.resnet18(num_classes=CLASSES)
    found = plain.load_state_dict(state, strict=False)
    assert not found.missing_keys and not found.unexpected_keys
    staged = build_model("resnet18", CLASSES)
    staged.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, _ = staged.eval()(images)
        assert torch.allclose(plain.eval()(images), logits, atol=1e-5)


@pytest.fixture(scope="module")
def cached_run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the default recipe."""
    out = tmp_path_factory.mktemp("cached") / "run"
    run_train(*flags(cache, out, "cached"), *SHORT)
    return out


def test_workers_do_not_change_the_bits(cache: Path, cached_run: Path, tmp_path: Path) -> None:
    run_train(*flags(cache, tmp_path, "cached"), *SHORT, "--workers", 2)
    require_same_run(tmp_path, cached_run)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (("--seed", 1), "seed differs (0 -> 1)"),
        (
            ("--recipe", "s_resnet18.t_resnet34.cd.ce"),
            f"recipe differs (name '{DEFAULT_RECIPE}' -> '",
        ),
        (("--lr", 0.03), "recipe differs (learning_rate.value 0.02 -> 0.03)"),
        (("--epochs", 5), "recipe differs (terms.ce.weight.start 1 -> 2, "),
        (("--student", "cifar_resnet32"), "student differs (cifar_resnet20 -> cifar_resnet32)"),
        (("--teacher", "live"), "teacher differs (cached -> live)"),
        (("--precision", "bf16"), "precision differs (fp32 -> bf16)"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_folder_holds_one_run(
    cache: Path, cached_run: Path, other: tuple[object, ...], named: str
) -> None:
    before = snapshot(cached_run)
    done = run_train(*flags(cache, cached_run, "cached"), *SHORT, *other, check=False)
    require_refused(done, f"{cached_run} holds another run: its {named}", "or another --out")
    assert snapshot(cached_run) == before


def test_a_finished_run_started_again_does_nothing(cache: Path, cached_run: Path) -> None:
    """Not with other flags either, if they do not change the numbers."""
    before = snapshot(cached_run)
    done = run_train(*flags(cache, cached_run, "cached"), *SHORT, "--workers", 1, "--device", "cpu")
    assert done.stderr == "" and "loss" not in done.stdout
    assert snapshot(cached_run) == before


@pytest.mark.parametrize("damage", ["empty", "short", "one bit"])
def test_a_damaged_checkpoint(cache: Path, cached_run: Path, tmp_path: Path, damage: str) -> None:
    data = (cached_run / "last.pt").read_bytes()
    middle = len(data) // 2
    spoilt = {
        "empty": b"",
        "short": data[:middle],
        "one bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
    }
    for name in ("run.json", "metrics.jsonl"):
        shutil.copy(cached_run / name, tmp_path / name)
    (tmp_path / "last.pt").write_bytes(spoilt[damage])
    before = snapshot(tmp_path)
    done = run_train(*flags(cache, tmp_path, "cached"), *SHORT, check=False)
    require_refused(
        done,
        f"{tmp_path}/last.pt is not a checkpoint of this code (",
        "delete it to start the run again",
    )
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_without_a_cache_it_resumes_too(tmp_path: Path) -> None:
    """Views are drawn then, of another number each epoch; 224 px, so of few images."""
    write_image_folder(tmp_path / "images", classes=2, train=1, val=1)

    def arguments(out: Path) -> tuple[object, ...]:
        images = ("--images", tmp_path / "images", "--batch-size", 2, "--epochs", 2)
        return (*PLAIN, *images, "--lr", 0.02, "--out", out)

    run_train(*arguments(tmp_path / "whole"))
    assert kill(random.Random(0), 0, *arguments(tmp_path / "killed"))
    run_train(*arguments(tmp_path / "killed"))
    require_same_run(tmp_path / "killed", tmp_path / "whole")
    train = metrics(tmp_path / "whole")[::2]
    assert [record["view"] for record in train] == [None, None]
