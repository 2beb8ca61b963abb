"""The tables that precompute/plan.py prints: the cache, and what it takes by number of views."""

import argparse
import math

from precompute.estimate import count_files, free_bytes
from precompute.job import make_job
from precompute.measure import Costs, measure
from precompute.plan_training import training_tables
from precompute.prices import Prices, machine_of
from precompute.views_advice import recommended_views, share_of_gain
from shared.choices import has_one_view
from shared.errors import InputError
from shared.files.objects import open_files
from shared.machine import memory_bytes
from shared.records.manifest import Manifest
from shared.units import digits, duration, parse_size, size

SHOWN_VIEWS = (1, 2, 4, 8, 16, 50)


def plan(flags: argparse.Namespace) -> int:
    if flags.processes < 1:
        raise InputError(f"--processes must be 1 or more: got {flags.processes}")
    memory = memory_bytes()
    if flags.node_memory is not None:
        try:
            memory = parse_size(flags.node_memory)
        except ValueError as error:
            raise InputError(f"--node-memory: {error}") from error
    job = make_job(flags)
    prices = Prices(job, measure(job, flags.skip_bad), machine_of(job.device, memory))
    free = free_bytes(open_files(flags.cache, flags.split).root)
    print(report(prices, flags.processes, free))
    return 0


def report(prices: Prices, processes: int, free: float) -> str:
    job, costs = prices.job, prices.costs
    manifest = job.manifest
    images, asked = manifest.samples, manifest.views
    a_view = round(sum(costs.size.layers.values()) / images)
    seconds = prices.view_seconds(asked)

    def break_even(views: int) -> float:
        return views * prices.view_seconds(views) / costs.teacher

    one = has_one_view(manifest.policy)
    shown = {asked} if one else {asked, *SHOWN_VIEWS}
    room = f"{size(free)} ({'enough' if costs.size.total(asked) < free else 'NOT ENOUGH'})"
    if free == math.inf:
        room = "no limit known"
    live = 1 + costs.teacher / costs.student
    several = "one process" if processes == 1 else f"{processes} processes"
    return "\n".join(
        [
            f"{manifest.teacher.architecture} on {job.device}, {manifest.size} px, "
            f"{manifest.precision}{_statistics(manifest)}, codec {manifest.codec}, format "
            f"{manifest.format}, "
            f"{job.workers} decoding workers; {costs.views:,} views measured",
            "",
            "| what | value |",
            "|---|---:|",
            f"| images | {images:,} |",
            f"| views | {asked} |",
            f"| bytes a view | {a_view:,} B |",
            *_layers(manifest, costs),
            f"| bytes, total | {size(costs.size.total(asked))} |",
            f"| files | {count_files(manifest):,} |",
            f"| bytes free on its disk | {room} |",
            f"| bytes to write a second | {size(a_view / seconds)}/s |",
            f"| decode an image, draw a view, on one core | "
            f"{digits(1000 * costs.decoding.image, 3)} ms, "
            f"{digits(1000 * costs.decoding.drawing, 3)} ms |",
            f"| decode + teacher + encode | {digits(1000 * seconds, 3)} ms a view |",
            f"| teacher alone | {digits(1000 * costs.teacher, 3)} ms a view |",
            f"| ResNet-18 forward and backward | {digits(1000 * costs.student, 3)} ms an image |",
            f"| device time of an epoch, live / cached | {digits(live)} |",
            f"| teacher time, {several} | {duration(prices.precompute(asked, processes))} |",
            f"| break-even | {digits(break_even(asked))} student epochs |",
            *_tails(costs),
            "",
            "| views | on disk | teacher time, one process | break-even, student epochs | "
            "measured gain |",
            "|---:|---:|---:|---:|---:|",
            *(
                f"| {views} | {size(costs.size.total(views))} | "
                f"{duration(prices.precompute(views))} | {digits(break_even(views))} | "
                f"{'-' if one else f'{share_of_gain(views):.0%}'} |"
                for views in sorted(shown)
            ),
            *_advice(prices, free),
            *training_tables(prices, processes),
            "",
            "Teacher time is that of decode + teacher + encode. After so short a warm-up, times "
            "are right to some 10 % if the machine is quiet, and bytes to some 1 %.",
        ]
    )


def _layers(manifest: Manifest, costs: Costs) -> list[str]:
    """Rows of the table with the bytes per view of each layer, if there are several."""
    layers = costs.size.layers
    if len(layers) == 1:
        return []
    names = {layer: layer or ", ".join(manifest.targets) or "views" for layer in layers}
    each = {layer: found / manifest.samples for layer, found in layers.items()}
    return [f"| ... of {names[layer]} | {each[layer]:,.0f} B |" for layer in layers]


def _advice(prices: Prices, free: float) -> list[str]:
    manifest, total = prices.job.manifest, prices.costs.size.total
    if has_one_view(manifest.policy):
        return []
    why = (
        "Measured gain: of what a new view every epoch gains over one view, the least of several "
        "losses on CIFAR-10 and CIFAR-100 (docs/study.md, docs/views.png)."
    )
    views = recommended_views(total, free)
    if views is None:
        return ["", f"{why} A single view would take more than 80 % of the free bytes."]
    other = "" if views == manifest.views else f" in place of {manifest.views}"
    return [
        "",
        f"{why} Recommended: --views {views}{other}, which has {share_of_gain(views):.0%} of it in "
        f"{size(total(views))}.",
    ]


def _tails(costs: Costs) -> list[str]:
    if costs.tails is None:
        return []
    return [
        f"| variance of the channel means in 1 % of {costs.tails.samples:,} images, by stage | "
        f"{' '.join(f'{share:.2g}' for share in costs.tails.share)} |"
    ]


def _statistics(manifest: Manifest) -> str:
    return "" if manifest.statistics == "eval" else f", {manifest.statistics} statistics"
