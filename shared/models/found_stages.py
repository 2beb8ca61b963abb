"""The stages of a network that nobody has named: found by running it once.

In a pyramid, a stage ends where the map becomes smaller. Of the network's top modules, and of the
parts of those that are lists of modules, the last one at each map size is a stage, and the last
four of these are taken: torchvision's ResNets have layer1 to layer4, its ConvNeXts features.1, .3,
.5 and features. In a network of tokens all maps have one size, and four blocks at equal distances
are taken, the last one among them. tests/models/test_found_stages.py has a table of all families.
"""

from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.layout import layout_of

Shapes = dict[str, tuple[int, ...]]  # by the name of a module

STAGES = 4
# Top modules that come after the last stage.
HEADS = frozenset({"avgpool", "classifier", "fc", "global_pool", "head", "heads"})


def side_of(shape: tuple[int, ...]) -> int:
    """Pixels along a side of the map; 0 if the output is no map."""
    layout = layout_of(shape)
    if layout is None or layout == "tokens":
        return 0
    return shape[2] if layout == "maps" else shape[1]


def find_stages(network: nn.Module, shapes: Shapes) -> tuple[str, ...]:
    """Names of modules, in the order in which they run.

    Raises InputError if no module gives maps or tokens.
    """
    by_size: dict[int, str] = {}
    for name in _trunk(network):
        side = side_of(shapes.get(name, ()))
        if side > 1:
            by_size.pop(side, None)  # the last one counts, and its place in the order
            by_size[side] = name
    blocks = _token_blocks(network, shapes)
    if len(by_size) < 2 and blocks:
        return evenly(blocks)
    if not by_size:
        raise InputError(
            "the stages of the network cannot be found, as no module of it returns square maps or "
            "tokens: name its modules with --stage-modules"
        )
    return tuple(by_size.values())[-STAGES:]


def last_linear(network: nn.Module, shapes: Shapes) -> str | None:
    """The name of the linear layer that runs last, if its output is (B, C); else None."""
    names = [name for name in shapes if isinstance(network.get_submodule(name), nn.Linear)]
    return names[-1] if names and len(shapes[names[-1]]) == 2 else None


def output_shapes(network: nn.Module, size: int) -> Shapes:
    """Shape of the output of every module that returns a tensor, in the order of running, for
    images of `size` pixels a side."""
    shapes: Shapes = {}

    def see(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes.pop(name, None)
                shapes[name] = tuple(output.shape)

        return hook

    hooks = [module.register_forward_hook(see(name)) for name, module in network.named_modules()]
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(probe_images(network, size))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return shapes


def probe_images(network: nn.Module, size: int, rows: int = 2) -> Tensor:
    """(rows, 3, size, size) noise, the same every time, on the network's device."""
    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    noise = torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(0))
    return noise.to(device)


def evenly(names: list[str], count: int = STAGES) -> tuple[str, ...]:
    """`count` of the names at equal distances; the last one is always among them."""
    count = min(count, len(names))
    return tuple(names[len(names) * (i + 1) // count - 1] for i in range(count))


def _trunk(network: nn.Module) -> list[str]:
    names: list[str] = []
    for name, child in network.named_children():
        if name in HEADS:
            continue
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            names += [f"{name}.{part}" for part, _ in child.named_children()]
        names.append(name)
    return names


def _token_blocks(network: nn.Module, shapes: Shapes) -> list[str]:
    """The parts of the longest list of modules that all return tokens of one shape."""
    longest: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, (nn.Sequential, nn.ModuleList)):
            parts = [f"{name}.{part}".lstrip(".") for part, _ in module.named_children()]
            kinds = {shapes.get(part, ()) for part in parts}
            if len(kinds) == 1 and layout_of(next(iter(kinds))) == "tokens":
                longest = max(longest, parts, key=len)
    return longest
