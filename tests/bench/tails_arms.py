"""The arms of tails.py: which losses, with which weights, on what a teacher said in which mode."""

from dataclasses import dataclass

from shared.targets.codecs import CODECS
from train.loss_recipes import LOSSES
from train.losses import (
    CE,
    KD,
    L2,
    SRRL,
    ChannelDistillation,
    FitNets,
    GuidedKD,
    Loss,
    RobustChannelDistillation,
    WKDMaps,
)
from train.schedule import Constant, Schedule, Steps, SwitchedOn

MANY = 10**6


@dataclass(frozen=True)
class Arm:
    name: str
    targets: str  # which TargetSet
    terms: tuple[tuple[Loss, Schedule], ...]
    views: int = MANY  # of those that there are

    @property
    def needs(self) -> frozenset[str]:
        return frozenset[str]().union(*(loss.needs for loss, _ in self.terms))


def arm(name: str, *terms: tuple[Loss, Schedule], targets: str = "eval", views: int = MANY) -> Arm:
    return Arm(name, targets, terms, views)


def arms(which: str, epochs: int) -> list[Arm]:
    """The milestones of the paper's CIFAR recipes, in proportion."""
    one = Constant(1.0)
    late = SwitchedOn(one, start=60).scaled(epochs, 200)

    def decaying(value: float) -> Schedule:
        return Steps(value, factor=0.9, milestones=(59, 159)).scaled(epochs, 200)

    ce, kd4 = (CE(), one), (KD(4.0), one)
    cd, rcd = ChannelDistillation(), RobustChannelDistillation()
    if which == "codecs":
        return [
            arm("cd+gkd", ce, (GuidedKD(), one), (cd, Constant(6.0)), targets=codec)
            for codec in CODECS
        ]
    edt = ((CE(), late), (GuidedKD(), late))
    if which == "views":
        return [
            found
            for views in (1, 2, 4, 8, 16, 32)
            for found in (
                arm(f"kd, T = 4, {views} views", ce, kd4, views=views),
                arm(f"rcd+gkd+edt, {views} views", *edt, (rcd, decaying(5.0)), views=views),
            )
        ]
    if which == "every":
        return every(epochs)
    found = [arm("ce", ce), arm("kd", ce, (KD(), one)), arm("kd, T = 4", ce, kd4)]
    for targets in ("eval", "batch"):
        for name, loss, weight in (("cd", cd, 6.0), ("rcd", rcd, 5.0)):
            constant, falling = (loss, Constant(weight)), (loss, decaying(weight))
            found += [
                arm(name, ce, constant, targets=targets),
                arm(f"{name}+gkd", ce, (GuidedKD(), one), constant, targets=targets),
                arm(f"{name}+gkd+edt", *edt, falling, targets=targets),
            ]
    return found


def every(epochs: int) -> list[Arm]:
    """The recipes of other papers' losses, and those on features with the cure for heavy tails:
    differences divided by the spread of their channels, with Huber's function. Their weights are
    those of ImageNet; the cured ones have weights that give a loss of about the same size.

    Left out: what needs a network of its own or a memory, as a graph cannot draw random numbers.
    """
    found = [arm("ce", (CE(), Constant(1.0)))]
    for recipe in LOSSES:
        if recipe.composition is None and "memory" not in recipe.needs:
            terms = [(t.loss, t.weight.scaled(epochs, recipe.epochs)) for t in recipe.terms]
            found.append(arm(recipe.name.removeprefix("s_resnet18.t_resnet34."), *terms))
    cured: list[tuple[str, Loss, float]] = [
        *(("l2, cured", L2(beta=1.0), weight) for weight in (0.2, 1.0, 5.0)),
        *(("srrl, cured", SRRL(beta=1.0), weight) for weight in (0.3, 1.0, 5.0)),
        *(("fitnets, cured", FitNets(stage=2, beta=1.0), weight) for weight in (1.0, 5.0)),
        *(("wkd_f, cured", WKDMaps(beta=1.0), weight) for weight in (0.001, 0.005, 0.02, 0.1)),
    ]
    for name, loss, weight in cured:
        terms = [(CE(), Constant(1.0)), (loss, Constant(weight))]
        found.append(arm(f"{name}, {weight:g}", *terms))
    return found
