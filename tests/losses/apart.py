"""Losses of one batch whose samples are spread over processes; for tests of relational losses.

    python tests/losses/apart.py CASE RESULT

CASE, written by `torch.save`: (losses, StudentOutputs, Batch, number of samples of each process).
Each process gets its rows and writes RESULT + its rank: for each loss, the value and the gradients
of its rows of the logits, of the embedding and of every part, as the average over processes has
them.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from torch import Tensor

from shared.distributed import connect, disconnect, read_world
from shared.targets.targets import rows_of
from train.batch import Batch, StudentOutputs
from train.losses import Loss


def with_gradients(
    losses: Sequence[Loss], student: StudentOutputs, batch: Batch
) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Of each loss: its value, and its gradients by the name of a leaf."""
    found = []
    for loss in losses:
        leaves = {"logits": student.logits, "embedding": student.embedding, **student.parts}
        leaves = {k: v.clone().requires_grad_() for k, v in leaves.items() if v is not None}
        given = {name: leaves[name] for name in student.parts}
        outputs = replace(
            student, logits=leaves["logits"], embedding=leaves.get("embedding"), parts=given
        )
        value = loss(outputs, batch)
        gradients = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        found.append((value.detach(), dict(zip(leaves, gradients, strict=True))))
    return found


def main() -> None:
    case, result = sys.argv[1:]
    losses, student, batch, sizes = torch.load(case, weights_only=False)
    world = read_world()
    connect(world, torch.device("cpu"))
    start = sum(sizes[: world.rank])
    rows = slice(start, start + sizes[world.rank])
    mine = replace(
        batch,
        labels=batch.labels[rows],
        targets=rows_of(batch.targets, rows),
        guided=None if batch.guided is None else batch.guided[rows],
        index=None if batch.index is None else batch.index[rows],
        count=batch.count / world.size,
        guided_count=batch.guided_count / world.size,
        world=world,
        sizes=sizes,
    )
    ours = replace(
        student,
        logits=student.logits[rows],
        embedding=None if student.embedding is None else student.embedding[rows],
        parts={name: values[rows] for name, values in student.parts.items()},
    )
    found = with_gradients(losses, ours, mine)
    average = [(v, {k: g / world.size for k, g in grads.items()}) for v, grads in found]
    torch.save(average, f"{result}{world.rank}")
    disconnect(world)


if __name__ == "__main__":
    main()
