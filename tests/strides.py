"""A backward pass in which gradients come with other strides than their parameters have.

For tests/test_distributed.py, as one of several processes. On a CPU the gradient of a 1x1 kernel
is written down channels last; the kernels here are written down the other way round, in the same
memory. On a GPU it is for cuDNN to choose.
"""

import sys
import warnings
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from shared.distributed import connect, disconnect, parallel, read_world, sum_over
from train.student import StudentChoice, build_student

warnings.simplefilter("error")


def main() -> None:
    world, cpu = read_world(), torch.device("cpu")
    connect(world, cpu)
    student = build_student(StudentChoice("cifar_resnet20", "cifar", 4), (16, 32, 64), seed=0)
    turned = 0
    for parameter in student.parameters():
        if parameter.dim() == 4 and parameter.shape[2:] == (1, 1):
            width = parameter.shape[1]
            parameter.data = parameter.data.as_strided(parameter.shape, (width, 1, 1, 1))
            turned += 1
    assert turned == 5, turned
    network = parallel(student, world, cpu)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(world.rank))
    for _ in range(2):
        student.zero_grad(set_to_none=True)
        out = network(x.contiguous(memory_format=torch.channels_last))
        (out.logits.sum() + torch.stack([means.sum() for means in out.channels]).sum()).backward()
    for parameter in student.parameters():
        assert parameter.grad is not None and parameter.grad.stride() == parameter.stride()
        assert torch.equal(sum_over(parameter.grad, world) / world.size, parameter.grad)
    print("the same in all processes")
    disconnect(world)


if __name__ == "__main__":
    main()
