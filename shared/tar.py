"""The members of a tar without unpacking it: name, where its bytes start, how many there are."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from shared.errors import InputError


class Member(NamedTuple):
    name: str
    offset: int  # bytes from the start of the file, also within a tar in a tar
    size: int  # bytes


def members(file: BinaryIO, path: str, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """The regular files of the uncompressed tar at start..stop of an open file, in their order.

    The caller may read from the file in between. Raises: InputError where the tar is damaged;
    tarfile alone takes a damaged header after the first one for the end of the archive.
    """
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if stop is not None and member.offset_data + member.size > stop:
                    raise tarfile.ReadError("a member reaches over the end")
                if member.isreg() and not member.issparse():
                    yield Member(member.name, member.offset_data, member.size)
            end: int = tar.offset
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {end:,}")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(
            f"a tar of images must be sound and uncompressed: {path}: "
            f"{' '.join(str(error).split())}; fetch or make it anew"
        ) from error
