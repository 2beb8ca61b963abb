"""The arms of tails.py: which losses, with which weights, on what a teacher said in which mode."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.targets.codecs import CODECS
from train.losses import CE, KD, ChannelDistillation, GuidedKD, Loss, RobustChannelDistillation
from train.schedule import Constant, Schedule, Steps, SwitchedOn

MANY = 10**6


@dataclass(frozen=True)
class Arm:
    """A loss is named by its field, which holds its weight; None: left out."""

    name: str
    targets: str  # which TargetSet
    ce: Schedule
    kd: Schedule | None = None
    gkd: Schedule | None = None
    cd: Schedule | None = None
    rcd: Schedule | None = None
    temperature: float = 1.0
    views: int = MANY  # of those that there are


LOSSES: dict[str, Callable[[Arm], Loss]] = {
    "ce": lambda arm: CE(),
    "kd": lambda arm: KD(arm.temperature),
    "gkd": lambda arm: GuidedKD(arm.temperature),
    "cd": lambda arm: ChannelDistillation(),
    "rcd": lambda arm: RobustChannelDistillation(),
}


def arms(which: str, epochs: int) -> list[Arm]:
    """The milestones of the paper's CIFAR recipes, in proportion."""
    one = Constant(1.0)
    late = SwitchedOn(one, start=60).scaled(epochs, 200)

    def decaying(value: float) -> Schedule:
        return Steps(value, factor=0.9, milestones=(59, 159)).scaled(epochs, 200)

    if which == "codecs":
        return [Arm("cd+gkd", codec, one, gkd=one, cd=Constant(6.0)) for codec in CODECS]
    if which == "views":
        return [
            arm
            for views in (1, 2, 4, 8, 16, 32)
            for arm in (
                Arm(f"kd, T = 4, {views} views", "eval", one, kd=one, temperature=4.0, views=views),
                Arm(
                    f"rcd+gkd+edt, {views} views", "eval", late, gkd=late,
                    rcd=decaying(5.0), views=views,
                ),
            )
        ]  # fmt: skip
    found = [
        Arm("ce", "eval", one),
        Arm("kd", "eval", one, kd=one),
        Arm("kd, T = 4", "eval", one, kd=one, temperature=4.0),
    ]
    for targets in ("eval", "batch"):
        for name, weight in (("cd", 6.0), ("rcd", 5.0)):
            constant, falling = Constant(weight), decaying(weight)
            found += [
                Arm(name, targets, one, **{name: constant}),
                Arm(f"{name}+gkd", targets, one, gkd=one, **{name: constant}),
                Arm(f"{name}+gkd+edt", targets, late, gkd=late, **{name: falling}),
            ]
    return found
