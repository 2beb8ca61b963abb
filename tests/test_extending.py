"""The network, the loss and the recipe in docs/extending.md work as they stand there."""

import re
from pathlib import Path

import pytest
import torch

from shared.models.build import build_model
from tests.pages import commands_of, python_of
from tests.said import said
from train import losses, paper_recipes
from train.batch import Batch, StudentOutputs
from train.flags import make_parser
from train.run_recipe import recipe_of
from train.schedule import Constant, Cosine, SwitchedOn, WarmUp

PAGE = "docs/extending.md"


def test_the_example_of_a_network(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(python_of(PAGE, "class Net"))
    model = build_model(f"{tmp_path}/my_net.py:make", 5, size=32)
    assert model.stage_modules == ("early", "late")
    assert model.channels == (8, 16) and model.num_classes == 5
    assert model.pooled and model.is_linear and not model.signed


def test_the_example_of_a_loss() -> None:
    block = python_of(PAGE, "class Cosine")
    loss_code, recipe_code = re.split("# train/paper_recipes.py.*\n", block)
    recipe_code = recipe_code.partition("\n# ")[0]
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


def test_the_example_of_a_recipe_and_the_commands_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_recipe.py").write_text(python_of(PAGE, "class Sharpness"))
    commands = [words[2:] for words in commands_of(PAGE) if words[1] == "train/run.py"]
    kd, adamw, own = (recipe_of(make_parser().parse_args(words)) for words in commands)

    assert kd.weights(0) == {"ce": 1.0, "kd": 0.9}
    assert kd.learning_rate == WarmUp(Cosine(0.2, 100), 5)
    assert [term.name for term in adamw.terms] == ["ce", "cd"]
    assert (adamw.optimizer, adamw.decay_norms) == ("adamw", False)

    assert own.epochs == 30 and own.learning_rate == WarmUp(Cosine(0.2, 30), 2)
    sharp = own.terms[2]
    assert sharp.weight == SwitchedOn(Cosine(0.1, 30), 3)
    assert own.terms[1].weight == WarmUp(Constant(0.9), 2)
    targets = said(torch.tensor([[1.0, 0.0], [5.0, 4.0]]))
    batch = Batch(torch.tensor([0, 1]), targets, None, 2.0, 0.0)
    outputs = StudentOutputs(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), ())
    assert sharp.loss(outputs, batch).item() == (2.0**2 + 3.0**2) / 2
