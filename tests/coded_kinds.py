"""Maps, attention, grids and embeddings for tests of codecs, through a codec and back."""

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor
from torch.nn.functional import normalize

from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets

STAGES = (3, 1, 4, 2)
HALF_MAX = 65504.0
SHAPES = {
    "attention3": (16,),
    "map4": (2, 3, 2),
    "grid4": (2, 2, 4, 4),
    "embedding": (5,),
}
quick = settings(max_examples=30, deadline=None)
every_codec = pytest.mark.parametrize("codec", CODECS)
every_kind = pytest.mark.parametrize("kind", SHAPES)


def alone(codec: str, kind: str) -> Encoding:
    return Encoding(codec, (Kept(kind, SHAPES[kind], STAGES),))


def like(kind: str, values: Tensor) -> Tensor:
    """Attention has the length 1, or is 0 where all of a map is."""
    return normalize(values, dim=1) if kind.startswith("attention") else values


@st.composite
def cases(draw: st.DrawFn, kind: str) -> Targets:
    rows = draw(st.integers(1, 4))
    number = st.one_of(
        st.floats(0, 4, width=32),
        st.floats(0, HALF_MAX, width=32),
        st.floats(0, 2.0**-14, width=32),
        st.sampled_from([0.0, HALF_MAX, 2.0**-24, 2.0**-25, 2.0**-14]),
    )
    values = draw(npst.arrays(np.float32, (rows, *SHAPES[kind]), elements=number))
    return {kind: like(kind, torch.from_numpy(values))}


def random_case(kind: str, rows: int, seed: int = 0) -> Targets:
    generator = torch.Generator().manual_seed(seed)
    return {kind: like(kind, torch.rand(rows, *SHAPES[kind], generator=generator) * 3)}


def encoded(encoding: Encoding, targets: Targets) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in encoding.encode(targets).items()}


def round_trip(encoding: Encoding, targets: Targets, head: Head | None = None) -> Targets:
    return encoding.decode(encoded(encoding, targets), head)


def beyond(decoded: Tensor, true: Tensor, bound: Tensor) -> int:
    """How many numbers are further off than the bound. A NaN is."""
    assert decoded.shape == true.shape == bound.shape and decoded.dtype == torch.float32
    return int((~((decoded.double() - true.double()).abs() <= bound.double())).sum())
