"""Recipes of the field's standard table for CIFAR-100: ResNet-56 -> ResNet-20, 240 epochs.

    python train/run.py --cache data/cifar100_cache --recipe cifar.s_resnet20.t_resnet56.dkd

Most papers since CRD (1910.10699) report this pair with the settings of its code, RepDistiller:
240 epochs, batches of 64, learning rate 0.05 times 0.1 at 150, 180 and 210, weight decay 5e-4. The
number after a name is the published top-1 error in percent, where one was found: the mean of
several runs, with a teacher of 27.66 and a student of 30.94 (README of megvii-research/mdistiller
for DKD, of zkxufo/TTM for the others). tests/bench/study.py trains them all from one cache.

The losses of the channel distillation paper have its weights for CIFAR-100, and its schedule of 200
epochs moved to 240. The last three are not from a paper.
"""

from dataclasses import replace

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
from train.recipe import Recipe, Term
from train.schedule import Constant, Steps, SwitchedOn, WarmUp
from train.settings import PLAIN, cifar100

_CE_LATE = replace(PLAIN, weight=SwitchedOn(Constant(1.0), start=72))
_GKD = Term("gkd", GuidedKD(temperature=1.0), Constant(0.1))
_GKD_LATE = replace(_GKD, weight=SwitchedOn(Constant(0.1), start=72))
_CD = Term("cd", ChannelDistillation(), Constant(6.0))
_CD_DECAYING = replace(_CD, weight=Steps(6.0, factor=0.9, milestones=(71, 191)))
_RCD_DECAYING = Term(
    "rcd", RobustChannelDistillation(), Steps(5.0, factor=0.9, milestones=(71, 191))
)
# mdistiller's setting for this pair; its loss grows linearly over the first 20 epochs.
_DKD = Term("dkd", DKD(alpha=1.0, beta=2.0, temperature=4.0), WarmUp(Constant(1.0), epochs=20))
_SRRL = Term("srrl", SRRL(), Constant(1.0))


def _pair(name: str, top1_error: float | None, *terms: Term) -> Recipe:
    return replace(
        cifar100(name, top1_error, *terms),
        epochs=240,
        batch_size=64,
        learning_rate=Steps(0.05, factor=0.1, milestones=(150, 180, 210)),
        teacher="cifar_resnet56" if any(t.loss.needs for t in terms) else None,
        student="cifar_resnet20",
    )


def _taught(loss: str, top1_error: float | None, *terms: Term) -> Recipe:
    return _pair(f"cifar.s_resnet20.t_resnet56.{loss}", top1_error, *terms)


CIFAR_PAIR = (
    _pair("cifar.resnet20.ce", 30.94, PLAIN),
    _taught(
        "kd",
        29.34,
        replace(PLAIN, weight=Constant(0.1)),
        Term("kd", KD(temperature=4.0), Constant(0.9)),
    ),
    _taught("dkd", 28.03, PLAIN, _DKD),
    # DIST's paper (2205.10536) has beta = gamma = 2 and T = 4 for CIFAR-100.
    _taught(
        "dist",
        28.25,
        PLAIN,
        Term("dist", DIST(beta=2.0, gamma=2.0, temperature=4.0), Constant(1.0)),
    ),
    _taught("at", 29.45, PLAIN, Term("at", AT(stages=(1, 2, 3)), Constant(1000.0))),
    _taught("srrl", None, PLAIN, _SRRL),
    _taught("cd.ce", None, PLAIN, _CD),
    _taught("cd.ce.kdv2", None, PLAIN, _GKD, _CD),
    _taught("cd.kdv2.lrdv2", None, _CE_LATE, _GKD_LATE, _CD_DECAYING),
    _taught("rcd.kdv2.lrdv2", None, _CE_LATE, _GKD_LATE, _RCD_DECAYING),
    _taught("dkd.cd", None, PLAIN, _DKD, _CD),
    _taught("srrl.cd", None, PLAIN, _SRRL, _CD),
)
