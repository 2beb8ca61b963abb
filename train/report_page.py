"""The report as an HTML page that is one file: tables, pictures, settings, caches."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from shared.errors import printable
from shared.page import Page
from train import paired
from train.final_plot import draw_final
from train.plot_style import SCHEMES
from train.plots import draw_curves
from train.reported import Kind
from train.run_settings import CACHE_HEAD, caches, differing

OF_THE_CACHE = ("cache bytes/view", "tails")  # columns of the table that another one has
SHORT = 24  # characters
Table = tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]  # head, rows, footnotes


def write_page(out: Path, kinds: list[Kind], table: Table, against: Kind | None) -> None:
    head, rows, footnotes = table
    kept = [place for place, name in enumerate(head) if name not in OF_THE_CACHE]
    page = Page("Training runs")
    page.text(
        "Runs that differ only in their seed share a row: mean ± sample deviation over the seeds. "
        "“last” is the last validated epoch, “best” the best one; val loss is the cross-entropy on "
        "the val split."
    )
    _table(page, [head[i] for i in kept], [[row[i] for i in kept] for row in rows])
    for text in footnotes:
        page.note(printable(text))
    if against is not None:
        page.heading(f"Against {printable(against.name)}")
        page.text(
            "Differences in points of top-1, last epoch, between runs with the same seed; 95 % "
            "intervals by Student's t. By chance about one interval in twenty misses the true "
            "difference: keep that in mind where there are many rows."
        )
        _table(page, paired.HEAD, paired.rows(kinds, against))
    page.heading("Results")
    _picture(page, "final top-1 of each kind of run, with error bars", draw_final, kinds)
    page.heading("Curves")
    page.text(
        "Lines are means over the seeds, bands one sample deviation to either side, over the "
        "epochs that all seeds have."
    )
    _picture(page, "curves of top-1, losses, weights and speed by epoch", draw_curves, kinds)
    if len(kinds) > 1:
        head, settings = differing(kinds)
        page.heading("Settings in which the runs differ")
        _table(page, head, settings) if settings else page.text("None were recorded.")
    page.heading("What they were trained from")
    cached = caches(kinds)
    _table(page, CACHE_HEAD, cached) if cached else page.text("No run used a teacher's cache.")
    out.write_text(page.html(), encoding="utf-8")


def _table(page: Page, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    page.table([*map(printable, head)], [[*map(_cell, row)] for row in rows])


def _cell(text: str) -> str:
    """Short ones like "3 of 5" and "-1 to 2" do not wrap."""
    text = printable(text)
    short = len(text) <= SHORT and re.match(r"\S+ (of|to) ", text)
    return text.replace(" ", "\N{NO-BREAK SPACE}") if short else text


def _picture(
    page: Page, alt: str, draw: Callable[[list[Kind], BinaryIO, str], None], kinds: list[Kind]
) -> None:
    drawn = {}
    for scheme in SCHEMES:
        data = io.BytesIO()
        draw(kinds, data, scheme)
        drawn[scheme] = data.getvalue()
    page.png(drawn["light"], alt, drawn["dark"])
