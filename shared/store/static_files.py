"""The files of a cache that belong to no block, such as labels and keys.

Their contents follow from the manifest and the source.
"""

import numpy as np
from numpy.typing import NDArray

from shared.errors import InputError, StorageError
from shared.files.retry import one_line
from shared.files.sealed import MOST_BYTES
from shared.formats import zarr_format
from shared.images.listing import Keys
from shared.records.keys import KEYS, decode_keys, key_digest
from shared.store.receipt_checks import AGAIN
from shared.store.split import Cache
from shared.store.stored_views import shard

MOST_KEY = 8193  # bytes per line: a path of 4096 bytes, each escaped to two, and a line feed


def check_static(cache: Cache, labels: NDArray[np.int64], keys: Keys) -> None:
    """Raises InputError unless each of these files follows from the manifest and the source."""
    for path, data in cache.format.metadata(cache.manifest, labels, keys).items():
        most = max(len(data), MOST_BYTES)
        if not cache.files.exists(path) or cache.files.read(path, most) != data:
            raise InputError(
                f"{cache.where}/{path} does not follow from the manifest and the source: {AGAIN}, "
                f"it writes the file again"
            )
    cache.head()


def stored_labels(cache: Cache) -> NDArray[np.int64]:
    """(N,) labels as stored. Shards have none for skipped samples: those are -1."""
    if cache.manifest.format == "zarr":
        try:
            zarr_format.require_shapes(cache.manifest, ["label"], cache.read_small)
            most = MOST_BYTES + 8 * cache.manifest.block
            return zarr_format.labels(cache.manifest, lambda path: cache.files.read(path, most))
        except StorageError:
            raise
        except Exception as error:  # zarr may raise anything on damaged bytes
            raise InputError(
                f"the labels in {cache.where} are missing or damaged ({one_line(error)}): {AGAIN}, "
                f"it writes them again"
            ) from error
    found = np.full(cache.manifest.samples, -1, np.int64)
    for block in range(cache.manifest.blocks):
        for sample in shard(cache, 0, block):
            found[sample.index] = sample.label
    return found


def stored_keys(cache: Cache) -> Keys | None:
    """The keys of all samples, from keys.txt.

    None if there is no such file: keys are in the shards, or, in zarr caches of version 1, not
    stored at all.
    """
    if KEYS not in cache.format.static_names(cache.manifest):
        return None
    try:
        keys = decode_keys(cache.files.read(KEYS, MOST_KEY * cache.manifest.samples))
        if len(keys) != cache.manifest.samples:
            raise ValueError(f"it has {len(keys):,} lines for {cache.manifest.samples:,} samples")
        for block in range(cache.manifest.blocks):
            samples = cache.manifest.samples_of(block)
            if key_digest(keys, samples) != cache.receipt(0, block).keys:
                raise ValueError(f"block {block} is of samples with other keys")
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{cache.where}/{KEYS}, which holds the key of every sample, is missing or damaged "
            f"({one_line(error)}): {AGAIN}, it writes the file again"
        ) from error
    return keys
