"""Residual KD: one network split into a student S and an assistant A, which together cost no more.

Gao, Shen, Li and Loy, "Residual Knowledge Distillation", arXiv 2002.09168: S mimics the maps of the
teacher T, A learns the residual error between them, and both are made of one given network without
more computation in all. **The rest is our reading.** No code of the authors is public, and only the
paper's abstract and a summary could be read, not its formulas, layers or tables. We read:

* S and A have the blocks and depths of the network and see the same pixels. S has its widths times
  sqrt(1 - share), A times sqrt(share), in multiples of 8, as the cost of a convolution goes with
  the product of its widths; both are narrowed together until the whole costs no more.
* A 1x1 convolution with BatchNorm maps each stage to the teacher's width; S has a ReLU after it as
  the teacher's stages have, A has none as a residual can be negative.
* The network that is used is S + A: a linear layer reads the mean of the summed last stage.

Cost is in multiply-adds of convolutions and linear layers for one image. At 224 px with a teacher
as wide as ResNet-34, 1,000 classes and a share of 0.2, `resnet18` has 1,814 million. S with widths
of 56, 112, 224 and 448 and A with 24, 56, 112 and 224 have 1,762 million together, of which A has
20 %. Only the connectors of the last stage are among these: the others serve the losses, and
`forward` leaves them out. With all of them, as in training, it is 1,812 million.

Shapes: B samples, C classes, D_s channels of the teacher's stage s.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.build import build_model
from shared.models.staged import AtStage, Run, StagedModel, channel_means, keep
from train.composition import Halves
from train.narrow import Trunk, blocks_of, multiply_adds

SHARE = 0.2  # of the cost, for the assistant
STEP = 8  # widths are multiples of this


class Split(StagedModel):
    """Its stages are those of S at the teacher's widths, then as many sums S + A: 8 for a resnet18.
    The teacher's stages meet the sums, as the last stages do; if the sum of a stage has the number
    n, S alone has n - len(channels) // 2.

    State dict: `student.` and `assistant.` with the network's names up to fc,
    `student_connectors.s.0` and `.1`, `assistant_connectors.s.0` and `.1`, `head`.
    """

    pooled = True
    signed = True  # the sums
    is_linear = True

    def __init__(self, architecture: str, classes: int, stem: str, composition: Halves) -> None:
        super().__init__()
        self.composition = composition
        self.student = Trunk(architecture, stem, composition.student)
        self.assistant = Trunk(architecture, stem, composition.assistant)
        widths = composition.widths
        self._first = len(composition.student) - len(widths)  # the first stage that meets one
        self.student_connectors = nn.ModuleList(
            _connector(width, wanted, relu=not composition.signed)
            for width, wanted in zip(self.student.channels[self._first :], widths, strict=True)
        )
        self.assistant_connectors = nn.ModuleList(
            _connector(width, wanted, relu=False)
            for width, wanted in zip(self.assistant.channels[self._first :], widths, strict=True)
        )
        self.head = nn.Linear(widths[-1], classes)
        self.to(memory_format=torch.channels_last)
        self.architecture, self.stem, self.num_classes = architecture, stem, classes
        self.channels = (*widths, *widths)
        self.stride = self.student.stride
        self.embedding_width = widths[-1]

    @property
    def last_layer(self) -> nn.Linear:
        return self.head

    def run(self, x: Tensor, at_stage: AtStage = keep) -> Run:
        met = len(self.student_connectors)
        maps = zip(self.student(x)[self._first :], self.assistant(x)[self._first :], strict=True)
        own, sums = [], []
        for stage, (mine, residual) in enumerate(maps):
            alone = self.student_connectors[stage](mine)
            summed = alone + self.assistant_connectors[stage](residual)
            own.append(at_stage(stage, alone))
            sums.append(at_stage(met + stage, summed))
        embedding = channel_means(summed)
        return Run((*own, *sums), embedding, self.head(embedding))

    def forward(self, x: Tensor) -> Tensor:
        """As `run`, without the connectors of earlier stages, which logits do not need."""
        alone = self.student_connectors[-1](self.student(x)[-1])
        summed = alone + self.assistant_connectors[-1](self.assistant(x)[-1])
        logits: Tensor = self.head(channel_means(summed))
        return logits

    def freeze_unread(self, kinds: frozenset[str]) -> None:
        """Freezes the connectors of stages that no target of these `kinds` is of: they would get no
        gradients, and DistributedDataParallel waits for those of all others."""
        last = len(self.student_connectors)
        if "channels" in kinds:
            return
        read = {kind[len(kind.rstrip("0123456789")) :] for kind in kinds} | {str(last)}
        for connectors in (self.student_connectors, self.assistant_connectors):
            for stage, connector in enumerate(connectors):
                connector.requires_grad_(str(stage + 1) in read)


def _connector(width: int, wanted: int, relu: bool) -> nn.Sequential:
    layers = [nn.Conv2d(width, wanted, kernel_size=1, bias=False), nn.BatchNorm2d(wanted)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def halves_of(
    architecture: str,
    classes: int,
    stem: str,
    size: int,
    teacher: tuple[int, ...],
    signed: bool = False,
    share: float = SHARE,
) -> Halves:
    """The widest S and A of a network that together cost no more than it does.

    `size`: pixels a side of the images. `teacher`: the channels of its stages. The network must
    have as many stages, or more. Raises InputError if none are narrow enough.
    """
    with torch.device("meta"):
        whole = build_model(architecture, classes, stem)
        most = multiply_adds(whole, size)
    own = [width // blocks_of(architecture)[0].expansion for width in whole.channels]
    candidates: dict[Halves, None] = {}  # the widest first; many scales round to the same widths
    for percent in range(100, 0, -1):
        scales = [sqrt(part) * percent / 100 for part in (1 - share, share)]
        ours, others = (tuple(max(STEP, STEP * round(w * s / STEP)) for w in own) for s in scales)
        candidates[Halves(ours, others, teacher, signed)] = None
    for halves in candidates:
        with torch.device("meta"):
            if multiply_adds(Split(architecture, classes, stem, halves), size) <= most:
                return halves
    raise InputError(
        f"{architecture} cannot be split for a teacher with stages of {teacher} channels: the "
        f"connectors alone cost more than the {most:,} multiply-adds that it has; choose a larger "
        f"--student"
    )
