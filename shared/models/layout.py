"""The outputs of a network's stages as maps (B, C, H, W), whatever layout the network uses.

Views are square, so the layout follows from the shape, unless channels last has as many channels as
pixels a side. The layout of a module is therefore found at one size and then kept (hooked.py).

    (B, C, H, H)    as it is
    (B, H, H, C)    channels last, as in Swin: permuted
    (B, T, C)       tokens, as in ViT: the last H * H of them are the map; those before are prefix
                    tokens (class, distillation, registers) and are dropped
"""

from math import isqrt

from torch import Tensor

MOST_PREFIX = 16  # tokens before the map


def layout_of(shape: tuple[int, ...]) -> str | None:
    """ "maps", "channels last" or "tokens" for the shape of a batch's output; None if none fits."""
    if len(shape) == 4 and shape[2] == shape[3]:
        return "maps"
    if len(shape) == 4 and shape[1] == shape[2]:
        return "channels last"
    if len(shape) == 3 and 0 < shape[1] - isqrt(shape[1]) ** 2 <= MOST_PREFIX:
        return "tokens"
    if len(shape) == 3 and isqrt(shape[1]) ** 2 == shape[1]:
        return "tokens"
    return None


def as_maps(output: Tensor, layout: str | None = None) -> Tensor:
    """(B, C, H, W), without a copy. `layout`: None for the one that the shape has.

    Raises ValueError if the shape is none of those above.
    """
    layout = layout or layout_of(tuple(output.shape))
    if layout == "maps":
        return output
    if layout == "channels last":
        return output.permute(0, 3, 1, 2)
    if layout == "tokens":
        side = isqrt(output.shape[1])
        tokens = output[:, output.shape[1] - side * side :]
        maps: Tensor = tokens.transpose(1, 2).unflatten(2, (side, side))
        return maps
    raise ValueError(f"it has the shape {tuple(output.shape)}")
