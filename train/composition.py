"""How a student is composed of networks, as a recipe asks for it and as run.json keeps it.

"projected"   SimKD: the network, a projector, the teacher's last layer    (projected.py)
"split"       residual KD: the network as a student and an assistant       (split.py)
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["projected", "split"]
MOST_WIDTH = 8192  # channels of a teacher's stage
MOST_HALF = 512  # widths of a half: the widest that any network here has


@dataclass(frozen=True)
class Projection:
    """What a projector maps to: the last stage of a teacher."""

    width: int  # its channels
    side: int | None  # its pixels a side; larger maps of the student are pooled to it; None: never
    signed: bool  # whether it can be negative


@dataclass(frozen=True)
class Halves:
    """The two networks of a split, and what their stages are mapped to."""

    student: tuple[int, ...]  # widths of the stages, see `Trunk`
    assistant: tuple[int, ...]
    widths: tuple[int, ...]  # channels of the teacher's stages; the last stages meet these
    signed: bool  # whether the teacher's stages can be negative


Composition: TypeAlias = Projection | Halves


def composition_json(composition: Composition | None) -> dict[str, Any] | None:
    """For "composition" in "model" of run.json."""
    if composition is None:
        return None
    kind: Kind = "projected" if isinstance(composition, Projection) else "split"
    return {"kind": kind, **asdict(composition)}


def parse_composition(value: Any) -> Composition | None:
    """The inverse. Raises ValueError if `value` is nothing that `composition_json` gives."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or type(value.get("signed")) is not bool:
        raise ValueError("it is no composition of networks")
    if value.get("kind") == "projected":
        side = value.get("side")
        if _is_width(value.get("width")) and (side is None or _is_width(side)):
            return Projection(value["width"], side, value["signed"])
    if value.get("kind") == "split":
        lists = [value.get(name) for name in ("student", "assistant", "widths")]
        if all(isinstance(each, list | tuple) and all(map(_is_width, each)) for each in lists):
            student, assistant, widths = (tuple(each) for each in lists if each is not None)
            narrow = max((*student, *assistant, 0)) <= MOST_HALF
            if narrow and len(student) == len(assistant) >= len(widths) > 0:
                return Halves(student, assistant, widths, value["signed"])
    raise ValueError("it is no composition of networks")


def _is_width(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_WIDTH
