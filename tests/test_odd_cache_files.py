"""What is no regular file, under the names of a cache's files: one line at once, or made again."""

import errno
from pathlib import Path

import pytest

from shared.errors import InputError, StorageError
from shared.files.local import LocalFiles
from tests.helpers import snapshot
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put
from tests.test_regular import ODD


def refused(files: LocalFiles, name: str, most: int = 1 << 32) -> str:
    with pytest.raises(InputError) as caught:
        files.read(name, most)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ODD)
def test_only_regular_files_are_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO held the reader for ever, /dev/zero filled the memory."""
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    files = LocalFiles(tmp_path)
    make, found = ODD[kind]
    make(Path("odd"))
    text = refused(files, "odd")
    assert f"{tmp_path / 'odd'} is not a file that this program wrote: it is {found}" in text
    if kind != "folder":
        files.write("odd", b"new")
        assert files.read("odd") == b"new" and not (tmp_path / "odd").is_symlink()


def test_a_file_beyond_its_measure_is_not_read(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    text = refused(files, "sparse")
    assert "10,737,418,240 bytes are more than the limit of 4,294,967,296" in text
    (tmp_path / "small").write_bytes(b"12345")
    assert "5 bytes are more than the limit of 4" in refused(files, "small", 4)


def test_what_cannot_be_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage is made again; what the storage keeps to itself stays as it is."""
    cache = make_cache(tmp_path, make_manifest())

    def denied(path: object, limit: int) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("shared.files.local.read_regular", denied)
    with pytest.raises(StorageError, match=r"receipts/.* cannot be read: Permission denied; noth"):
        cache.is_done(0, 0)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match=r"loop cannot be read: Too many levels of symbolic"):
        LocalFiles(tmp_path).names("loop")


@pytest.mark.parametrize("kind", ["fifo", "socket", "zeros", "loop"])
def test_odd_files_are_made_again(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = make_manifest(codec="tiny")
    make_cache(tmp_path / "cache", manifest)
    expected = snapshot(tmp_path / "cache")
    for name in (
        *("keys.txt", "head.npy", "targets.zarr/zarr.json", "targets.zarr/label/c/0"),
        *("receipts/v0000-b000000.json", "targets.zarr/channels/c/1/0/0"),
    ):
        path = tmp_path / "cache/train" / name
        path.unlink()
        ODD[kind][0](Path("odd"))
        path.symlink_to(path.name) if kind == "loop" else Path("odd").rename(path)
        Path("odd").unlink(missing_ok=True)
    again = open_empty(tmp_path / "cache", manifest)
    missing = [unit for unit in again.units() if not again.is_done(*unit)]
    assert missing == [(0, 0), (1, 0)]
    for unit in missing:
        put(again, make_block(manifest, *unit))
    assert snapshot(tmp_path / "cache") == expected
