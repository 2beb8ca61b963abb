"""How stages are found in a network that nobody has named them for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.found_stages import HEADS, evenly, find_stages, last_linear, output_shapes
from tests.models.made import CLASSES


class Parts(nn.Module):
    """Runs its parts one after the other; a part called head... sees the mean."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


def conv(width: int, wanted: int, stride: int = 2) -> nn.Module:
    return nn.Conv2d(width, wanted, 3, stride, 1)


def found(network: nn.Module, size: int = 32) -> tuple[str, ...]:
    return find_stages(network, output_shapes(network, size))


def test_the_last_four_map_sizes_count() -> None:
    parts = {f"part{i}": conv(3 if i == 0 else 4, 4) for i in range(5)}
    assert found(Parts(**parts), 64) == ("part1", "part2", "part3", "part4")


def test_of_one_map_size_the_last_module_counts_and_one_pixel_is_no_map() -> None:
    network = Parts(
        a=conv(3, 4), b=conv(4, 5, 1), c=nn.ReLU(), d=nn.AdaptiveAvgPool2d(1), e=nn.Flatten()
    )
    assert found(network) == ("c",)
    assert last_linear(network, output_shapes(network, 32)) is None


@pytest.mark.parametrize("head", sorted(HEADS))
def test_heads_are_no_stages(head: str) -> None:
    """Even where their output is a map, as squeezenet's classifier's is."""
    network = Parts(a=conv(3, 4), b=conv(4, 5), **{head: conv(5, 6)})
    assert found(network) == ("a", "b")


def test_parts_of_lists_are_found_and_the_list_itself_stands_for_the_last() -> None:
    network = Parts(body=nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 5)))
    assert found(network) == ("body.1", "body")


class Tokens(nn.Module):
    """A class token and 16 of a map through `depth` blocks."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 8, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks = nn.ModuleList([nn.Linear(8, 8) for _ in range(depth)])
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("depth", "blocks"), [(2, (0, 1)), (6, (0, 2, 3, 5)), (12, (2, 5, 8, 11))])
def test_of_a_network_of_tokens_four_blocks_are_taken(depth: int, blocks: tuple[int, ...]) -> None:
    network = Tokens(depth)
    assert found(network) == tuple(f"blocks.{number}" for number in blocks)
    assert last_linear(network, output_shapes(network, 32)) == "head"


@given(st.integers(1, 60), st.integers(1, 8))
def test_evenly(length: int, count: int) -> None:
    names = [str(number) for number in range(length)]
    taken = [int(name) for name in evenly(names, count)]
    assert len(taken) == min(count, length) and taken[-1] == length - 1
    steps = [b - a for a, b in zip([-1, *taken], taken, strict=False)]
    assert min(steps) >= 1 and max(steps) - min(steps) <= 1


def test_a_network_without_maps_is_refused() -> None:
    network = Parts(a=nn.Flatten(), b=nn.Linear(3 * 32 * 32, 8), c=nn.Linear(8, CLASSES))
    with pytest.raises(InputError, match="the stages of the network cannot be found"):
        found(network)
    assert last_linear(network, output_shapes(network, 32)) == "c"


def test_looking_leaves_no_trace() -> None:
    network = Parts(a=conv(3, 4), norm=nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    output_shapes(network, 32)
    assert network.training and not any(module._forward_hooks for module in network.modules())
    assert all(map(torch.equal, before.values(), network.state_dict().values()))
