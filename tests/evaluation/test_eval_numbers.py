"""The numbers of train/eval.py against a slow computation, one image at a time."""

import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torchvision

from shared.choices import VAL_POLICY
from shared.errors import BadImage
from shared.pixels.decode import decode
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.pixels.policy import draw_view
from shared.pixels.view import apply_to_image
from tests.evaluated import (
    BAD,
    CACHES,
    CLASSES,
    EVAL,
    FACTS,
    MEAN,
    SIZE,
    STD,
    Evaluate,
    World,
    write_run,
)
from tests.helpers import run
from train.student import StudentChoice, build_student

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


# Against the command


@pytest.mark.parametrize("store", CACHES)
def test_numbers_are_those_of_the_slow_computation(
    world: World, evaluate: Evaluate, store: str
) -> None:
    got = seen(evaluate(world.best, "--cache", world.cache(store)))
    assert got.images == {"zarr": 24, "webdataset": 23}[store] and got.judged == 23
    require_same(got, slow(world, world.best, store))


def test_without_a_cache(world: World, evaluate: Evaluate) -> None:
    got = seen(evaluate(world.best))
    assert (got.images, got.bad, got.judged) == (24, 1, None)
    require_same(got, slow(world, world.best, None))


def test_a_teacher_agrees_with_itself(world: World, evaluate: Evaluate, tmp_path: Path) -> None:
    model = FACTS | {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    student = build_student(StudentChoice("resnet18", "imagenet", CLASSES), (), seed=0)
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
