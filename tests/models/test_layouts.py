"""Stage outputs of every layout as maps (B, C, H, W), without a copy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.models.layout import MOST_PREFIX, as_maps, layout_of


def numbers(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.Size(shape).numel())).view(shape)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9))
def test_maps_stay_as_they_are(rows: int, width: int, side: int) -> None:
    output = numbers(rows, width, side, side)
    assert layout_of(tuple(output.shape)) == "maps"
    assert as_maps(output) is output


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9))
def test_channels_last_is_permuted(rows: int, width: int, side: int) -> None:
    output = numbers(rows, side, side, width)
    known = layout_of(tuple(output.shape))
    assert known == ("maps" if width == side else "channels last")  # one shape, two layouts
    maps = as_maps(output, "channels last")
    assert maps.data_ptr() == output.data_ptr()
    assert torch.equal(maps, output.permute(0, 3, 1, 2))
    if width != side:
        assert torch.equal(as_maps(output), maps)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("side", [7, 14])
def test_tokens_lose_their_prefix(side: int, prefix: int) -> None:
    """The class token, a distillation token, registers: they stand before the map."""
    maps = numbers(2, 6, side, side)
    tokens = torch.cat([-numbers(2, prefix, 6), maps.flatten(2).transpose(1, 2)], dim=1)
    assert tokens.shape == (2, prefix + side * side, 6)
    assert layout_of(tuple(tokens.shape)) == "tokens"
    found = as_maps(tokens)
    assert torch.equal(found, maps)
    assert found.data_ptr() == tokens[:, prefix:].data_ptr()


def test_a_gradient_reaches_the_tokens_of_the_map_alone() -> None:
    tokens = torch.ones(1, 1 + 4, 3, requires_grad=True)
    as_maps(tokens).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad[0].tolist() == [[0.0] * 3, *[[1.0] * 3] * 4]


@pytest.mark.parametrize(
    "shape",
    [(2,), (2, 8), (2, 8, 4, 5), (2, 4, 5, 8), (2, 400 + MOST_PREFIX + 1, 8),
     (2, 8, 4, 4, 4)],
)  # fmt: skip
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    assert layout_of(shape) is None
    with pytest.raises(ValueError, match="it has the shape"):
        as_maps(torch.zeros(shape))
