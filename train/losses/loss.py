"""The interface of a loss.

A loss is a frozen dataclass whose fields are its hyper-parameters, and a pure function of (student
outputs, batch). It computes in float32 whatever the input dtype, and returns a 0-dim float32
tensor: the sum over this process's samples divided by the batch's count, so that the same code
works for one process and for many (train/batch.py).

A *relational* loss compares the samples of a batch with each other. Its value depends on which
samples share a batch, so it must see those of the whole step: it calls `batch.whole` on all that it
compares, and returns the loss of the whole step, the same in every process.
"""

from typing import ClassVar

from torch import Tensor

from train.batch import Batch, StudentOutputs
from train.parts import Meeting, Part


class Loss:
    relational: ClassVar[bool] = False
    # Whether it reads each sample's one label, which images that are mixed of two do not have.
    hard_labels: ClassVar[bool] = False

    @property
    def needs(self) -> frozenset[str]:
        """What it takes from the teacher: kinds of targets (shared/targets/kinds.py), and what a
        run makes of a cache when it starts:

        "guided"    the mask of shared/epochs/guide.py; the loss is then a mean over guided samples
        "spread"    of every channel over the split (shared/targets/tails.py)
        "head"      the teacher's last layer
        "centres", "prior", "distance"
                    what precompute/classes.py found about every class (shared/targets/classes.py)
        "memory"    something that the loss keeps from step to step
        """
        return frozenset()

    def parts(self, meeting: Meeting) -> dict[str, Part]:
        """What the student computes for it, by name. Parts of the same name in two terms of a
        recipe are the same part, so a name says what it holds."""
        return {}

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        raise NotImplementedError


def same_classes(student: Tensor, teacher: Tensor) -> None:
    """Raises ValueError if the logits of student and teacher, (B, C) each, differ in shape."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher have different classes: got (samples, classes) "
            f"{tuple(student.shape)} from the student and {tuple(teacher.shape)} from the teacher; "
            f"build the student for the classes of this teacher"
        )
