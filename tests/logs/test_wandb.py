"""A run at Weights & Biases, offline, with the real package: its numbers, id and names."""

import json
from pathlib import Path

import pytest

from tests.helpers import require_refused, run
from tests.logs.conftest import MORE, OFFLINE
from tests.logs.offline import begun, files, history
from tests.processes import finish, start_world
from tests.resuming import flags
from train.logs.scalars import by_epoch
from train.run_files import read_metrics


def test_the_history_is_that_of_the_records(resumed: Path) -> None:
    """In two parts, with the epoch in which it was killed in both. wandb takes it once."""
    first, second = map(history, files(resumed))
    records = {
        epoch: {"epoch": epoch, **row} for epoch, row in by_epoch(read_metrics(resumed)).items()
    }
    assert list(first) == [0, 1] and first[0] == records[0]
    assert second == {1: records[1], 2: records[2]}


def test_a_run_keeps_its_id(resumed: Path) -> None:
    one, other = map(begun, files(resumed))
    assert one.run_id == other.run_id == (resumed / "wandb-id").read_text()
    assert one.run_id.startswith("it-") and one.display_name == "it"
    assert (one.project, one.run_group) == ("runs", "s_resnet18.t_resnet34.cd.kdv2.lrdv2")
    config = {item.key: json.loads(item.value_json) for item in one.config.update}
    assert config["epochs"] == 3 and config["identity"]["seed"] == 0
    assert config["resolved"]["terms"]["cd"]["weight"]["value"] == 6


@pytest.mark.slow
def test_names_can_be_given_by_wandbs_own_variables(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    """A run of two processes, of which one writes, and that was begun without wandb: it gets the
    epochs before."""
    out = tmp_path / "run"
    command = (*flags(cache, out, "none"), *MORE, "--batch-size", 4)
    run("train/run.py", *command, "--epochs", 3)
    named = {
        **{"WANDB_PROJECT": "p", "WANDB_NAME": "n", "WANDB_RUN_ID": "i", "WANDB_RUN_GROUP": "g"},
        "WANDB_DIR": str(tmp_path),
    }
    command = ("train/run.py", *command, "--log", "wandb")
    finish(start_world(2, *command, **OFFLINE, **named))
    (path,) = files(tmp_path)
    told = begun(path)
    assert (told.project, told.display_name, told.run_id, told.run_group) == ("p", "n", "i", "g")
    assert history(path) == {
        epoch: {"epoch": epoch, **row} for epoch, row in by_epoch(read_metrics(out)).items()
    }


def test_without_a_key_it_says_what_to_do(cache: Path, tmp_path: Path) -> None:
    """Before the first step."""
    done = run(
        *("train/run.py", *flags(cache, tmp_path / "run", "none"), "--log", "wandb"), check=False,
        **{**OFFLINE, "WANDB_MODE": "online", "WANDB_API_KEY": "", "HOME": str(tmp_path),
           "NETRC": str(tmp_path / "none"), "WANDB_CONFIG_DIR": str(tmp_path)},
    )  # fmt: skip
    require_refused(done, "--log wandb cannot begin a run", "WANDB_MODE=offline")
    assert not (tmp_path / "run/last.pt").exists()
