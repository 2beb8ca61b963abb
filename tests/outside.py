"""A kind of targets, a loss and recipes that this project does not have, added from outside.

    python tests/outside.py precompute/run.py --targets logits,channels,energy ...
    python tests/outside.py train/run.py --recipe probe ...

`energy` is the mean square of every channel of the last stage. `probe` is a loss that depends on
every number of a kind, whatever that is, so that training with it shows whether they are right.
The recipe `probe` has it for each kind of KINDS; `probe.channels` needs what every cache has.
WINDOW in the environment: bytes of targets that a window of a view may have.
"""

import os
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared.epochs import windows
from shared.targets import kinds
from shared.targets.kinds import Facts, Kind, Outputs
from train import names, recipes
from train.batch import Batch, StudentOutputs
from train.losses import CE, Loss
from train.recipe import Recipe, Term
from train.schedule import Constant, Steps

PROBED = ("logits", "channels", "embedding", "attention1", "attention3", "map3", "grid4", "energy")


def _energy(outputs: Outputs) -> Tensor:
    return outputs.stages[-1].float().square().mean((2, 3))


def _energy_shape(facts: Facts) -> tuple[int, ...]:
    return (facts.channels[-1],)


ENERGY = Kind("energy", "mean square of every channel of the last stage", _energy, _energy_shape)


@dataclass(frozen=True)
class Probe(Loss):
    """sum_i (mean_c s_ic - sum_j w_j t_ij)^2 / count, t_i: all numbers of the kind, w_j: a ramp."""

    kind: str

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({self.kind})

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        values = batch.targets[self.kind].flatten(1)
        ramp = torch.linspace(0.5, 1.5, values.shape[1], device=values.device) / values.shape[1]
        said = (values * ramp).sum(1)
        return (student.logits.float().mean(1) - said).square().sum() / batch.count


def probe(name: str, *probed: str) -> Recipe:
    return Recipe(
        name=name,
        terms=(
            Term("ce", CE(), Constant(1.0)),
            *(Term(kind, Probe(kind), Constant(0.5)) for kind in probed),
        ),
        guide=None,
        epochs=2,
        batch_size=6,
        learning_rate=Steps(0.05, factor=0.1, milestones=(1,)),
        momentum=0.9,
        weight_decay=1e-4,
        stem="cifar",
        policy="pad-crop",
        size=32,
        teacher="cifar_resnet20",
        student="cifar_resnet20",
        paper_top1_error=None,
    )


def add() -> None:
    kinds.KINDS["energy"] = ENERGY
    added = [probe("probe", *PROBED), *(probe(f"probe.{kind}", kind) for kind in PROBED)]
    recipes.RECIPES = (*recipes.RECIPES, *added)
    names.RECIPES.update({recipe.name: "a probe of tests/outside.py" for recipe in added})
    windows.MOST_BYTES = int(os.environ.get("WINDOW", windows.MOST_BYTES))


if __name__ == "__main__":
    add()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
