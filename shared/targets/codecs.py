"""How Targets become bytes and back.

A codec turns float32 Targets of B rows into *fields*, arrays of B rows each, and fields on any
device back into float32 Targets. Every row stands for itself, so any subset of rows decodes alone.
`bound` is what a codec promises: the largest error of every number, which tests hold it to.

| codec | fields | error of a logit | error of a channel mean c |
|---|---|---|---|
| exact | logits f32, channels f32 | none | none |
| half | logits f16, channels f16 | 2^-11 of its distance d to the row's maximum | 2^-11 c |
| compact | channels f16 | derived: that of stage 4 through the head | 2^-11 c |
| tiny | channels u8, scale f32 a stage | derived, likewise | sqrt(c s) / 255 + s / 510^2 |

Below 2^-14 (6e-5) fp16 is subnormal, with numbers 2^-24 apart: means and distances as small as that
are held to 2^-25 (3e-8, half of such a unit) absolute, not to 2^-11 of themselves. A `tiny` made of
`half` or `compact` (precompute/convert.py) carries their error of a mean besides its own.

Stored logits are relative to their row's maximum because softmax cannot tell the difference and
fp16 is finest near 0, where the probable classes then lie: 0 argmax flips and a third of the KL of
fp16 logits as they are. Probabilities are never stored: they underflow. Derived logits are
head(stage-4 means), which is what they are in the teacher too; the head, kept once in the cache,
costs nothing a view. `tiny` keeps the square root of a mean over s, the largest of its row and
stage, in 8 bits: small means, the many, get finer steps.

Measured with `tests/bench/codecs.py --images runs/cifar/whole --size 32 --weights
runs/cifar/teacher/best.pt`, which tests/bench/cifar.py makes: 8,192 views of CIFAR-10's JPEGs
through a ResNet-34 trained on them (then for 6 epochs: 70.5 % top-1), with a head for 1000 classes
fitted so that its logits spread like those of ImageNet networks. Bytes a view in a zarr cache, box
and flip included (a packed record of a view shard is not compressed: 7,861, 3,941, 1,941 and 997);
KL(teacher || decoded) in nats at T = 1; the error of the means as a share of their variance.

| codec | bytes a view | KL | argmax flips | means | decoded views/s, one CPU |
|---|---:|---:|---:|---:|---:|
| exact | 6,573 | 0 | 0 | 0 | no work |
| half | 3,065 | 1.0e-7 | 0 | 2.7e-7 | 1,900,000 |
| compact | 1,507 | 5.0e-8 | 3 of 8,192 | 2.7e-7 | 270,000 |
| tiny | 841 | 1.4e-5 | 24 of 8,192 | 6.9e-5 | 190,000 |

An argmax flip changes no guided mask: the live teacher's argmax is stored beside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from shared.errors import InputError
from shared.targets.targets import Head, Targets

Fields = dict[str, NDArray[Any]]

_MEANS = (
    "spatial means of the outputs of the network's stages after their last ReLU, side by "
    "side; the attribute stages holds their widths"
)

_HALF_MAX = 65504.0  # largest finite fp16
_HALF_RELATIVE = 2.0**-11  # half a unit in the last place of fp16's 11 significant bits
_HALF_ABSOLUTE = 2.0**-25  # the same below fp16's smallest normal number
_FLOAT_NOISE = 2.0**-18  # rounding of a float32 product sum over up to 2048 terms, relative


class Codec(Protocol):
    name: ClassVar[str]
    version: ClassVar[int]
    derives_logits: ClassVar[bool]  # from the last stage and the head kept in the cache
    meaning: ClassVar[dict[str, str]]  # of each field, for a reader without this code

    def fields(self, classes: int, stages: tuple[int, ...]) -> dict[str, tuple[str, int]]:
        """Name -> (NumPy dtype, width) of each field, in the order in which they are stored."""
        ...

    def needed(self, needs: frozenset[str]) -> list[str]:
        """The fields that decoding "logits" and/or "channels" takes."""
        ...

    def encode(self, targets: Targets) -> Fields: ...

    def decode(
        self, fields: Mapping[str, Tensor], stages: tuple[int, ...], head: Head | None
    ) -> Targets:
        """Fields of B rows -> float32 Targets; `stages` are the C_s.

        Where the fields given hold no logits they are (B, 0); without channels, no stages.
        """
        ...

    def bound(self, targets: Targets, head: Head | None) -> Targets:
        """Largest |decoded - true| of every number, logits taken relative to their row maximum."""
        ...


def relative_to_maximum(logits: Tensor) -> Tensor:
    """(B, C) -> the same minus each row's maximum, float32."""
    logits = logits.float()
    return logits - logits.amax(dim=1, keepdim=True)


@dataclass(frozen=True)
class Exact:
    name: ClassVar[str] = "exact"
    version: ClassVar[int] = 1
    derives_logits: ClassVar[bool] = False
    meaning: ClassVar[dict[str, str]] = {"logits": "the teacher's logits", "channels": _MEANS}

    def fields(self, classes: int, stages: tuple[int, ...]) -> dict[str, tuple[str, int]]:
        return {"logits": ("float32", classes), "channels": ("float32", sum(stages))}

    def needed(self, needs: frozenset[str]) -> list[str]:
        return sorted(needs & {"logits", "channels"})

    def encode(self, targets: Targets) -> Fields:
        return {
            "logits": _numpy(targets.logits),
            "channels": _numpy(torch.cat(targets.channels, dim=1)),
        }

    def decode(
        self, fields: Mapping[str, Tensor], stages: tuple[int, ...], head: Head | None
    ) -> Targets:
        return _decode_stored(fields, stages)

    def bound(self, targets: Targets, head: Head | None) -> Targets:
        zeros = tuple(torch.zeros_like(mean) for mean in targets.channels)
        return Targets(torch.zeros_like(targets.logits), zeros)


@dataclass(frozen=True)
class Half:
    name: ClassVar[str] = "half"
    version: ClassVar[int] = 1
    derives_logits: ClassVar[bool] = False
    meaning: ClassVar[dict[str, str]] = {
        "logits": "the teacher's logits minus the largest of their row (one sample in one view), "
        "so that the largest is 0: softmax, argmax and every loss on them are the teacher's. A "
        "logit more than 65504 below the largest is stored as -65504",
        "channels": _MEANS,
    }

    def fields(self, classes: int, stages: tuple[int, ...]) -> dict[str, tuple[str, int]]:
        return {"logits": ("float16", classes), "channels": ("float16", sum(stages))}

    def needed(self, needs: frozenset[str]) -> list[str]:
        return sorted(needs & {"logits", "channels"})

    def encode(self, targets: Targets) -> Fields:
        """InputError where a channel mean does not fit fp16.

        A logit further than 65504 below its row's maximum is stored at that distance: its
        probability is exactly 0 either way.
        """
        logits = relative_to_maximum(targets.logits).clamp(min=-_HALF_MAX)
        return {"logits": _numpy(logits.half()), "channels": _half_channels(self.name, targets)}

    def decode(
        self, fields: Mapping[str, Tensor], stages: tuple[int, ...], head: Head | None
    ) -> Targets:
        return _decode_stored(fields, stages)

    def bound(self, targets: Targets, head: Head | None) -> Targets:
        distance = relative_to_maximum(targets.logits).abs()
        beyond = (distance - _HALF_MAX).clamp(min=0)
        logits = distance * _HALF_RELATIVE + _HALF_ABSOLUTE + beyond
        return Targets(logits, _half_channel_bound(targets))


@dataclass(frozen=True)
class Compact:
    name: ClassVar[str] = "compact"
    version: ClassVar[int] = 1
    derives_logits: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {"channels": _MEANS}

    def fields(self, classes: int, stages: tuple[int, ...]) -> dict[str, tuple[str, int]]:
        return {"channels": ("float16", sum(stages))}

    def needed(self, needs: frozenset[str]) -> list[str]:
        return ["channels"] if needs & {"logits", "channels"} else []

    def encode(self, targets: Targets) -> Fields:
        """InputError where a channel mean does not fit fp16."""
        return {"channels": _half_channels(self.name, targets)}

    def decode(
        self, fields: Mapping[str, Tensor], stages: tuple[int, ...], head: Head | None
    ) -> Targets:
        return _derive_logits(fields["channels"].float(), stages, head)

    def bound(self, targets: Targets, head: Head | None) -> Targets:
        channels = _half_channel_bound(targets)
        return Targets(_derived_bound(targets, channels[-1], head), channels)


@dataclass(frozen=True)
class Tiny:
    name: ClassVar[str] = "tiny"
    version: ClassVar[int] = 1
    derives_logits: ClassVar[bool] = True
    meaning: ClassVar[dict[str, str]] = {
        "channels": f"round(255 * sqrt(c / s)), where c are {_MEANS}, and s is the scale of the "
        "stage. To decode: c = (channels / 255)**2 * s, with s = "
        "numpy.repeat(scale, stages, axis=-1)",
        "scale": "for each stage the largest channel mean of the row (one sample in one view)",
    }

    def fields(self, classes: int, stages: tuple[int, ...]) -> dict[str, tuple[str, int]]:
        return {"channels": ("uint8", sum(stages)), "scale": ("float32", len(stages))}

    def needed(self, needs: frozenset[str]) -> list[str]:
        return ["channels", "scale"] if needs & {"logits", "channels"} else []

    def encode(self, targets: Targets) -> Fields:
        """InputError where a mean is negative: after ReLU it cannot be."""
        lowest = min(mean.min().item() for mean in targets.channels)
        if lowest < 0:
            raise InputError(
                f"codec tiny holds means of ReLU outputs, 0 or more: the teacher's reach "
                f"{lowest:g}; use --codec compact"
            )
        scales = [mean.amax(dim=1, keepdim=True) for mean in targets.channels]
        steps = [
            # clamp: a stage of zeros has scale 0 and codes 0
            (255 * (mean / scale.clamp(min=1e-30)).sqrt()).round()
            for mean, scale in zip(targets.channels, scales, strict=True)
        ]
        return {
            "channels": _numpy(torch.cat(steps, dim=1).to(torch.uint8)),
            "scale": _numpy(torch.cat(scales, dim=1)),
        }

    def decode(
        self, fields: Mapping[str, Tensor], stages: tuple[int, ...], head: Head | None
    ) -> Targets:
        # Widened a stage at a time: a tensor of widths would have to be copied to a GPU, and the
        # host would wait for all that the GPU has still to do.
        scales = fields["scale"].split(1, dim=1)
        wide = [one.expand(-1, width) for one, width in zip(scales, stages, strict=True)]
        scale = torch.cat(wide, dim=1)
        channels = (fields["channels"].float() * (1 / 255)).square() * scale
        return _derive_logits(channels, stages, head)

    def bound(self, targets: Targets, head: Head | None) -> Targets:
        channels = []
        for mean in targets.channels:
            scale = mean.amax(dim=1, keepdim=True)
            # A root off by half a step of 1/255, squared; then float32 rounding.
            error = (mean * scale).sqrt() / 255 + scale / 510**2
            channels.append(error + scale * _FLOAT_NOISE + 1e-30)
        return Targets(_derived_bound(targets, channels[-1], head), tuple(channels))


CODECS: dict[str, Codec] = {codec.name: codec for codec in (Exact(), Half(), Compact(), Tiny())}


def bound_of(
    codec: str, converted_from: str | None, targets: Targets, head: Head | None
) -> Targets:
    """What a codec promises, also of fields that were made of half's and not by the teacher.

    Those of `tiny` are then of means c' that differ from c by half's error e at most: they are held
    to the bound of c + e, and to e.
    """
    if converted_from is None:
        return CODECS[codec].bound(targets, head)
    errors = _half_channel_bound(targets)
    moved = tuple(mean + error for mean, error in zip(targets.channels, errors, strict=True))
    own = CODECS[codec].bound(Targets(targets.logits, moved), head).channels
    channels = tuple(one + other for one, other in zip(own, errors, strict=True))
    return Targets(_derived_bound(targets, channels[-1], head), channels)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _decode_stored(fields: Mapping[str, Tensor], stages: tuple[int, ...]) -> Targets:
    some = next(iter(fields.values()))
    logits = (
        fields["logits"].float() if "logits" in fields else some.new_zeros(len(some), 0).float()
    )
    if "channels" not in fields:
        return Targets(logits, ())
    return Targets(logits, torch.split(fields["channels"].float(), list(stages), dim=1))


def _derive_logits(channels: Tensor, stages: tuple[int, ...], head: Head | None) -> Targets:
    split = torch.split(channels, list(stages), dim=1)
    if head is None:
        return Targets(channels.new_zeros(len(channels), 0), split)
    return Targets(linear(split[-1], head.weight, head.bias), split)


def _half_channels(name: str, targets: Targets) -> NDArray[Any]:
    channels = torch.cat(targets.channels, dim=1)
    if (largest := channels.abs().max().item()) > _HALF_MAX:
        raise InputError(
            f"codec {name} holds channel means up to {_HALF_MAX:g}: the teacher's reach "
            f"{largest:g}; use --codec exact, or check the teacher's weights"
        )
    return _numpy(channels.half())


def _half_channel_bound(targets: Targets) -> tuple[Tensor, ...]:
    return tuple(mean.abs() * _HALF_RELATIVE + _HALF_ABSOLUTE for mean in targets.channels)


def _derived_bound(targets: Targets, last: Tensor, head: Head | None) -> Tensor:
    """Errors `last` of the last stage (B, C_4) through the head, twice: logit and row maximum."""
    assert head is not None, "derived logits have no bound without the head"
    noise = targets.channels[-1].abs() * _FLOAT_NOISE
    error = linear(last + noise, head.weight.abs(), head.bias.abs() * _FLOAT_NOISE)
    return error + error.amax(dim=1, keepdim=True)
