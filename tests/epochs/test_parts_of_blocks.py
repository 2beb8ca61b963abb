"""Windows of pieces that are parts of blocks: what a step gets is what the blocks hold."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from shared.epochs import windows
from shared.epochs.cached_views import CachedViews
from shared.epochs.windows import Epochs
from shared.store.opening import Arrays, Cache
from tests.small_cache import make_cache, make_labels, make_manifest
from train.recipes import get_recipe

SAMPLES, BLOCK, BATCH, WINDOW = 5000, 2048, 500, 2200  # blocks have two chunks of 1024
RECIPE = get_recipe("s_resnet18.t_resnet34.cd.ce.kdv2").scaled(3)
ROW = 2 * (14 + 3)  # bytes of channels and logits in codec half
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    manifest = make_manifest(samples=SAMPLES, block=BLOCK, views=2)
    return make_cache(tmp_path_factory.mktemp("cache"), manifest)


@pytest.mark.parametrize("first", [0, 6], ids=["from the start", "resumed"])
def test_every_step_gets_the_rows_of_its_samples(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(windows, "MOST_BYTES", WINDOW * ROW)
    usable = np.delete(np.arange(SAMPLES), [7, 1500, 4999])
    needed = cache.manifest.encoding.needed(RECIPE.needs)
    epochs = Epochs(cache.manifest, usable, needed, BATCH, seed=1)
    assert epochs.layout == [WINDOW, 1024]
    reads: list[tuple[int, int]] = []
    read_rows = Cache.read_rows

    def counted(
        self: Cache, view: int, block: int, rows: range, names: list[str], into: Arrays
    ) -> Arrays:
        reads.append((view, block))
        return read_rows(self, view, block, rows, names, into)

    monkeypatch.setattr(Cache, "read_rows", counted)
    plan = lru_cache(epochs.plan)
    labels = torch.from_numpy(make_labels(SAMPLES))
    views = CachedViews(cache, RECIPE, labels, True, CPU, plan)
    seen: list[list[int]] = [[], [], []]
    for epoch in range(3):
        view = cache.read_view(epoch % 2, ["box", "flip", "pred", *needed])
        begin = first if epoch == 0 else 0
        views.begin(epoch, begin)
        for number, step in enumerate(plan(epoch).steps[begin:], begin):
            box, flip = views.boxes(number, step)
            assert np.array_equal(box, view["box"][step])
            assert np.array_equal(flip, view["flip"][step])
            batch = views.batch(number, torch.from_numpy(step))
            views.done(number)
            rows = {name: torch.from_numpy(view[name][step]) for name in needed}
            expected = cache.manifest.encoding.decode(rows, cache.head())
            guided = torch.from_numpy(view["pred"][step]).long() == labels[step]
            assert batch.guided is not None and torch.equal(batch.guided, guided)
            assert batch.targets is not None
            for name in ("channels", "logits"):
                assert torch.equal(batch.targets[name], expected[name])
            seen[epoch] += step.tolist()
    views.close()
    assert sorted(seen[1]) == sorted(seen[2]) == usable.tolist()
    assert seen[0] == plan(0).still_needed(first).tolist()
    # 1024 rows of a block, or what is left; a resumed epoch reads what its steps still need.
    assert len(reads) == len(plan(0).pieces[int(plan(0).begin[first]) :]) + 2 * 5
    assert (len(reads) == 15) == (first == 0)
