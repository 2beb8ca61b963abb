"""Attributes that describe the arrays of a zarr cache in words (version 2).

They are for readers who have the cache and zarr, but not this code.
"""

from typing import Any

from shared.records.keys import KEYS
from shared.records.manifest import Manifest
from shared.targets.codecs import CODECS

_AXES = "(view, sample, ...)"
_OTHERS = {
    "box": (
        "crop of the view in pixels of the source image: top, left, height, width. It is resized "
        "to the network's size. Where it reaches outside the image, pixels are mirrored at the "
        "edge without repeating it (numpy.pad, mode reflect)"
    ),
    "flip": "whether the view is mirrored left to right, after crop and resize",
    "pred": (
        "class with the largest logit, as the teacher said it in full precision; -1: the image "
        "does not decode, and its row is zeros in every array"
    ),
    "label": "class of the sample in the source: position in source.classes of manifest.json",
}


def group_meaning(manifest: Manifest) -> dict[str, Any]:
    if manifest.format_version == 1:
        return {}
    codec = CODECS[manifest.codec]
    found = {
        "axes": f"{_AXES}; a sample is a position in the source, and line i + 1 of {KEYS}, next to "
        "this group, names sample i",
        "codec": f"{codec.name}, version {codec.version}",
        "teacher": f"{manifest.teacher.architecture}, in eval mode; manifest.json says which",
    }
    if manifest.encoding.derives_logits:
        found["logits"] = (
            "not stored: decoded channels of the last stage @ weight.T + bias, where head.npy, "
            "next to this group, holds weight and, as its last column, bias"
        )
    return found


def array_meaning(manifest: Manifest, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name == "channels":
        found["stages"] = manifest.teacher.channels
    if manifest.format_version > 1:
        axes = "(sample)" if name == "label" else _AXES
        meaning = _OTHERS[name] if name in _OTHERS else manifest.encoding.meaning(name)
        found.update(axes=axes, meaning=meaning)
    return found
