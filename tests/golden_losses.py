"""The recipes of other papers' losses, written down from the papers' code; for test_recipes.py."""

import math
from dataclasses import dataclass

from train.losses import (
    AT,
    CATKD,
    CE,
    CRD,
    DIST,
    DKD,
    IKL,
    KD,
    L2,
    NKD,
    PKT,
    RKD,
    SRD,
    SRRL,
    WTTM,
    FitNets,
    Loss,
    MapMatching,
    NormDirection,
    ResidualKD,
    TargetClass,
    WKDLogits,
    WKDMaps,
)

NAMED = "s_resnet18.t_resnet34."
Weights = float | list[float]  # of all epochs, or of each of them


@dataclass(frozen=True)
class Golden:
    error: float | None  # percent
    needs: set[str]
    losses: dict[str, Loss]
    weights: dict[str, list[float]]  # of each of the epochs
    batch: int = 256
    composition: str | None = None


def golden(
    top1: float | None,
    needs: str,
    *terms: tuple[str, Loss, Weights],
    ce: Weights = 1.0,
    batch: int = 256,
    composition: str | None = None,
    epochs: int = 100,
) -> Golden:
    """`top1`: accuracy in percent, as papers have it. Every recipe has CE, with weight `ce`."""
    every: list[tuple[str, Loss, Weights]] = [("ce", CE(), ce), *terms]
    return Golden(
        error=None if top1 is None else round(100 - top1, 2),
        needs=set(needs.split()),
        losses={name: loss for name, loss, _ in every},
        weights={name: w if isinstance(w, list) else [w] * epochs for name, _, w in every},
        batch=batch,
        composition=composition,
    )


def falling(start: float) -> list[float]:
    return [start * (1 + math.cos(math.pi * epoch / 100)) / 2 for epoch in range(100)]


def rising(end: float) -> list[float]:
    return [0.2 * end, 0.4 * end, 0.6 * end, 0.8 * end, *[end] * 96]


TARGET = ("target", TargetClass(), 1.0)
WKD = WKDLogits(temperature=2.0, eps=0.05, iterations=10, kappa=1.0, cost="cka")
LATE_MAPS = "attention3 attention4"

GOLDEN: dict[str, Golden] = {
    "resnet18.at": golden(70.90, LATE_MAPS, ("at", AT(stages=(3, 4)), 1000.0)),
    "resnet18.at.all": golden(
        70.70, f"attention1 attention2 {LATE_MAPS}", ("at", AT(stages=(1, 2, 3, 4)), 2000.0)
    ),
    "resnet18.fitnets": golden(70.66, "map2", ("hint", FitNets(stage=2, beta=None), 100.0)),
    "resnet18.rkd_at": golden(
        71.54,
        f"map3 map4 {LATE_MAPS}",
        ("residual", ResidualKD(stages=(3, 4)), 1.0),
        ("at", AT(stages=(3, 4)), 1000.0),
        composition="split",
    ),
    NAMED + "kd.t4": golden(71.21, "logits", ("kd", KD(4.0, False), 1.0), ce=0.9),
    NAMED + "kd.ls": golden(71.42, "logits", ("kd", KD(2.0, True), 9.0), batch=512),
    NAMED + "dkd": golden(71.70, "logits", ("dkd", DKD(1.0, 0.5, 1.0), 1.0), batch=512),
    NAMED + "nkd": golden(71.96, "logits", ("nkd", NKD(gamma=1.5, temperature=1.0), 1.0)),
    NAMED + "dist": golden(72.07, "logits", ("dist", DIST(1.0, 1.0, 1.0), 2.0)),
    NAMED + "wttm": golden(72.19, "logits", ("wttm", WTTM(0.5, weighted=True), 0.5)),
    NAMED + "ikl": golden(71.91, "logits prior", ("ikl", IKL(1.0, 0.5, 1.0), 1.0), batch=512),
    NAMED + "wkd_l": golden(72.49, "logits distance", TARGET, ("wkd", WKD, falling(30.0))),
    NAMED + "l2": golden(70.90, "embedding", ("l2", L2(beta=None), 15.0)),
    NAMED + "srrl": golden(71.73, "embedding head", ("srrl", SRRL(1.0, None), 1.0), batch=512),
    NAMED + "srd": golden(71.87, "embedding logits", ("srd", SRD(), 2.0), ("kd", KD(1.0), 1.0)),
    NAMED + "crd": golden(71.17, "embedding memory", ("crd", CRD(128, 16384, 0.07, 0.5), 0.8)),
    NAMED + "rkd": golden(71.34, "embedding", ("rkd", RKD(distance=25.0, angle=50.0), 1.0)),
    NAMED + "pkt": golden(None, "embedding", ("pkt", PKT(), 30000.0)),
    NAMED + "kd++": golden(
        71.98,
        "logits embedding centres",
        ("kd", KD(1.0), rising(2.5)),
        ("nd", NormDirection(), 1.0),
        batch=512,
    ),
    NAMED + "dkd++": golden(
        72.07,
        "logits embedding centres",
        ("dkd", DKD(0.8, 0.5, 1.0), rising(1.0)),
        ("nd", NormDirection(), rising(1.0)),
        batch=512,
    ),
    NAMED + "cat": golden(71.26, "grid4 head", ("cat", CATKD(), 0.5)),
    NAMED + "wkd_f": golden(72.50, "grid4", ("wkd", WKDMaps(None, None), falling(0.02))),
    NAMED + "wkd_lf": golden(
        72.76,
        "logits distance grid4",
        TARGET,
        ("wkd", WKD, falling(10.0)),
        ("wkd_f", WKDMaps(None, None), falling(0.02)),
    ),
    NAMED + "simkd": golden(
        71.66, "map4", ("simkd", MapMatching(stage=4), 1.0), ce=0.0, composition="projected"
    ),
}
