"""The colours, markers and words of the pictures of a report.

Colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart;
kinds of runs beyond the seventh repeat them with another marker.
"""

from typing import Any

import matplotlib
from matplotlib.axes import Axes

from shared.errors import printable

matplotlib.use("Agg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#777777")
MARKERS = "osD^vPX*"
LONGEST = 48  # characters of a name
INCH = 110  # pixels
_DARK: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#e4e6e9"),
    **dict.fromkeys(("axes.edgecolor", "legend.edgecolor", "grid.color"), "#9aa1a9"),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "#16181b"),
}
SCHEMES: dict[str, dict[Any, Any]] = {"light": {}, "dark": _DARK}


def look_of(number: int) -> dict[str, Any]:
    round_, place = divmod(number, len(COLOURS))
    return {"colour": COLOURS[place], "marker": MARKERS[round_ % len(MARKERS)]}


def say(panel: Axes, text: str) -> None:
    panel.text(0.5, 0.5, text, ha="center", va="center", transform=panel.transAxes, alpha=0.7)


def shown(name: str) -> str:
    """On one line, shortened in its middle, and without formulas, which an unescaped $ starts."""
    name = printable(name)
    if len(name) > LONGEST:
        name = f"{name[: LONGEST // 2 - 1]}...{name[-LONGEST // 2 + 2 :]}"
    return name.replace("$", r"\$")
