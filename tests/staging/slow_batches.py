"""What tests/staging/staged_batches.py keeps, from whole views."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.distributed import World
from shared.epochs import windows
from shared.epochs.order import process_share
from shared.store.opening import Arrays, Cache, open_cache
from tests.small_cache import make_labels
from tests.staging.staged_batches import BATCH, plans_of

NAMES = ["box", "flip", "pred", "channels", "logits"]


@lru_cache
def read_view(folder: Path | str, view: int) -> Arrays:
    cache = open_cache(Path(folder).parent, "train")
    return cache.read_view(view, NAMES)


def reference(
    folder: Path, world: World, window: int, steps: list[tuple[int, int]]
) -> list[dict[str, Any]]:
    cache = open_cache(folder, "train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "MOST_BYTES", window)
        plan = lru_cache(plans_of(cache, BATCH).plan)
        return [of_step(cache, plan(epoch), epoch, step, world) for epoch, step in steps]


def of_step(
    cache: Cache, plan: windows.EpochPlan, epoch: int, step: int, world: World
) -> dict[str, Any]:
    whole = plan.steps[step]
    index = process_share(whole, world)
    encoding, labels = (
        cache.manifest.encoding,
        torch.from_numpy(make_labels(cache.manifest.samples)),
    )
    view = read_view(cache.files.root, epoch % cache.manifest.views)
    guided = torch.from_numpy(view["pred"]).long() == labels
    fields = {name: torch.from_numpy(view[name][index]) for name in NAMES[3:]}
    return {
        **{"epoch": epoch, "step": step, "index": index.tolist()},
        **{
            "box": torch.from_numpy(view["box"][index]),
            "flip": torch.from_numpy(view["flip"][index]),
        },
        **{"labels": labels[index], "guided": guided[index]},
        "guided_count": int(guided[whole].sum()) / world.size,
        **encoding.decode(fields, cache.head()),
    }
