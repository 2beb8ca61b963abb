"""The tables of precompute/plan.py about training: memory, codecs, numbers of processes."""

from precompute.prices import Prices
from shared.store.view_memory import in_codecs, memory_problem, view_memory
from shared.targets.codecs import num_bytes
from shared.units import duration, size

SHOWN_PROCESSES = (1, 2, 4, 8, 16)


def training_tables(prices: Prices, processes: int) -> list[str]:
    if prices.job.manifest.split != "train":
        return []
    return [*_memory(prices), *_codecs(prices), *_processes(prices, processes)]


def _memory(prices: Prices) -> list[str]:
    machine, costs, view = prices.machine, prices.costs, prices.view()
    needed = view.resident + prices.memory()
    enough = "enough" if needed < machine.memory else "NOT ENOUGH"
    how = "streamed" if view.is_streamed else f"{size(view.view)} ({view.row:,} B an image)"
    rows = [
        "",
        f"| training, {machine.processes} to a machine of {machine.cores} cores | |",
        "|---|---:|",
        f"| targets of a view in memory | {how} |",
        f"| memory of a machine, of {size(machine.memory)} | {size(needed)} ({enough}) |",
        f"| bytes read per epoch and machine | {size(sum(costs.size.layers.values()))} |",
        f"| decode a view on one core | {1000 * costs.decoding.seeing:.2f} ms an image |",
    ]
    if not view.is_streamed:
        seconds = costs.reading * prices.images
        rows.append(f"| decode the targets of a view, on one core | {duration(seconds)} |")
    problem = memory_problem(prices.job.manifest, machine.memory)
    return [*rows, "", f"NOTE: {problem}"] if problem else rows


def _codecs(prices: Prices) -> list[str]:
    """A table of the codecs: bytes an image by kind, and of a view in memory and on disk."""
    manifest, costs, memory = prices.job.manifest, prices.costs, prices.machine.memory
    kinds = manifest.encoding.names
    rows = []
    for codec, other in in_codecs(manifest).items():
        encoding, view = other.encoding, view_memory(other)
        of_kinds = [num_bytes(encoding.fields([kind])) for kind in kinds]
        fits = "yes" if memory_problem(other, memory) is None else "no"
        on_disk = costs.codecs.get(codec)
        rows.append(
            [
                codec,
                *(f"{found:,} B" if found else "derived" for found in of_kinds),
                "streamed" if view.is_streamed else size(view.view),
                fits,
                "cannot hold them" if on_disk is None else size(manifest.views * on_disk),
            ]
        )
    head = ["codec", *kinds, "a view in memory", "fits", f"{manifest.views} views on disk"]
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return ["", *("| " + " | ".join(line) + " |" for line in lines)]


def _processes(prices: Prices, asked: int) -> list[str]:
    """A table of numbers of processes: time of precompute and of an epoch."""
    views, here = prices.job.manifest.views, prices.machine.processes
    rows = []
    for processes in sorted({asked, *SHOWN_PROCESSES}):
        limit = "decoding" if prices.decoding_limits(views, processes) else "teacher"
        rows.append(
            f"| {processes} | {-(-processes // here)} | "
            f"{duration(prices.precompute(views, processes))} | {limit} | "
            f"{duration(prices.epoch(processes))} | "
            f"{duration(prices.epoch(processes, is_live=True))} |"
        )
    return [
        "",
        "| processes | machines | teacher time | limited by | ResNet-18 epoch, cached | live |",
        "|---:|---:|---:|---|---:|---:|",
        *rows,
    ]
