"""Array codecs of one byte per number and one scale per part of a row: see arrays.py."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InputError
from shared.targets.arrays import FLOAT_NOISE, Field, numpy


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
        values = fields[""].float().mul_(1 / 255).square_()
        return _scaled(values, fields["scale"], parts)

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        errors = []
        for piece in values.split(list(parts), dim=1):
            scale = _largest(piece)
            # The square root is off by half a step of 1/255; square that, add float32 rounding.
            error = (piece.clamp(min=0) * scale).sqrt() / 255 + scale / 510**2
            errors.append(error + scale * FLOAT_NOISE + 1e-30)
        return torch.cat(errors, dim=1)


class S8(U8):
    """Stores the root of |x| / s with the sign of x, in 7 bits and a sign."""

    meaning: ClassVar[dict[str, str]] = {
        "": "sign(c) * round(127 * sqrt(abs(c) / s)), where c are {meaning}, and s is the scale of "
        "the stage. To decode: r = {field} / 127 and c = r * abs(r) * s, with "
        "s = numpy.repeat({scale}, stages, axis=-1)",
        "scale": "for each stage the largest absolute channel mean of the row (one sample in one "
        "view)",
    }
    meaning_alone: ClassVar[dict[str, str]] = {
        "": "sign(c) * round(127 * sqrt(abs(c) / s)), where c is: {meaning}; and s is the scale of "
        "the row. To decode: r = {field} / 127 and c = r * abs(r) * s",
        "scale": "the largest absolute number of the row (one sample in one view)",
    }

    def fields(self, shape: tuple[int, ...], parts: tuple[int, ...]) -> dict[str, Field]:
        return {"": ("int8", shape), "scale": ("float32", (len(parts),))}

    def encode(self, values: Tensor, parts: tuple[int, ...], name: str) -> dict[str, NDArray[Any]]:
        pieces = values.split(list(parts), dim=1)
        scales = [_largest(piece.abs()) for piece in pieces]
        steps = [
            piece.sign() * (127 * (piece.abs() / scale.clamp(min=1e-30)).sqrt()).round()
            for piece, scale in zip(pieces, scales, strict=True)
        ]
        return {
            "": numpy(torch.cat(steps, dim=1).to(torch.int8)),
            "scale": numpy(torch.cat([scale.flatten(1) for scale in scales], dim=1)),
        }

    def decode(self, fields: Mapping[str, Tensor], parts: tuple[int, ...]) -> Tensor:
        roots = fields[""].float().mul_(1 / 127)
        return _scaled(roots.mul_(roots.abs()), fields["scale"], parts)

    def bound(self, values: Tensor, parts: tuple[int, ...]) -> Tensor:
        errors = []
        for piece in values.abs().split(list(parts), dim=1):
            scale = _largest(piece)
            error = (piece * scale).sqrt() / 127 + scale / 254**2
            errors.append(error + scale * FLOAT_NOISE + 1e-30)
        return torch.cat(errors, dim=1)


def _scaled(values: Tensor, scales: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Multiplies the parts of `values` (B, n, ...) by `scales` (B, parts), in place.

    In place, because writing new memory takes most of the time: 0.4 ms for 1,024 x 960 numbers on a
    CPU, and 1.1 ms otherwise (torch 2.15). repeat_interleave with a tensor of widths would need a
    copy to the GPU, for which the host would wait.
    """
    for part, scale in zip(values.split(list(parts), dim=1), scales.split(1, dim=1), strict=True):
        part.mul_(scale[(..., *[None] * (values.dim() - 2))])
    return values


def _largest(piece: Tensor) -> Tensor:
    """(B, n, ...) -> (B, 1, ...): the largest number of each row."""
    return piece.amax(dim=tuple(range(1, piece.dim())), keepdim=True)
