"""The teacher of tails.py, and what it says about every view."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shared.models.build import build_model
from shared.models.staged import StagedModel, channel_means
from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.tails import Tails, tails_of
from shared.targets.targets import Head, Targets
from tests.bench.tails_images import draw
from tests.bench.tails_steps import MOMENTUM, NORMALISE, WEIGHT_DECAY, graphed, half_precision
from tests.said import said, stages_of

TEACHER_BATCH = 256


@dataclass
class TargetSet:
    """What a teacher says about every view: logits (V, N, C), channels (V, N, C_s) a stage."""

    logits: Tensor
    channels: list[Tensor]
    tails: Tails = field(init=False)
    spread: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.tails = tails_of(tuple(stage[0] for stage in self.channels))
        self.spread = self.tails.on(self.logits.device)

    def through(self, codec: str, head: Head) -> "TargetSet":
        """As they come out of a cache in this codec."""
        widths = tuple(stage.shape[2] for stage in self.channels)
        kept = (
            Kept("logits", (self.logits.shape[2],), widths),
            Kept("channels", (sum(widths),), widths),
        )
        encoding = Encoding(codec, kept)
        decoded = []
        for view in range(len(self.logits)):
            fields = encoding.encode(self.of(view))
            tensors = {name: torch.from_numpy(values) for name, values in fields.items()}
            decoded.append(encoding.decode(tensors, head))
        place = self.logits.device
        stages = zip(*(stages_of(targets, widths) for targets in decoded), strict=True)
        return TargetSet(
            torch.stack([targets["logits"] for targets in decoded]).to(place),
            [torch.stack(stage).to(place) for stage in stages],
        )

    def of(self, view: int) -> Targets:
        return said(self.logits[view], [stage[view] for stage in self.channels])


def train_teacher(
    images: Tensor, labels: Tensor, classes: int, stem: str, epochs: int, batch: int
) -> StagedModel:
    torch.manual_seed(1234)
    device = images.device
    model = build_model("resnet34", classes, stem).to(device).train()
    parameters = list(model.parameters())
    momenta = [torch.zeros_like(p) for p in parameters]
    rate = torch.zeros((), device=device)
    index = torch.zeros(batch, dtype=torch.int64, device=device)
    view = images.clone(memory_format=torch.channels_last)

    def step() -> None:
        x = NORMALISE(view[index])
        with half_precision(device):
            logits = model(x)
        gradients = torch.autograd.grad(cross_entropy(logits.float(), labels[index]), parameters)
        with torch.no_grad():
            decayed = torch._foreach_add(list(gradients), parameters, alpha=WEIGHT_DECAY)
            torch._foreach_mul_(momenta, MOMENTUM)
            torch._foreach_add_(momenta, decayed)
            torch._foreach_sub_(parameters, torch._foreach_mul(momenta, rate))

    run = graphed(step, lambda: [*model.state_dict().values(), *momenta], device)
    generator = torch.Generator().manual_seed(5)
    steps, done = len(images) // batch, 0
    for _ in range(epochs):
        view.copy_(draw(images, generator))
        order = torch.randperm(len(images), generator=generator).to(device)
        for number in range(steps):
            share = done / (epochs * steps)
            rate.fill_(0.1 * min(1.0, 20 * share + 0.01) * 0.5 * (1 + math.cos(math.pi * share)))
            index.copy_(order[number * batch : (number + 1) * batch])
            run()
            done += 1
    return model.eval()


@torch.no_grad()
def say(model: StagedModel, views: Tensor) -> TargetSet:
    """float32 targets of all views (V, N, 3, H, W), in fixed batches of 256 of a permutation.

    The order matters to a model in train mode alone, whose running statistics must not move.
    """
    count = views.shape[1]
    logits, channels = [], []
    for number, view in enumerate(views):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(number))
        order = order.to(views.device)
        said = []
        for part in order.split(TEACHER_BATCH):
            run = model.run(NORMALISE(view[part]), lambda stage, maps: channel_means(maps))
            said.append((run.logits, *run.stages))
        back = order.argsort()
        whole = [torch.cat(parts)[back] for parts in zip(*said, strict=True)]
        logits.append(whole[0])
        channels.append(whole[1:])
    stacked = [torch.stack(stage) for stage in zip(*channels, strict=True)]
    return TargetSet(torch.stack(logits), stacked)


def targets_of(model: StagedModel, views: Tensor, which: str) -> dict[str, TargetSet]:
    found = {"eval": say(model.eval(), views)}
    if which == "codecs":
        head = Head(model.fc.weight.detach().cpu(), model.fc.bias.detach().cpu())
        return {codec: found["eval"].through(codec, head) for codec in CODECS}
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.0  # the running statistics stay
    if which == "losses":
        found["batch"] = say(model.train(), views)
    model.eval()
    return found
