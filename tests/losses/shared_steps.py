"""Steps of one or more processes with every relational loss; for test_whole_step.py.

    python tests/losses/shared_steps.py FILE

FILE gets, of the whole step: values and gradients of each loss for the same random rows, and the
parameters and memory after three steps of a student with BatchNorm frozen, which has all of them.
"""

import sys
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from torch import Tensor
from torch.optim import SGD

from shared.distributed import World, connect, disconnect, gathered, parallel, read_world, sum_over
from shared.models.build import build_model
from shared.targets.kinds import Facts
from tests.losses.embedding_cases import RELATIONAL, SMALL_CRD, case, leaves, rows_of_case, value
from train.batch import Batch, Fixed
from train.losses import PKT, RKD, SRD
from train.memory import Memory
from train.parts import Meeting
from train.recipe import Term
from train.recipes import get_recipe
from train.schedule import Constant
from train.step import train_step
from train.student import Student

SIZES = {1: (8,), 2: (5, 3), 3: (4, 1, 3)}  # samples of each process
CPU = torch.device("cpu")


def own_rows(world: World) -> slice:
    sizes = SIZES[world.size]
    return slice(sum(sizes[: world.rank]), sum(sizes[: world.rank + 1]))


def values_and_gradients(world: World) -> dict[str, Tensor]:
    found = {}
    for loss in RELATIONAL:
        student, batch = rows_of_case(*case(21, samples=8), own_rows(world), world.size)
        batch = replace(batch, world=world, sizes=SIZES[world.size])
        inputs = {name: leaf.detach() for name, leaf in leaves(student).items()}
        student = replace(student, embedding=inputs.pop("embedding"), parts=inputs)
        there = leaves(student)
        total = value(loss, student, batch)
        total.backward()
        found[f"{loss}"] = sum_over(total.detach(), world) / world.size
        for name, leaf in there.items():
            if leaf.grad is not None:  # as averaging gradients over processes would have it
                grad = gathered(leaf.grad, world, SIZES[world.size]) / world.size
                found[f"{loss} {name}"] = grad
    return found


def steps_of_a_student(world: World) -> dict[str, Tensor]:
    terms = {"srd": SRD(), "pkt": PKT(), "rkd": RKD(), "crd": SMALL_CRD}
    weights = {"ce": 1.0, "srd": 0.1, "pkt": 100.0, "rkd": 0.1, "crd": 0.1}
    ce = get_recipe("resnet18.ce").terms[0]
    more = [Term(name, loss, Constant(weights[name])) for name, loss in terms.items()]
    recipe = replace(get_recipe("resnet18.ce"), terms=(replace(ce, name="ce"), *more))
    torch.manual_seed(0)
    backbone = build_model("cifar_resnet20", 5, "cifar")
    facts = Facts(5, backbone.channels, ((8, 8), (4, 4), (2, 2)), backbone.embedding_width)
    meeting = Meeting(facts, backbone.last_layer, (16, 32, 48), {"embedding": (48,)}, (), False)
    parts = {name: part for term in more for name, part in term.loss.parts(meeting).items()}
    student = Student(backbone, (), parts=parts)
    network = parallel(student, world, CPU).eval()
    optimizer = SGD(student.parameters(), lr=1e-3, momentum=0.9)
    memory = Memory(40, SMALL_CRD.width, 3, CPU)
    rng = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(3):
        x, theirs = torch.randn(8, 3, 8, 8, generator=rng), torch.randn(8, 48, generator=rng)
        labels = torch.randint(5, (8,), generator=rng)
        index = torch.randperm(40, generator=rng)[:8]
        rows = own_rows(world)
        batch = Batch(
            labels=labels[rows],
            targets={"embedding": theirs[rows]},
            guided=None,
            count=8 / world.size,
            guided_count=0.0,
            fixed=Fixed(memory=memory),
            index=index[rows],
            world=world,
            sizes=SIZES[world.size],
        )
        _, logged = train_step(network, optimizer, recipe, weights, x[rows], batch, "fp32")
        losses.append(sum_over(torch.stack(list(logged.values())), world) / world.size)
    for values in memory.tensors().values():  # the same bits in every process
        total = sum_over(values.double(), world)
        assert torch.equal(total, values.double() * world.size)
    state = {"losses": torch.stack(losses), **dict(student.named_parameters())}
    return state | {f"memory {name}": kept for name, kept in memory.tensors().items()}


def main() -> None:
    world = read_world()
    connect(world, CPU)
    found = {"rows": values_and_gradients(world), "steps": steps_of_a_student(world)}
    if world.is_first:
        torch.save(found, sys.argv[1])
    disconnect(world)


if __name__ == "__main__":
    main()
