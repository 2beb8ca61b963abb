"""What the README shows works as it stands there."""

import re

import torch

from tests.processes import ROOT
from tests.said import said
from train import losses, paper_recipes
from train.batch import Batch, StudentOutputs


def test_the_example_of_a_loss_and_a_recipe() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block.count("\n") <= 16
    loss_code, recipe_code = block.split("# train/recipes.py, a line of RECIPES\n")
    names = {**vars(losses.channels), **vars(losses)}
    exec(loss_code, names)
    recipe = eval(recipe_code.strip().removesuffix(","), {**vars(paper_recipes), **names})
    assert recipe.needs == {"channels"} and recipe.teacher == "resnet34"
    assert recipe.weights(0) == {"ce": 1.0, "cosine": 2.0}
    assert recipe.scaled(10).weights(9) == {"ce": 1.0, "cosine": 0.5}

    ours, theirs = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [3.0, 3.0]])
    labels = torch.tensor([0, 1])
    same = torch.ones(2, 3)  # a second stage, which adds nothing
    batch = Batch(labels, said(torch.zeros(2, 2), (theirs, same)), None, 2.0, 0.0)
    value = recipe.terms[1].loss(StudentOutputs(torch.zeros(2, 2), (ours, same)), batch)
    assert abs(value.item() - 0.5) < 1e-6  # a right angle and none, over two samples


def test_the_file_map_names_every_file_once() -> None:
    _, text = (ROOT / "README.md").read_text().split("\n## Files\n")
    parts = re.split(r"^    (?=\S)", text, flags=re.MULTILINE)[1:]
    named = {re.split(r"/\s", part)[0]: re.findall(r"\w+\.py", part) for part in parts}
    rooms = [path.parent for path in (ROOT / "shared").glob("*/__init__.py")]
    assert len(rooms) == 9
    for folder in (
        "precompute",
        "train",
        "train/losses",
        "train/staging",
        "shared",
        *(f"shared/{room.name}" for room in rooms),
    ):
        there = [path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]
        assert sorted(named[folder]) == sorted(there), folder
    for folder in named:
        assert (ROOT / folder).is_dir(), folder
