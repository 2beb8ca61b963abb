"""The recipes of ResNet-56 -> ResNet-20 on CIFAR-100, written down a second time.

Weights and published accuracies are from the tables and configurations of mdistiller, RepDistiller
and TTM, the rest from the paper's recipes for CIFAR-100, moved from 200 to 240 epochs.
"""

from functools import partial

from tests.golden_losses import Golden
from tests.golden_losses import golden as golden_of_100
from train.losses import (
    AT,
    DIST,
    DKD,
    KD,
    SRRL,
    ChannelDistillation,
    GuidedKD,
    RobustChannelDistillation,
)

golden = partial(golden_of_100, batch=64, epochs=240)
TAUGHT = "cifar.s_resnet20.t_resnet56."
RISING = [*(epoch / 20 for epoch in range(1, 20)), *[1.0] * 221]
CHANNELS = "logits channels guided"


def falling(start: float) -> list[float]:
    return [start] * 71 + [0.9 * start] * 120 + [0.81 * start] * 49


def late(value: float) -> list[float]:
    return [0.0] * 72 + [value] * 168


DECOUPLED = ("dkd", DKD(1.0, 2.0, 4.0), RISING)
CD = ("cd", ChannelDistillation(), 6.0)

CIFAR_GOLDEN: dict[str, Golden] = {
    "cifar.resnet20.ce": golden(69.06, ""),
    f"{TAUGHT}kd": golden(70.66, "logits", ("kd", KD(4.0), 0.9), ce=0.1),
    f"{TAUGHT}dkd": golden(71.97, "logits", DECOUPLED),
    f"{TAUGHT}dist": golden(71.75, "logits", ("dist", DIST(2.0, 2.0, 4.0), 1.0)),
    f"{TAUGHT}at": golden(70.55, "attention1 attention2 attention3", ("at", AT((1, 2, 3)), 1000.0)),
    f"{TAUGHT}srrl": golden(None, "embedding head", ("srrl", SRRL(), 1.0)),
    f"{TAUGHT}cd.ce": golden(None, "channels", CD),
    f"{TAUGHT}cd.ce.kdv2": golden(None, CHANNELS, ("gkd", GuidedKD(1.0), 0.1), CD),
    f"{TAUGHT}cd.kdv2.lrdv2": golden(
        None,
        CHANNELS,
        ("gkd", GuidedKD(1.0), late(0.1)),
        ("cd", ChannelDistillation(), falling(6.0)),
        ce=late(1.0),
    ),
    f"{TAUGHT}rcd.kdv2.lrdv2": golden(
        None,
        f"{CHANNELS} spread",
        ("gkd", GuidedKD(1.0), late(0.1)),
        ("rcd", RobustChannelDistillation(), falling(5.0)),
        ce=late(1.0),
    ),
    f"{TAUGHT}dkd.cd": golden(None, "logits channels", DECOUPLED, CD),
    f"{TAUGHT}srrl.cd": golden(None, "embedding head channels", ("srrl", SRRL(), 1.0), CD),
}
