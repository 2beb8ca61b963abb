"""A run that has finished: what it leaves serves elsewhere, and its folder holds no other run."""

import shutil
from pathlib import Path

import pytest
import torch
import torchvision

from shared.models.build import build_model
from tests.helpers import require_refused, run_train, snapshot
from tests.resuming import CLASSES, cache, flags
from tests.runs import load, require_same_run
from train.names import DEFAULT_RECIPE

__all__ = ["cache"]  # fixtures of the tests below

SHORT = ("--epochs", 2)


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
        logits = staged.eval()(images)
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
