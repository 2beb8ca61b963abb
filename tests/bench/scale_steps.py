"""Host work of a step: gathers and decodes batches of 1,024 out of the rows of a view.

    OMP_WAIT_POLICY=passive python tests/bench/scale_steps.py [--samples 1281167]

No cache is read: rows are random, 1.28 million of them, as CachedViews holds them in host memory.
One thread of torch. "gather" is done by the host in every run, "decode" by the training device.
The least of many repeats is given, since other work on the machine only adds.

2 idle cores without AVX-512, 2026-11-27, ms for both: exact 1.2, half 1.1; compact and tiny 0.5 and
0.7 for the channels alone, and 13.9 and 13.6 with the logits that are derived from them. 13 ms of
these are one matrix product, 1024 x 512 x 1000, which a GPU does where there is one.

Gathering takes 0.2 to 1.7 ms with every codec. Decoding takes 0.2 to 0.4 ms (half), 0.2 (compact)
and 0.8 (tiny; 3.3 before it was done in place) unless logits are derived: that is a product of
1,024 x 512 with 512 x 1,000 numbers, which belongs to the step, and is done by the GPU if there is
one. It is left out for a recipe that reads no logits.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np
import torch

from shared.targets.codecs import CODECS, Kept
from shared.targets.encoding import Encoding
from shared.targets.targets import Head
from tests.bench.store import CLASSES, STAGES

BATCH, REPEATS = 1024, 60


def least(act: Callable[[], object]) -> float:
    """Milliseconds."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return 1000 * min(seconds)


def measure(codec: str, samples: int, needs: set[str]) -> None:
    kinds = (Kept("logits", (CLASSES,), STAGES), Kept("channels", (sum(STAGES),), STAGES))
    encoding = Encoding(codec, kinds)
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(CLASSES, STAGES[-1], generator=generator) / 20, torch.zeros(CLASSES))
    means = torch.randn(4096, sum(STAGES), generator=generator).relu()
    logits = torch.randn(4096, CLASSES, generator=generator)
    some = encoding.encode({"logits": logits, "channels": means})
    rows = {}
    for name in encoding.needed(needs):
        rows[name] = torch.from_numpy(np.resize(some[name], (samples, *some[name].shape[1:])))
    order = torch.randperm(samples, generator=generator).split(BATCH)
    turns = iter(range(10**9))

    def gather() -> dict[str, torch.Tensor]:
        index = order[next(turns) % (len(order) - 1)]
        return {name: values.index_select(0, index) for name, values in rows.items()}

    batch = gather()
    gathering = least(gather)
    decoding = least(lambda: encoding.decode(batch, head if "logits" in needs else None))
    print(
        f"{codec:8} {'+'.join(sorted(needs)):16} gather {gathering:5.2f} ms  "
        f"decode {decoding:5.2f} ms  both {gathering + decoding:5.2f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1_281_167)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    for codec in CODECS:
        for needs in ({"logits", "channels"}, {"channels"}):
            measure(codec, flags.samples, needs)
