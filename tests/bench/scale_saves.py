"""How long a save stops the loop: written in the loop, as before, and in the background.

    python tests/bench/scale_saves.py --folder DIR [--device cuda] [--saves 5]

Two states: ResNet-18 with SGD's momentum and averaged weights (140 MB), and one of 300 MB in larger
tensors. The loop takes steps for which the host has 2 ms of Python work and then waits 20 ms, as
for a GPU (with --device cuda it waits for a GPU that multiplies for about as long). Given are, as
medians over the saves,

    stall    seconds in the call that saves, and those of them in which it used a core
    delay    how much longer the steps from one save to the next took than without it, the stall
             included: what a save costs a run

2 cores that nine other jobs shared (OMP_WAIT_POLICY=PASSIVE, --steps 100), 2026-11-27:

    ResNet-18    in the loop   stall 1.01 s, 0.20 of CPU, delay 1.19
    ResNet-18    background    stall 0.11 s, 0.03 of CPU, delay 0.33
    300 MB       in the loop   stall 1.91 s, 0.37 of CPU, delay 1.89
    300 MB       background    stall 0.78 s, 0.18 of CPU, delay 1.47
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch

from shared.models.build import build_model
from shared.stop import StopRequest
from train.average import WeightAverage
from train.folder import RunFolder
from train.saving import Saver

HOST_SECONDS, WAIT_SECONDS = 0.002, 0.02
State = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150, help="between two saves")
    flags = parser.parse_args()
    device = torch.device(flags.device)
    folder = RunFolder(flags.folder)
    step = make_step(device)
    print(f"{'state':12} {'how':14} {'stall, s':>9} {'of CPU':>7} {'delay, s':>9}")
    for name, state in (("ResNet-18", resnet18(device)), ("300 MB", large(device))):
        for how in ("in the loop", "background"):
            with Saver(folder, StopRequest(), device, keep=0) as saver:
                save: Callable[[State], None] = saver.save
                if how == "in the loop":
                    save = lambda saved: folder.save("last.pt", saved)  # noqa: E731
                stalls, cores, delays = measure(save, state, step, flags.saves, flags.steps)
            stall, core, delay = map(statistics.median, (stalls, cores, delays))
            print(f"{name:12} {how:14} {stall:9.3f} {core:7.3f} {delay:9.3f}")
    os.remove(flags.folder / "last.pt")


def measure(
    save: Callable[[State], None], state: State, step: Callable[[], None], saves: int, steps: int
) -> tuple[list[float], list[float], list[float]]:
    """Stall, its CPU seconds and delay of each save but the first, which warms up."""
    stalls, cores, delays = [], [], []
    for _ in range(saves + 1):
        alone = seconds_of(step, steps)
        started, core = time.perf_counter(), time.thread_time()
        save(state)
        stalls.append(time.perf_counter() - started)
        cores.append(time.thread_time() - core)
        delays.append(stalls[-1] + seconds_of(step, steps) - alone)
    return stalls[1:], cores[1:], delays[1:]


def seconds_of(step: Callable[[], None], steps: int) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - started


def make_step(device: torch.device) -> Callable[[], None]:
    def work_of_host() -> None:
        until = time.perf_counter() + HOST_SECONDS
        while time.perf_counter() < until:
            pass

    def step() -> None:
        work_of_host()
        time.sleep(WAIT_SECONDS)

    if device.type != "cuda":
        return step
    matrix = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)

    def step_on_gpu() -> None:
        work_of_host()
        for _ in range(10):
            matrix @ matrix
        torch.cuda.synchronize()

    return step_on_gpu


def resnet18(device: torch.device) -> State:
    model = build_model("resnet18", 1000).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    average = WeightAverage(model, 0.999)
    average.update(model)
    return {
        **{"epoch": 1, "step": 0, "student": model.state_dict()},
        **{"optimizer": optimizer.state_dict(), "average": average.state_dict()},
    }


def large(device: torch.device) -> State:
    tensors = {str(number): torch.randn(3_125_000, device=device) for number in range(24)}
    return {"epoch": 1, "step": 0, "student": tensors}


if __name__ == "__main__":
    main()
