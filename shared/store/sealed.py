"""JSON that holds the sha256 of its own facts, so that a change of any of them is found."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256_of_the_rest"


def seal(facts: Mapping[str, Any]) -> bytes:
    """Sorted, indented JSON."""
    plain = json.loads(json.dumps(facts))  # tuples to lists, keys to text: as it will be read
    return (json.dumps({**plain, SEAL: _digest(plain)}, indent=1, sort_keys=True) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any]:
    """The facts. ValueError where `data` is no JSON, not sealed, or changed since."""
    facts = json.loads(data)
    if not isinstance(facts, dict):
        raise ValueError("it is no JSON object")
    if facts.pop(SEAL, None) != _digest(facts):
        raise ValueError(f"its {SEAL} is not that of the rest")
    return facts


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
