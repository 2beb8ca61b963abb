"""The table of target kinds: what a cache can keep of a teacher's outputs.

    logits          (C,)              before softmax
    channels        (sum of C_s,)     mean of every channel of every stage, stages concatenated
    embedding       (D,)              input of the last linear layer
    attention1 ...  (H_s W_s,)        mean over a stage's channels of its squared output, divided by
                                      the L2 norm; Zagoruyko and Komodakis, arXiv 1612.03928
    map1 ...        (C_s, H_s, W_s)   the whole output of a stage
    grid4           (2, C_S, 4, 4)    mean and standard deviation of each channel of the last stage,
                                      in 4 x 4 cells

An entry holds everything that is specific to a kind. The teacher, codecs, formats, verify, plan and
convert iterate over the kinds of a cache without knowing them. docs/extending.md shows how to add
one.

Shapes: C classes, D numbers in the embedding, C_s channels and H_s x W_s pixels in stage s of S.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from shared.commandline import did_you_mean
from shared.errors import InputError
from shared.models.staged import Outputs

BASE = ("logits", "channels")  # kept by default, in the blocks themselves (block.py)


@dataclass(frozen=True)
class Facts:
    """Output sizes of a network for images of one size."""

    classes: int
    channels: tuple[int, ...]  # C_s
    maps: tuple[tuple[int, int], ...]  # H_s, W_s
    embedding: int  # D

    @property
    def stages(self) -> int:
        return len(self.channels)


FEATURES: Mapping[str, str] = {"exact": "f32", "half": "f16", "compact": "f16", "tiny": "u8"}


@dataclass(frozen=True)
class Kind:
    name: str
    meaning: str  # in words, for readers of a cache who do not have this code
    read: Callable[[Outputs], Tensor]  # outputs for B samples -> (B, *shape) float32
    shape: Callable[[Facts], tuple[int, ...]]
    positive: bool = False  # whether no number is ever below 0, whatever the network
    by_stage: bool = False  # C_s numbers per stage, concatenated
    codecs: Mapping[str, str] = field(default_factory=lambda: FEATURES)  # preset -> array codec


def _attention(stage: int) -> Kind:
    def read(outputs: Outputs) -> Tensor:
        squares = outputs.stages[stage].float().square().mean(1)
        return normalize(squares.flatten(1), dim=1)

    return Kind(
        f"attention{stage + 1}",
        f"attention map of stage {stage + 1}: for every pixel, row by row, the mean over the "
        "channels of the squared output after the last ReLU; divided by its L2 norm",
        read,
        lambda facts: (facts.maps[stage][0] * facts.maps[stage][1],),
        positive=True,
    )


def _map(stage: int) -> Kind:
    return Kind(
        f"map{stage + 1}",
        f"output of stage {stage + 1} after its last ReLU: channel, row, column",
        lambda outputs: outputs.stages[stage].float().contiguous(),
        lambda facts: (facts.channels[stage], *facts.maps[stage]),
    )


def _grid(outputs: Outputs) -> Tensor:
    last = outputs.stages[-1].float()
    mean = adaptive_avg_pool2d(last, 4)
    variance = adaptive_avg_pool2d(last.square(), 4) - mean.square()
    return torch.stack([mean, variance.clamp(min=0).sqrt()], dim=1)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "logits",
            "the teacher's logits",
            lambda outputs: outputs.logits,
            lambda facts: (facts.classes,),
            codecs={
                "exact": "f32",
                "half": "f16 below maximum",
            },  # other codecs derive them, see codecs.py
        ),
        Kind(
            "channels",
            "spatial means of the outputs of the network's stages after their last ReLU, side by "
            "side; the attribute stages holds their widths",
            lambda outputs: torch.cat(outputs.means, dim=1),
            lambda facts: (sum(facts.channels),),
            by_stage=True,
        ),
        Kind(
            "embedding",
            "what the teacher's last linear layer reads",
            lambda outputs: outputs.embedding,
            lambda facts: (facts.embedding,),
        ),
        Kind(
            "grid4",
            "output of the last stage after its last ReLU, in 4 x 4 cells: mean and standard "
            "deviation of the pixels of a cell, for every channel, row and column",
            _grid,
            lambda facts: (2, facts.channels[-1], 4, 4),
        ),
    )
}
# Families with one kind per stage; the number in the name counts from 1.
BY_STAGE: dict[str, Callable[[int], Kind]] = {"attention": _attention, "map": _map}
# Other inputs that a loss may need. They are not cached but made when a run loads its targets.
OF_CLASSES = frozenset({"centres", "prior", "distance"})  # see classes.py
OF_THE_RUN = frozenset({"guided", "spread", "head", "memory", *OF_CLASSES})


def kind_of(name: str) -> Kind:
    """The kind called `name`. Raises InputError if there is none."""
    if name in KINDS:
        return KINDS[name]
    numbered = re.fullmatch(r"([a-z]+)([1-9][0-9]?)", name)
    if numbered and numbered[1] in BY_STAGE:
        return BY_STAGE[numbered[1]](int(numbered[2]) - 1)
    numbers = [f"{family}{number}" for family in BY_STAGE for number in range(1, 10)]
    families = [f"{family}1, {family}2, ..." for family in BY_STAGE]
    raise InputError(
        f"there is no kind of targets called {name!r}{did_you_mean(name, [*KINDS, *numbers])} "
        f"--targets takes {', '.join([*KINDS, *families])}"
    )


def kinds_asked(text: str, stages: int) -> tuple[str, ...]:
    """The names of the kinds in the value of --targets, like "logits,attention", each once.

    "attention" without a number stands for that kind of every stage. Raises InputError if a name is
    unknown or asks for a stage beyond `stages`, or if there are no names.
    """
    names: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        names += [f"{word}{s + 1}" for s in range(stages)] if word in BY_STAGE else [word]
    require_stages(names, stages, "--targets")
    if not names:
        raise InputError("--targets must name what to keep of the teacher, like logits,channels")
    return tuple(dict.fromkeys(names))


def require_stages(names: Iterable[str], stages: int, user: str) -> None:
    """Raises InputError if a name is unknown or of a stage beyond the teacher's `stages`. `user` is
    what asks for the kinds, for the message."""
    for name in names:
        kind_of(name)
        number = re.search(r"[0-9]+$", name)
        if name not in KINDS and number and int(number[0]) > stages:
            raise InputError(
                f"the teacher has {stages} stages: {user} asks for {name}; give a number from 1 "
                f"to {stages}"
            )
