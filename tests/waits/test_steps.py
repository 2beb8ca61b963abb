"""No step makes the host wait for the device: from the rows of a view, or a batch of view shards,
to the losses, the optimizer, averaged weights and sums."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import shared.epochs.cached_views
from shared.distributed import World
from shared.epochs.cached_views import CachedViews
from shared.epochs.streamed import Streamed
from shared.models.staged import StagedModel
from shared.store.opening import Cache
from tests.small_cache import SIZE, make_cache, make_labels, make_manifest
from tests.waits.meta import META, Waits, no_waits
from tests.whole_views import whole_views
from train.average import WeightAverage
from train.batch import Batch, Fixed
from train.images import RunImages
from train.input import feed_options
from train.memory import Memory
from train.names import DEFAULT_RECIPE
from train.optimizer import make_optimizer
from train.recipe import Recipe
from train.recipes import get_recipe
from train.run_targets import RunTargets
from train.setup import Setup
from train.step import train_step
from train.student import StudentChoice, build_student
from train.sums import step_sums

SAMPLES, CHANNELS = 10, (4, 3, 2, 5)
KD, CD = "s_resnet18.t_resnet34.kd.ce", "s_resnet18.t_resnet34.cd.ce"
RKD, DIST = "s_resnet18.t_resnet34.rkd", "s_resnet18.t_resnet34.dist"
QUICK = [(DEFAULT_RECIPE, "zarr"), (DEFAULT_RECIPE, "webdataset"), (RKD, "half")]
MORE = [(DEFAULT_RECIPE, "half"), (KD, "zarr"), (CD, "half"), (RKD, "webdataset"), (DIST, "half")]


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cache]:
    folder = tmp_path_factory.mktemp("caches")
    made = (("zarr", "tiny"), ("webdataset", "compact"), ("half", "half"))
    return {
        name: make_cache(
            folder / name,
            make_manifest(SAMPLES, 4, codec=codec, store="zarr" if name == "half" else name),
        )
        for name, codec in made
    }


def views_of(cache: Cache, recipe: Recipe, fixed: Fixed, world: World) -> Iterator[Any]:
    steps = [np.arange(first, SAMPLES, 2) for first in range(2)]
    plans = whole_views(cache.manifest, lambda _: steps)
    labels = torch.from_numpy(make_labels())
    recipe = replace(recipe, epochs=2)
    with_index = fixed.memory is not None
    views = CachedViews(cache, recipe, labels, True, META, plans, with_index, world)
    for epoch in range(2):
        views.begin(epoch)
        for step, index in enumerate(map(torch.from_numpy, steps)):
            pixels = shared.epochs.cached_views.moved(torch.ones(len(index), 3, SIZE, SIZE), META)
            yield pixels, Batch.of(views.batch(step, index), fixed, world)
            views.done(step)
    views.close()


def streamed(
    cache: Cache, recipe: Recipe, fixed: Fixed, world: World, pinned: bool = False
) -> Iterator[Any]:
    """The stream as Streamed makes it, without the rest of a run."""
    targets = RunTargets(cache, True, None, None, fixed)
    policy = cache.manifest.view_policy
    images = RunImages(None, cache, 3, policy, policy, SIZE)
    setup: Any = object.__new__(Setup)
    for name, value in {
        **{"recipe": replace(recipe, batch_size=4), "images": images, "targets": targets},
        **{"device": META, "workers": 0, "seed": 0, "world": world, "stage": None},
    }.items():
        object.__setattr__(setup, name, value)
    feed = Streamed(feed_options(setup))
    if pinned:  # as DataLoader does for a GPU
        batches = feed._loader.batches
        pin = lambda *which: (batch.pin_memory() for batch in batches(*which))  # noqa: E731
        feed._loader.batches = pin  # type: ignore[method-assign]
    for pixels, found in feed.batches(0):
        yield pixels, Batch.of(found, fixed, world)


def run(pixels: Tensor, batch: Batch, recipe: Recipe, student: Any, optimizer: Any) -> Tensor:
    x = pixels.float() / 255
    weights = recipe.weights(recipe.epochs // 2)
    logits, losses = train_step(student, optimizer, recipe, weights, x, batch, "fp32")
    with torch.no_grad():
        return step_sums(recipe, batch, logits, losses)


@pytest.mark.parametrize(
    ("name", "store"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_no_step_waits(
    caches: dict[str, Cache], name: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, cache = get_recipe(name), caches[store]
    student = build_student(StudentChoice("cifar_resnet20", "cifar", 3), CHANNELS, seed=0).to(META)
    optimizer = make_optimizer(student, recipe, META, "fp32")
    average = WeightAverage(student.backbone, 0.9)
    make = partial(streamed, pinned=True) if store == "webdataset" else views_of
    steps = 0
    with no_waits(monkeypatch) as mode:
        sums = torch.zeros(len(recipe.terms) + 4, dtype=torch.float64, device=META)
        for pixels, batch in make(cache, recipe, Fixed(), World()):
            sums += run(pixels, batch, recipe, student.train(), optimizer)
            average.update(student.backbone)
            steps += 1
    assert steps >= 2 and mode.copies >= 3 * steps
    assert isinstance(student.backbone, StagedModel)


def test_the_samples_index_is_copied_for_a_memory_only(caches: dict[str, Cache]) -> None:
    recipe = get_recipe(RKD)
    for fixed in (Fixed(), Fixed(memory=Memory(SAMPLES, 2, 0, META))):
        for store, make in (("half", views_of), ("webdataset", streamed)):
            for _, batch in make(caches[store], recipe, fixed, World()):
                assert (batch.index is None) == (fixed.memory is None)


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_the_sizes_of_all_processes_are_known(caches: dict[str, Cache], store: str) -> None:
    recipe = get_recipe(RKD)
    make = streamed if store == "webdataset" else views_of
    for _, batch in make(caches[store], recipe, Fixed(), World()):
        assert batch.sizes is not None and len(batch.sizes) == 1


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_logits_are_derived_only_if_they_are_read(caches: dict[str, Cache], store: str) -> None:
    for name, derived in ((CD, False), (DEFAULT_RECIPE, True)):
        make = streamed if store == "webdataset" else views_of
        for _, batch in make(caches[store], get_recipe(name), Fixed(), World()):
            assert ("logits" in batch.targets) == derived and "channels" in batch.targets


def test_rows_chosen_by_the_mask_are_found(
    caches: dict[str, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    recipe = get_recipe(DEFAULT_RECIPE)
    with no_waits(monkeypatch), pytest.raises(Waits, match=r"index.*with a mask"):
        for _, batch in views_of(caches["half"], recipe, Fixed(), World()):
            assert batch.targets is not None and batch.guided is not None
            batch.targets["logits"][batch.guided]
