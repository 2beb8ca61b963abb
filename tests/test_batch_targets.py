"""Targets of a teacher that used the statistics of fixed batches, against a slow computation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from shared.models.build import build_model
from shared.models.plain_resnet import PlainResNet
from shared.pixels.jpeg import decode_pixels
from shared.records.permutation import permutation
from shared.store.opening import Cache, open_cache
from shared.store.stored_views import shard
from tests.batch_caches import BATCH, CLASSES, World, make_world, require_done, spoilt
from tests.helpers import run, snapshot, write_teacher

CUT = [(0, 32), (32, 64), (64, 102)]
BAD = "class1/004.jpg"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


def rows_in_order(cache: Cache, view: int, names: list[str]) -> dict[str, NDArray[Any]]:
    """(N, ...) by position."""
    whole = cache.read_view(view, names)
    order = permutation(cache.manifest.seed, cache.manifest.samples)
    return {name: values[order] for name, values in whole.items()}


def pixels_in_order(cache: Cache, view: int) -> tuple[NDArray[np.int64], torch.Tensor]:
    """(n,) samples and (n, 3, S, S), as they lie in the shards."""
    found = [
        (sample.index, decode_pixels(sample.jpeg))
        for block in range(cache.manifest.blocks)
        for sample in shard(cache, view, block)
    ]
    return np.array([index for index, _ in found]), torch.stack([pixels for _, pixels in found])


def slow(model: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits and channel means of one batch of a network in train mode, in float64."""
    outputs: list[torch.Tensor] = []
    model = model.double().train()
    layers = [value for name, value in model.named_children() if name.startswith("layer")]
    hooks = [layer.register_forward_hook(lambda m, i, out: outputs.append(out)) for layer in layers]
    with torch.no_grad():
        if isinstance(model, PlainResNet):  # its own head is in float32
            x = model.enter(x)
            for layer in model.layers:
                x = layer(x)
            logits = model.fc(outputs[-1].mean((2, 3)))
        else:
            logits = model(x)
    for hook in hooks:
        hook.remove()
    return logits, [output.mean((2, 3)) for output in outputs]


def require_near(
    cache: Cache, view: int, model: torch.nn.Module, cut: list[tuple[int, int]]
) -> None:
    """The targets are those of the slow computation on batches `cut`, of usable samples."""
    samples, pixels = pixels_in_order(cache, view)
    assert cut[-1][1] == len(samples)
    stored = cache.read_view(view, ["logits", "channels", "pred"])
    mean, std = (
        torch.tensor(facts, dtype=torch.float64).view(1, 3, 1, 1)
        for facts in (cache.manifest.mean, cache.manifest.std)
    )
    for start, stop in cut:
        logits, means = slow(model, (pixels[start:stop].double() / 255 - mean) / std)
        rows = samples[start:stop]
        for name, expected in (("logits", logits), ("channels", torch.cat(means, 1))):
            error = np.abs(stored[name][rows] - expected.numpy()).max()
            assert error < 1e-4 * expected.abs().max(), (name, start, stop)
        assert (stored["pred"][rows] == stored["logits"][rows].argmax(1)).all()


def teacher_of(world: World) -> torch.nn.Module:
    model = build_model("cifar_resnet20", CLASSES)
    model.load_state_dict(torch.load(world.folder / "teacher.pt", weights_only=True))
    return model


def test_targets_are_those_of_a_slow_computation(world: World) -> None:
    cache = open_cache(world.whole, "train")
    assert cache.manifest.statistics == "batch" and cache.manifest.teacher_batch == BATCH
    for view in range(2):
        require_near(cache, view, teacher_of(world), CUT)
    # Negative controls: other batches of the same images.
    for cut in ([(0, 64), (64, 102)], [(0, 32), (32, 64), (64, 96), (96, 102)]):
        with pytest.raises(AssertionError):
            require_near(cache, 0, teacher_of(world), cut)
    first = [cache.receipt(0, block).arithmetic for block in range(2)]
    assert [facts and facts.batch_size for facts in first] == [BATCH, BATCH]


def test_targets_are_those_of_plain_torchvision(world: World, tmp_path: Path) -> None:
    write_teacher(tmp_path / "teacher.pt", "resnet18", CLASSES)
    flags = ("--teacher", "resnet18", "--weights", tmp_path / "teacher.pt", "--views", 1)
    flags = (*flags, "--size", 64, "--policy", "random-resized-crop")
    require_done(world.precompute(tmp_path / "cache", *flags))
    plain = torchvision.models.resnet18(num_classes=CLASSES)
    plain.load_state_dict(torch.load(tmp_path / "teacher.pt", weights_only=True))
    require_near(open_cache(tmp_path / "cache", "train"), 0, plain, CUT)


def test_derived_logits_and_a_conversion(world: World, tmp_path: Path) -> None:
    """The codec tiny, made by the teacher and by convert.py, byte for byte; facts and all."""
    tiny = tmp_path / "tiny"
    require_done(world.precompute(tiny, "--codec", "tiny"))
    to = tmp_path / "converted"
    run("precompute/convert.py", "--cache", world.whole, "--to", to, "--codec", "tiny")
    assert snapshot(to) == snapshot(tiny)
    exact, small = (open_cache(folder, "train") for folder in (world.whole, tiny))
    assert small.manifest.teacher_batch == BATCH
    head = small.head()
    assert head is not None
    stored = rows_in_order(exact, 1, ["logits", "channels"])
    for start, stop in CUT:  # over 16 rows at a time, as the teacher does it
        last = torch.from_numpy(stored["channels"][start:stop, -64:])
        last = torch.nn.functional.pad(last, (0, 0, 0, -len(last) % 16))
        parts = [torch.nn.functional.linear(x, head.weight, head.bias) for x in last.split(16)]
        assert np.array_equal(
            torch.cat(parts)[: stop - start].numpy(), stored["logits"][start:stop]
        )


def test_an_image_that_does_not_decode_is_out_of_its_batch(world: World, tmp_path: Path) -> None:
    images = spoilt(world, tmp_path, [BAD])
    flags = ("--images", images, "--skip-bad", 0.1)
    for workers in (0, 1):
        cache = tmp_path / f"cache{workers}"
        require_done(world.precompute(cache, *flags, "--workers", workers))
    assert snapshot(tmp_path / "cache0") == snapshot(tmp_path / "cache1")
    found = open_cache(cache, "train")
    ((index, key, _),) = found.skipped()
    assert key == BAD
    place = int(found.manifest.place(np.array([index]))[0])
    cut, at = [], 0
    for start, stop in CUT:
        length = stop - start - (start <= place < stop)
        cut.append((at, at + length))
        at += length
    for view in range(2):
        require_near(found, view, teacher_of(world), cut)
    arrays = found.read_view(0, ["logits", "channels", "pred"])
    assert arrays["pred"][index] == -1 and not arrays["channels"][index].any()
    done = run("precompute/verify.py", "--cache", cache, "--samples", 1000, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "cached against live: 202 views, 0 of which" in done.stdout
