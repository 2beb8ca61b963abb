"""The network and the recipe in docs/extending.md work as they stand there."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from shared.models.build import build_model
from tests.processes import ROOT
from tests.said import said
from train.batch import Batch, StudentOutputs
from train.flags import make_parser
from train.run_recipe import recipe_of
from train.schedule import Constant, Cosine, SwitchedOn, WarmUp

TEXT = (ROOT / "docs/extending.md").read_text()


def example(of: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (code,) = (block for block in blocks if of in block)
    return str(code)


def test_the_example_of_a_network(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text(example("class Net"))
    model = build_model(f"{tmp_path}/my_net.py:make", 5, size=32)
    assert model.stage_modules == ("early", "late")
    assert model.channels == (8, 16) and model.num_classes == 5
    assert model.pooled and model.is_linear and not model.signed


def test_the_example_of_a_recipe_and_the_commands_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_recipe.py").write_text(example("class Sharpness"))
    section = TEXT.partition("## A recipe of your own")[2].partition("\n## ")[0]
    lines = re.findall(r"^ {4}python train/run.py (.*)$", section.replace("\\\n", " "), re.M)
    kd, adamw, own = (recipe_of(make_parser().parse_args(shlex.split(line))) for line in lines)

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
