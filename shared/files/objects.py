"""The files of one cache split in an object store: any fsspec URL, first of all s3://bucket/folder.

    export AWS_ENDPOINT_URL=http://localhost:9000    # MinIO, Ceph, R2, ...; AWS itself needs none
    python precompute/run.py --split train --cache s3://bucket/teacher_cache

Credentials and region come from where every AWS tool finds them: AWS_PROFILE, AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, ~/.aws, the machine's role. All else that s3fs takes is
in fsspec's own configuration: FSSPEC_S3_ANON=true, FSSPEC_S3_ENDPOINT_URL=..., FSSPEC_S3='{...}',
~/.config/fsspec/*.json. Where both name an endpoint, fsspec's wins.

Commit without rename: an object is put whole in one request (from 100 MB in parts, which show when
the last is in), and a store shows all of it or nothing. The receipt is put after the files that it
names, and a store answers what was last written. So a killed process leaves no torn object. Parts
of a large upload that it did not finish stay invisible; a lifecycle rule of the bucket removes
them.

Failures of the network: retry.py. The driver's own retries are off, else each of our tries would be
25 of s3fs and botocore, and the time that it takes would have no bound.
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
    """The files of one split of the cache at a folder or URL. InputError where there is no
    driver."""
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
    """Holds no connection, so it may be forked and pickled."""

    def __init__(self, root: str) -> None:
        self.root = root

    def read(self, path: str, most: int = MOST) -> bytes:
        """FileNotFoundError where there is none; InputError where it has more than `most` bytes."""

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
        """Sorted names in a folder; none where there is no folder."""

        def listed(store: AbstractFileSystem, name: str) -> list[str]:
            inside = name.strip("/") + "/"
            # Without a limit: a request for each thousand names, each with its own.
            found = [path.strip("/") for path in store.ls(name, detail=False)]
            return sorted(path.removeprefix(inside) for path in found if path.startswith(inside))

        try:
            return self._ask(folder, listed)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, path: str, data: bytes) -> None:
        self._put(path, data, _put)

    def write_new(self, path: str, data: bytes) -> bool:
        """Writes only where nothing is; False where another process came first.

        Exact in stores that know conditional writes (AWS, MinIO, R2, Google). In others, of two
        processes that start one cache in the same instant both may believe that they came first,
        and the object is the last one's.
        """
        if self.exists(path):
            return False
        # Where it is there now, it may be our own: of an earlier try, whose answer was lost.
        with suppress(FileExistsError):
            self._put(path, data, _put_new)
        return self.read(path) == data

    def remove_stale(self) -> None:
        """Nothing to do: what was not finished is not there."""

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
        """`act`(driver, the driver's name of `path`), with patience."""
        root = strip_protocol(self.root)
        name = root if path in ("", ".") else f"{root}/{path}"
        return patiently(f"{self.root}/{path}", lambda: act(driver(self.root), name))


def _put(store: AbstractFileSystem, name: str, data: bytes) -> None:
    store.pipe_file(name, data, **time_limit(store, len(data)))


def _put_new(store: AbstractFileSystem, name: str, data: bytes) -> None:
    """FileExistsError where something is, from stores that can tell."""
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
