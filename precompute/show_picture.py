"""The picture of precompute/show.py: the main parts of the page, for where a page cannot be shown.

Statistics at the top, below them the samples whose labels may be wrong, then single views: source
with box, what the network sees, the likeliest classes, and the channel means of every stage.
"""

import io
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from precompute.show_pictures import resized, source_with_box
from precompute.show_plots import ALL, PLOTS, RIGHT, draw_channels
from precompute.shown import Shown
from precompute.shown_samples import Sample, thumbnails
from precompute.worst_labelled import Worst
from shared.errors import printable

INK = "#333333"
WIDTH = 13.0  # inches
PLOT, THUMBNAIL, SAMPLE = 2.9, 2.0, 1.9  # inches of height, of each row
TITLE = 0.6
THUMBNAILS = 9  # in one row


def draw_picture(shown: Shown) -> bytes:
    """A PNG. Its height depends on what the cache holds."""
    plots = [draw for needed, draw, _ in PLOTS if getattr(shown.found, needed)]
    worst = shown.worst[:THUMBNAILS]
    found = thumbnails(shown.cache, shown.source, [one.index for one in worst])
    pictured = [
        (one, pixels) for one, pixels in zip(worst, found, strict=True) if pixels is not None
    ]
    rows = [PLOT] * bool(plots) + [THUMBNAIL] * bool(pictured) + [SAMPLE] * len(shown.samples)
    figure = Figure(figsize=(WIDTH, TITLE + sum(rows)))
    figure.suptitle(_text(_title(shown)), size=10, color=INK, y=1 - 0.2 / (TITLE + sum(rows)))
    if not rows:
        return _png(figure)
    top = 1 - TITLE / (TITLE + sum(rows))
    bottom = 0.3 / (TITLE + sum(rows))
    grid = GridSpec(
        len(rows),
        1,
        figure,
        left=0.05,
        right=0.985,
        top=top,
        bottom=bottom,
        hspace=0.6,
        height_ratios=rows,
    )
    places = iter(range(len(rows)))
    if plots:
        inner = grid[next(places)].subgridspec(1, len(plots), wspace=0.22)
        for column, draw in enumerate(plots):
            draw(figure.add_subplot(inner[column]), shown.found, INK)
    if pictured:
        inner = grid[next(places)].subgridspec(1, THUMBNAILS)
        for column, (one, pixels) in enumerate(pictured):
            panel = figure.add_subplot(inner[column])
            _image(panel, np.asarray(pixels), _worst_text(one))
    stages = shown.cache.manifest.teacher.channels
    for sample in shown.samples:
        ratios = [1, 1, 1.6, *[1.1] * len(stages)]
        inner = grid[next(places)].subgridspec(1, len(ratios), width_ratios=ratios, wspace=0.3)
        panels = [figure.add_subplot(inner[column]) for column in range(len(ratios))]
        _draw_sample(panels, shown, sample)
    return _png(figure)


def _title(shown: Shown) -> str:
    manifest, found = shown.cache.manifest, shown.found
    title = (
        f"{shown.cache.where}: {found.samples:,} images x {len(found.views)} views, "
        f"{manifest.teacher.architecture}"
    )
    return f"{title}, right in {found.accuracy:.2%}" if found.has_labels else title


def _draw_sample(panels: list[Axes], shown: Shown, sample: Sample) -> None:
    source, view, bars, *stages = panels
    picture = source_with_box(sample, shown.cache.manifest.size)
    what = f"{_short(sample.key)}\nview {sample.view}{', flipped' if sample.box.flip else ''}"
    _image(source, None if picture is None else np.asarray(picture), what)
    seen = None if sample.pixels is None else np.asarray(resized(sample.pixels)[0])
    _image(view, seen, "as the network sees it")
    guided = {True: ", guided", False: ", not guided", None: ""}[sample.guided]
    share = "" if sample.partner is None else f" {sample.share:.0%}"
    bars.set_title(_text(f"label {_short(sample.label)}{share}{guided}"), size=8, color=INK)
    names = [_text(_short(name)) for name, _ in sample.top]
    rights = {sample.label, sample.partner}
    colours = [RIGHT if name in rights else ALL for name, _ in sample.top]
    places = range(len(names))
    bars.barh(places, [chance for _, chance in sample.top], color=colours, height=0.7)
    for place, (name, (_, chance)) in enumerate(zip(names, sample.top, strict=True)):
        bars.text(0.02, place, f"{name}  {chance:.1%}", va="center", size=7, color="black")
    bars.set(xlim=(0, 1), xticks=[], yticks=[])
    bars.invert_yaxis()
    bars.set_frame_on(False)
    if sample.channels is None:
        for panel in stages:
            panel.set_visible(False)
    else:
        widths = shown.cache.manifest.teacher.channels
        draw_channels(stages, shown.standardised(sample.channels), widths, INK)


def _image(panel: Axes, pixels: np.ndarray | None, title: str) -> None:
    panel.set_axis_off()
    panel.set_title(_text(title), size=7, color=INK)
    if pixels is not None:
        panel.imshow(pixels)


def _worst_text(one: Worst) -> str:
    label, answer = (textwrap.shorten(printable(name), 18) for name in (one.label, one.answer))
    return f"label {label}\nteacher {answer}\nloss {one.loss:.2f}"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 28 else f"...{text[-25:]}"


def _text(text: str) -> str:
    """An unescaped $ starts a formula."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="white")
    return buffer.getvalue()
