"""Stores the files of a cache split or a run in an object store, at s3://bucket/folder or any URL
that fsspec knows.

    export AWS_ENDPOINT_URL=http://localhost:9000    # MinIO, Ceph, R2, ...; AWS itself needs none
    python precompute/run.py --split train --cache s3://bucket/teacher_cache

Credentials and region are found as in any AWS tool: AWS_PROFILE, AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, ~/.aws, the machine's role. Other options of s3fs are set
in fsspec's configuration: FSSPEC_S3_ANON=true, FSSPEC_S3_ENDPOINT_URL=..., FSSPEC_S3='{...}',
~/.config/fsspec/*.json. If both set an endpoint, fsspec's is used.

Writes are atomic without a rename. An object is uploaded in one request, or from 100 MB in parts
that become visible together, so a killed process leaves no partial object. Stores are consistent
(a read returns what was last written), and a receipt is written after the files that it lists. The
parts of an unfinished upload stay invisible; a lifecycle rule of the bucket can remove them.

retry.py retries network failures. The driver's own retries are off: otherwise each of our tries
would be 25 tries of s3fs and botocore, and its time would have no bound.
"""

import errno
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from fsspec.core import strip_protocol
from fsspec.spec import AbstractFileSystem

from shared.errors import InputError
from shared.files.drivers import driver, require_driver, time_limit
from shared.files.local import LocalFiles
from shared.files.location import Location, inside, parse_location
from shared.files.object_requests import names_in, put, put_new, sizes_below, stamps_in
from shared.files.protocol import MOST, Files, Stamp, not_ours
from shared.files.retry import one_line, patiently

T = TypeVar("T")


def open_files(location: str | Path, split: str) -> Files:
    """The files of one split of the cache at a folder or URL.

    Raises InputError if there is no driver for the URL.
    """
    where = parse_location(location) if isinstance(location, str) else location
    require_location(where, "--cache")
    return open_folder(inside(where, split))


def open_folder(location: Location) -> Files:
    """The files below a folder or URL, which `require_location` has checked."""
    return LocalFiles(location) if isinstance(location, Path) else ObjectFiles(location)


def require_location(location: Location, flag: str) -> None:
    """Raises InputError if `flag` names a URL without a bucket, or one without a driver."""
    if isinstance(location, Path):
        return
    require_driver(location)
    if not location.partition("://")[2].strip("/"):
        raise InputError(f"{flag} must name a bucket, like s3://bucket/folder: got {location}")


class ObjectFiles:
    """The files below a URL. It holds no connection, so it can be pickled and used after a fork."""

    def __init__(self, root: str) -> None:
        self.root = root

    def read(self, path: str, most: int = MOST) -> bytes:
        """Raises FileNotFoundError if there is none, InputError if it exceeds `most` bytes."""

        def read_whole(store: AbstractFileSystem, name: str) -> bytes:
            size = store.info(name, **time_limit(store))["size"]
            if size > most:
                raise not_ours(
                    f"{self.root}/{path}", f"{size:,} bytes are more than the limit of {most:,}"
                )
            data: bytes = store.cat_file(name, **time_limit(store, size))
            if len(data) != size:
                raise OSError(errno.EIO, f"got {len(data)} of {size} bytes")
            return data

        return self._ask(path, read_whole)

    def size(self, path: str) -> int:
        """Bytes in an object. Raises FileNotFoundError if there is none."""
        return self._ask(
            path, lambda store, name: int(store.info(name, **time_limit(store))["size"])
        )

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes start..stop of an object, in one request.

        Raises FileNotFoundError if there is none, StorageError if it ends before `stop`."""
        count = stop - start

        def read_part(store: AbstractFileSystem, name: str) -> bytes:
            if count == 0:
                return b""
            data: bytes = store.cat_file(name, start=start, end=stop, **time_limit(store, count))
            if len(data) != count:
                raise OSError(errno.EIO, f"got {len(data)} of {count} bytes")
            return data

        return self._ask(path, read_part)

    def exists(self, path: str) -> bool:
        try:
            kind = self._ask(
                path, lambda store, name: store.info(name, **time_limit(store))["type"]
            )
        except FileNotFoundError:
            return False
        return bool(kind == "file")

    def names(self, folder: str) -> list[str]:
        """The sorted names in a folder; [] if the folder does not exist."""
        try:
            return self._ask(folder, names_in)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """Name -> stamp of the objects directly below `folder`: one request per thousand."""

        try:
            return self._ask(folder, stamps_in)
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def read_listed(self, path: str, size: int) -> bytes:
        """As `read`, but in one request. `size` is what a listing gave."""
        data: bytes = self._ask(
            path, lambda store, name: store.cat_file(name, **time_limit(store, size))
        )
        return data if len(data) == size else self.read(path)

    def sizes(self, folder: str, paths: Sequence[str]) -> dict[str, int]:
        """The sizes of those of `paths`, which lie below `folder`, that there are.

        Lists everything below `folder`: one request per thousand objects."""
        root = strip_protocol(self.root).strip("/") + "/"
        try:
            there = self._ask(folder, lambda store, name: sizes_below(store, name, root))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {path: there[path] for path in paths if path in there}

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data, put)

    def write_with(self, path: str, fill: Callable[[BinaryIO], None]) -> None:
        """Holds the whole file in memory, as an upload may have to be repeated."""
        buffer = io.BytesIO()
        fill(buffer)
        self.write(path, buffer.getvalue())

    def remove(self, path: str) -> None:
        """Removes an object; nothing happens if it does not exist."""
        with suppress(FileNotFoundError):
            self._ask(path, lambda store, name: store.rm_file(name, **time_limit(store)))

    def write_new(self, path: str, data: bytes) -> bool:
        """Writes an object unless it exists; returns False if another process was first.

        This is exact in stores with conditional writes (AWS, MinIO, R2, Google). In other stores,
        if two processes write in the same instant, both may get True, and the last write remains.
        """
        if self.exists(path):
            return False
        # An object that exists now may be our own, from a try whose response was lost.
        with suppress(FileExistsError):
            self._put(path, data, put_new)
        return self.read(path) == data

    def remove_stale(self) -> None:
        """Does nothing, because unfinished uploads are invisible."""

    def _put(
        self, path: str, data: bytes, act: Callable[[AbstractFileSystem, str, bytes], None]
    ) -> None:
        try:
            self._ask(path, lambda store, name: act(store, name, data))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.root}/{path} cannot be written, as there is no such bucket "
                f"({one_line(error)}): create the bucket, or give another URL"
            ) from error

    def _ask(self, path: str, act: Callable[[AbstractFileSystem, str], T]) -> T:
        """Calls `act` with the driver and its name for `path`, and retries temporary failures."""
        root = strip_protocol(self.root)
        name = root if path in ("", ".") else f"{root}/{path}"
        return patiently(f"{self.root}/{path}", lambda: act(driver(self.root), name))
