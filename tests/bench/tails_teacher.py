"""The teacher of tails.py, and what it says about every view."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from shared.models.build import build_model
from shared.models.staged import Outputs, StagedModel, channel_means
from shared.targets.cka import LogitsOfClasses
from shared.targets.classes import ClassStatistics, ClassSums
from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.kinds import BASE, kind_of
from shared.targets.tails import Tails, tails_of
from shared.targets.targets import Head
from tests.bench.tails_images import draw
from tests.bench.tails_steps import MOMENTUM, NORMALISE, WEIGHT_DECAY, graphed, half_precision

TEACHER_BATCH = 256


@dataclass
class TargetSet:
    """What a teacher says about every view: kind -> (V, N, ...); maps in fp16."""

    values: dict[str, Tensor]
    widths: tuple[int, ...]  # C_s
    head: Head
    classes: ClassStatistics | None = None
    tails: Tails = field(init=False)
    spread: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.tails = tails_of(self.values["channels"][0].split(list(self.widths), dim=1))
        self.spread = self.tails.on(self.values["logits"].device)

    def through(self, codec: str, head: Head) -> "TargetSet":
        """As they come out of a cache in this codec."""
        kept = (
            Kept(name, tuple(self.values[name].shape[2:]), self.widths)
            for name in ("logits", "channels")
        )
        encoding = Encoding(codec, tuple(kept))
        decoded = []
        for view in range(len(self.values["logits"])):
            fields = encoding.encode(self.of(view))
            tensors = {name: torch.from_numpy(values) for name, values in fields.items()}
            decoded.append(encoding.decode(tensors, head))
        place = self.values["logits"].device
        names = ("logits", "channels")
        stacked = {name: torch.stack([said[name] for said in decoded]).to(place) for name in names}
        return TargetSet(stacked, self.widths, self.head)

    def of(self, view: int) -> dict[str, Tensor]:
        return {name: values[view] for name, values in self.values.items()}


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
def say(model: StagedModel, views: Tensor, kinds: tuple[str, ...] = BASE) -> TargetSet:
    """float32 targets of all views (V, N, 3, H, W), in fixed batches of 256 of a permutation.

    The order matters to a model in train mode alone, whose running statistics must not move.
    """
    count = views.shape[1]
    found: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for number, view in enumerate(views):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(number))
        order = order.to(views.device)
        back = order.argsort()
        said: dict[str, list[Tensor]] = {name: [] for name in kinds}
        for part in order.split(TEACHER_BATCH):
            run = model.run(NORMALISE(view[part]))
            means = tuple(channel_means(maps) for maps in run.stages)
            outputs = Outputs(run.stages, means, means[-1], run.logits)
            for name in kinds:
                values = kind_of(name).read(outputs)
                said[name].append(values.half() if values.dim() > 2 else values)
        for name in kinds:
            found[name].append(torch.cat(said[name])[back])
    head = model.last_layer
    assert head is not None
    return TargetSet(
        {name: torch.stack(parts) for name, parts in found.items()},
        model.channels,
        Head(head.weight.detach().clone(), head.bias.detach().clone()),
    )


def classes_of(targets: TargetSet, labels: Tensor) -> ClassStatistics:
    """What precompute/classes.py finds, from view 0."""
    place, count = labels.device, int(labels.max()) + 1
    labels = labels.cpu()
    logits, embedding = (targets.values[name][0].cpu() for name in ("logits", "embedding"))
    sums = ClassSums(count, embedding.shape[1], has_logits=True)
    sums.add(labels, embedding, logits)
    kept = LogitsOfClasses(count, 732)
    kept.add(np.arange(len(labels)), labels.numpy(), logits)
    distance, compared = kept.distance()
    found = ClassStatistics(0, 732, compared, sums.counts, sums.centres(), sums.prior(), distance)
    return found.on(place)


def targets_of(
    model: StagedModel, views: Tensor, labels: Tensor, which: str
) -> dict[str, TargetSet]:
    more = ("embedding", "map2", "grid4", *(f"attention{s}" for s in (1, 2, 3, 4)))
    found = {"eval": say(model.eval(), views, (*BASE, *(more if which == "every" else ())))}
    if which == "every":
        found["eval"].classes = classes_of(found["eval"], labels)
    if which == "codecs":
        head = found["eval"].head.to(torch.device("cpu"))
        return {codec: found["eval"].through(codec, head) for codec in CODECS}
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.0  # the running statistics stay
    if which == "losses":
        found["batch"] = say(model.train(), views)
    model.eval()
    return found
