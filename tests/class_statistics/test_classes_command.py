"""precompute/classes.py: it makes one file, leaves an intact one alone, and says what it found."""

import re
from pathlib import Path

import pytest

from precompute.class_statistics import measure_classes
from shared.store.classes_file import CLASSES, encode, require_classes
from shared.store.opening import Cache, open_cache
from tests.class_statistics.caches import make_cache_of, make_targets
from tests.fault_proxy import FaultProxy
from tests.helpers import require_refused, run, snapshot
from tests.processes import Finished, start_halting
from tests.s3 import environment, new_url, put_object, stored
from tests.stores import every_format, flip_middle_bit

LABELS = [0, 1, 2, 1, 0] * 4


def make(folder: Path | str, *flags: object, check: bool = True) -> Finished:
    return run("precompute/classes.py", "--cache", folder, *flags, check=check)


def small(folder: Path, store: str = "zarr") -> Cache:
    return make_cache_of(folder, make_targets(20), LABELS, store, left_out=(4, 9))


@every_format
def test_it_writes_one_file_and_leaves_it_alone(tmp_path: Path, store: str) -> None:
    cache = small(tmp_path, store)
    before = snapshot(tmp_path)
    done = make(tmp_path)
    found = require_classes(cache, "this test", ["centres", "prior", "distance"])
    assert found.digest == measure_classes(cache, 0, 732).digest
    path = tmp_path / "train" / CLASSES
    assert snapshot(tmp_path) == {**before, f"train/{CLASSES}": path.read_bytes()}
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == f"done: {path}"
    assert lines[1] == "classes  3, with 18 images of view 0: 4 to 8 of each"
    assert re.fullmatch(r"confused (\w+ as \w+ 0\.\d+(; )?){3}", lines[2]), lines[2]
    pattern = r"distance 0\.\d+ on average, by CKA of the logits of 8 images of each; nearest are "
    assert re.fullmatch(pattern + r"(\w+ and \w+ 0\.\d+(; )?){3}", lines[3]), lines[3]
    assert lines[4:] == [f"digest   {found.digest}"]

    stamp = path.stat().st_mtime_ns
    again = make(tmp_path)
    assert again.stdout.splitlines()[0] == f"{path} is there and intact: it is left alone"
    assert again.stdout.splitlines()[1:] == lines[1:] and again.stderr == ""
    assert path.stat().st_mtime_ns == stamp


def test_the_pairs_are_those_of_the_tensors(tmp_path: Path) -> None:
    cache = small(tmp_path)
    _, _, confused, nearest, _ = make(tmp_path).stdout.splitlines()
    found = require_classes(cache, "this test")
    assert found.prior is not None and found.distance is not None
    names = cache.manifest.source.classes
    others = [(float(found.prior[a, b]), a, b) for a in range(3) for b in range(3) if a != b]
    value, first, second = max(others)
    assert confused.startswith(f"confused {names[first]} as {names[second]} {value:.2g}; ")
    pairs = [(float(found.distance[a, b]), a, b) for a in range(3) for b in range(a + 1, 3)]
    value, first, second = min(pairs)
    assert f"nearest are {names[first]} and {names[second]} {value:.3g}; " in nearest
    mean = sum(d for d, _, _ in pairs) / 3
    assert nearest.startswith(f"distance {mean:.3g} on average")


def test_another_view_or_number_is_refused_where_a_file_is(tmp_path: Path) -> None:
    small(tmp_path)
    make(tmp_path, "--samples-per-class", 5)
    before = snapshot(tmp_path)
    done = make(tmp_path, check=False)
    require_refused(done, "--samples-per-class 5: got --samples-per-class 732", "delete the file")
    require_refused(make(tmp_path, "--view", 1, check=False), "--view must be 0 to 0", "got 1")
    require_refused(make(tmp_path, "--view", -1, check=False), "--view must be 0 to 0")
    done = make(tmp_path, "--samples-per-class", 1, check=False)
    require_refused(done, "--samples-per-class must be 2 or more: got 1")
    assert snapshot(tmp_path) == before
    assert require_classes(open_cache(tmp_path, "train"), "this test").compared == 5


def test_a_damaged_file_and_one_of_another_cache_are_made_again(tmp_path: Path) -> None:
    cache = small(tmp_path / "a")
    other = make_cache_of(tmp_path / "b", make_targets(20), LABELS, seed=8)
    path = tmp_path / "a" / "train" / CLASSES
    make(tmp_path / "a")
    good = path.read_bytes()
    flip_middle_bit(path)
    done = make(tmp_path / "a")
    assert done.stderr.startswith("NOTE: ") and "cannot be used" in done.stderr
    assert path.read_bytes() == good
    path.write_bytes(encode(other, measure_classes(other, 0, 732)))
    done = make(tmp_path / "a")
    assert "it is of the cache" in done.stderr and done.stderr.count("\n") == 1
    assert path.read_bytes() == good
    require_classes(cache, "this test")


def test_verify_finds_a_damaged_file(tmp_path: Path) -> None:
    small(tmp_path, "webdataset")
    make(tmp_path)
    flags = ("--cache", tmp_path, "--samples", 0)
    assert "intact" in run("precompute/verify.py", *flags).stdout
    flip_middle_bit(tmp_path / "train" / CLASSES)
    done = run("precompute/verify.py", *flags, check=False)
    assert done.returncode == 1 and done.stderr.count("FAILED: ") == 1
    assert CLASSES in done.stderr and "run python precompute/classes.py" in done.stderr


def test_a_split_that_is_not_train(tmp_path: Path) -> None:
    make_cache_of(tmp_path, make_targets(20), LABELS, split="val")
    make(tmp_path, "--split", "val")
    assert (tmp_path / "val" / CLASSES).exists()
    require_refused(make(tmp_path, check=False), "train/manifest.json")


def test_killed_as_it_ends_it_has_written_the_file_or_nothing(tmp_path: Path) -> None:
    small(tmp_path)
    flags = ("--cache", tmp_path)
    note = tmp_path.parent / "note"
    halted = start_halting(f"*/{CLASSES}", 1, note, "precompute/classes.py", *flags)
    halted.signal(9)
    halted.wait()
    path = tmp_path / "train" / CLASSES
    good = path.read_bytes()
    assert "left alone" in make(tmp_path).stdout
    path.unlink()
    make(tmp_path)
    assert path.read_bytes() == good


def test_a_class_of_one_image_is_noted(tmp_path: Path) -> None:
    make_cache_of(tmp_path, make_targets(20), [0, 1] * 9 + [0, 2])
    done = make(tmp_path)
    assert "classes with fewer than 2 images: 1; " in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_in_a_bucket(proxy: FaultProxy, server: int, tmp_path: Path) -> None:
    small(tmp_path)
    url = new_url()
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            put_object(server, f"/{url[5:]}/{path.relative_to(tmp_path)}", path.read_bytes())
    there = stored(server, url)
    flags = ("--cache", url)
    done = run("tests/impatient.py", "precompute/classes.py", *flags, **environment(proxy.url))
    assert done.stdout.startswith(f"done: {url}/train/{CLASSES}\n")
    make(tmp_path)
    mine = (tmp_path / "train" / CLASSES).read_bytes()
    assert stored(server, url) == {**there, f"train/{CLASSES}": mine}
    again = run("tests/impatient.py", "precompute/classes.py", *flags, **environment(proxy.url))
    assert "left alone" in again.stdout
