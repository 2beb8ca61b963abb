"""classes.safetensors: the per-class statistics of a cache (shared/targets/classes.py).

precompute/classes.py writes it. It is a plain safetensors file: 8 bytes with the length of a JSON
header (little-endian), the header, and the numbers of the tensors: counts (int64) and, where the
cache allows them, centres, prior and distance (float32). In the header, `__metadata__` names the
cache, the view and the digest of the statistics.
"""

import json
from collections.abc import Collection
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from shared.errors import InputError
from shared.files import schema
from shared.files.retry import one_line
from shared.files.sealed import parse_object
from shared.records.identity import cache_id
from shared.records.manifest import Manifest
from shared.store.split import Cache
from shared.targets.classes import ClassStatistics, problems

CLASSES = "classes.safetensors"
VERSION = 1
MOST_HEADER = 1 << 16  # bytes


def read_classes(cache: Cache) -> ClassStatistics | None:
    """None if there is no file. Raises InputError if it is damaged or from another cache, or if
    targets were added to the cache since."""
    if not cache.files.exists(CLASSES):
        return None
    try:
        most = MOST_HEADER + 8 + sum(_num_bytes(s) for s in shapes_of(cache.manifest).values())
        return decode(cache, cache.files.read(CLASSES, most))
    except (FileNotFoundError, ValueError) as error:  # InputError is a ValueError
        raise InputError(
            f"{cache.where}/{CLASSES}, which holds the statistics of every class, cannot be used "
            f"({one_line(error)}): run {command(cache)}, it writes the file again"
        ) from error


def require_classes(cache: Cache, user: str, parts: Collection[str] = ()) -> ClassStatistics:
    """The statistics, with all of `parts`: "centres", "prior", "distance".

    Raises InputError if the file is missing, cannot be used, or lacks one of these. `user` is what
    needs them, for the message.
    """
    found = read_classes(cache)
    if found is None:
        raise InputError(
            f"{user} needs the statistics of every class, and {cache.where}/{CLASSES} is missing: "
            f"run {command(cache)}, it makes them from the cache"
        )
    if lacking := sorted(set(parts) - found.tensors().keys()):
        raise InputError(
            f"{user} needs the {' and '.join(lacking)} of every class, which {cache.where}/"
            f"{CLASSES} lacks, as this cache has no embeddings, no logits of its own classes, or "
            f"too many classes: choose a recipe that does not need them"
        )
    return found


def command(cache: Cache) -> str:
    """What to type to make the file."""
    location = cache.where.removesuffix(f"/{cache.manifest.split}")
    split = cache.manifest.split
    named = "" if split == "train" else f" --split {split}"
    return f"python precompute/classes.py --cache {location}{named}"


def offers_logits(manifest: Manifest) -> bool:
    """Whether the cache has logits of the classes of its images."""
    same = manifest.teacher.classes == len(manifest.source.classes)
    return same and manifest.encoding.offers("logits")


def shapes_of(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors that statistics of this cache can have."""
    classes = len(manifest.source.classes)
    shapes: dict[str, tuple[int, ...]] = {"counts": (classes,)}
    if manifest.encoding.offers("embedding"):
        shapes["centres"] = (classes, manifest.teacher.embedding_width)
    if offers_logits(manifest):
        shapes.update(prior=(classes, classes), distance=(classes, classes))
    return shapes


def _num_bytes(shape: tuple[int, ...]) -> int:
    return 8 * int(np.prod(shape))


def encode(cache: Cache, found: ClassStatistics) -> bytes:
    facts = {
        "version": VERSION,
        "cache": cache_id(cache.manifest),
        "view": found.view,
        "samples_per_class": found.samples_per_class,
        "compared": found.compared,
        "digest": found.digest,
    }
    header: dict[str, object] = {"__metadata__": {name: str(fact) for name, fact in facts.items()}}
    numbers = b""
    for name, values in found.tensors().items():
        start, numbers = len(numbers), numbers + values.numpy().tobytes()
        dtype = "I64" if values.dtype == torch.int64 else "F32"
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [start, len(numbers)],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # so that the numbers are aligned
    return len(text).to_bytes(8, "little") + text + numbers


def decode(cache: Cache, data: bytes) -> ClassStatistics:
    """Raises ValueError if `data` are not statistics of this cache.

    The header says which tensors there are. Their shapes follow from the manifest, and encoding
    them must give the same bytes.
    """
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(MOST_HEADER, len(data) - 8):
        raise ValueError(f"it has {len(data):,} bytes, and no header")
    header = parse_object(data[8 : 8 + length])
    _HEADER(header, "")
    facts = header["__metadata__"]
    if facts["cache"] != cache_id(cache.manifest):
        raise ValueError(f"it is of the cache {facts['cache'][:40]}")
    shapes = shapes_of(cache.manifest)
    # Too many classes leave `distance` out; all else must be there.
    if missing := sorted(shapes.keys() - header.keys() - {"distance"}):
        raise ValueError(f"it lacks {', '.join(missing)}, which this cache allows")
    if more := sorted(header.keys() - shapes.keys() - {"__metadata__"}):
        raise ValueError(f"it has {', '.join(more)}, which this cache does not allow")
    tensors: dict[str, Tensor] = {}
    at = 8 + length
    for name in (field.name for field in fields(ClassStatistics) if field.name in header):
        dtype = np.dtype(np.int64 if name == "counts" else np.float32)
        stop = at + dtype.itemsize * int(np.prod(shapes[name]))
        if stop > len(data):
            raise ValueError(f"it has {len(data):,} bytes, and {name} ends at {stop:,}")
        values = np.frombuffer(data[at:stop], dtype).reshape(shapes[name])
        tensors[name], at = torch.from_numpy(values.copy()), stop
    found = ClassStatistics(
        view=int(facts["view"]),
        samples_per_class=int(facts["samples_per_class"]),
        compared=int(facts["compared"]),
        counts=tensors["counts"],
        centres=tensors.get("centres"),
        prior=tensors.get("prior"),
        distance=tensors.get("distance"),
    )
    if facts["digest"] != found.digest:
        raise ValueError("its digest does not match the rest")
    if data != encode(cache, found):
        raise ValueError("it is not a file of these tensors alone")
    for problem in problems(found, cache.manifest.samples):
        raise ValueError(problem)
    return found


_TENSOR = schema.record(
    {
        "dtype": schema.one_of(("F32", "I64")),
        "shape": schema.many(schema.integer(1, 10**6), 1, 2),
        "data_offsets": schema.many(schema.integer(0, 10**12), 2, 2),
    }
)
_HEADER = schema.record(
    {
        "__metadata__": schema.record(
            {
                "version": schema.one_of((str(VERSION),)),
                "cache": schema.text,
                "view": schema.decimal,
                "samples_per_class": schema.decimal,
                "compared": schema.decimal,
                "digest": schema.sha256,
            }
        ),
        "counts": _TENSOR,
    },
    {"centres": _TENSOR, "prior": _TENSOR, "distance": _TENSOR},
)
