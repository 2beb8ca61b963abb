"""How one array becomes bytes and back. An array codec knows nothing of teachers.

It turns (B, *shape) float32 into *fields*, arrays of B rows each, and fields on any device back.
Every row stands for itself, so that any subset of rows decodes alone. `bound` is what it promises:
the largest error of every number, which tests hold it to.

    f32                 the bits
    f16                 2^-11 of a number; below 2^-14 fp16 is subnormal: 2^-25 absolute
    f16 below maximum   of a row relative to its maximum: 2^-11 of the distance to it
    u8                  sqrt(x / s) in 8 bits, s the largest number of a part of the row: small
                        numbers, the many, get finer steps; x must be 0 or more

`parts` are the widths along the first axis that have a scale each: the C_s of channel means.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InputError

Field = tuple[str, tuple[int, ...]]  # NumPy dtype, shape a sample

HALF_MAX = 65504.0  # largest finite fp16
HALF_RELATIVE = 2.0**-11  # half a unit in the last place of fp16's 11 significant bits
HALF_ABSOLUTE = 2.0**-25  # the same below fp16's smallest normal number
FLOAT_NOISE = 2.0**-18  # rounding of a float32 product sum over up to 2048 terms, relative


class ArrayCodec(Protocol):
    meaning: ClassVar[dict[str, str]]  # of its fields, with {meaning} for that of the kind

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        """Of each field, "" being the array itself, in the order in which they are stored."""
        ...

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        """InputError where it cannot hold the values, those of the kind `name`."""
        ...

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        """(B, *shape) float32."""
        ...

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        """(B, *shape): largest |decoded - true| of every number."""
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
    """Softmax cannot tell the difference, and fp16 is finest near 0, where the probable classes
    then lie: 0 argmax flips and a third of the KL of fp16 logits as they are."""

    meaning: ClassVar[dict[str, str]] = {
        "": "{meaning} minus the largest of their row (one sample in one view), "
        "so that the largest is 0: softmax, argmax and every loss on them are the teacher's. A "
        "logit more than 65504 below the largest is stored as -65504"
    }

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        return {"": ("float16", shape)}

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        """What lies further than 65504 below its row's maximum is stored at that distance: its
        probability is exactly 0 either way."""
        return {"": numpy(relative_to_maximum(values).clamp(min=-HALF_MAX).half())}

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        return fields[""].float()

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        """Of numbers relative to their row's maximum."""
        distance = relative_to_maximum(values).abs()
        beyond = (distance - HALF_MAX).clamp(min=0)
        return distance * HALF_RELATIVE + HALF_ABSOLUTE + beyond


class U8:
    meaning: ClassVar[dict[str, str]] = {
        "": "round(255 * sqrt(c / s)), where c are {meaning}, and s is the scale of the stage. "
        "To decode: c = ({field} / 255)**2 * s, with s = numpy.repeat({scale}, stages, axis=-1)",
        "scale": "for each stage the largest channel mean of the row (one sample in one view)",
    }
    # Of an array that is not made of stages.
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
            # clamp: a part of zeros has scale 0 and codes 0
            (255 * (piece / scale.clamp(min=1e-30)).sqrt()).round()
            for piece, scale in zip(pieces, scales, strict=True)
        ]
        return {
            "": numpy(torch.cat(steps, dim=1).to(torch.uint8)),
            "scale": numpy(torch.cat([scale.flatten(1) for scale in scales], dim=1)),
        }

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        codes = fields[""]
        # Widened a part at a time: a tensor of widths would have to be copied to a GPU, and the
        # host would wait for all that the GPU has still to do.
        scales = fields["scale"].split(1, dim=1)
        wide = [one.expand(-1, width) for one, width in zip(scales, parts, strict=True)]
        scale = torch.cat(wide, dim=1)[(..., *[None] * (codes.dim() - 2))]
        return (codes.float() * (1 / 255)).square() * scale

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        errors = []
        for piece in values.split(list(parts), dim=1):
            scale = _largest(piece)
            # A root off by half a step of 1/255, squared; then float32 rounding.
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
    """(B, C) -> the same minus each row's maximum, float32."""
    logits = logits.float()
    return logits - logits.amax(dim=1, keepdim=True)


def numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _largest(piece: Tensor) -> Tensor:
    """(B, n, ...) -> (B, 1, ...): of every row."""
    return piece.amax(dim=tuple(range(1, piece.dim())), keepdim=True)
