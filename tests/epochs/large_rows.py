"""Manifests of caches whose rows are so large that a shard has many chunks; nothing is on disk."""

from collections.abc import Sequence
from unittest import mock

import numpy as np

from shared.epochs import windows
from shared.epochs.windows import Epochs
from shared.records.manifest import Manifest
from shared.targets.codecs import num_bytes
from tests.small_cache import make_manifest

MAP = (1024, 64, 64)  # 8 MiB a row in fp16: a chunk is one row, if the block's size is a power of 2


def large_rows(samples: int, block: int, shape: tuple[int, ...] = MAP) -> Manifest:
    return make_manifest(samples, block, added={"map1": shape})


def epochs_of(
    manifest: Manifest,
    usable: Sequence[int] | np.ndarray,
    window: int,
    batch_size: int,
    seed: int = 1,
) -> Epochs:
    """Where `window` samples fit into memory."""
    row = num_bytes({"map1": manifest.encoding.fields()["map1"]})
    with mock.patch.object(windows, "MOST_BYTES", window * row):
        return Epochs(manifest, np.array(usable, np.int64), ["map1"], batch_size, seed)
