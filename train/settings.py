"""The settings that recipes share: those of ImageNet and of CIFAR-100 in the paper's code.

Source: arXiv 2006.01683, github.com/zhouzaida/channel-distillation at 2464d30. The settings of
ImageNet are those of most papers for ResNet-34 -> ResNet-18; some take twice the batch and rate.
"""

from dataclasses import replace

from shared.epochs.guide import TeacherCorrect
from train.losses import CE
from train.recipe import Recipe, Term
from train.schedule import Constant, Steps

PLAIN = Term("ce", CE(), Constant(1.0))


def imagenet(name: str, top1_error: float | None, *terms: Term) -> Recipe:
    return Recipe(
        name=name,
        terms=terms,
        guide=TeacherCorrect() if any("guided" in t.loss.needs for t in terms) else None,
        epochs=100,
        batch_size=256,
        learning_rate=Steps(0.1, factor=0.1, milestones=(30, 60, 90)),
        momentum=0.9,
        weight_decay=1e-4,
        stem="imagenet",
        policy="random-resized-crop",
        size=224,
        teacher="resnet34" if any(t.loss.needs for t in terms) else None,
        student="resnet18",
        paper_top1_error=top1_error,
    )


def cifar100(name: str, top1_error: float | None, *terms: Term) -> Recipe:
    return replace(
        imagenet(name, top1_error, *terms),
        epochs=200,
        batch_size=128,
        learning_rate=Steps(0.1, factor=0.2, milestones=(60, 120, 160)),
        weight_decay=5e-4,
        stem="cifar",
        policy="pad-crop",
        size=32,
        teacher="resnet152" if any(t.loss.needs for t in terms) else None,
        student="resnet50",
    )
