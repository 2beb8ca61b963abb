"""Teachers whose eval and train modes differ much, and what tests compare of their targets."""

import torch
from torch import Tensor, nn

from shared.models.build import build_model
from shared.pixels.normalise import NORMALISATIONS
from shared.targets.targets import Targets
from shared.targets.teacher import Teacher
from tests.said import stages_of

CLASSES = 5
IMAGENET = NORMALISATIONS["imagenet"]
BATCHES = (1, 2, 3, 5, 8, 13, 17, 32)


def make_teacher(
    architecture: str, stem: str | None = None, precision: str = "fp32", statistics: str = "eval"
) -> Teacher:
    """BatchNorm statistics are far from those of any batch: eval and train mode differ much."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some weights of a ResNet-50 take float32 beyond the bounds below
        model = build_model(architecture, CLASSES, stem)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                shape = module.running_mean.shape
                module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.2)
                module.running_var.copy_(torch.rand(shape, generator=generator) + 1)
    return Teacher(model, IMAGENET, precision, statistics)


def random_pixels(rows: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, size, size), dtype=torch.uint8, generator=generator)


def assert_equal(targets: Targets, others: Targets, what: object = "") -> None:
    assert targets.keys() == others.keys() >= {"logits", "channels"}
    for name, values in targets.items():
        assert torch.equal(values, others[name]), (what, name)


def parts(teacher: Teacher, targets: Targets) -> tuple[Tensor, ...]:
    """Logits, and the channel means of each stage."""
    return (targets["logits"], *stages_of(targets, teacher.model.channels))
