"""SimKD: the student's last map, projected to the teacher's, and the teacher's last layer on it.

Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", CVPR 2022, arXiv
2203.14001. The projector is that of the authors' code (github.com/DefangChen/SimKD at 2b389c3,
models/util.py, class SimKD, factor 2): convolutions of 1x1 from the student's width to half the
teacher's, 3x3, and 1x1 to the teacher's width, each with BatchNorm and ReLU. As there, a map of the
student that is larger than the teacher's is pooled first; a smaller one is left to the loss.

Shapes: B samples, C classes, D channels of the teacher's last stage.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from shared.models.found_stages import probe_images
from shared.models.staged import AtStage, Run, StagedModel, channel_means, keep
from shared.targets.targets import Head
from train.composition import Projection

FACTOR = 2  # by how much the projector's inner convolution is narrower than the teacher's stage


class Projected(StagedModel):
    """`trunk` with its last stage replaced by the projected map; embedding and logits are what the
    teacher's last layer reads there and says of it. The trunk's own head has no use.

    State dict: `trunk.` and the names of the network, `projector.0` to `.8`, `head.weight` (C, D),
    `head.bias` (C,). The head is frozen; `take_head` gives it the teacher's numbers.
    """

    pooled = True
    is_linear = True

    def __init__(self, trunk: StagedModel, composition: Projection) -> None:
        super().__init__()
        width = composition.width
        self.composition = composition
        self.trunk = trunk
        self.projector = _projector(trunk.channels[-1], width, composition.signed)
        self.head = nn.Linear(width, trunk.num_classes).requires_grad_(False)
        self.architecture, self.stem = trunk.architecture, trunk.stem
        self.stage_modules, self.num_classes = trunk.stage_modules, trunk.num_classes
        self.channels = (*trunk.channels[:-1], width)
        self.stride = trunk.stride
        self.embedding_width = width
        self.signed = trunk.signed or composition.signed

    @property
    def last_layer(self) -> nn.Linear:
        return self.head

    def settle(self, x: Tensor) -> None:
        self.trunk.settle(x)

    def run(self, x: Tensor, at_stage: AtStage = keep) -> Run:
        last = len(self.channels) - 1

        def see(stage: int, maps: Tensor) -> object:
            return at_stage(stage, maps) if stage < last else self._project(maps)

        *stages, projected = self.trunk.run(x, see).stages
        embedding = channel_means(projected)
        return Run((*stages, at_stage(last, projected)), embedding, self.head(embedding))

    def _project(self, maps: Tensor) -> Tensor:
        """(B, C_S, H, W) -> (B, D, side, side), or (B, D, H, W) where that is smaller."""
        side = self.composition.side
        if side is not None and maps.shape[2] > side:
            maps = adaptive_avg_pool2d(maps, side)
        projected: Tensor = self.projector(maps)
        return projected

    @torch.no_grad()
    def take_head(self, head: Head) -> None:
        self.head.weight.copy_(head.weight)
        self.head.bias.copy_(head.bias)

    def freeze_unread(self, size: int) -> None:
        """Freezes the parameters of the trunk on which its last stage does not depend: its head.

        They would get no gradients, and DistributedDataParallel waits for those of all others.
        """
        parameters = [value for value in self.trunk.parameters() if value.requires_grad]
        was_training = self.training
        self.eval()
        with torch.enable_grad():
            last = self.trunk.run(probe_images(self.trunk, size)).stages[-1]
            gradients = torch.autograd.grad(last.sum(), parameters, allow_unused=True)
        self.train(was_training)
        for value, gradient in zip(parameters, gradients, strict=True):
            value.requires_grad_(gradient is not None)


def _projector(width: int, wanted: int, signed: bool) -> nn.Sequential:
    """Without the last ReLU where the teacher's map can be negative, which the authors' cannot."""
    inner = max(1, wanted // FACTOR)
    last = [] if signed else [nn.ReLU(inplace=True)]
    return nn.Sequential(
        nn.Conv2d(width, inner, kernel_size=1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, wanted, kernel_size=1, bias=False),
        nn.BatchNorm2d(wanted),
        *last,
    )
