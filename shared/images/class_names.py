"""Reads the class names beside a set of tars, from classes.txt or classes.json."""

import json
import os
import posixpath

from shared.errors import InputError
from shared.files.ranges import read_whole
from shared.images.kept_listing import Stamps
from shared.images.listing import unreadable

MAX_NAMES = 1 << 26  # bytes in classes.txt or classes.json


def class_names(folder: str, stamps: Stamps) -> list[str] | None:
    """The names of the classes in label order; None if there is neither file."""
    text_path, json_path = posixpath.join(folder, "classes.txt"), f"{folder}/classes.json"
    stamps.take(text_path)
    if (text := _read_names(text_path)) is not None:
        lines = text.decode(errors="surrogateescape").removesuffix("\n").split("\n")
        names = [line.removesuffix("\r") for line in lines] if text else []
        _require_names(names, text_path)
        return names or None
    stamps.take(json_path)
    if (text := _read_names(json_path)) is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise InputError(f'{json_path} is not a list of names: write one, like ["ant", "bee"]')
    _require_names(found, json_path)
    return found


def _read_names(path: str) -> bytes | None:
    try:
        return read_whole(path, MAX_NAMES)
    except OSError as error:
        raise unreadable(path, error) from error


def _require_names(names: list[str], path: str) -> None:
    """Raises InputError unless each name is one line that a file system can encode."""
    for number, name in enumerate(names, 1):
        try:
            fits = not set(os.fsencode(name)) & {0, 10}
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
            fits = False
        if not fits:
            raise InputError(
                f"class {number} of {path} is {name[:40]!r}, which cannot be the name of a class: "
                f"give one line of text"
            )
