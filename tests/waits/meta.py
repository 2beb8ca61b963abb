"""A device without data, torch's "meta", in the place of a GPU: what would wait for a GPU fails.

A step may not need a number that only the device knows: its host would wait until the device has
worked off its queue. On "meta" there are no numbers, so torch itself refuses to read one (item,
nonzero, a mask as an index, a copy to the host). NoWaits refuses what it lets pass: ops that wait
on a GPU only, and copies from the host that are neither pinned nor made by `moved`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import shared.device
from train.memory import Memory

META = torch.device("meta")
# Their results have a shape, or a place in Python, that depends on the data.
WAITING = (
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "histc", "allclose"),
    "lift_fresh",  # torch.tensor(numbers, device=...): a copy of memory that is not pinned
)


class Waits(Exception):
    pass


class NoWaits(TorchDispatchMode):
    """Raises Waits in place of what would make the host wait for `META`."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0  # from the host, that do not wait
        self._moving = False
        self._pinned: list[Tensor] = []

    def pin(self, tensor: Tensor) -> Tensor:
        """In the place of Tensor.pin_memory, which needs a GPU."""
        self._pinned.append(tensor.clone())
        return self._pinned[-1]

    def moved(self, copy: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def marked(tensor: Tensor, device: torch.device) -> Tensor:
            self._moving = True
            try:
                return copy(tensor, device)
            finally:
                self._moving = False

        return marked

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.__name__.partition(".")[0].removesuffix("_")
        tensors = [value for value in args if isinstance(value, Tensor)]
        places = {tensor.device.type for tensor in tensors}
        if "meta" in places:
            if name in WAITING or (name.startswith("repeat_interleave") and len(tensors) > 1):
                raise Waits(f"{func} waits for the device")
            if name in ("index", "index_put", "_unsafe_index_put"):
                masks = [index for index in args[1] if index is not None]
                if any(index.dtype in (torch.bool, torch.uint8) for index in masks):
                    raise Waits(f"{func} with a mask waits for the device")
        result = func(*args, **(kwargs or {}))
        to = result.device.type if isinstance(result, Tensor) else None
        if (places == {"cpu"} and to == "meta") or (name == "copy" and len(places) == 2):
            pinned = any(tensors[-1].data_ptr() == one.data_ptr() for one in self._pinned)
            if not self._moving and not (pinned and (kwargs or {}).get("non_blocking")):
                raise Waits(f"{func} copies from host memory that is not pinned")
            self.copies += 1
        return result


@contextmanager
def no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[NoWaits]:
    """Within it, Waits is raised, and steps on META are possible: autocast does not know it."""
    mode, copy = NoWaits(), shared.device.moved
    with monkeypatch.context() as patch:
        marked = mode.moved(copy)
        for module in list(sys.modules.values()):
            if getattr(module, "moved", None) is copy:
                patch.setattr(module, "moved", marked)
        patch.setattr(Tensor, "pin_memory", lambda tensor: mode.pin(tensor))
        patch.setattr(torch, "autocast", lambda *words, **named: nullcontext())
        with mode:
            yield mode


def on_meta(value: Any) -> Any:
    """Tensors in dataclasses, tuples and dicts, moved there."""
    if isinstance(value, Tensor):
        return value.detach().to(META).requires_grad_(value.requires_grad)
    if isinstance(value, Memory):
        for name, kept in value.tensors().items():
            setattr(value, name, kept.to(META))
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: on_meta(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, Mapping):
        return {name: on_meta(inner) for name, inner in value.items()}
    return tuple(map(on_meta, value)) if isinstance(value, tuple) else value
