"""Logits and channel means for tests of codecs, through a codec and back."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor
from torch.nn.functional import linear

from shared.targets.arrays import relative_to_maximum
from shared.targets.bounds import error_bound
from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.targets import Head, Targets
from tests.said import said, stages_of

STAGES = (3, 1, 4, 2)
HALF_MAX = 65504.0
quick = settings(max_examples=60, deadline=None)
every_codec = pytest.mark.parametrize("codec", CODECS)


def encoding_of(codec: str, classes: int, stages: tuple[int, ...] = STAGES) -> Encoding:
    """Of logits and channel means, as most caches have it."""
    logits = Kept("logits", (classes,), stages)
    return Encoding(codec, (logits, Kept("channels", (sum(stages),), stages)))


def make(
    codec: str, logits: Tensor, channels: Tensor, head: Head, stages: tuple[int, ...] = STAGES
) -> dict[str, Tensor]:
    """Where a codec derives the logits they are what they are in a teacher: head(last means)."""
    means = torch.split(channels, list(stages), dim=1)
    if CODECS[codec].derives_logits:
        logits = linear(means[-1], head.weight, head.bias)
    return said(logits, means)


@st.composite
def cases(draw: st.DrawFn, codec: str) -> tuple[Targets, Head]:
    """Of any kind a teacher could give: channels are means after ReLU, logits anything."""
    rows = draw(st.integers(1, 5))
    classes = draw(st.sampled_from([1, 2, 7]))
    logit = st.one_of(
        st.floats(-30, 30, width=32),
        st.floats(-1e4, 1e4, width=32),
        st.floats(-(2.0**-20), 2.0**-20, width=32),
        st.floats(-(2.0**100), 2.0**100, width=32),
        st.sampled_from([0.0, -0.0, 1e4, -1e4, 65504.0, -65504.0, 65520.0]),
    )
    mean = st.one_of(
        st.floats(0, 4, width=32),
        st.floats(0, HALF_MAX, width=32),
        st.floats(0, 2.0**-14, width=32),
        st.sampled_from([0.0, HALF_MAX, 2.0**-24, 2.0**-25, 2.0**-14]),
    )
    weight = st.floats(-4, 4, width=32)

    def numbers(shape: tuple[int, ...], elements: st.SearchStrategy[float]) -> Tensor:
        return torch.from_numpy(draw(npst.arrays(np.float32, shape, elements=elements)))

    head = Head(numbers((classes, STAGES[-1]), weight), numbers((classes,), weight))
    channels = numbers((rows, sum(STAGES)), mean)
    return make(codec, numbers((rows, classes), logit), channels, head), head


def random_case(
    codec: str,
    rows: int,
    classes: int,
    scale: float,
    seed: int = 0,
    stages: tuple[int, ...] = STAGES,
) -> tuple[Targets, Head]:
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    head = Head(numbers(classes, stages[-1]) / stages[-1] ** 0.5, numbers(classes) * scale)
    channels = numbers(rows, sum(stages)).relu() * scale
    return make(codec, numbers(rows, classes) * scale, channels, head, stages), head


def encoded(codec: str, given: Targets, stages: tuple[int, ...] = STAGES) -> dict[str, Tensor]:
    encoding = encoding_of(codec, given["logits"].shape[1], stages)
    return {name: torch.from_numpy(values) for name, values in encoding.encode(given).items()}


def decoded_of(
    codec: str,
    fields: Mapping[str, Tensor],
    head: Head | None,
    classes: int,
    stages: tuple[int, ...] = STAGES,
) -> dict[str, Tensor]:
    return encoding_of(codec, classes, stages).decode(fields, head)


def round_trip(
    codec: str, given: Targets, head: Head | None, stages: tuple[int, ...] = STAGES
) -> dict[str, Tensor]:
    classes = given["logits"].shape[1]
    return decoded_of(codec, encoded(codec, given, stages), head, classes, stages)


def errors(
    codec: str, true: Targets, decoded: Targets, head: Head, stages: tuple[int, ...] = STAGES
) -> list[tuple[Tensor, Tensor]]:
    """(|decoded - true|, bound) of logits and every stage, float64; logits relative to their row's
    maximum."""
    bound = error_bound(encoding_of(codec, true["logits"].shape[1], stages), true, head)
    relative = (relative_to_maximum(decoded["logits"]), relative_to_maximum(true["logits"]))
    fields = [
        (*relative, bound["logits"]),
        *zip(*(stages_of(targets, stages) for targets in (decoded, true, bound)), strict=True),
    ]
    found = []
    for mine, theirs, allowed in fields:
        assert mine.shape == theirs.shape == allowed.shape
        assert mine.dtype == torch.float32
        found.append(((mine.double() - theirs.double()).abs(), allowed.double()))
    return found


def violations(
    codec: str, true: Targets, decoded: Targets, head: Head, stages: tuple[int, ...] = STAGES
) -> int:
    """How many numbers are further off than the codec's bound."""
    # Not "error > allowed", which is false for a NaN.
    return sum(
        int((~(error <= allowed)).sum())
        for error, allowed in errors(codec, true, decoded, head, stages)
    )
