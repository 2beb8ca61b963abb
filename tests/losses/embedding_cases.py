"""The losses on embedding and head, and random inputs for them."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from shared.targets.classes import ClassStatistics
from shared.targets.targets import Head
from train.batch import Batch, Fixed, StudentOutputs
from train.losses import CRD, L2, PKT, RKD, SRD, SRRL, Loss, NormDirection
from train.memory import Memory

SPLIT = 40  # samples of the split that a memory holds
SMALL_CRD = CRD(width=3, negatives=16)
PER_SAMPLE: list[Loss] = [
    *(L2(), L2(beta=1.0), L2(beta=0.3)),
    *(SRRL(), SRRL(head_weight=0.2), SRRL(beta=1.0), SRRL(head_weight=2.0, beta=0.3)),
    NormDirection(),
]
RELATIONAL: list[Loss] = [SRD(), PKT(), RKD(), RKD(distance=1.0, angle=2.0), SMALL_CRD]
every_loss = pytest.mark.parametrize("loss", [*PER_SAMPLE, *RELATIONAL], ids=repr)
per_sample = pytest.mark.parametrize("loss", PER_SAMPLE, ids=repr)
relational = pytest.mark.parametrize("loss", RELATIONAL, ids=repr)


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng)


def memory_of(classes: int, rng: torch.Generator, steps: int = 2) -> Memory:
    """As after some steps: with labels for most samples, and its constants."""
    memory = Memory(SPLIT, SMALL_CRD.width, 5, torch.device("cpu"))
    memory.labels.copy_(torch.randint(-1, classes, (SPLIT,), generator=rng))
    memory.log_sums.copy_(torch.tensor([5.0, 4.5]))
    memory.steps = steps
    return memory


def case(
    seed: int, samples: int = 6, width: int = 4, classes: int = 5, scale: float = 2.0
) -> tuple[StudentOutputs, Batch]:
    """Everything that any of the losses reads; `scale` multiplies both embeddings."""
    rng = torch.Generator().manual_seed(seed)
    centres = normalize(normal(rng, classes, width), dim=1)
    parts = {
        "srrl": normal(rng, samples, width) * scale,
        "srd": normal(rng, samples, width) * scale,
        "crd_student": normal(rng, samples, 3) * scale,
        "crd_teacher": normal(rng, samples, 3) * scale,
    }
    labels = torch.randint(classes, (samples,), generator=rng)
    student = StudentOutputs(
        logits=normal(rng, samples, classes),
        channels=(),
        embedding=normal(rng, samples, width) * scale,
        parts=parts,
    )
    fixed = Fixed(
        spread=(torch.ones(3), 0.5 + torch.rand(width, generator=rng)),
        head=Head(normal(rng, classes, width), normal(rng, classes)),
        classes=ClassStatistics(0, 1, 1, torch.ones(classes).long(), centres, None, None),
        memory=memory_of(classes, rng),
    )
    batch = Batch(
        labels=labels,
        targets={
            "embedding": normal(rng, samples, width) * scale,
            "logits": normal(rng, samples, classes),
        },
        guided=None,
        count=float(samples),
        guided_count=0.0,
        fixed=fixed,
        index=torch.randperm(SPLIT, generator=rng)[:samples],
    )
    return student, batch


def value(loss: Loss, student: StudentOutputs, batch: Batch) -> Tensor:
    """The loss, with a copy of the memory, which it changes."""
    fixed = replace(batch.fixed, memory=deepcopy(batch.fixed.memory))
    return loss(student, replace(batch, fixed=fixed))


def leaves(student: StudentOutputs) -> dict[str, Tensor]:
    """What gradients reach, ready for them."""
    assert student.embedding is not None
    found = {"embedding": student.embedding, **student.parts}
    for tensor in found.values():
        tensor.requires_grad_()
    return found


def with_values(student: StudentOutputs, changed: dict[str, Tensor]) -> StudentOutputs:
    """The outputs with other tensors, by their names in `leaves`."""
    parts = {name: changed.get(name, part) for name, part in student.parts.items()}
    return replace(student, embedding=changed.get("embedding", student.embedding), parts=parts)


def rows_of_case(
    student: StudentOutputs, batch: Batch, rows: slice, parts: int
) -> tuple[StudentOutputs, Batch]:
    """Some samples, with the whole batch's count divided by `parts`."""
    assert student.embedding is not None and batch.targets is not None and batch.index is not None
    cut = replace(
        with_values(student, {name: part[rows] for name, part in student.parts.items()}),
        embedding=student.embedding[rows],
        logits=student.logits[rows],
    )
    return cut, replace(
        batch,
        labels=batch.labels[rows],
        targets={name: found[rows] for name, found in batch.targets.items()},
        index=batch.index[rows],
        count=batch.count / parts,
    )
