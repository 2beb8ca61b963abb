"""A recipe of the user's own through the command: what it shows, what run.json keeps, resuming."""

import json
import signal
from pathlib import Path

import pytest

from tests.helpers import STUDENT, require_refused, run_train, snapshot
from tests.processes import start_halting
from tests.resuming import cache
from tests.runs import load, metrics, require_same_run

__all__ = ["cache"]  # fixtures of the tests below

FILE = """
from dataclasses import replace
from train.recipes import get_recipe

recipe = replace(get_recipe("s_resnet18.t_resnet34.cd.ce.kdv2"), name="mine", nesterov=True)
"""
SET = (
    *("optimizer=adamw", "nesterov=false", "lr=0.001", "betas=0.8,0.99", "decay_norms=false"),
    *("schedule=cosine", "warmup=2", "label_smoothing=0.1", "gkd.temperature=4", "cd.warmup=3"),
    "guide=loss<2",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "my_recipe.py"
    path.write_text(FILE)
    return path


def flags(cache: Path, file: Path, *more: object) -> tuple[object, ...]:
    common = (*STUDENT, "--cache", cache, "--recipe", file, "--epochs", 3, "--batch-size", 5)
    return (*common, "--set", *SET, *more)


def test_stopped_and_started_again_it_ends_the_same(
    cache: Path, file: Path, tmp_path: Path
) -> None:
    """With AdamW, whose state is more than SGD's, and rates and weights that change each epoch."""
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    run_train(*flags(cache, file, "--out", whole))
    process = start_halting(
        *("*/last.pt", 1, tmp_path / "reached"),
        *("train/run.py", *flags(cache, file, "--out", halted, "--checkpoint-every", 2)),
    )
    process.signal(signal.SIGKILL)
    process.wait()
    states = load(halted / "last.pt")["optimizer"]["state"].values()
    assert {name for state in states for name in state} == {"step", "exp_avg", "exp_avg_sq"}
    done = run_train(*flags(cache, file, "--out", halted))
    assert f"{halted}: going on at epoch 0 of 3, step 2" in done.stdout
    require_same_run(halted, whole)

    train = metrics(whole)[::2]
    assert [record["learning_rate"] for record in train] == pytest.approx(
        [0.0005, 0.00075, 0.00025]
    )
    weights = [record["weight"] for record in train]
    assert [w["cd"] for w in weights] == pytest.approx([2.0, 4.0 * 0.9, 6.0 * 0.81])
    assert {(w["ce"], w["gkd"]) for w in weights} == {(1.0, 1.0)}

    run = json.loads((whole / "run.json").read_text())
    resolved = run["resolved"]
    assert (run["recipe"], resolved["optimizer"], resolved["betas"]) == (
        "mine",
        "adamw",
        [0.8, 0.99],
    )
    assert resolved["terms"]["gkd"] == {
        "loss": {"class": "GuidedKD", "temperature": 4.0, "standardise": False},
        "weight": {"class": "Constant", "value": 1.0},
        "needs": ["guided", "logits"],
    }
    assert resolved["guide"] == {"class": "TeacherLossBelow", "threshold": 2.0}
    assert resolved["learning_rate"] == {
        "class": "WarmUp",
        "schedule": {"class": "Cosine", "value": 0.001, "epochs": 3, "floor": 0.0},
        "epochs": 2,
    }

    other = run_train(*flags(cache, file, "--out", whole), "--set", "cd.weight=3", check=False)
    require_refused(other, "its recipe differs (terms.cd.weight.schedule.value 6.0 -> 3.0)")


def test_a_dry_run_shows_all_of_it(cache: Path, file: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    text = run_train(*flags(cache, file, "--out", tmp_path / "run", "--dry-run")).stdout
    for line in (
        "ce: CE, label smoothing 0.1 x 1; needs no targets",
        "gkd: GuidedKD, temperature 4, standardise false x 1; needs guided, logits",
        "cd: ChannelDistillation x 6 (x 0.9 at epochs 1, 2, 3) after a warm-up of 3 epochs; needs "
        "channels",
        "guide: TeacherLossBelow, threshold 2",
        "optimizer: adamw, betas 0.8, 0.99, weight decay 0.0001, none for norms and biases; rate "
        "0.001 (cosine over 3 epochs) after a warm-up of 2 epochs",
        "| 1 | 0.00075 | 1 | 1 | 3.6 |",
    ):
        assert line in text.splitlines(), text
    assert snapshot(tmp_path) == before


MISTAKES: tuple[tuple[tuple[object, ...], str], ...] = (
    (("--recipe", "resnet18.cee"), "there is no recipe 'resnet18.cee': did you mean resnet18.ce?"),
    (("--recipe", "none.py"), "none.py is not a file: give the path of a Python file"),
    (("--set", "gkd.temprature=4"), "did you mean gkd.temperature?"),
    (("--set", "gkd.temperature", "4"), "--set takes KEY=VALUE, like lr=0.2 or"),
    (("--set", "gkd.weight=-4"), "gkd.weight must be a finite number, 0 or more: it is -4.0"),
    (("--set", "label_smoothing=ten"), "label_smoothing must be a finite number: got 'ten'"),
    (("--set", "schedule=cosine", "--set", "schedule=constant"), "give different values for sch"),
    (("--lr", "0.1"), "--lr 0.1 and --set lr=0.001 give different values for lr: leave one of"),
    (("--set", "optimizer=adam"), "must be one of sgd, adamw: got 'adam': did you mean adamw?"),
    (("--set",), "argument --set: expected at least one argument"),
)


@pytest.mark.parametrize(("mistake", "line"), MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(
    cache: Path, file: Path, tmp_path: Path, mistake: tuple[object, ...], line: str
) -> None:
    done = run_train(*flags(cache, file, "--out", tmp_path / "run", *mistake), check=False)
    require_refused(done, line)
    assert done.stdout == "" and not (tmp_path / "run").exists()
