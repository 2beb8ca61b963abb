"""What cannot be composed is refused in one line, whether flags ask for it or a run.json."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import precompute.run
import train.run
from shared.errors import InputError
from shared.models.build import build_model
from tests.composed.recipes import CLASSES, add_recipes, call
from tests.runs import RUN, refusal
from train.checkpoint import load_student
from train.composed import build_network
from train.composition import Halves, Projection, composition_json, parse_composition
from train.run_files import read_run

SPLIT = Halves((16, 24, 48), (8, 16, 24), (16, 32, 64), True)


def refused(tmp_path: Path, recipe: str, *flags: object) -> str:
    arguments = ("--recipe", recipe, "--out", tmp_path / "run", "--workers", 0, "--device", "cpu")
    arguments += ("--batch-size", 10, *flags)
    with pytest.MonkeyPatch.context() as patch:
        add_recipes(patch)
        patch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
        with pytest.raises(InputError) as caught:
            train.run.main()
    assert not (tmp_path / "run").exists() and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "flags", "text"),
    [
        ("split", ("--student", "mobilenet_v3_small"),
         "mobilenet_v3_small is none that can be split: choose --student resnet18 to resnet152"),
        ("split", ("--student", "timm/resnet18"), "timm/resnet18 is none that can be split"),
        ("split", ("--init", "x.pt"), "--init cannot be used with recipe split, which splits"),
        ("split", ("--stages", "1:1,2:2,3:3"), "--stages cannot be used with recipe split"),
        ("split", ("--stage-modules", "layer1"), "--stage-modules cannot be used with recipe"),
        ("projected.ce", ("--stages", "1:2,2:3"),
         "--stages 1:2,2:3 cannot be used with recipe projected.ce, whose student maps its last "
         "stage to the teacher's last: leave it out, or pair 3:3"),
        ("projected", ("--stages", "3:2"), "leave it out, or pair 3:3"),
    ],
)  # fmt: skip
def test_flags(cache: Path, tmp_path: Path, recipe: str, flags: Any, text: str) -> None:
    assert text in refused(tmp_path, recipe, "--cache", cache, *flags)


@pytest.mark.parametrize("recipe", ["split.ce", "projected.ce"])
def test_without_a_cache(cache: Path, tmp_path: Path, recipe: str) -> None:
    images = cache.parent / "images"
    text = refused(tmp_path, recipe, "--teacher", "none", "--images", images)
    assert text.endswith("fit the teacher: give its cache with --cache")


def make_cache(folder: Path, images: Path, teacher: str, *flags: object) -> Path:
    torch.save(build_model(teacher, CLASSES).network.state_dict(), folder / "teacher.pt")
    call(
        precompute.run.main,
        *("--split", "train", "--images", images, "--views", 1, "--size", 32, "--workers", 0),
        *("--teacher", teacher, "--weights", folder / "teacher.pt", "--device", "cpu"),
        *("--cache", folder / "cache", *flags),
    )
    return folder / "cache"


def test_a_cache_without_the_head_and_weights_that_are_gone(cache: Path, tmp_path: Path) -> None:
    images = cache.parent / "images"
    half = make_cache(tmp_path, images, "cifar_resnet20", "--targets", "logits,map3")
    text = refused(tmp_path, "projected", "--cache", half, "--weights", tmp_path / "gone.pt")
    assert "gone.pt" in text and "--weights" in text


def test_a_teacher_whose_last_layer_reads_something_else(cache: Path, tmp_path: Path) -> None:
    """Two linear layers and a ReLU between them; and more stages than the split network has."""
    images = cache.parent / "images"
    other = make_cache(tmp_path, images, "mobilenet_v3_small", "--codec", "compact")
    text = refused(tmp_path, "projected.ce", "--cache", other)
    assert "the logits of mobilenet_v3_small are not linear in that" in text
    text = refused(tmp_path, "split.ce", "--cache", other)
    assert "cifar_resnet20 has 3 and mobilenet_v3_small 4; choose another --student" in text


@pytest.mark.parametrize(
    "composition", [SPLIT, Projection(64, 7, False), Projection(9, None, True)]
)
def test_run_json_there_and_back(composition: Halves | Projection) -> None:
    text = json.dumps(composition_json(composition))
    assert parse_composition(json.loads(text)) == composition
    assert composition_json(None) is parse_composition(None) is None


GOOD = composition_json(SPLIT)
WRONG: list[Any] = [
    "split",
    {},
    {"kind": "split", "signed": False},
    {"kind": "other", "width": 3, "side": None, "signed": False},
    {"kind": "projected", "width": 3, "side": None},
    {"kind": "projected", "width": True, "side": None, "signed": False},
    {"kind": "projected", "width": 10**9, "side": None, "signed": False},
    {"kind": "projected", "width": 3, "side": 0, "signed": False},
    {**(GOOD or {}), "student": [16, 24]},
    {**(GOOD or {}), "student": [16, 24, 8192]},
    {**(GOOD or {}), "widths": []},
    {**(GOOD or {}), "widths": [1, 2, 3, 4]},
    {**(GOOD or {}), "assistant": [8, 16, "24"]},
]


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_run_json_that_is_wrong(tmp_path: Path, value: Any) -> None:
    run = {**RUN, "model": {**RUN["model"], "composition": value}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert "model.composition must be a composition of networks" in refusal(read_run, tmp_path)


def test_earlier_run_json_files_have_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    assert "composition" not in read_run(tmp_path)["model"]


@pytest.mark.parametrize(
    ("architecture", "stem"), [("resnet18", "cifar"), ("mobilenet_v3_small", "imagenet")]
)
def test_widths_of_another_network(tmp_path: Path, architecture: str, stem: str) -> None:
    with pytest.raises(InputError, match=rf"{architecture} cannot be split with widths \(16, 24"):
        build_network(architecture, 5, stem, 32, None, SPLIT)
    facts = {"architecture": architecture, "classes": 5, "stem": stem, "size": 32}
    with pytest.raises(InputError, match=r"give the run.json that was written with"):
        load_student(tmp_path / "best.pt", {**facts, "composition": GOOD})
