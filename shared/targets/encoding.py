"""The targets that one cache keeps, as arrays and back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from shared.targets.arrays import ARRAYS, ArrayCodec, Field
from shared.targets.codecs import CODECS, Kept
from shared.targets.kinds import kind_of
from shared.targets.targets import Head, Targets

Fields = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Encoding:
    """All kinds that a cache keeps, and how. Fields are named as they are on disk."""

    codec: str
    kinds: tuple[Kept, ...]

    @property
    def derives_logits(self) -> bool:
        return CODECS[self.codec].derives_logits and "logits" in self.names

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(kept.name for kept in self.kinds)

    def offers(self, kind: str) -> bool:
        """Whether targets of this kind can be had from the fields."""
        return kind in self.names or (kind == "embedding" and "channels" in self.names)

    def fields(self, names: Iterable[str] | None = None) -> dict[str, Field]:
        """Field -> (NumPy dtype, shape a sample) of all kinds or those named, in stored order."""
        wanted = self.names if names is None else tuple(names)
        return {
            _field(kept.name, suffix): facts
            for kept in self.kinds
            if kept.name in wanted and (array := self.array_of(kept)) is not None
            for suffix, facts in array.fields(kept.shape, kept.parts).items()
        }

    def needed(self, needs: Iterable[str]) -> list[str]:
        """The fields that decoding these kinds takes. Names that are not kinds here take none."""
        wanted = set(needs)
        if self.derives_logits and "logits" in wanted:
            wanted.add("embedding")
        if "embedding" in wanted and "embedding" not in self.names:
            wanted.add("channels")
        return list(self.fields(wanted))

    def encode(self, targets: Targets, names: Iterable[str] | None = None) -> Fields:
        """All kinds or those named. InputError where the codec cannot hold what the teacher says.

        Of float32 (B, ...) each; the fields have B rows.
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
        """Fields of B rows -> every kind that can be had from those given; (B, ...) float32."""
        found: dict[str, Tensor] = {}
        for kept in self.kinds:
            array = self.array_of(kept)
            if array is None or _field(kept.name, "") not in fields:
                continue
            suffixes = array.fields(kept.shape, kept.parts)
            own = {suffix: fields[_field(kept.name, suffix)] for suffix in suffixes}
            found[kept.name] = array.decode(own, kept.parts)
        if "embedding" not in found and "channels" in found:
            found["embedding"] = found["channels"][:, -self.stages[-1] :]
        if self.derives_logits and head is not None and "embedding" in found:
            found["logits"] = linear(found["embedding"], head.weight, head.bias)
        return found

    def part_names(self) -> list[str]:
        """What `parts_of` gives, in its order."""
        names = []
        for kept in self.kinds:
            if kind_of(kept.name).by_stage:
                names += [f"{kept.name}, stage {s + 1}" for s in range(len(kept.parts))]
            else:
                names.append(kept.name)
        return names

    def parts_of(self, targets: Targets) -> list[Tensor]:
        """(B, n) of every kind kept, and of every stage of those made of stages."""
        found: list[Tensor] = []
        for kept in self.kinds:
            values = targets[kept.name]
            if kind_of(kept.name).by_stage:
                found += values.split(list(kept.parts), dim=1)
            else:
                found.append(values.flatten(1))
        return found

    def meaning(self, field: str) -> str:
        """What a field holds, in words."""
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
        """None where it takes no bytes."""
        name = kind_of(kept.name).codecs.get(self.codec)
        return None if name is None else ARRAYS[name]

    @property
    def stages(self) -> tuple[int, ...]:
        """C_s of the channel means."""
        return next(kept.stages for kept in self.kinds if kept.name == "channels")


def _field(kind: str, suffix: str) -> str:
    """On disk. The scale of channel means has had its name since it was the only one."""
    if not suffix:
        return kind
    return suffix if kind == "channels" else f"{kind}_{suffix}"


def _spoken(kind: str) -> str:
    return "channel means" if kind == "channels" else kind
