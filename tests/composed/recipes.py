"""Recipes whose students are composed of two networks, with the plainest losses that need them, and
train/run.py and train/eval.py in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

import train.names
import train.recipes
from train.batch import Batch, StudentOutputs
from train.losses import CE, Loss
from train.parts import Meeting, Part
from train.recipe import Recipe, Term
from train.recipes import get_recipe
from train.schedule import Constant

CLASSES = 5


@dataclass(frozen=True)
class SameMaps(Loss):
    """The teacher's maps of some stages; with `halved` the student's half alone meets them too."""

    stages: tuple[int, ...]
    halved: bool = False

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(f"map{stage}" for stage in self.stages)

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        found = {}
        for stage in self.stages:
            mine = meeting.mine(stage)
            found[f"met{stage}"] = Part(mine, nn.Identity())
            if self.halved:
                alone = mine - len(meeting.student.channels) // 2
                found[f"alone{stage}"] = Part(alone, nn.Identity())
        return found

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        errors = []
        for name, mine in student.parts.items():
            target = adaptive_avg_pool2d(batch.targets[f"map{name[-1]}"], mine.shape[2:])
            errors.append((mine.float() - target).square().mean((1, 2, 3)).sum())
        total: Tensor = sum(errors[1:], errors[0])
        return total / batch.count


def _recipe(name: str, composition: Any, *losses: Loss) -> Recipe:
    terms = tuple(Term(f"term{n}", loss, Constant(1.0)) for n, loss in enumerate(losses))
    return replace(
        get_recipe("resnet18.ce"),
        name=name,
        terms=terms,
        teacher="cifar_resnet20" if any(loss.needs for loss in losses) else None,
        student="cifar_resnet20",
        stem="cifar",
        weight_decay=0.1,  # of which a frozen layer must see nothing
        composition=composition,
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        _recipe("projected", "projected", SameMaps((3,))),
        _recipe("split", "split", CE(), SameMaps((1, 2, 3), halved=True)),
        _recipe("split.last", "split", CE(), SameMaps((3,))),
        _recipe("split.ce", "split", CE()),
        _recipe("projected.ce", "projected", CE()),
    )
}


def add_recipes(patch: pytest.MonkeyPatch) -> None:
    for name in RECIPES:
        patch.setitem(train.names.RECIPES, name, "")
    patch.setattr("train.recipes.RECIPES", (*train.recipes.RECIPES, *RECIPES.values()))


def call(main: Callable[[], int], *arguments: object) -> None:
    """A command in this process, which knows the recipes above."""
    with pytest.MonkeyPatch.context() as patch:
        add_recipes(patch)
        patch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
        assert main() == 0
