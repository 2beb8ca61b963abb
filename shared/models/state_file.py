"""A file of weights -> names and plain tensors, or one line that says why not.

It may hold what `torch.save(model.state_dict(), file)` writes, or what training scripts write:

    {"state_dict": ..., "epoch": ...}    wrapped under one of WRAPPERS
    {"module.conv1.weight": ...}         of nn.DataParallel, DDP and AveragedModel
    {"_orig_mod.conv1.weight": ...}      of torch.compile

or, if its name ends in .safetensors, plain tensors in that format.

Loading runs no code of the file (weights_only), and nothing is allocated that is not in it: a zip
may hold few bytes that unpack to many, a tensor may claim a billion numbers and hold one.
"""

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from shared.errors import InputError, note
from shared.files.regular import NotRegular, open_regular, read_regular
from shared.files.retry import PASSING, patiently_local
from shared.images.listing import shown, unreadable

WRAPPERS = ("state_dict", "model", "student", "model_ema", "ema")  # the first that is there counts
PREFIXES = ("module.", "_orig_mod.")
MAX_BYTES = 1 << 34
MAX_NAMES = 1 << 22  # bytes of the names and shapes in a file; ResNet-152's take 200 thousand
MAX_READS = 500_000  # of a file from before PyTorch 1.6, 2 s; ResNet-152's takes 50 thousand
DTYPES = frozenset({
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
})  # fmt: skip


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a file: strided tensors of numbers on the CPU, under plain names.

    Raises: InputError, StorageError.
    """
    try:
        loaded = patiently_local(str(path), lambda: _load(path))
    except (InputError, NotRegular) as error:
        reason = error if isinstance(error, InputError) else error.strerror
        raise InputError(
            f"{path} is not a file of weights: {reason}; save model.state_dict() with torch.save "
            f"and give that"
        ) from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    state = _without_prefix(_unwrapped(loaded, path))
    for name, value in state.items():
        if problem := _problem(value):
            raise InputError(
                f"{path} holds {problem} under '{shown(name)}': weights are plain tensors of "
                f"real numbers; save model.state_dict() and give that"
            )
    return state


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    with _CountedReads(cast(io.FileIO, open_regular(path, buffered=False))) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise InputError(f"{size:,} bytes are more than the limit of {MAX_BYTES:,}")
        _require_stored(file, size)
        file.seek(0)
        try:
            with warnings.catch_warnings():  # torch's warnings about what is refused below
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True)
        except InputError:
            raise
        except OSError as error:
            if error.errno in PASSING:  # the disk's; of other bytes torch seeks where nothing is
                raise
            raise _not_loaded(error) from error
        except Exception as error:  # on other bytes torch raises whatever it stumbles over
            raise _not_loaded(error) from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise InputError("its kind needs a package: pip install safetensors") from error
    data = read_regular(str(path), MAX_BYTES)
    try:
        return load(data)
    except Exception as error:  # on other bytes safetensors raises errors of its own and of torch
        raise _not_loaded(error) from error


class _CountedReads(io.BufferedReader):
    """torch follows a pickle byte by byte, in Python: one of nothing but marks would take for ever
    and hundreds of times its size. Numbers are read past this, or many at once."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise InputError(f"it has more than {MAX_READS:,} parts")
        return super().read(size)


def _not_loaded(error: Exception) -> InputError:
    reason = " ".join(str(error).partition("\n")[0].partition(". ")[0].split())[:200]
    return InputError(f"it does not load with weights_only=True ({type(error).__name__}: {reason})")


def _require_stored(file: BinaryIO, size: int) -> None:
    """InputError for a zip that unpacks to more than it is; torch.save never packs."""
    try:
        if not zipfile.is_zipfile(file):
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except Exception:  # torch says what is wrong with it
        return
    unpacked = sum(entry.file_size for entry in entries)
    names = max((e.file_size for e in entries if e.filename.endswith(".pkl")), default=0)
    if names > MAX_NAMES:
        raise InputError(f"its names take {names:,} bytes, more than the limit of {MAX_NAMES:,}")
    if unpacked > size:
        raise InputError(f"it unpacks from {size:,} to {unpacked:,} bytes")


def _unwrapped(loaded: Any, path: Path) -> dict[str, Tensor]:
    found = [
        name
        for name in WRAPPERS
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict) and loaded[name]
    ]
    if found and not _is_state(loaded):
        if len(found) > 1:
            note(f"{path} holds {', '.join(found)}: {found[0]} is taken")
        loaded = loaded[found[0]]
    if not _is_state(loaded):
        if isinstance(loaded, dict):
            names = ", ".join(repr(name)[:40] for name in list(loaded)[:5])
            what = f"a dict of {names}" if names else "an empty dict"
        else:
            what = f"a {type(loaded).__name__}"
        raise InputError(
            f"{path} holds {what} instead of a state dict (names to tensors): save "
            f"model.state_dict() and give that"
        )
    state: dict[str, Tensor] = loaded
    return state


def _is_state(loaded: Any) -> bool:
    return isinstance(loaded, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    )


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The prefixes that all names have; AveragedModel counts beside them, in n_averaged."""
    names = [name for name in state if name != "n_averaged"]
    for prefix in (first for _ in range(3) for first in PREFIXES):
        if names and all(name.startswith(prefix) for name in names):
            state = {name.removeprefix(prefix): state[name] for name in names}
            names = list(state)
    return state


def _problem(value: Tensor) -> str | None:
    """What keeps a tensor from being a weight, None if nothing does."""
    if value.is_nested:
        return "a nested tensor"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if value.is_quantized:
        return "a quantized tensor"
    if value.device.type != "cpu":
        return f"a tensor on the device {value.device.type}"
    if type(value) not in (Tensor, torch.nn.Parameter):
        return f"a {type(value).__name__}"
    if value.dtype not in DTYPES:
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}"
    return None
