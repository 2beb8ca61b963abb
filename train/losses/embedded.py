"""What the losses on embeddings share: the two embeddings, in one width, and unit vectors.

Shapes: B samples, D_s and D_t numbers in the embeddings of student and teacher.
"""

import torch
from torch import Tensor, nn

from shared.errors import InputError
from train.batch import Batch, StudentOutputs
from train.parts import EMBEDDING, Meeting, Part

LEAST_SQUARE = 1e-12  # squared length below which a vector counts as 0, without a direction


def both(student: StudentOutputs, batch: Batch) -> tuple[Tensor, Tensor]:
    """The embeddings of student (B, D_s) and teacher (B, D_t), in float32."""
    assert batch.targets is not None and student.embedding is not None
    return student.embedding.float(), batch.targets["embedding"].float()


def projection(name: str, meeting: Meeting) -> dict[str, Part]:
    """A learned linear layer from the student's embedding to the teacher's width, as part `name`,
    or nothing if the widths are the same."""
    ours, (theirs,) = meeting.student.embedding, meeting.shapes["embedding"]
    return {} if ours == theirs else {name: Part(EMBEDDING, nn.Linear(ours, theirs))}


def both_of_width(name: str, student: StudentOutputs, batch: Batch) -> tuple[Tensor, Tensor]:
    """As `both`, with the student's embedding as `projection` maps it: (B, D_t) each.

    Raises ValueError if the shapes differ.
    """
    ours, theirs = both(student, batch)
    if name in student.parts:
        ours = student.parts[name].float()
    # Broadcasting would hide a mismatch and train on something else.
    if ours.shape != theirs.shape:
        raise ValueError(
            f"the student's embedding does not fit the teacher's: got (samples, width) "
            f"{tuple(ours.shape)} from the student and {tuple(theirs.shape)} from the teacher; "
            f"build the student for this teacher"
        )
    return ours, theirs


def require_spread(meeting: Meeting) -> None:
    """Raises InputError if the spread of the last stage's channels is not that of the embedding."""
    last, (width,) = meeting.channels[-1], meeting.shapes["embedding"]
    if last != width:
        raise InputError(
            f"a loss with beta divides the teacher's embedding by the spread of its last stage: "
            f"the embedding has {width} numbers and the last stage {last} channels; leave beta out "
            f"(None)"
        )


def spread_of(batch: Batch) -> Tensor:
    """(D_t,): the spread of the last stage's channels, whose means are the embedding."""
    assert batch.fixed.spread is not None
    return batch.fixed.spread[-1]


def unit(vectors: Tensor) -> Tensor:
    """Vectors along the last dimension, divided by their length; 0, with gradient 0, where they are
    shorter than sqrt(LEAST_SQUARE)."""
    squares = vectors.square().sum(-1, keepdim=True)
    long = squares > LEAST_SQUARE
    return vectors * torch.where(long, torch.where(long, squares, 1.0).rsqrt(), 0.0)


def in_float32(tensor: Tensor) -> torch.autocast:
    """A context in which matrix products keep float32 inside an autocast context, too."""
    return torch.autocast(tensor.device.type, enabled=False)
