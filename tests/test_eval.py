"""eval.py against a slow computation with torchvision's own networks, one image at a time."""

import json
import math
import multiprocessing
import re
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import train.agreement
import train.eval
from shared.cache.opening import Arrays, Cache, open_cache
from shared.choices import VAL_POLICY
from shared.errors import BadImage, InputError
from shared.images.source import ImageSource, open_source
from shared.pixels.decode import decode
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import draw_view
from shared.pixels.view import apply_to_image
from tests.fault_proxy import Fault, FaultProxy
from tests.helpers import (
    require_refused,
    run,
    snapshot,
    write_image_folder,
    write_teacher,
)
from tests.small_cache import make_cache, make_manifest, open_empty
from tests.tars import RangeHandler
from train.folder import RunFolder
from train.step import autocast
from train.student import Student, build_student

EVAL = "train/eval.py"
CLASSES, SIZE = 6, 32
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.3, 0.25)  # of the student; the teacher has ImageNet's
BAD = 9  # the image that does not decode
CACHES = {"zarr": "exact", "webdataset": "compact"}  # format: codec
FACTS = {"architecture": "resnet18", "stem": "imagenet", "classes": CLASSES, "size": SIZE,
         "mean": MEAN, "std": STD}  # fmt: skip


@dataclass(frozen=True)
class World:
    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def best(self) -> Path:
        return self.folder / "run" / "best.pt"

    @property
    def source(self) -> ImageSource:
        return open_source(str(self.images), "val")  # 24 images

    def cache(self, store: str) -> Path:
        return self.folder / store


def write_run(folder: Path, student: Student, model: dict[str, Any] = FACTS, **flags: str) -> Path:
    """As train/run.py does; returns best.pt."""
    run_folder = RunFolder(folder)
    run_folder.open({}, {"model": model, "flags": {"images": "None", "cache": "None", **flags}})
    run_folder.save("best.pt", student.backbone.state_dict())
    return folder / "best.pt"


@pytest.fixture(scope="module")
def student(world: World) -> Student:
    return make_student(world, seed=1)


def make_student(world: World, seed: int) -> Student:
    """With connectors, and a backbone that agrees with the teacher now and then."""
    student = build_student("resnet18", "imagenet", CLASSES, (64, 128, 256, 512), seed)
    student.backbone.load_state_dict(torch.load(world.folder / "teacher.pt"))
    noise = torch.randn(CLASSES, 512, generator=torch.Generator().manual_seed(seed))
    student.backbone.fc.weight.data += 0.3 * noise
    return student


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    world = World(folder)
    write_image_folder(world.images, classes=CLASSES, train=1, val=4)
    path = world.images / "val" / world.source.keys[BAD]
    shutil.copy(path, folder / "sound.jpg")
    path.write_bytes(b"?" * path.stat().st_size)
    write_teacher(folder / "teacher.pt", "resnet18", CLASSES)
    for store, codec in CACHES.items():
        run(
            *("precompute/run.py", "--split", "val", "--images", world.images, "--skip-bad", 0.2),
            *("--teacher", "resnet18", "--weights", folder / "teacher.pt", "--size", SIZE),
            *("--format", store, "--codec", codec, "--cache", world.cache(store)),
            *("--block", 8, "--workers", 0),
        )
    write_run(folder / "run", make_student(world, seed=1), images=str(world.images))
    return world


# The slow computation


@dataclass(frozen=True)
class Seen:
    """What the line says."""

    images: int
    top1: str
    top5: str
    bad: int
    agree: str | None
    judged: int | None
    divergence: float | None


def plain(weights: Path) -> torch.nn.Module:
    model: torch.nn.Module = torchvision.models.resnet18(num_classes=CLASSES)
    model.load_state_dict(torch.load(weights), strict=True)
    return model.eval()


def answer(
    model: torch.nn.Module, pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> list[float]:
    """Logits of one image."""
    channels = [(pixels[c].double() / 255 - mean[c]) / std[c] for c in range(3)]
    with torch.no_grad():
        row: list[float] = model(torch.stack(channels).float()[None])[0].tolist()
    return row


def log_probabilities(row: list[float]) -> list[float]:
    total = math.fsum(math.exp(value - max(row)) for value in row)
    return [value - max(row) - math.log(total) for value in row]


def slow(world: World, best: Path, store: str | None, unknown: tuple[int, ...] = (BAD,)) -> Seen:
    """`unknown`: images without an answer of the teacher."""
    source = world.source
    student, teacher = plain(best), plain(world.folder / "teacher.pt")
    images = bad = first = five = agree = judged = 0
    divergence = []
    for index in range(len(source)):
        try:
            image = decode(source.read(index))
        except BadImage:
            images, bad = images + 1, bad + 1
            continue
        view = draw_view(VAL_POLICY, SIZE, 0, 0, index, *image.shape[:2])
        pixels = apply_to_image(view, image, SIZE)
        if store == "webdataset":
            pixels = decode_pixels(encode_pixels(pixels))
        mine = answer(student, pixels, MEAN, STD)
        theirs = answer(teacher, pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        order = sorted(range(CLASSES), key=lambda c: -mine[c])
        images += 1
        first += order[0] == source.labels[index]
        five += source.labels[index] in order[:5]
        if index not in unknown:
            judged += 1
            agree += order[0] == theirs.index(max(theirs))
            p, q = log_probabilities(theirs), log_probabilities(mine)
            divergence.append(sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True)))
    if store == "webdataset":
        images, bad = images - bad, 0  # the shards hold none
    assert 0 < first < five < images and 0 < agree < judged, "it would prove nothing"
    told = store is not None
    return Seen(
        *(images, percent(first, images), percent(five, images), bad),
        *((percent(agree, judged), judged) if told else (None, None)),
        sum(divergence) / judged if told else None,
    )


def percent(count: int, total: int) -> str:
    return f"{100 * count / total:.2f}"


LINE = re.compile(
    r"val: (\d+) images, top-1 ([\d.]+)%, top-5 ([\d.]+)%"
    r"(?: \(undecodable, counted as wrong: (\d+)\))?"
    r"(?:; agrees with the teacher's top-1 on ([\d.]+)% of (\d+), "
    r"KL\(teacher \|\| student\) ([\d.]+) nats)?\n"
)


def seen(line: str) -> Seen:
    match = LINE.fullmatch(line)
    assert match is not None, line
    images, top1, top5, bad, agree, judged, divergence = match.groups()
    return Seen(
        *(int(images), top1, top5, int(bad or 0), agree, int(judged) if judged else None),
        None if divergence is None else float(divergence),
    )


def require_same(got: Seen, expected: Seen) -> None:
    a, b = got.divergence, expected.divergence
    assert vars(got) | {"divergence": 0} == vars(expected) | {"divergence": 0}
    assert a == b or (a is not None and b is not None and b > 0.1 and abs(a - b) < 1e-3 * b + 1e-4)


Evaluate = Callable[..., str]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """The command in this process, batches of 8; returns its line."""

    def evaluate(checkpoint: Path, *flags: object) -> str:
        arguments = ["eval.py", "--checkpoint", checkpoint, "--workers", 0, "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [*map(str, arguments), *map(str, flags)])
        monkeypatch.setattr(train.agreement, "BATCH", 8)
        assert train.eval.main() == 0
        return capsys.readouterr().out

    return evaluate


@pytest.mark.parametrize("store", CACHES)
def test_numbers_are_those_of_the_slow_computation(
    world: World, evaluate: Evaluate, store: str
) -> None:
    got = seen(evaluate(world.best, "--cache", world.cache(store)))
    assert got.images == {"zarr": 24, "webdataset": 23}[store] and got.judged == 23
    require_same(got, slow(world, world.best, store))


def test_workers_start_before_a_view_is_in_memory(
    world: World, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked later they would keep its pages until the last image."""
    workers: list[int] = []
    read = Cache.read_view

    def noted(self: Cache, view: int, names: list[str]) -> Arrays:
        workers.append(len(multiprocessing.active_children()) - before)
        return read(self, view, names)

    monkeypatch.setattr(Cache, "read_view", noted)
    before = len(multiprocessing.active_children())
    evaluate(world.folder / "run" / "best.pt", "--cache", world.cache("zarr"), "--workers", 1)
    assert workers == [1]


def test_without_a_cache(world: World, evaluate: Evaluate) -> None:
    got = seen(evaluate(world.best))
    assert (got.images, got.bad, got.judged) == (24, 1, None)
    require_same(got, slow(world, world.best, None))


def test_a_teacher_agrees_with_itself(world: World, evaluate: Evaluate, tmp_path: Path) -> None:
    model = FACTS | {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    student = build_student("resnet18", "imagenet", CLASSES, (), seed=0)
    student.backbone.load_state_dict(torch.load(world.folder / "teacher.pt"))
    best = write_run(tmp_path, student, model)
    for store in CACHES:
        got = seen(evaluate(best, "--cache", world.cache(store)))
        assert (got.agree, got.divergence) == ("100.00", 0)


def test_images_that_changed_since(world: World, evaluate: Evaluate, tmp_path: Path) -> None:
    """One that precompute skipped decodes now, and another no longer does: no word of the teacher
    on the first, none of the student on the second."""
    other = World(tmp_path)
    shutil.copytree(world.images, other.images)
    shutil.copy(world.folder / "teacher.pt", tmp_path)
    source = other.source
    shutil.copy(world.folder / "sound.jpg", other.images / "val" / source.keys[BAD])
    path = other.images / "val" / source.keys[21]
    path.write_bytes(b"?" * path.stat().st_size)
    got = seen(evaluate(world.best, "--cache", world.cache("zarr"), "--images", other.images))
    assert (got.images, got.bad, got.judged) == (24, 1, 22)
    require_same(got, slow(other, world.best, "zarr"))


def test_shards_tell_what_they_leave_out(world: World) -> None:
    """In a process of its own, with loader workers."""
    flags = ("--checkpoint", world.best, "--cache", world.cache("webdataset"), "--workers", 2)
    done = run(EVAL, *flags)
    assert done.stderr == (
        f"NOTE: {world.folder}/webdataset/val leaves out 1 of 24 images, which did not decode, "
        f"first class2/001.jpg\n"
    )
    require_same(seen(done.stdout), slow(world, world.best, "webdataset"))


# Checkpoints


@pytest.mark.parametrize("averages", ["none", "of today", "of earlier versions"])
def test_last_is_what_the_run_evaluates(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path, averages: str
) -> None:
    """The student without its connectors, or its average."""
    other = make_student(world, seed=2)
    best = write_run(tmp_path, other, images=str(world.images))
    average = None
    if averages == "of today":
        average = student.backbone.state_dict()
    elif averages != "none":
        earlier = AveragedModel(student.backbone, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        earlier.update_parameters(student.backbone)
        average = earlier.state_dict()
    judged = other if averages == "none" else student
    kept = {"epoch": 1, "student": other.state_dict(), "average": average}
    RunFolder(tmp_path).save("last.pt", kept)
    last = evaluate(tmp_path / "last.pt")
    best.unlink()
    RunFolder(tmp_path).save("best.pt", judged.backbone.state_dict())
    assert last == evaluate(best)
    if averages != "none":
        RunFolder(tmp_path).save("best.pt", other.backbone.state_dict())
        assert last != evaluate(best)


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_it_runs_at_the_precision_of_its_run(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, precision: str | None,
) -> None:  # fmt: skip
    best = write_run(tmp_path, student, images=str(world.images))
    if precision:
        run = json.loads((tmp_path / "run.json").read_text())
        run["identity"]["precision"] = precision
        (tmp_path / "run.json").write_text(json.dumps(run))
    used = []

    def noted(device: torch.device, name: str) -> AbstractContextManager[Any]:
        used.append(name)
        return autocast(device, name)

    monkeypatch.setattr(train.agreement, "autocast", noted)
    evaluate(best)
    assert set(used) == {precision or "fp32"}


def test_an_average_of_other_shapes(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    write_run(tmp_path, student)
    state = student.backbone.state_dict() | {"fc.bias": torch.zeros(7)}
    RunFolder(tmp_path).save("last.pt", {"student": {}, "average": state})
    text = refused(evaluate, tmp_path / "last.pt")
    assert text == (
        f"{tmp_path}/last.pt does not fit the run.json beside it: weight fc.bias is (7,) float32 "
        f"there and (6,) float32 here; give a run folder as train/run.py wrote it"
    )


# Where the images are


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("train/a",), "has no val split, which this command needs: found train; add a folder val"),
        (("cat", "dog"), "has no train/ and no val/: it holds the folders cat, dog; if they are"),
    ],
)
def test_images_without_a_val_split(
    world: World, evaluate: Evaluate, tmp_path: Path, folders: tuple[str, ...], found: str
) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert f"{tmp_path} {found}" in refused(evaluate, world.best, "--images", tmp_path)


def test_images_are_those_of_the_run(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    manifest = make_manifest()
    facts = open_cache(world.cache("zarr"), "val").manifest.source
    for name in ("cache", "moved"):
        open_empty(tmp_path / name, make_manifest(source=facts, samples=facts.samples))
    assert manifest.source != facts
    best = write_run(tmp_path / "run", student, cache=str(tmp_path / "cache"))
    expected = evaluate(world.best)
    assert evaluate(best) == expected
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(InputError) as caught:
        evaluate(best)
    assert str(caught.value) == (
        f"{tmp_path}/cache, which names the images of the run, holds no train split any more: "
        f"give --images"
    )
    assert evaluate(best, "--images", world.images) == expected


# Errors


def refused(evaluate: Evaluate, *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        evaluate(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_checkpoint(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    for path in (tmp_path / "run" / "best.pt", world.best.parent, world.best.parent / "last.pt"):
        text = refused(evaluate, path)
        assert text.startswith("--checkpoint must be a file, a run's best.pt or last.pt: ")
        found = "is not a file" if path.exists() else "does not exist"
        assert f"best.pt or last.pt: {path} {found}; check the path" in text
    shutil.copy(world.best, tmp_path / "best.pt")
    text = refused(evaluate, tmp_path / "best.pt")
    assert text.startswith(f"{tmp_path}/best.pt has no run.json beside it, which says what network")
    assert "give the best.pt in the run folder" in text

    best = write_run(tmp_path, student, FACTS | {"classes": 4})
    assert "does not fit resnet18 with stem imagenet and 4 classes" in refused(evaluate, best)
    (tmp_path / "run.json").unlink()
    best = write_run(tmp_path, student, FACTS | {"architecture": "resnet34"})
    assert "does not fit resnet34 with " in refused(evaluate, best)
    for name, rule in (
        ("best.pt", "best.pt is not a file of weights: it does not load with weights_only"),
        ("last.pt", "last.pt is not a checkpoint of this code"),
    ):
        (tmp_path / name).write_bytes(world.best.read_bytes()[:5000])
        assert rule in refused(evaluate, tmp_path / name)


def test_data_of_other_classes_or_size(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    write_image_folder(tmp_path / "images", classes=3, train=1, val=1)
    rule = ", and the checkpoint was trained for 6 classes at 32 px: give the val split of the"
    text = refused(evaluate, world.best, "--images", tmp_path / "images")
    assert f"{tmp_path}/images has 3 classes at 32 px" + rule in text
    best = write_run(tmp_path / "run", student, FACTS | {"size": 40}, images=str(world.images))
    for store in CACHES:
        text = refused(evaluate, best, "--cache", world.cache(store))
        assert f"{world.cache(store)}/val has 6 classes at 32 px" + rule.replace("32", "40") in text
    make_cache(tmp_path / "cache", make_manifest(split="val"))
    text = refused(evaluate, world.best, "--cache", tmp_path / "cache")
    assert f"{tmp_path}/cache/val has 3 classes at 8 px" + rule in text


def test_caches_that_cannot_be_used(
    world: World, student: Student, evaluate: Evaluate, tmp_path: Path
) -> None:
    make_cache(tmp_path / "random", make_manifest(split="val"))
    three = build_student("resnet18", "imagenet", 3, (), seed=0)
    best = write_run(tmp_path / "run", three, FACTS | {"classes": 3, "size": 8})
    text = refused(evaluate, best, "--cache", tmp_path / "random")
    assert (
        f"{tmp_path}/random/val holds views of policy pad-crop, and the val split is seen in"
        in text
    )

    text = refused(evaluate, world.best, "--cache", tmp_path)
    assert f"--cache must hold val/manifest.json: {tmp_path} does not; check the path" in text
    text = refused(evaluate, world.best, "--cache", tmp_path / "typo")
    assert f"{tmp_path}/typo does not exist; check the path, or make the cache with" in text
    assert f"--split val --images SOURCE --cache {tmp_path}/typo" in text
    text = refused(evaluate, world.best, "--cache", world.cache("zarr") / "val")
    assert (
        f"{world.cache('zarr')}/val is the folder of one split: give the folder that holds the"
        in text
    )

    shards = world.cache("webdataset")
    text = refused(evaluate, world.best, "--cache", shards, "--images", world.images)
    assert "whose view shards are evaluated on the pixels that they hold" in text

    shutil.copytree(world.cache("zarr"), tmp_path / "cache")
    flags = ("--cache", tmp_path / "cache", "--images", tmp_path / "images")
    shutil.copytree(world.images, tmp_path / "images")
    (tmp_path / "images/val/class0/000.jpg").unlink()
    text = refused(evaluate, world.best, *flags)
    assert " does not hold the images that " in text
    (tmp_path / "cache/val/receipts/v0000-b000001.json").unlink()
    text = refused(evaluate, world.best, *flags)
    assert f"the cache {tmp_path}/cache/val is incomplete: block 1 of view 0 is missing" in text


def test_flags_that_cannot_be_used(world: World, evaluate: Evaluate) -> None:
    for flag, value, text in (
        ("--workers", -1, "--workers must be 0 or more: got -1"),
        ("--images", "nowhere", "got nowhere: no such folder"),
        ("--device", "nonsense", "--device nonsense cannot be used here ("),
    ):
        assert text in refused(evaluate, world.best, flag, value)
    before = snapshot(world.folder)
    done = run(EVAL, "--checkpoint", world.best, "--workers", -1, check=False)
    require_refused(done, "--workers must be 0 or more: got -1")
    assert snapshot(world.folder) == before


# From a loader worker an error comes with the traceback that it has there


def test_a_damaged_shard_in_a_loader_worker(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.cache("webdataset"), tmp_path / "cache")
    path = tmp_path / "cache/val/shards/v0000-b000001.tar"  # not the first, not the last
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    flags = ("--checkpoint", world.best, "--cache", tmp_path / "cache", "--workers", 1)
    done = run(EVAL, *flags, check=False)
    require_refused(done, f"error: {path} is damaged: it has")


@pytest.fixture
def tars(world: World, tmp_path: Path) -> Iterator[FaultProxy]:
    """val.tar of the images, behind an HTTP server that can fail."""
    source = world.source
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for index in range(len(source)):
            for suffix, data in (
                ("cls", b"%d" % source.labels[index]),
                ("jpg", source.read(index)),
            ):
                member = tarfile.TarInfo(f"{index:04d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))

    def handler(*arguments: Any) -> RangeHandler:
        return RangeHandler(*arguments, directory=str(tmp_path))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        with FaultProxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def test_an_outage_in_a_loader_worker(world: World, tars: FaultProxy) -> None:
    """While images are read, which only the worker does."""
    spec = tars.url + "/{split}.tar"
    flags = ("--checkpoint", world.best, "--images", spec, "--workers", 1)
    open_source(spec, "val")
    listing = len(tars.requests)
    tars.reset()
    broken = Fault("status", 503, math.inf, wants=lambda *_: len(tars.requests) > listing + 10)
    tars.faults.append(broken)
    done = run("tests/impatient.py", EVAL, *flags, check=False)
    require_refused(done, f"error: the store does not answer: {tars.url}/val.tar failed 6 times")
    assert broken.hits == 6 and len(tars.requests) == listing + 16
