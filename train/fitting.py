"""Whether saved tensors fit the run that goes on with them."""

from collections.abc import Mapping

import torch
from torch import Tensor


def require_fits(part: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises ValueError unless names, shapes and dtypes are the same."""
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        mine, theirs = (_kind(state.get(name)) for state in (wanted, found))
        if mine != theirs:
            raise ValueError(f"{part} {name} is {theirs} there and {mine} here")


def _kind(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    dense = "" if tensor.layout is torch.strided and not tensor.is_quantized else " not dense"
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}{dense}"
