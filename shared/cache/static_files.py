"""The files of a cache that no block writes: they follow from its manifest and its source."""

import numpy as np
from numpy.typing import NDArray

from shared.cache.receipts import AGAIN
from shared.cache.split import Cache
from shared.cache.stored_views import shard
from shared.errors import InputError, StorageError
from shared.files.retry import one_line
from shared.files.sealed import MOST_BYTES
from shared.formats import zarr_format
from shared.images.listing import Keys
from shared.records.keys import KEYS, decode_keys, key_digest

MOST_KEY = 8193  # bytes of a line: a path of 4096, all of it escaped, and its end


def check_static(cache: Cache, labels: NDArray[np.int64], keys: Keys) -> None:
    """InputError unless every file that no block writes is what the manifest makes it."""
    for path, data in cache.format.metadata(cache.manifest, labels, keys).items():
        most = max(len(data), MOST_BYTES)
        if not cache.files.exists(path) or cache.files.read(path, most) != data:
            raise InputError(
                f"{cache.where}/{path} does not follow from the manifest and the source: {AGAIN}, "
                f"it writes the file again"
            )
    cache.head()


def stored_labels(cache: Cache) -> NDArray[np.int64]:
    """(N,) of every sample, as stored; -1 where the format keeps none of a skipped one."""
    if cache.manifest.format == "zarr":
        try:
            zarr_format.require_shapes(cache.manifest, ["label"], cache.read_small)
            most = MOST_BYTES + 8 * cache.manifest.block
            return zarr_format.labels(cache.manifest, lambda path: cache.files.read(path, most))
        except StorageError:
            raise
        except Exception as error:  # on damaged bytes zarr raises whatever it stumbles over
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
    """Of every sample, from the file of them; None without such a file: they are in the shards,
    or of version 1 and nowhere."""
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
