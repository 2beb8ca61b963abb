"""What a contrastive loss keeps of every sample from step to step.

It is state of the run: saved in last.pt as "memory", and restored from there. All processes hold
the same, because each of them enters the rows of the whole step.

Shapes: N samples of the split, D numbers kept of either network.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from shared.device import moved
from shared.epochs.order import random_words

UNSEEN = -1  # label of a sample that no step has had yet


class Memory:
    def __init__(self, samples: int, width: int, seed: int, device: torch.device) -> None:
        """Begins with random vectors, whose length is about 1, as in RepDistiller."""
        generator = torch.Generator().manual_seed(seed)
        limit = math.sqrt(3 / width)

        def random() -> Tensor:
            values = torch.empty(samples, width).uniform_(-limit, limit, generator=generator)
            return values.to(device)

        self._seed = seed
        self.steps = 0  # entered so far
        self.student, self.teacher = random(), random()  # (N, D)
        self.labels = torch.full((samples,), UNSEEN, device=device)  # (N,)
        self.log_sums = torch.zeros(2, device=device)  # the loss's constants, from its first step

    @property
    def num_bytes(self) -> int:
        return sum(values.nbytes for values in self.tensors().values())

    def draw(self, count: int) -> Tensor:
        """(count,) samples for this step, on the device, each of the N equally likely.

        A pure function of the seed and the number of steps so far, the same in every process.
        """
        words = random_words(count, self._seed, self.steps, "negative")
        samples = (words % len(self.labels)).astype("int64")
        return moved(torch.from_numpy(samples), self.labels.device)

    def enter(
        self, index: Tensor, labels: Tensor, student: Tensor, teacher: Tensor, momentum: float
    ) -> None:
        """Mixes unit vectors (B, D) of the samples `index` (B,), each there once, into theirs."""
        for kept, new in ((self.student, student), (self.teacher, teacher)):
            mixed = momentum * kept[index] + (1 - momentum) * new.detach()
            kept[index] = normalize(mixed, dim=1)
        self.labels[index] = labels
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "tensors": self.tensors()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.steps = saved["steps"]
        for name, values in self.tensors().items():
            values.copy_(saved["tensors"][name])

    def tensors(self) -> dict[str, Tensor]:
        return {
            "student": self.student,
            "teacher": self.teacher,
            "labels": self.labels,
            "log_sums": self.log_sums,
        }
