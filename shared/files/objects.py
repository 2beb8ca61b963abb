"""Stores the files of a cache split in an object store, at s3://bucket/folder or any fsspec URL.

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
import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from fsspec.core import strip_protocol
from fsspec.spec import AbstractFileSystem

from shared.errors import InputError
from shared.files.drivers import driver, require_driver, time_limit
from shared.files.local import MOST, Files, LocalFiles, not_ours
from shared.files.retry import one_line, patiently, s3_code

T = TypeVar("T")


def open_files(location: str | Path, split: str) -> Files:
    """The files of one split of the cache at a folder or URL.

    Raises InputError if there is no driver for the URL.
    """
    protocol, separator, rest = str(location).partition("://")
    if isinstance(location, Path) or not separator:
        return LocalFiles(Path(location) / split)
    if protocol in ("file", "local"):
        return LocalFiles(Path(rest) / split)
    require_driver(str(location))
    if not rest.strip("/"):
        raise InputError(f"--cache must name a bucket, like s3://bucket/folder: got {location}")
    return ObjectFiles(f"{str(location).rstrip('/')}/{split}")


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

        def listed(store: AbstractFileSystem, name: str) -> list[str]:
            inside = name.strip("/") + "/"
            # No limit on the whole: each thousand names are a request with its own limit.
            found = [path.strip("/") for path in store.ls(name, detail=False)]
            return sorted(path.removeprefix(inside) for path in found if path.startswith(inside))

        try:
            return self._ask(folder, listed)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data, _put)

    def write_new(self, path: str, data: bytes) -> bool:
        """Writes an object unless it exists; returns False if another process was first.

        This is exact in stores with conditional writes (AWS, MinIO, R2, Google). In other stores,
        if two processes write in the same instant, both may get True, and the last write remains.
        """
        if self.exists(path):
            return False
        # An object that exists now may be our own, from a try whose response was lost.
        with suppress(FileExistsError):
            self._put(path, data, _put_new)
        return self.read(path) == data

    def remove_stale(self) -> None:
        """Does nothing, because unfinished uploads are invisible."""

    def _put(
        self, path: str, data: bytes, put: Callable[[AbstractFileSystem, str, bytes], None]
    ) -> None:
        try:
            self._ask(path, lambda store, name: put(store, name, data))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.root}/{path} cannot be written, as there is no such bucket "
                f"({one_line(error)}): create the bucket, or give another --cache"
            ) from error

    def _ask(self, path: str, act: Callable[[AbstractFileSystem, str], T]) -> T:
        """Calls `act` with the driver and its name for `path`, and retries temporary failures."""
        root = strip_protocol(self.root)
        name = root if path in ("", ".") else f"{root}/{path}"
        return patiently(f"{self.root}/{path}", lambda: act(driver(self.root), name))


def _put(store: AbstractFileSystem, name: str, data: bytes) -> None:
    store.pipe_file(name, data, **time_limit(store, len(data)))


def _put_new(store: AbstractFileSystem, name: str, data: bytes) -> None:
    """Writes an object. Raises FileExistsError if it exists and the store can tell."""
    if "mode" in inspect.signature(store.pipe_file).parameters:
        try:
            store.pipe_file(name, data, mode="create", **time_limit(store, len(data)))
            return
        except OSError as error:
            if s3_code(error) in ("PreconditionFailed", "412"):
                raise FileExistsError(name) from error
            if error.errno != errno.ENOSYS:
                raise
    _put(store, name, data)
