"""Where a folder or file is: a path on this machine, or a URL that fsspec knows.

A URL stays a string, because Path would turn s3://bucket into s3:/bucket.
"""

from pathlib import Path

Location = Path | str  # str: a URL

_LOCAL = ("file", "local")


def parse_location(text: str) -> Location:
    """The location that a flag names; file://DIR is a path like any other."""
    protocol, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    return Path(rest) if protocol in _LOCAL else f"{protocol}://{rest.rstrip('/')}"


def inside(folder: Location, name: str) -> Location:
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"


def folder_of(location: Location) -> Location:
    """The folder that holds it; a bucket holds itself."""
    if isinstance(location, Path):
        return location.parent
    protocol, _, rest = location.partition("://")
    return f"{protocol}://{rest.rpartition('/')[0] or rest}"


def name_of(location: Location) -> str:
    return location.name if isinstance(location, Path) else location.rpartition("/")[2]
