"""Does channel distillation from a cached teacher pay, and which of its losses?

    python tests/bench/tails.py --images DIR --out FILE.json [--arms losses|codecs|views]

DIR holds train/<class>/*.png and test/<class>/*.png (CIFAR-10 or CIFAR-100 as PNG files), or the
same as train.npz and test.npz with arrays x (N, 32, 32, 3) uint8 and y (N,). A ResNet-34 learns
from all training images; ResNet-18 students learn from --samples of them, with the product's losses
on the teacher's targets for fixed views (random crop of the image padded by 4, flip), one view an
epoch, as from a cache. All arms of a seed see the same images in the same order, so that
differences between arms are paired. On a GPU the steps of all arms are one CUDA graph with a branch
an arm: small networks on 32 px would otherwise leave it idle.

Two sets of targets come from one teacher: `eval`, and `batch` (its BatchNorm in train mode over
fixed batches of 256, as in the paper's code).

2026-11-26, one NVIDIA H200, torch 2.11, bf16. 10,000 images for the students, 50,000 for the
teacher, 10 views, 30 epochs, rate 0.03; val top-1 in percent on the 10,000 test images, mean and
deviation of 4 seeds (last column: 2 seeds of 20 epochs, --stem cifar --teacher-epochs 12). The
teachers have 83.3, 58.3 and 66.1. CIFAR-10 is the one of strongly compressed JPEG files.

| losses, eval-mode teacher | CIFAR-10 | CIFAR-100 | CIFAR-100, stem cifar |
|---|---:|---:|---:|
| CE | 65.6 ± 0.8 | 32.4 ± 0.3 | 36.3 ± 0.5 |
| CE + KD at T = 1 | 66.1 ± 1.9 | 35.7 ± 0.8 | 40.7 ± 0.7 |
| CE + KD at T = 4 | 71.5 ± 1.6 | 42.3 ± 0.5 | 49.1 ± 1.0 |
| CE + 6 CD | 66.4 ± 0.9 | 38.2 ± 0.6 | 48.8 ± 0.6 |
| CE + GKD + 6 CD | 66.3 ± 1.6 | 37.6 ± 0.9 | 50.0 ± 0.2 |
| CD + GKD + EDT, the default recipe's | 69.9 ± 0.2 | 43.1 ± 0.3 | 52.5 ± 0.7 |
| CE + 5 RCD | 73.4 ± 1.1 | 44.5 ± 0.2 | 56.3 ± 0.6 |
| CE + GKD + 5 RCD | 71.1 ± 1.0 | 44.2 ± 0.2 | 56.7 ± 0.3 |
| RCD + GKD + EDT | **73.7 ± 1.8** | **47.6 ± 0.4** | **57.9 ± 0.3** |
| CD + GKD + EDT, teacher in train mode | 70.8 ± 0.2 | 42.8 ± 0.7 | 52.4 ± 0.1 |
| RCD + GKD + EDT, teacher in train mode | 73.8 ± 0.8 | 47.7 ± 0.4 | 57.7 ± 0.3 |

Paired differences with 95 % intervals: RCD + GKD + EDT lies above CE by 8.1 ± 1.9 and 15.2 ± 0.9,
above KD at T = 1 by 7.6 ± 3.0 and 11.9 ± 1.3, above KD at T = 4 by 2.2 ± 4.8 and 5.3 ± 0.7, above
CD + GKD + EDT by 3.8 ± 2.8 and 4.5 ± 0.5 (CIFAR-10, CIFAR-100).

The farthest 1 % of images hold 0.04 0.15 0.71 0.07 of the variance of the means (stages 1 to 4,
CIFAR-10), 0.05 0.03 0.03 0.02 (CIFAR-100) and 0.08 0.05 0.11 0.02 (stem cifar). Where tails are
light the gain of RCD cannot come from them: dividing by the spread also gives channels that move
little their part in the loss. A teacher in train mode has lighter tails (0.65 in place of 0.71) and
gives its students 1.0 ± 0.3 points with CD on CIFAR-10, and nothing that can be told with RCD.

Tried before this study on the same data (this file at commit 017d3dc), and left out, as none gained
2 points over CD: Huber's function without the spread, square roots of the means, clipping them at
their 99th percentile, weighing stages by their variance, and BatchNorm statistics that were
estimated again over the views. The square of differences divided by the spread, without Huber's
function, lost to CD on CIFAR-10 by 3 points. At --lr 0.1 RCD + GKD + EDT had 76.0 on CIFAR-10, and
KD 60.1.

--arms codecs --seeds 16 --together 4 --epochs 15 --teacher-epochs 15, CIFAR-10, CE + GKD + 6 CD, a
teacher whose third stage has 0.92 of its variance in the farthest 1 %: the students of `half` lie
0.2 ± 1.1 points above those of `exact`, of `compact` 0.1 ± 0.8, of `tiny` 0.2 ± 0.6 (16 pairs, 95 %
intervals). No codec costs accuracy that this could show.

--arms views --views 32 --epochs 32 --teacher-epochs 20, CIFAR-10, 2 seeds, teacher 81.4: how many
views an image pay. 1, 2, 4, 8, 16 and 32 of them give RCD + GKD + EDT 73.8, 75.5, 76.3, 76.7, 77.0
and 77.1 (deviation 0.5), and CE + KD at T = 4 66.4, 70.3, 71.2, 71.6, 71.8 and 72.1. So the
default of 4 has three quarters of the gain of 32 at an eighth of their cost.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from shared.models.build import build_model
from shared.models.staged import StagedModel, channel_means
from shared.pixels.normalise import NORMALISATIONS
from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.tails import Tails, tails_of
from shared.targets.targets import Head, Targets, rows_of
from tests.said import said, stages_of
from train.batch import Batch
from train.losses import (
    CE,
    KD,
    ChannelDistillation,
    GuidedKD,
    Loss,
    RobustChannelDistillation,
)
from train.schedule import Constant, Schedule, Steps, SwitchedOn
from train.student import Student, build_student

TEACHER_BATCH = 256
MANY = 10**6
WEIGHT_DECAY, MOMENTUM = 5e-4, 0.9
NORMALISE = NORMALISATIONS["cifar"]
# Of Student's t: the half width of a 95 % interval from n = 2, 3, ... pairs, in standard errors.
T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


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
        with_channels = arm.cd is not None or arm.rcd is not None
        widths = tuple(stage.shape[2] for stage in targets.channels) if with_channels else ()
        student = build_student("resnet18", flags.stem, classes, widths, seed)
        self.student: Student = student.to(place).train()
        self.parameters = list(self.student.parameters())
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self.rate = torch.zeros((), device=place)
        # Static memory for the graph: the current view, and what the teacher says about it.
        self.view = views[0].clone(memory_format=torch.channels_last)
        self.now = {name: values.clone() for name, values in targets.of(0).items()}
        self.index = torch.zeros(flags.batch_size, dtype=torch.int64, device=place)
        self.terms = {
            name: (torch.zeros((), device=place), make(arm))
            for name, make in LOSSES.items()
            if getattr(arm, name) is not None
        }

    def begin(self, epoch: int, rate: float) -> None:
        self.rate.fill_(rate)
        view = epoch % min(self.arm.views, len(self.views))
        self.view.copy_(self.views[view])
        for name, values in self.targets.of(view).items():
            self.now[name].copy_(values)
        for name, (weight, _) in self.terms.items():
            weight.fill_(getattr(self.arm, name)(epoch))

    def step(self, labels: Tensor) -> None:
        """On the samples `index`."""
        index = self.index
        targets = rows_of(self.now, index)
        guided = targets["logits"].argmax(1) == labels[index]
        count = float(len(index))
        batch = Batch(labels[index], targets, guided, count, guided.sum(), self.targets.spread)
        x = NORMALISE(self.view[index])
        with half_precision(x.device):
            outputs = self.student(x)
        total = torch.stack(
            [weight * loss(outputs, batch) for weight, loss in self.terms.values()]
        ).sum()
        gradients = torch.autograd.grad(total, self.parameters)
        with torch.no_grad():
            decayed = torch._foreach_add(list(gradients), self.parameters, alpha=WEIGHT_DECAY)
            torch._foreach_mul_(self.momenta, MOMENTUM)
            torch._foreach_add_(self.momenta, decayed)
            torch._foreach_sub_(self.parameters, torch._foreach_mul(self.momenta, self.rate))

    def kept(self) -> list[Tensor]:
        return [*self.student.state_dict().values(), *self.momenta]


def half_precision(device: torch.device) -> torch.autocast:
    """bf16 on a GPU. A graph must not read casts that were kept before it was captured."""
    on_gpu = device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16, enabled=on_gpu, cache_enabled=False)


def load_images(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """(N, 3, 32, 32) uint8, (N,) int64."""
    kept = folder / f"{split}.npz"
    if not kept.exists():
        classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
        files = [(path, label) for label, c in enumerate(classes) for path in sorted(c.iterdir())]
        pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
        np.savez(kept, x=pixels, y=np.array([label for _, label in files]))
    with np.load(kept) as arrays:
        x, y = arrays["x"], arrays["y"]
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y).long()


def draw(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image padded by 4 (mirrored), cropped back to its size and flipped, at random."""
    n, _, height, width = images.shape
    padded = pad(images.float(), (4, 4, 4, 4), mode="reflect").to(torch.uint8)
    top, left, flip = (
        torch.randint(bound, (n,), generator=generator).to(images.device) for bound in (9, 9, 2)
    )
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = left[:, None] + torch.where(flip[:, None] == 1, width - 1 - columns, columns)
    number = torch.arange(n, device=images.device)[:, None, None]
    view = padded.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return view.permute(0, 3, 1, 2)  # channels last in memory


def graphed(
    step: Callable[[], None], kept: Callable[[], list[Tensor]], device: torch.device
) -> Callable[[], object]:
    """`step` as a CUDA graph; what `kept` names is as it was before. On a CPU: `step`."""
    if device.type != "cuda":
        return step
    before = [value.clone() for value in kept()]
    main = torch.cuda.Stream()
    main.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(main):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=main):
        step()
    torch.cuda.synchronize()
    with torch.no_grad():
        for value, old in zip(kept(), before, strict=True):
            value.copy_(old)
    return graph.replay


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
            logits, _ = model(x)
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
def top1(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    hits = 0
    for x, y in zip(images.split(2000), labels.split(2000), strict=True):
        with half_precision(images.device):
            logits, _ = model(NORMALISE(x))
        hits += int((logits.argmax(1) == y).sum())
    return 100 * hits / len(labels)


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
            answer, stages = model(NORMALISE(view[part]))
            said.append((answer, *(channel_means(stage) for stage in stages)))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR")
    add("--out", type=Path, required=True, metavar="FILE")
    add("--arms", choices=("losses", "codecs", "views"), default="losses")
    add("--stem", choices=("imagenet", "cifar"), default="imagenet")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--samples", type=int, default=10_000, help="images that the students learn from")
    add("--views", type=int, default=10)
    add("--epochs", type=int, default=30)
    add("--teacher-epochs", type=int, default=30)
    add("--batch-size", type=int, default=128)
    add("--lr", type=float, default=0.03)
    add("--seeds", type=int, default=3, help="how many; those that --seconds leave time for")
    add("--seconds", type=float, default=math.inf, help="in which a new group of seeds may begin")
    add("--together", type=int, default=1, help="seeds whose students learn at the same time")
    add("--streams", type=int, default=16)
    flags = parser.parse_args()
    device = torch.device(flags.device)
    torch.backends.cudnn.benchmark = True
    started = time.perf_counter()

    def log(text: str) -> None:
        print(f"[{time.perf_counter() - started:.0f} s] {text}", flush=True)

    images, labels = (value.to(device) for value in load_images(flags.images, "train"))
    val, val_labels = (value.to(device) for value in load_images(flags.images, "test"))
    classes = int(labels.max()) + 1
    log(f"{flags.images.name}: {len(images)} images, {classes} classes, stem {flags.stem}")
    teacher = train_teacher(
        images, labels, classes, flags.stem, flags.teacher_epochs, min(256, len(images))
    )
    taught = top1(teacher, val, val_labels)
    log(f"teacher: val top-1 {taught:.2f}")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(77))
    chosen = chosen[: flags.samples].to(device)
    generator = torch.Generator().manual_seed(99)
    views = torch.stack([draw(images[chosen], generator) for _ in range(flags.views)])
    targets = targets_of(teacher, views, flags.arms)
    for name, found in targets.items():
        right = (found.logits.argmax(2) == labels[chosen]).float().mean()
        log(f"{name}: {found.tails.line()}; right {right:.3f}")
    results: dict[str, list[float]] = {}
    for first in range(0, flags.seeds, flags.together):
        if first and time.perf_counter() - started > flags.seconds:
            break
        seeds = range(first, min(flags.seeds, first + flags.together))
        learners = [
            Learner(arm, targets[arm.targets], views, classes, seed, flags)
            for seed in seeds
            for arm in arms(flags.arms, flags.epochs)
        ]
        learn(learners, labels[chosen], flags)
        for one in learners:
            name = f"{one.arm.name} [{one.arm.targets}]"
            backbone = one.student.backbone.eval()
            results.setdefault(name, []).append(top1(backbone, val, val_labels))
        log(f"seeds {list(seeds)} done")
        kept = {
            "images": flags.images.name, "stem": flags.stem, "teacher": taught,
            "tails": {name: found.tails.share for name, found in targets.items()},
            "flags": {name: str(value) for name, value in vars(flags).items()}, "top1": results,
        }  # fmt: skip
        flags.out.write_text(json.dumps(kept, indent=1))
        del learners
    against = {
        "losses": ["ce [eval]", "kd [eval]"],
        "codecs": ["cd+gkd [exact]"],
        "views": ["kd, T = 4, 4 views [eval]", "rcd+gkd+edt, 4 views [eval]"],
    }[flags.arms]
    print("\n".join(table(results, against)))


def table(results: dict[str, list[float]], against: list[str]) -> list[str]:
    """Mean and deviation, and the paired differences to some arms with their 95 % intervals."""
    rows = [f"| arm [targets] | val top-1 | {' | '.join(f'- {name}' for name in against)} |"]
    rows.append("|---|---:|" + "---:|" * len(against))
    for name, values in results.items():
        cells = [paired(values, results[other]) for other in against]
        rows.append(f"| {name} | {spread(values)} | {' | '.join(cells)} |")
    return rows


def spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values) if len(values) > 1 else 0:.2f}"


def paired(ours: list[float], theirs: list[float]) -> str:
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    n = len(differences)
    width = T95[min(n - 2, len(T95) - 1)] * stdev(differences) / math.sqrt(n) if n > 1 else 0
    return f"{mean(differences):+.2f} ± {width:.2f}"


if __name__ == "__main__":
    main()
