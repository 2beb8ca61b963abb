"""How Targets become bytes and back.

A codec turns float32 Targets of B rows into *fields*, arrays of B rows each, and fields on any
device back into float32 Targets. Every row stands for itself, so any subset of rows decodes alone.
`bound` is what a codec promises: the largest error of every number, which tests hold it to.

| codec | fields | error of a logit | error of a channel mean |
|---|---|---|---|
| exact | logits f32, channels f32 | none | none |
| half  | logits f16, channels f16 | 2^-11 of its distance to the row's maximum | 2^-11 of it |

Logits are stored relative to their row's maximum because softmax cannot tell the difference and
fp16 is finest near 0, where the probable classes then lie: 0 argmax flips and a third of the KL of
fp16 logits as they are. Probabilities are never stored: they underflow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InputError
from shared.targets import Targets

Fields = dict[str, NDArray[np.generic]]

_HALF_MAX = 65504.0  # largest finite fp16
_HALF_RELATIVE = 2.0**-11  # half a unit in the last place of fp16's 11 significant bits
_HALF_ABSOLUTE = 2.0**-25  # the same below fp16's smallest normal number


class Codec(Protocol):
    name: ClassVar[str]
    version: ClassVar[int]

    def dtypes(self) -> dict[str, str]:
        """NumPy dtype of each field, in the order in which they are stored."""
        ...

    def encode(self, targets: Targets) -> Fields: ...

    def decode(self, fields: Mapping[str, Tensor], stages: tuple[int, ...]) -> Targets:
        """Fields of B rows -> float32 Targets of what the fields given hold; `stages` are the C_s.

        Without the field `logits` the logits are (B, 0), without `channels` there are no stages.
        """
        ...

    def bound(self, targets: Targets) -> Targets:
        """Largest |decoded - true| of every number, logits taken relative to their row maximum."""
        ...


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.cpu().numpy()
    return array


def relative_to_maximum(logits: Tensor) -> Tensor:
    """(B, C) -> the same minus each row's maximum, float32."""
    logits = logits.float()
    return logits - logits.amax(dim=1, keepdim=True)


def _decode_plain(fields: Mapping[str, Tensor], stages: tuple[int, ...]) -> Targets:
    some = next(iter(fields.values()))
    logits = fields["logits"].float() if "logits" in fields else some.new_zeros(len(some), 0)
    if "channels" not in fields:
        return Targets(logits, ())
    return Targets(logits, torch.split(fields["channels"].float(), list(stages), dim=1))


@dataclass(frozen=True)
class Exact:
    name: ClassVar[str] = "exact"
    version: ClassVar[int] = 1

    def dtypes(self) -> dict[str, str]:
        return {"logits": "float32", "channels": "float32"}

    def encode(self, targets: Targets) -> Fields:
        return {
            "logits": _numpy(targets.logits),
            "channels": _numpy(torch.cat(targets.channels, dim=1)),
        }

    def decode(self, fields: Mapping[str, Tensor], stages: tuple[int, ...]) -> Targets:
        return _decode_plain(fields, stages)

    def bound(self, targets: Targets) -> Targets:
        zeros = tuple(torch.zeros_like(mean) for mean in targets.channels)
        return Targets(torch.zeros_like(targets.logits), zeros)


@dataclass(frozen=True)
class Half:
    name: ClassVar[str] = "half"
    version: ClassVar[int] = 1

    def dtypes(self) -> dict[str, str]:
        return {"logits": "float16", "channels": "float16"}

    def encode(self, targets: Targets) -> Fields:
        """InputError where a channel mean does not fit fp16.

        A logit further than 65504 below its row's maximum is stored at that distance: its
        probability is exactly 0 either way.
        """
        channels = torch.cat(targets.channels, dim=1)
        if (largest := channels.abs().max().item()) > _HALF_MAX:
            raise InputError(
                f"codec half holds channel means up to {_HALF_MAX:g}: the teacher's reach "
                f"{largest:g}; use --codec exact, or check the teacher's weights"
            )
        logits = relative_to_maximum(targets.logits).clamp(min=-_HALF_MAX)
        return {"logits": _numpy(logits.half()), "channels": _numpy(channels.half())}

    def decode(self, fields: Mapping[str, Tensor], stages: tuple[int, ...]) -> Targets:
        return _decode_plain(fields, stages)

    def bound(self, targets: Targets) -> Targets:
        distance = relative_to_maximum(targets.logits).abs()
        beyond = (distance - _HALF_MAX).clamp(min=0)
        return Targets(
            distance * _HALF_RELATIVE + _HALF_ABSOLUTE + beyond,
            tuple(mean.abs() * _HALF_RELATIVE + _HALF_ABSOLUTE for mean in targets.channels),
        )


CODECS: dict[str, Codec] = {codec.name: codec for codec in (Exact(), Half())}
