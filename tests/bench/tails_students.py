"""The students of tails.py, which all learn at the same time."""

import argparse

import torch
from torch import Tensor

from shared.models.staged import StagedModel
from shared.targets.targets import rows_of
from tests.bench.tails_arms import Arm
from tests.bench.tails_steps import MOMENTUM, NORMALISE, WEIGHT_DECAY, graphed, half_precision
from tests.bench.tails_teacher import TargetSet
from train.batch import Batch, Fixed
from train.pairing import pair_stages
from train.parts import Meeting, Part, facts_of_student
from train.schedule import Steps
from train.student import Student, StudentChoice, build_student


class Learner:
    """One student of one arm and one seed. Its weights of terms and its rate are tensors: a graph
    reads them."""

    def __init__(
        self,
        arm: Arm,
        targets: TargetSet,
        views: Tensor,
        classes: int,
        seed: int,
        flags: argparse.Namespace,
    ) -> None:
        place = views.device
        self.arm, self.targets, self.views, self.seed = arm, targets, views, seed
        widths = targets.widths if "channels" in arm.needs else ()

        def parts(backbone: StagedModel) -> dict[str, Part]:
            meeting = Meeting(
                facts_of_student(backbone, views.shape[-1]),
                backbone.last_layer,
                targets.widths,
                {name: values.shape[2:] for name, values in targets.values.items()},
                pair_stages(None, len(targets.widths), len(backbone.channels)),
                signed=False,
            )
            return {k: part for loss, _ in arm.terms for k, part in loss.parts(meeting).items()}

        student = build_student(
            StudentChoice("resnet18", flags.stem, classes), widths, seed, parts=parts
        )
        self.student: Student = student.to(place).train()
        self.parameters = list(self.student.parameters())
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self.rate = torch.zeros((), device=place)
        # Static memory for the graph: the current view, and what the teacher says about it.
        self.view = views[0].clone(memory_format=torch.channels_last)
        kinds = {"logits", *arm.needs}
        self.now = {k: values.clone() for k, values in targets.of(0).items() if k in kinds}
        self.index = torch.zeros(flags.batch_size, dtype=torch.int64, device=place)
        self.weights = [torch.zeros((), device=place) for _ in arm.terms]

    def begin(self, epoch: int, rate: float) -> None:
        self.rate.fill_(rate)
        view = epoch % min(self.arm.views, len(self.views))
        self.view.copy_(self.views[view])
        said = self.targets.of(view)
        for name, values in self.now.items():
            values.copy_(said[name])
        for weight, (_, schedule) in zip(self.weights, self.arm.terms, strict=True):
            weight.fill_(schedule(epoch))

    def step(self, labels: Tensor) -> None:
        """On the samples `index`."""
        index = self.index
        targets = rows_of(self.now, index)
        guided = targets["logits"].argmax(1) == labels[index]
        count = float(len(index))
        fixed = Fixed(self.targets.spread, self.targets.head, self.targets.classes)
        batch = Batch(labels[index], targets, guided, count, guided.sum(), fixed, index=index)
        x = NORMALISE(self.view[index])
        with half_precision(x.device):
            outputs = self.student(x, targets)
        total = torch.stack(
            [
                weight * loss(outputs, batch)
                for weight, (loss, _) in zip(self.weights, self.arm.terms, strict=True)
            ]
        ).sum()
        gradients = torch.autograd.grad(total, self.parameters)
        with torch.no_grad():
            decayed = torch._foreach_add(list(gradients), self.parameters, alpha=WEIGHT_DECAY)
            torch._foreach_mul_(self.momenta, MOMENTUM)
            torch._foreach_add_(self.momenta, decayed)
            torch._foreach_sub_(self.parameters, torch._foreach_mul(self.momenta, self.rate))

    def kept(self) -> list[Tensor]:
        return [*self.student.state_dict().values(), *self.momenta]


def learn(learners: list[Learner], labels: Tensor, flags: argparse.Namespace) -> None:
    """Learners of one seed see the same images in the same order, those of others in another."""
    device = labels.device
    streams = [torch.cuda.Stream() for _ in range(flags.streams)] if device.type == "cuda" else []

    def step() -> None:
        if not streams:
            for learner in learners:
                learner.step(labels)
            return
        current = torch.cuda.current_stream()
        for stream in streams:
            stream.wait_stream(current)
        for number, learner in enumerate(learners):
            with torch.cuda.stream(streams[number % len(streams)]):
                learner.step(labels)
        for stream in streams:
            current.wait_stream(stream)

    run = graphed(step, lambda: [value for one in learners for value in one.kept()], device)
    generators = {one.seed: torch.Generator().manual_seed(one.seed) for one in learners}
    rates = Steps(flags.lr, factor=0.2, milestones=(60, 120, 160)).scaled(flags.epochs, 200)
    for epoch in range(flags.epochs):
        for learner in learners:
            learner.begin(epoch, rates(epoch))
        orders = {
            seed: torch.randperm(len(labels), generator=generator).to(device)
            for seed, generator in generators.items()
        }
        for start in range(0, len(labels) - flags.batch_size + 1, flags.batch_size):
            for learner in learners:
                learner.index.copy_(orders[learner.seed][start : start + flags.batch_size])
            run()
    if device.type == "cuda":
        torch.cuda.synchronize()
