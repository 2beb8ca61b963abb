"""A run that was never stopped, with a table of its epochs, and one that was killed at the end of
its second epoch and started again, with all logs. Both have averaged weights and validate every
second epoch."""

import signal
from pathlib import Path

import pytest

from tests.helpers import run, run_train
from tests.logs.offline import files, history
from tests.processes import start_halting, wait_until
from tests.resuming import EPOCHS, flags, make_cache

OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
MORE = ("--ema", 0.5, "--validate-every", 2)


@pytest.fixture(scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="package")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run_train(*flags(cache, out, "cached"), *MORE, "--log", "csv", "--keep", EPOCHS)
    return out


@pytest.fixture(scope="package")
def resumed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed when the numbers of epoch 1 are in every log, before last.pt counts the epoch."""
    folder = tmp_path_factory.mktemp("resumed")
    command = (
        *("train/run.py", *flags(cache, folder / "runs/it", "cached"), *MORE),
        *("--log", "csv,tensorboard,wandb"),
    )
    # metrics.jsonl is written after the logs and before last.pt
    process = start_halting(
        "*/metrics.jsonl", 2, folder / "halted", *command, **OFFLINE
    )  # fmt: skip
    # wandb writes its buffer every second
    wait_until(lambda: any(1 in history(file) for file in files(folder / "runs/it")))
    process.signal(signal.SIGKILL)
    process.wait()
    done = run(*command, **OFFLINE)
    assert "going on at epoch 1 of 3, step 3" in done.stdout, done.stdout
    return folder / "runs/it"
