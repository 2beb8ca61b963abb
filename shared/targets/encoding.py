"""Encodes the targets of one cache as arrays, and decodes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from shared.targets.arrays import F16, F32, ArrayCodec, F16BelowMaximum, Field
from shared.targets.codecs import CODECS, RESNET, Form, Kept
from shared.targets.eight_bits import S8, U8
from shared.targets.kinds import kind_of
from shared.targets.targets import Head, Targets

Fields = dict[str, NDArray[Any]]

ARRAYS: dict[str, ArrayCodec] = {
    "f32": F32(),
    "f16": F16(),
    "f16 below maximum": F16BelowMaximum(),
    "u8": U8(),
    "s8": S8(),
}


@dataclass(frozen=True)
class Encoding:
    """The kinds that a cache keeps, and their codec. Fields have their names on disk.

    Shapes: B rows, one per sample.
    """

    codec: str
    kinds: tuple[Kept, ...]
    form: Form = RESNET

    @property
    def derives_logits(self) -> bool:
        derives = CODECS[self.codec].derives_logits and self.form.is_linear
        return derives and "logits" in self.names

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(kept.name for kept in self.kinds)

    def offers(self, kind: str) -> bool:
        """Whether targets of this kind can be decoded from the fields."""
        return kind in self.names or (kind == "embedding" and self._pools)

    @property
    def _pools(self) -> bool:
        """Whether the embedding can be read from the stored channel means."""
        return self.form.pooled and "channels" in self.names

    def fields(self, names: Iterable[str] | None = None) -> dict[str, Field]:
        """Field -> (NumPy dtype, shape per sample), in stored order; for all kinds or `names`."""
        wanted = self.names if names is None else tuple(names)
        return {
            _field(kept.name, suffix): facts
            for kept in self.kinds
            if kept.name in wanted and (array := self.array_of(kept)) is not None
            for suffix, facts in array.fields(kept.shape, kept.parts).items()
        }

    def needed(self, needs: Iterable[str]) -> list[str]:
        """The fields needed to decode these kinds. Other inputs, like "guided", add none."""
        wanted = set(needs)
        if self.derives_logits and "logits" in wanted:
            wanted.add("embedding")
        if "embedding" in wanted and "embedding" not in self.names and self._pools:
            wanted.add("channels")
        return list(self.fields(wanted))

    def encode(self, targets: Targets, names: Iterable[str] | None = None) -> Fields:
        """Encodes all kinds, or `names`: float32 (B, ...) each -> fields with B rows.

        Raises InputError if the codec cannot represent a value.
        """
        wanted = self.names if names is None else tuple(names)
        return {
            _field(kept.name, suffix): values
            for kept in self.kinds
            if kept.name in wanted and (array := self.array_of(kept)) is not None
            for suffix, values in array.encode(
                targets[kept.name], kept.parts, _spoken(kept.name)
            ).items()
        }

    def decode(self, fields: Mapping[str, Tensor], head: Head | None) -> dict[str, Tensor]:
        """Decodes fields with B rows to every kind that they allow, (B, ...) float32 each.

        Derived logits need `head`; without it they are left out.
        """
        found: dict[str, Tensor] = {}
        for kept in self.kinds:
            array = self.array_of(kept)
            if array is None or _field(kept.name, "") not in fields:
                continue
            suffixes = array.fields(kept.shape, kept.parts)
            own = {suffix: fields[_field(kept.name, suffix)] for suffix in suffixes}
            found[kept.name] = array.decode(own, kept.parts)
        if "embedding" not in found and "channels" in found and self._pools:
            found["embedding"] = found["channels"][:, -self.stages[-1] :]
        if self.derives_logits and head is not None and "embedding" in found:
            found["logits"] = linear(found["embedding"], head.weight, head.bias)
        return found

    def part_names(self) -> list[str]:
        """The names of the tensors that `parts_of` returns, in its order."""
        names = []
        for kept in self.kinds:
            if kind_of(kept.name).by_stage:
                names += [f"{kept.name}, stage {s + 1}" for s in range(len(kept.parts))]
            else:
                names.append(kept.name)
        return names

    def parts_of(self, targets: Targets) -> list[Tensor]:
        """One (B, n) tensor per kind, or per stage if the kind concatenates stages."""
        found: list[Tensor] = []
        for kept in self.kinds:
            values = targets[kept.name]
            if kind_of(kept.name).by_stage:
                found += values.split(list(kept.parts), dim=1)
            else:
                found.append(values.flatten(1))
        return found

    def meaning(self, field: str) -> str:
        """What a field contains, in words."""
        for kept in self.kinds:
            array = self.array_of(kept)
            if array is None:
                continue
            for suffix in array.fields(kept.shape, kept.parts):
                if field == _field(kept.name, suffix):
                    kind = kind_of(kept.name)
                    texts = array.meaning
                    if not kind.by_stage:
                        texts = getattr(array, "meaning_alone", texts)
                    return texts[suffix].format(
                        meaning=kind.meaning,
                        field=_field(kept.name, ""),
                        scale=_field(kept.name, "scale"),
                    )
        raise KeyError(field)

    def array_of(self, kept: Kept) -> ArrayCodec | None:
        """The array codec of a kind; None if the kind is derived and takes no bytes."""
        kind = kind_of(kept.name)
        name = kind.codecs.get(self.codec)
        if name is None and not self.form.is_linear:
            name = kind.codecs["half"]  # cannot be derived
        if name == "u8" and self.form.signed and not kind.positive:
            name = "s8"
        return None if name is None else ARRAYS[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape a sample of a kind that the encoding offers."""
        for kept in self.kinds:
            if kept.name == name:
                return kept.shape
        assert name == "embedding" and self._pools, name
        return (self.stages[-1],)

    @property
    def stages(self) -> tuple[int, ...]:
        """The C_s of the channel means."""
        return next(kept.stages for kept in self.kinds if kept.name == "channels")


def _field(kind: str, suffix: str) -> str:
    """The name of a field on disk: "KIND" or "KIND_scale".

    The scale of channel means is just "scale", because it was once the only one.
    """
    if not suffix:
        return kind
    return suffix if kind == "channels" else f"{kind}_{suffix}"


def _spoken(kind: str) -> str:
    return "channel means" if kind == "channels" else kind
