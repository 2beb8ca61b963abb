"""How long processes beside each other take to decode targets, started as in docs/scale.md.

    python tests/bench/scale_threads.py [--rounds 100] [--processes 2]

Each process decodes batches of 1,024 rows (ResNet-34, 1000 classes) one after another, as training
does, and starts with no OMP_* variable in its environment. `plain` imports torch at once, `set`
calls shared/threads.py first, as every command does. Medians in milliseconds; the two take turns.

2 cores that other work keeps busy as well, 2026-11-27, --rounds 50, plain and set: one process half
9.6 and 0.6, compact 99 and 17, tiny 160 and 54; two processes half 8.3 and 0.4, compact 23 and 22,
tiny 40 and 40.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

ROWS, CODECS, WAYS = 1024, ("half", "compact", "tiny"), ("plain", "set")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--child", choices=WAYS)
    flags = parser.parse_args()
    if flags.child:
        child(flags.child, flags.rounds)
        return
    print("| processes | codec | plain, ms | set, ms | ratio |\n|---:|---|---:|---:|---:|")
    for processes in (1, flags.processes):
        times: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for way in WAYS * 3:
            times[way] += beside_each_other(way, processes, flags.rounds)
        for place, codec in enumerate(CODECS):
            plain, quiet = (median(run[place] for run in times[way]) for way in WAYS)
            print(f"| {processes} | {codec} | {plain:.2f} | {quiet:.2f} | {plain / quiet:.1f} |")


def beside_each_other(way: str, processes: int, rounds: int) -> list[list[float]]:
    """For each process its median milliseconds, one a codec."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, __file__, "--child", way, "--rounds", str(rounds)]
    started = [
        subprocess.Popen(command, env=plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    answers = [process.communicate(b"go\n")[0] for process in started]
    return [[float(number) for number in answer.split()] for answer in answers]


def child(way: str, rounds: int) -> None:
    if way == "set":
        from shared.threads import set_thread_environment

        set_thread_environment()
    from dataclasses import replace

    import torch

    from shared.targets.targets import Head
    from tests.bench.store import CLASSES, STAGES, make_block
    from tests.small_cache import make_manifest

    head = Head(torch.randn(CLASSES, STAGES[-1]), torch.zeros(CLASSES))
    inputs = []
    for codec in CODECS:
        manifest = make_manifest(ROWS, ROWS, 1, codec, "zarr", STAGES)
        manifest = replace(manifest, teacher=replace(manifest.teacher, classes=CLASSES))
        fields = {k: torch.from_numpy(v) for k, v in make_block(manifest).fields.items()}
        inputs.append((manifest.encoding, fields))
        manifest.encoding.decode(fields, head)
    print("ready", flush=True)
    sys.stdin.readline()
    for encoding, fields in inputs:
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            encoding.decode(fields, head)
            seconds.append(time.perf_counter() - started)
        print(1000 * median(seconds), flush=True)


if __name__ == "__main__":
    main()
