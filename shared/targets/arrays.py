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


class U8:
    meaning: ClassVar[dict[str, str]] = {
        "": "round(255 * sqrt(c / s)), where c are {meaning}, and s is the scale of the stage. "
        "To decode: c = ({field} / 255)**2 * s, with s = numpy.repeat({scale}, stages, axis=-1)",
        "scale": "for each stage the largest channel mean of the row (one sample in one view)",
    }
    # Used instead of `meaning` for an array that is not divided into stages.
    meaning_alone: ClassVar[dict[str, str]] = {
        "": "round(255 * sqrt(c / s)), where c is: {meaning}; and s is the scale of the row. To "
        "decode: c = ({field} / 255)**2 * s",
        "scale": "the largest number of the row (one sample in one view)",
    }

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        return {"": ("uint8", shape), "scale": ("float32", (len(parts),))}

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        if (lowest := values.min().item()) < 0:
            raise InputError(
                f"the teacher's {name} reach {lowest:g}, and codec tiny holds numbers of 0 or "
                f"more, as they are after ReLU: use --codec compact"
            )
        pieces = values.split(list(parts), dim=1)
        scales = [_largest(piece) for piece in pieces]
        steps = [
            # clamp: a part that is all zeros has scale 0, and its codes must be 0
            (255 * (piece / scale.clamp(min=1e-30)).sqrt()).round()
            for piece, scale in zip(pieces, scales, strict=True)
        ]
        return {
            "": numpy(torch.cat(steps, dim=1).to(torch.uint8)),
            "scale": numpy(torch.cat([scale.flatten(1) for scale in scales], dim=1)),
        }

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        codes = fields[""]
        # Expand part by part: repeat_interleave with a tensor of widths would need a copy to the
        # GPU, for which the host would wait until the GPU has finished its queue.
        scales = fields["scale"].split(1, dim=1)
        wide = [one.expand(-1, width) for one, width in zip(scales, parts, strict=True)]
        scale = torch.cat(wide, dim=1)[(..., *[None] * (codes.dim() - 2))]
        return (codes.float() * (1 / 255)).square() * scale

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        errors = []
        for piece in values.split(list(parts), dim=1):
            scale = _largest(piece)
            # The square root is off by half a step of 1/255; square that, add float32 rounding.
            error = (piece.clamp(min=0) * scale).sqrt() / 255 + scale / 510**2
            errors.append(error + scale * FLOAT_NOISE + 1e-30)
        return torch.cat(errors, dim=1)


ARRAYS: dict[str, ArrayCodec] = {
    "f32": F32(),
    "f16": F16(),
    "f16 below maximum": F16BelowMaximum(),
    "u8": U8(),
}


def relative_to_maximum(logits: Tensor) -> Tensor:
    """(B, C) logits -> (B, C) float32, minus each row's maximum."""
    logits = logits.float()
    return logits - logits.amax(dim=1, keepdim=True)


def numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _largest(piece: Tensor) -> Tensor:
    """(B, n, ...) -> (B, 1, ...): the largest number of each row."""
    return piece.amax(dim=tuple(range(1, piece.dim())), keepdim=True)
