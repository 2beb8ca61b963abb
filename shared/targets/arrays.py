"""Array codecs: how one float32 array is encoded to stored fields, and decoded.

A codec knows nothing of teachers. `encode` turns (B, *shape) float32 into *fields*, arrays with B
rows each, and `decode` turns fields on any device back. Rows are independent: any subset of them
can be decoded. `bound` gives the largest error that a codec allows for each number; tests check it.

    f32                 exact
    f16                 error up to 2^-11 of the number; 2^-25 absolute below 2^-14, where fp16 is
                        subnormal
    f16 below maximum   stores the number minus its row's maximum: error up to 2^-11 of that
                        difference, or 2^-25
    u8                  stores sqrt(x / s) in 8 bits, where s is the largest number of the part of
                        the row: most numbers are small, and small ones get finer steps; x >= 0
    s8                  the same with a sign, for networks whose stages do not end with a ReLU

The last two are in eight_bits.py.

`parts` are the widths, along the first axis of `shape`, that have a scale each: the C_s for channel
means.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InputError

Field = tuple[str, tuple[int, ...]]  # NumPy dtype, shape per sample

HALF_MAX = 65504.0  # largest finite fp16
HALF_RELATIVE = 2.0**-11  # half a unit in the last of fp16's 11 significant bits
HALF_ABSOLUTE = 2.0**-25  # half the spacing of fp16's subnormal numbers
FLOAT_NOISE = 2.0**-18  # relative rounding error of a float32 dot product of up to 2048 terms


class ArrayCodec(Protocol):
    # Field -> its meaning in words; "{meaning}" stands for the meaning of the kind.
    meaning: ClassVar[dict[str, str]]

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        """The fields in the order in which they are stored; "" is the array itself."""
        ...

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        """Raises InputError if it cannot represent `values`, which are of the kind `name`."""
        ...

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        """(B, *shape) float32."""
        ...

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        """(B, *shape): upper bound of |decoded - true| for each number."""
        ...


class F32:
    meaning: ClassVar[dict[str, str]] = {"": "{meaning}"}

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        return {"": ("float32", shape)}

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        return {"": numpy(values)}

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        return fields[""].float()

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        return torch.zeros_like(values)


class F16:
    meaning: ClassVar[dict[str, str]] = {"": "{meaning}"}

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        return {"": ("float16", shape)}

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        if (largest := values.abs().max().item()) > HALF_MAX:
            raise InputError(
                f"the teacher's {name} reach {largest:g}, and this codec holds numbers up to "
                f"{HALF_MAX:g} (fp16): use --codec exact, or check the teacher's weights"
            )
        return {"": numpy(values.half())}

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        return fields[""].float()

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        return values.abs() * HALF_RELATIVE + HALF_ABSOLUTE


class F16BelowMaximum:
    """Stores logits minus their row's maximum. This does not change the softmax, and moves the
    likely classes near 0, where fp16 is finest: 0 argmax flips, and a third of the KL of plain fp16
    logits."""

    meaning: ClassVar[dict[str, str]] = {
        "": "{meaning} minus the largest of their row (one sample in one view), "
        "so that the largest is 0: softmax, argmax and every loss on them are the teacher's. A "
        "logit more than 65504 below the largest is stored as -65504"
    }

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        return {"": ("float16", shape)}

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        """Clamps logits more than 65504 below their row's maximum to that distance; their
        probability is exactly 0 either way."""
        return {"": numpy(relative_to_maximum(values).clamp(min=-HALF_MAX).half())}

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        return fields[""].float()

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        """The bound for numbers relative to their row's maximum."""
        distance = relative_to_maximum(values).abs()
        beyond = (distance - HALF_MAX).clamp(min=0)
        return distance * HALF_RELATIVE + HALF_ABSOLUTE + beyond


def relative_to_maximum(logits: Tensor) -> Tensor:
    """(B, C) logits -> (B, C) float32, minus each row's maximum."""
    logits = logits.float()
    return logits - logits.amax(dim=1, keepdim=True)


def numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
