"""Files of a cache as somebody else might write them, and all that is ever read of a cache.

A forged file must end in one line, or change nothing of what is read.
"""

import contextlib
import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import InputError
from shared.files.sealed import SEAL, seal
from shared.loaders.shard_loader import ShardLoader
from shared.records.manifest_json import parse_manifest
from shared.records.receipt import receipt_path
from shared.store.checks import require_targets
from shared.store.opening import Cache, open_cache
from shared.store.static_files import check_static, stored_keys, stored_labels
from tests.small_cache import make_cache, make_keys, make_labels, make_manifest

Keys = tuple[str | int, ...]  # where a value stands in nested JSON

SAMPLES, BLOCK, VIEWS = 5, 4, 2
DEEP = "[" * 100_000 + "]" * 100_000
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 1024, 10**6, 2**31, 2**63, 2**64, 10**400),
    *(0.0, 1.5, -1e300, 1e300, "", "x", "0", "00", "-1", "zarr", "webdataset", "source"),
    *("exact", "half", "../../../etc/passwd", "/etc/passwd", "a\nb", "\0", "\u2028", "\udc80"),
    *("f" * 64, "F" * 64, "f" * 63, "x" * 10**6, [], [1], [[]], [None] * 4, ["x"] * 3, {}),
    *({"a": 1}, {"": {}}, [[1, "x", "y"]], [[0, 0, 0]], [[10**9, "a", "b"]], {"9": "f" * 64}),
]
RAW = [
    *(b"", b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b"\0" * 64, b'{"a": NaN}'),
    *(b'{"a": Infinity}', b'{"a": 1e999}', b'{"a": ' + b"9" * 5000 + b"}"),
    *(DEEP.encode(), ('{"a":' * 50_000).encode(), '{"a": 1}'.encode("utf-16")),
]


# Layers of the cache that has some.
ADDED: dict[str, tuple[int, ...]] = {"attention1": (4,), "map2": (3, 2, 2)}


def make_small(folder: Path, store: str, with_layers: bool = False) -> Cache:
    """Two blocks of two views, in a codec that needs the head."""
    added = ADDED if with_layers else {}
    manifest = make_manifest(SAMPLES, BLOCK, VIEWS, codec="tiny", store=store, added=added)
    return make_cache(folder, manifest)


def fields(facts: Any, at: Keys = ()) -> Iterator[Keys]:
    """Where every value stands, those of lists and objects included."""
    inner = facts.items() if isinstance(facts, dict) else enumerate(facts)
    for name, value in inner:
        if name != SEAL:
            yield (*at, name)
            if isinstance(value, (dict, list)):
                yield from fields(value, (*at, name))


def changed(facts: Any, at: Keys, value: Any, how: str) -> Any:
    """`how`: "set", "remove", or "add" a field of this name beside the one at `at`."""
    facts = copy.deepcopy(facts)
    facts.pop(SEAL, None)
    inner = facts
    for name in at[:-1]:
        inner = inner[name]
    if how == "remove":
        del inner[at[-1]]
    elif how == "add" and isinstance(inner, dict):
        inner["added" if not isinstance(value, str) else value] = inner[at[-1]]
    elif how == "add":
        inner.append(value)
    else:
        inner[at[-1]] = value
    return facts


def written(facts: Any, sealed: bool) -> bytes:
    """With a right seal, and the name that a manifest with these facts has; or with neither."""
    if not sealed:
        return json.dumps(facts).encode()
    data = seal(facts)
    if "cache_id" in facts:
        with contextlib.suppress(InputError):
            parse_manifest(data, "")
            return data
        try:
            parse_manifest(data, "")
        except InputError as error:
            if found := re.search(r"cache_id must be ([0-9a-f]{12}):", str(error)):
                return seal({**facts, "cache_id": found[1]})
    return data


def everything(folder: Path) -> dict[str, Any]:
    """All that can be read of the cache, by name. InputError."""
    cache = open_cache(folder, "train")
    kinds = ["channels"]
    if (folder / "train" / receipt_path(0, 0, "map2")).exists():  # whatever the manifest says
        kinds += ADDED
    require_targets(cache, frozenset(kinds), "this test")
    fields = cache.manifest.encoding.needed(kinds)
    names = [*fields, "box", "flip", "pred"]
    found: dict[str, Any] = {"labels": stored_labels(cache), "skipped": cache.skipped()}
    for view in range(min(cache.manifest.views, VIEWS)):
        for name, values in cache.read_view(view, names).items():
            found[f"{name} of view {view}"] = values
    head = cache.head()
    assert head is not None
    found["head"] = np.concatenate([head.weight.numpy().ravel(), head.bias.numpy()])
    keys = stored_keys(cache)
    found["keys"] = list(make_keys(SAMPLES) if keys is None else keys)
    found["sizes"] = cache.samples_of_blocks()
    if cache.manifest.format == "webdataset":
        batches = list(ShardLoader(cache, fields, 2, 0, 0, False).batches(0))
        rows = {
            int(index): (int(label), pixels.numpy().tobytes())
            for batch in batches
            for index, label, pixels in zip(batch.index, batch.label, batch.pixels, strict=True)
        }
        found["stream"] = sorted(rows.items())
    cache.arithmetics()
    cache.num_bytes()
    return found


def check_everything(folder: Path) -> None:
    """What verify.py checks of files. InputError."""
    cache = open_cache(folder, "train")
    check_static(cache, make_labels(SAMPLES), make_keys(SAMPLES))
    cache.require_views()
    for unit in cache.units():
        for layer in cache.manifest.layers:
            cache.check_block(*unit, layer=layer)


def problem(folder: Path, expected: dict[str, Any]) -> str | None:
    """None where reading gives what is `expected`, for the views that there are, or one line."""
    for read in (everything, check_everything):
        try:
            found = read(folder)
        except InputError as error:
            if len(str(error).splitlines()) != 1:
                return f"not one line: {str(error)[:200]!r}"
            continue
        except Exception as error:
            return f"{read.__name__}: {type(error).__name__}: {str(error)[:200]}"
        for name, value in (found or {}).items():
            if not np.array_equal(np.asarray(value, object), np.asarray(expected[name], object)):
                return f"{name} reads as something else, and nothing says so"
    return None


def random_forgery(data: bytes, path: str, rng: random.Random) -> tuple[str, bytes]:
    """What was done, and the bytes."""
    if path.endswith(".json") and "zarr" not in path and rng.random() < 0.8:
        facts = json.loads(data)
        if isinstance(facts, dict) and (places := list(fields(facts))):
            at, value = rng.choice(places), rng.choice(VALUES)
            how = rng.choice(["set", "set", "set", "remove", "add"])
            sealed = rng.random() < 0.8
            text = f"{how} {at} {str(value)[:40]!r}{' sealed' if sealed else ''}"
            return text, written(changed(facts, at, value, how), sealed)
    kind = rng.choice(["raw", "flip", "cut", "twice"])
    if kind == "raw":
        raw = rng.choice(RAW)
        return f"raw {raw[:20]!r}", raw
    at = rng.randrange(len(data))
    if kind == "flip":
        bit = 1 << rng.randrange(8)
        return f"bit {bit} of byte {at}", data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
    return (f"cut at {at}", data[:at]) if kind == "cut" else ("twice", data + data)


def refusal(read: Callable[[], object]) -> str | None:
    """The one line, None where it is read."""
    try:
        read()
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)
    return None
