"""A recipe with losses on maps, for --recipe."""

from dataclasses import replace

from train.losses import AT, CATKD, CE, FitNets, MapMatching, WKDMaps
from train.recipe import Term
from train.recipes import get_recipe
from train.schedule import Constant

_LOSSES = {
    "ce": CE(),
    "at": AT((2, 3)),
    "fitnets": FitNets(2),
    "robust": FitNets(3, beta=1.0),
    "wkd": WKDMaps(),
    "cat": CATKD(),
    "maps": MapMatching(3),
}

recipe = replace(
    get_recipe("resnet18.ce"),
    name="maps",
    terms=tuple(Term(name, loss, Constant(1.0)) for name, loss in _LOSSES.items()),
    student="cifar_resnet20",
    teacher="cifar_resnet20",
    stem="cifar",
)
