"""Lists the images in WebDataset tars, for random access: local files, or byte ranges of URLs.

    /data/imagenet                               a folder of tars whose names contain the split
    /data/{split}-{0000..0099}.tar               {split} is train or val; braces as in bash
    s3://bucket/{train-{000..099},val-{00..07}}.tar
    https://host/imagenet1k-{train-{0000..1023},validation-{00..63}}.tar

Without {split}, a tar belongs to the split that is a word in its file name (between `-`, `_`, `.`)
or the name of its folder; `validation` counts as val.

As in WebDataset, consecutive members with the same name up to the first dot are one sample. It must
have one image (jpg, jpeg or png) and a label: `cls` (an integer), or `json` with an integer `label`
or `cls`, or with the name of a `class`. Class names are in classes.txt (one per line) or
classes.json (a list) beside the first tar; without either, classes are called "0" to the largest
label. Samples are in the order of the tars and their members.
"""

import json
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from shared.errors import InputError
from shared.files.ranges import is_url, open_ranges
from shared.files.retry import patiently_local
from shared.files.tar import Member, members
from shared.images.class_names import class_names
from shared.images.kept_listing import Stamps
from shared.images.listing import Keys, Listing, Places, shortened, shown, unreadable

IMAGES = ("jpg", "jpeg", "png")
READ_AT_ONCE = 8  # remote tars, in threads
MAX_LABEL = 1 << 20  # bytes in a cls or json member
MAX_CLASSES = 1_000_000  # if no file names them


class TarSample(NamedTuple):
    key: str
    label: int | str  # a number, or the name of a class
    offset: int  # of the image in its tar, in bytes
    size: int  # of the image, in bytes


def list_shards(paths: list[str], stamps: Stamps) -> Listing:
    """Lists the samples in tars. Raises InputError if a tar or a sample is not usable.

    That is a tar that is damaged or missing, or a sample without an image or a label.
    """
    remote = any(map(is_url, paths))
    for path in paths:
        if not remote:
            stamps.take(path)
    names = class_names(posixpath.dirname(paths[0]), stamps)
    found: list[list[TarSample]] = []
    with ThreadPoolExecutor(READ_AT_ONCE if remote else 1) as threads:
        if remote:
            list(threads.map(stamps.take, paths))
        try:
            found += tqdm(
                threads.map(_index, paths), "listing", len(paths), leave=False, disable=None
            )
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    samples = [sample for shard in found for sample in shard]
    if not samples:
        raise InputError(f"the tars of the split hold no images: {paths[0]}, ...")
    labels, classes = _labels(samples, names, paths[0])
    file = np.repeat(np.arange(len(paths), dtype=np.int32), [len(shard) for shard in found])
    offset = np.array([sample.offset for sample in samples], np.int64)
    return Listing.make(
        classes,
        Keys.pack(sample.key for sample in samples),
        labels,
        [sample.size for sample in samples],
        Places(tuple(paths), file, offset),
    )


def _index(path: str) -> list[TarSample]:
    def index_once() -> list[TarSample]:
        with open_ranges(path) as file:
            return list(_samples(file, path))

    try:
        return index_once() if is_url(path) else patiently_local(path, index_once)
    except OSError as error:
        raise unreadable(path, error) from error


def _samples(file: BinaryIO, path: str) -> Iterator[TarSample]:
    def key(member: Member) -> str:
        folder, name = posixpath.split(member.name)
        return posixpath.join(folder, name.split(".", 1)[0])

    visible = (m for m in members(file, path) if not posixpath.basename(m.name).startswith("."))
    for name, group in groupby(visible, key):
        parts = list(group)
        by_suffix = {_suffix(part): part for part in parts}
        images = [part for suffix, part in by_suffix.items() if suffix in IMAGES]
        label = next((by_suffix[suffix] for suffix in ("cls", "json") if suffix in by_suffix), None)
        if len(images) != 1 or len(by_suffix) != len(parts) or label is None:
            found = shortened([shown(_suffix(part)) for part in parts])
            raise InputError(
                f"the sample {shown(name)} in {path} holds {found}: it must hold one image "
                f"({', '.join(IMAGES)}) and its label (cls or json)"
            )
        if label.size > MAX_LABEL:
            raise InputError(
                f"{shown(label.name)} of {path} has {label.size:,} bytes, which is too much for a "
                f"label: it is an integer in cls, or json with an integer label or cls, or the "
                f"name of a class"
            )
        file.seek(label.offset)
        yield TarSample(
            name, _label(file.read(label.size), label, path), images[0].offset, images[0].size
        )


def _suffix(member: Member) -> str:
    return posixpath.basename(member.name).partition(".")[2].lower()


def _label(data: bytes, member: Member, path: str) -> int | str:
    """The number or class name in a cls or json member."""
    try:
        if _suffix(member) == "cls":
            return int(data)
        facts = json.loads(data)
        for name, kind in (("label", int), ("cls", int), ("class", str)):
            value = facts.get(name) if isinstance(facts, dict) else None
            if isinstance(value, kind) and not isinstance(value, bool):
                return value
    except (ValueError, RecursionError):
        pass
    raise InputError(
        f"{data[:40]!r} in {shown(member.name)} of {path} is not a label: it must be an integer in "
        f"cls, or json with an integer label or cls, or with the name of a class"
    )


def _labels(
    samples: list[TarSample], names: list[str] | None, path: str
) -> tuple[list[int], list[str]]:
    """(the label of each sample, the names of the classes)."""
    position = {name: label for label, name in enumerate(names or [])}
    labels = [position.get(s.label, -1) if isinstance(s.label, str) else s.label for s in samples]
    if names is None and max(labels) >= MAX_CLASSES:
        raise InputError(
            f"the label {max(labels)} is too large: without a classes.txt labels count from 0 to "
            f"fewer than {MAX_CLASSES:,}, tars from {path} on; correct it"
        )
    classes = names if names is not None else [str(i) for i in range(max(labels) + 1)]
    for sample, label in zip(samples, labels, strict=True):
        if not 0 <= label < len(classes):
            known = f"the {len(classes)} of classes.txt" if names else "there is no classes.txt"
            raise InputError(
                f"the label {sample.label!r} of {shown(sample.key)} is not one of the classes "
                f"beside the first tar ({known}), tars from {path} on: correct it"
            )
    return labels, classes
