"""Reads a view of a simulated cache: with zarr, as was done before, and with shard_bytes.py.

    python tests/bench/scale.py --folder DIR                  # once: the cache with codec half
    python tests/bench/scale_shards.py --folder DIR [--codec compact]

Other codecs are made in DIR/CODEC, one view of each. Every line is a process of its own. CPU
seconds are of all its threads, without the imports; the peak is its resident memory.

On 2 cores that other work shared (so the wall times are upper bounds), 1,281,167 samples:

| codec | CPU s: zarr | 1 thread | 2 threads | wall s: zarr | 1 thread | 2 threads | peak - arrays |
|---|---:|---:|---:|---:|---:|---:|---:|
| half | 33.7 | 22.2 | 18.1 | 128 | 67 | 52 | 0.8 GB |
| compact | 15.3 | 10.2 | 10.7 | 58 | 55 | 38 | 0.8 GB |
| tiny | 11.7 | 5.3 | 4.9 | 30 | 15 | 14 | 0.8 GB |

The peak includes 0.7 GB of imports. Of the 18 s for half, 13 are zstd's, 2.7 sha256's.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
from zarr.core.buffer import default_buffer_prototype

from shared.formats import zarr_format
from shared.formats.zarr_arrays import GROUP, create_arrays
from shared.images.source import open_source
from shared.store.opening import Cache, open_cache
from tests.bench.scale import simulated_cache

WAYS = {"zarr": 1, "1 thread": 1, "2 threads": 2}


def decode_with_zarr(manifest, view, block, names, read, into=None) -> Any:  # type: ignore[no-untyped-def]
    """zarr_format.decode before shard_bytes.py."""
    prototype = default_buffer_prototype().buffer
    store: dict[str, Any] = {}
    arrays = create_arrays(manifest, store, names)
    rows = manifest.rows(block)
    paths = zarr_format.array_paths(manifest, view, block)
    found = {}
    for name in names:
        store[paths[name].removeprefix(f"{GROUP}/")] = prototype.from_bytes(read(paths[name]))
        found[name] = np.asarray(arrays[name][view, rows.start : rows.stop])
    return found


def the_cache(folder: Path, codec: str) -> Cache:
    if codec != "half":
        source = open_source(str(folder / "images"), "train")
        simulated_cache(folder, source, 1, codec, name=codec)
    return open_cache(folder / ("cache" if codec == "half" else codec), "train")


def measure(cache: Cache, way: str) -> None:
    if way == "zarr":
        zarr_format.decode = decode_with_zarr
    names = ["box", "flip", *cache.manifest.encoding.needed({"logits", "channels"}), "pred"]
    cpu, wall = time.process_time(), time.perf_counter()
    arrays = cache.read_view(0, names, threads=WAYS[way])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    held = sum(values.nbytes for values in arrays.values())
    print(
        f"{cache.manifest.codec:8} {way:9}  CPU {cpu:6.2f} s  wall {wall:6.2f} s  "
        f"peak {peak / 1e9:.2f} GB  arrays {held / 1e9:.2f} GB",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--codec", default="half")
    parser.add_argument("--way", choices=WAYS, help="only this one, in this process")
    flags = parser.parse_args()
    cache = the_cache(flags.folder, flags.codec)
    if flags.way:
        measure(cache, flags.way)
    else:
        for way in WAYS:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way], check=True)
