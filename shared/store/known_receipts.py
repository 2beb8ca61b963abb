"""The receipts of a split that this process knows: listed once, read once, in parallel threads.

What a process knows can be older than what is on disk; who must see the file itself reads it
(CacheReceipts.receipt with `fresh`). None of it is pickled, so that loader workers do not carry it.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from shared.errors import InputError, StorageError
from shared.files.in_threads import in_threads
from shared.files.protocol import Files, Stamp
from shared.files.sealed import MOST_BYTES
from shared.store.receipt_index import (
    INDEX,
    MOST_INDEX,
    Entries,
    decode_index,
    encode_index,
    is_young,
    now,
)

FOLDER = "receipts"


class KnownReceipts:
    def __init__(self, files: Files, cache: str) -> None:
        """`cache`: its ID, for the index."""
        self._files = files
        self._cache = cache
        self._stamps: dict[str, Stamp] | None = None  # of the receipts in the folder
        self._data: dict[str, bytes | memoryview] = {}  # each as it was under its stamp
        self._young: set[str] = set()  # of these, what the index must leave out
        # What the index has; None: not read yet.
        self._indexed: Entries | None = None
        self._has_index = False  # whether there is one that can be used

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files, "_cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_files"], state["_cache"])  # type: ignore[misc]

    def names(self) -> Collection[str]:
        """The names of the files in receipts/, as this process first saw them."""
        if self._stamps is None:
            self._stamps = self._files.stamps(FOLDER)
        return self._stamps.keys()

    def refresh(self) -> Collection[str]:
        """Lists the folder again, and forgets what has changed."""
        before, self._stamps = self._stamps, self._files.stamps(FOLDER)
        for name, stamp in (before or {}).items():
            if self._stamps.get(name) != stamp:
                self.forget(name)
        return self._stamps.keys()

    def get(self, name: str) -> bytes | None:
        """The bytes of a receipt if they are known."""
        data = self._data.get(name)
        return None if data is None else bytes(data)

    def load(self, wanted: Iterable[str]) -> None:
        """Reads the receipts in `wanted` that are not known: from the index, else one by one.

        What cannot be read is left out. Raises StorageError if the storage fails."""
        lacking = [name for name in wanted if name not in self._data]
        if not lacking:
            return
        self.names()
        assert self._stamps is not None
        self._read_index()
        stamps = self._stamps
        lacking = [
            name
            for name in lacking
            if name not in self._data and name in stamps and stamps[name][0] <= MOST_BYTES
        ]
        started = now()
        for name, data in zip(lacking, in_threads(self._read, lacking), strict=True):
            if data is not None:
                self._keep(name, data, started)

    def put(self, name: str, data: bytes) -> None:
        """Adds a receipt that was read now, if it is one of those that were listed."""
        if self._stamps is not None and name in self._stamps:
            self._keep(name, data, now())

    def forget(self, name: str) -> None:
        self._data.pop(name, None)
        self._young.discard(name)

    def save(self, wanted: Iterable[str]) -> None:
        """Reads the receipts in `wanted` that are not known, and writes the index if it differs.

        Does nothing where it cannot be written, because it only saves time."""
        names = sorted(wanted)
        self.load(names)
        stamps = self._stamps or {}
        kept = {
            name: (stamps[name], self._data[name])
            for name in names
            if name in self._data and name not in self._young and stamps[name][1]
        }
        size = sum(size for (size, _), _ in kept.values())
        indexed = self._read_index()
        if (kept == indexed and self._has_index) or size > MOST_INDEX // 2:
            return
        with suppress(InputError, StorageError):
            self._files.write(INDEX, encode_index(self._cache, kept))
            self._indexed, self._has_index = kept, True

    def _read(self, name: str) -> bytes | None:
        assert self._stamps is not None
        try:
            return self._files.read_listed(f"{FOLDER}/{name}", self._stamps[name][0])
        except (FileNotFoundError, InputError):
            return None

    def _keep(self, name: str, data: bytes, read_at: float) -> None:
        assert self._stamps is not None
        self.forget(name)
        if len(data) == self._stamps[name][0]:
            self._data[name] = data
            if is_young(self._stamps[name], read_at):
                self._young.add(name)

    def _read_index(self) -> Entries:
        """What the index has. Entries whose receipts have the same stamp now become known."""
        if self._indexed is None:
            try:
                found = decode_index(self._cache, self._files.read(INDEX, MOST_INDEX))
            except (FileNotFoundError, ValueError, StorageError):
                found = {}  # there is none, or it cannot be used: save() writes it again
            else:
                self._has_index = True
            self._indexed = found
            stamps = self._stamps or {}
            for name, (stamp, data) in found.items():
                if stamps.get(name) == stamp and name not in self._data:
                    self._data[name] = data
        return self._indexed
