"""How long a training step takes on a CPU with weights laid out as planes and with channels last.

    OMP_NUM_THREADS=1 python tests/bench/layout.py [--rounds 12]

ResNet-18 with connectors, pixels with channels last in memory; the two take turns in one process.
Processor time, least and median of the rounds, as planes / channels last; and whether the outputs
in eval mode have the same bits. One thread of an EPYC, torch 2.15, 2026-11-26, beside other work,
so that the median counts; --rounds 6, and a version of before with 12, 8 and 3 rounds:

| images | pixels a side | least | median | same bits |
|---:|---:|---:|---:|---|
| 4 | 32 | 0.89, 0.68 | 0.74, 0.78 | True |
| 32 | 32 | 1.16, 0.99 | 0.92, 0.86 | True |
| 8 | 224 | 1.02, 0.95 | 1.03, 1.02 | True |
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from train.student import Student, StudentChoice, build_student

LAYOUTS = (torch.channels_last, torch.contiguous_format)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    flags = parser.parse_args()
    print("| images | pixels a side | least | median | same bits |")
    print("|---:|---:|---:|---:|---|", flush=True)
    for images, size in ((4, 32), (32, 32), (8, 224)):
        x = torch.randn(images, 3, size, size).contiguous(memory_format=torch.channels_last)
        students = [make_student(layout) for layout in LAYOUTS]
        with torch.no_grad():
            outputs = [student.eval()(x).logits for student, _ in students]
        seconds: list[list[float]] = [[], []]
        for number in range(1 + flags.rounds):
            for (student, optimizer), mine in zip(students, seconds, strict=True):
                spent = step(student.train(), optimizer, x)
                if number:  # the first one makes what every other finds
                    mine.append(spent)
        last, planes = seconds
        ratios = (of(planes) / of(last) for of in (min, median))
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {images} | {size} | {cells} | {torch.equal(*outputs)} |", flush=True)


def make_student(layout: torch.memory_format) -> tuple[Student, Optimizer]:
    student = build_student(StudentChoice("resnet18", "imagenet", 10), (64, 128, 256, 512), seed=0)
    student.to(memory_format=layout)
    return student, SGD(student.parameters(), 1e-6, momentum=0.9, weight_decay=1e-4)


def step(student: Student, optimizer: Optimizer, x: Tensor) -> float:
    """Seconds of processor time."""
    started = time.process_time()
    outputs = student(x)
    loss = outputs.logits.sum() + torch.stack([means.sum() for means in outputs.channels]).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return time.process_time() - started


if __name__ == "__main__":
    main()
