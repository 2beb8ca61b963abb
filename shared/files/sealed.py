"""Sealed JSON: an object that contains the sha256 of its other fields, so that edits are detected.

Parsing limits the size in bytes and the depth, and accepts finite numbers only.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

SEAL = "sha256_of_the_rest"
MOST_BYTES = 64 << 20  # the manifest of ImageNet-21k takes 0.3 MB


def seal(facts: Mapping[str, Any]) -> bytes:
    """`facts` and their seal as sorted, indented JSON."""
    plain = json.loads(json.dumps(facts))  # as it will be read: lists for tuples, text keys
    return (json.dumps({**plain, SEAL: _digest(plain)}, indent=1, sort_keys=True) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any]:
    """The facts. Raises ValueError if `data` is not sealed JSON, or was changed after sealing."""
    facts = parse_object(data)
    try:
        digest = _digest(facts)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    if facts.pop(SEAL, None) != digest:
        raise ValueError(f"its {SEAL} does not match the rest")
    return facts


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError if `data` is not one, too large or nested too deeply."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, more than {MOST_BYTES:,}")
    try:
        facts = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    except MemoryError as error:
        raise ValueError("its JSON does not fit into memory") from error
    if not isinstance(facts, dict):
        raise ValueError("it is not a JSON object")
    return facts


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is not a finite number")
    return value


def _digest(facts: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in facts.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
