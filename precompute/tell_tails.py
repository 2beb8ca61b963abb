"""Prints how heavy the tails of a teacher's channel means are, for precompute and verify."""

from shared.errors import note
from shared.targets.tails import HEAVY, Tails


def tell_tails(tails: Tails) -> None:
    print(tails.line())
    if tails.are_heavy:
        note(
            f"1 % of the images hold more than {HEAVY:.0%} of the variance of a stage: the squared "
            f"error of cd would follow those few; train with a recipe that has rcd in its name, "
            f"like s_resnet18.t_resnet34.rcd.kdv2.lrdv2"
        )
