"""The teachers of the built-in digits: which there are, and how they are trained."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from precompute import digits_teacher
from precompute.digits_teacher import RECIPES, default_weights
from shared.errors import InputError
from shared.images.listing import Keys
from shared.images.readers import FolderReader
from shared.images.source import ImageSource
from train.flags import make_parser
from train.recipes import get_recipe

KEYS = Keys.pack(["0/0.jpg"])
DIGITS = ImageSource(
    "digits", "train", KEYS, np.zeros(1, np.int64), ("0",), "0", FolderReader("x", KEYS, False),
    "pad-crop", 32,
)  # fmt: skip


@pytest.mark.parametrize(("teacher", "stem"), RECIPES)
def test_a_teacher_that_is_not_there_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: str, stem: str
) -> None:
    """With a recipe made for it, and once: `done` says that it is there."""
    asked: list[list[str]] = []

    class Trained:
        def __init__(self, command: list[str]) -> None:
            asked.append(command)

        def __enter__(self) -> "Trained":
            return self

        def __exit__(self, *_: object) -> None:
            folder = tmp_path / RECIPES[teacher, stem]
            folder.mkdir()
            (folder / "done").touch()

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(digits_teacher, "RUNS", tmp_path)
    monkeypatch.setattr(digits_teacher.subprocess, "Popen", Trained)
    flags = Namespace(teacher=teacher, stem=None, device=None)
    best = default_weights(DIGITS, flags)
    assert (
        best == default_weights(DIGITS, flags) == str(tmp_path / RECIPES[teacher, stem] / "best.pt")
    )
    (command,) = asked
    given = make_parser().parse_args(command[2:])
    recipe = get_recipe(given.recipe)
    assert (recipe.student, recipe.stem) == (given.student, stem) == (teacher, stem)
    assert (given.images, given.teacher) == ("digits", "none")
    assert given.validate_every >= recipe.epochs  # so val images do not choose best.pt
    assert str(given.out) == str(Path(best).parent)


def test_no_other_teacher_is_built_in() -> None:
    with pytest.raises(InputError) as caught:
        default_weights(DIGITS, Namespace(teacher="resnet18", stem=None, device=None))
    assert str(caught.value) == (
        "there is no built-in resnet18 with stem imagenet for digits, only resnet34 with stem "
        "imagenet and cifar_resnet20: give its --weights"
    )
