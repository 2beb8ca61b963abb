"""A recipe with residual KD and attention transfer for a split network, for --recipe."""

from dataclasses import replace

from train.losses import AT, CE, ResidualKD
from train.recipe import Term
from train.recipes import get_recipe
from train.schedule import Constant

_LOSSES = {"ce": CE(), "residual": ResidualKD((1, 2, 3)), "at": AT((2, 3))}

recipe = replace(
    get_recipe("resnet18.ce"),
    name="split",
    terms=tuple(Term(name, loss, Constant(1.0)) for name, loss in _LOSSES.items()),
    student="cifar_resnet20",
    teacher="cifar_resnet20",
    stem="cifar",
    composition="split",
)
