"""Views read into given arrays and by several threads, and rows of blocks read alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.files.local import LocalFiles
from shared.store.opening import FORMATS, Cache, open_cache
from tests.fault_proxy import FaultProxy
from tests.small_cache import make_cache, make_manifest
from tests.stores import DAMAGES, all_names, every_format, flip_first_bit, refused

ADDED = {"map2": (3, 2, 2)}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in each format. 17 samples: blocks of 8, the last one of 1."""
    folder = tmp_path_factory.mktemp("once")
    for store in FORMATS:
        make_cache(folder / store, make_manifest(17, 8, codec="tiny", store=store, added=ADDED))
    return folder


def made(once: Path, folder: Path, store: str = "zarr") -> Cache:
    """A copy in `folder`."""
    shutil.copytree(once / store, folder, dirs_exist_ok=True)
    return open_cache(folder, "train")


@every_format
@pytest.mark.parametrize("threads", [1, 3, 9])
def test_a_view_is_read_into_arrays_on_disk(
    once: Path, tmp_path: Path, store: str, threads: int
) -> None:
    cache = made(once, tmp_path, store)
    names = all_names(cache.manifest)
    blocks = [cache.read_block(1, block, names) for block in range(3)]
    into = {
        name: np.lib.format.open_memmap(tmp_path / name, "w+", dtype, (17, *shape))
        for name, (dtype, shape) in cache.row_types(names).items()
    }
    assert cache.read_view(1, names, into, threads) is into
    plain = cache.read_view(1, names, threads=threads)
    for name in names:
        for block, arrays in enumerate(blocks):
            samples = cache.manifest.samples_of(block)
            assert into[name][samples].tobytes() == arrays[name].tobytes(), name
        assert plain[name].tobytes() == into[name].tobytes()
        assert plain[name].dtype == into[name].dtype


@every_format
def test_rows_of_a_block(once: Path, tmp_path: Path, store: str) -> None:
    cache = made(once, tmp_path, store)
    names = all_names(cache.manifest)
    for block, size in ((0, 8), (2, 1)):
        whole = cache.read_block(1, block, names)
        for start in range(size + 1):
            for stop in {start, start + 1, size} & set(range(size + 1)):
                found = cache.read_rows(1, block, range(start, stop), names)
                assert list(found) == names
                for name, values in found.items():
                    assert values.tobytes() == whole[name][start:stop].tobytes()
    for name, values in cache.read_rows(1, 0, slice(3, None), names).items():
        assert len(values) == 5 and values.dtype == whole[name].dtype


@every_format
@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_damaged_block_is_named(
    once: Path, tmp_path: Path, store: str, threads: int
) -> None:
    cache = made(once, tmp_path, store)
    for block in (1, 2):
        for path in cache.receipt(1, block).files:
            flip_first_bit(tmp_path / "train" / path)
    text = refused(lambda: cache.read_view(1, ["box", "pred"], threads=threads))
    names = cache.format.array_paths(cache.manifest, 1, 1)
    assert names["box"] in text and "is damaged" in text


def chunks_of(cache: Cache) -> list[tuple[str, int, int]]:
    """(path, start, stop) of what the next call reads, noted by the test below."""
    files = cache.files
    assert isinstance(files, LocalFiles)
    noted: list[tuple[str, int, int]] = []
    read = files.read_range

    def noting(path: str, start: int, stop: int) -> bytes:
        noted.append((path, start, stop))
        return read(path, start, stop)

    files.read_range = noting  # type: ignore[method-assign]
    return noted


def test_only_the_chunks_of_the_rows_are_read(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest(4096, 4096, views=1))
    noted = chunks_of(cache)
    path = cache.format.array_paths(cache.manifest, 0, 0)["channels"]
    size = (tmp_path / "train" / path).stat().st_size
    cache.read_rows(0, 0, range(1030, 2000), ["channels"])
    index, chunk = noted
    assert index == (path, size - 4 * 16 - 4, size)
    assert chunk[2] - chunk[1] < size / 3
    noted.clear()
    cache.read_rows(0, 0, range(0, 4096), ["channels"])
    assert noted == [], "a whole block is read with its hash"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found_in_what_is_read(
    once: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cache = made(once, tmp_path)
    for name, path in cache.format.array_paths(cache.manifest, 1, 0).items():
        file = tmp_path / "train" / path
        whole = file.read_bytes()
        damage(file)
        text = refused(lambda name=name: cache.read_rows(1, 0, range(2), [name]))
        assert str(file) in text and "it makes the block again" in text
        file.write_bytes(whole)
        cache.read_rows(1, 0, range(2), [name])


def test_a_folder_in_its_place(once: Path, tmp_path: Path) -> None:
    cache = made(once, tmp_path)
    file = tmp_path / "train" / cache.format.array_paths(cache.manifest, 1, 0)["box"]
    file.unlink()
    file.mkdir()
    text = refused(lambda: cache.read_rows(1, 0, range(2), ["box"]))
    assert str(file) in text and "regular file" in text


def test_rows_in_a_store(s3: str, proxy: FaultProxy) -> None:
    """The size, the index and the chunks: three requests a file."""
    make_cache(s3, make_manifest(25, 8, views=1))  # type: ignore[arg-type]
    cache = open_cache(s3, "train")
    whole = cache.read_block(0, 1, ["channels"])["channels"]
    cache.read_rows(0, 1, range(3, 5), ["channels"])
    proxy.reset()
    found = cache.read_rows(0, 1, range(3, 5), ["channels"])["channels"]
    assert found.tobytes() == whole[3:5].tobytes()
    asked = [method for method, path in proxy.requests if "/c/0/1/" in path]
    assert asked == ["HEAD", "GET", "GET"]
