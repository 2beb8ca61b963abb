"""The table that precompute/plan.py prints."""

import argparse
import math

from precompute.estimate import count_files, free_bytes
from precompute.job import Job, make_job
from precompute.measure import Costs, measure
from shared.choices import has_one_view
from shared.files.objects import open_files
from shared.records.manifest import Manifest
from shared.units import digits, duration, size

SHOWN_VIEWS = (1, 2, 4, 10, 50)


def plan(flags: argparse.Namespace) -> int:
    job = make_job(flags)
    costs = measure(job, flags.skip_bad)
    print(report(job, costs, free_bytes(open_files(flags.cache, flags.split).root)))
    return 0


def report(job: Job, costs: Costs, free: float) -> str:
    manifest = job.manifest
    images, asked = manifest.samples, manifest.views

    def bytes_of(views: int) -> int:
        return costs.num_bytes * views * images

    def time_of(views: int) -> str:
        return duration(costs.pipeline * views * images)

    def break_even(views: int) -> float:
        return views * costs.pipeline / costs.teacher

    shown = {asked} if has_one_view(manifest.policy) else {asked, *SHOWN_VIEWS}
    room = f"{size(free)} ({'enough' if bytes_of(asked) < free else 'NOT ENOUGH'})"
    if free == math.inf:
        room = "no limit known"
    live = 1 + costs.teacher / costs.student
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
            f"| bytes a view | {costs.num_bytes:,} B |",
            *_layers(manifest, costs),
            f"| bytes, total | {size(bytes_of(asked))} |",
            f"| files | {count_files(manifest):,} |",
            f"| bytes free on its disk | {room} |",
            f"| bytes to write a second | {size(costs.num_bytes / costs.pipeline)}/s |",
            f"| decode + teacher + encode | {digits(1000 * costs.pipeline, 3)} ms an image |",
            f"| teacher alone | {digits(1000 * costs.teacher, 3)} ms an image |",
            f"| ResNet-18 forward and backward | {digits(1000 * costs.student, 3)} ms an image |",
            f"| device time of an epoch, live / cached | {digits(live)} |",
            f"| teacher time, one process | {time_of(asked)} |",
            f"| break-even | {digits(break_even(asked))} student epochs |",
            *_tails(costs),
            "",
            "| views | on disk | teacher time | break-even, student epochs |",
            "|---:|---:|---:|---:|",
            *(
                f"| {views} | {size(bytes_of(views))} | {time_of(views)} "
                f"| {digits(break_even(views))} |"
                for views in sorted(shown)
            ),
            "",
            "Teacher time is that of decode + teacher + encode. After so short a warm-up, times "
            "are right to some 10 % if the machine is quiet; bytes come from smaller blocks than "
            "the run's, so they are a little high.",
        ]
    )


def _layers(manifest: Manifest, costs: Costs) -> list[str]:
    """Rows of the table with the bytes per view of each layer, if there are several."""
    if len(costs.layers) == 1:
        return []
    names = {layer: layer or ", ".join(manifest.targets) or "views" for layer in costs.layers}
    return [f"| ... of {names[layer]} | {size:,} B |" for layer, size in costs.layers.items()]


def _tails(costs: Costs) -> list[str]:
    if costs.tails is None:
        return []
    return [
        f"| variance of the channel means in 1 % of {costs.tails.samples:,} images, by stage | "
        f"{' '.join(f'{share:.2g}' for share in costs.tails.share)} |"
    ]


def _statistics(manifest: Manifest) -> str:
    return "" if manifest.statistics == "eval" else f", {manifest.statistics} statistics"
