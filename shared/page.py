"""Writes an HTML page that is a single file: pictures are inside, nothing else is loaded.

    page = Page("What is in the cache")
    page.heading("Accuracy").text("Of each view.")
    page.table(["view", "top-1"], [[0, "91.20 %"]])
    page.png(drawn, "curves by epoch", dark=drawn_for_dark)
    with page.card("sample 7"):
        page.images([(jpeg, "source"), (png, "as the network sees it")])
    path.write_text(page.html())

All text is escaped. The page follows the reader's choice of a light or a dark scheme.
"""

import base64
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #ffffff; --faint: #6a7078;
  --line: #d9dce0; --raised: #f6f7f8; --bar: #b9d3ee; --marked: #b5dfb9; --note: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --paper: #16181b;
  --faint: #9aa1a9; --line: #3a3e44; --raised: #1f2226; --bar: #2f4f73; --marked: #2c5f35;
  --note: #4a3d17; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 76rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p { margin: .4rem 0; max-width: 52rem; }
p.note { background: var(--note); padding: .5rem .75rem; border-radius: .3rem; }
.card { border: 1px solid var(--line); border-radius: .5rem; background: var(--raised);
  padding: .6rem .9rem .9rem; margin: .9rem 0; }
.card h3 { margin-top: .2rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
.row > * { margin-top: 0; margin-bottom: 0; max-width: 100%; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { font-weight: 600; }
th.number, td.number { text-align: right; white-space: nowrap; }
img { max-width: 100%; height: auto; border-radius: .2rem; display: block; }
figure { margin: .6rem 0; }
figcaption { font-size: .85rem; color: var(--faint); margin-top: .25rem; }
.images { display: flex; flex-wrap: wrap; gap: .9rem; align-items: flex-start; }
.images figure { margin: 0; min-width: 10rem; max-width: 100%; }
.images figcaption { white-space: pre-line; overflow-wrap: anywhere; contain: inline-size; }
details { margin: .6rem 0; }
summary { cursor: pointer; }
.bars { flex: 1 1 15rem; max-width: 24rem; font-size: .9rem; }
.bars p { margin: 0 0 .15rem; }
.bar { display: flex; justify-content: space-between; gap: .75rem; margin: .2rem 0;
  padding: .12rem .5rem; border-radius: .2rem; background: linear-gradient(var(--bar), var(--bar))
  left / var(--share) 100% no-repeat; box-shadow: inset 0 0 0 1px var(--line); }
.bar.marked { background-image: linear-gradient(var(--marked), var(--marked)); }
.bar span:last-child { font-variant-numeric: tabular-nums; white-space: nowrap; }
"""

_RIGHT = ' class="number"'
_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]?\d+)?( ?(%|±.*))?$", re.IGNORECASE)
_TYPES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}  # first bytes -> media type


class Page:
    """Collects the parts of a page from top to bottom. Methods that add a part return the page;
    `card`, `details` and `row` are for what is added inside of them."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def heading(self, text: str, level: int = 2) -> Self:
        return self._add(f"<h{level}>{html.escape(text)}</h{level}>")

    def text(self, text: str) -> Self:
        return self._add(f"<p>{html.escape(text)}</p>")

    def note(self, text: str) -> Self:
        """A paragraph that stands out, for what a reader should not miss."""
        return self._add(f'<p class="note">{html.escape(text)}</p>')

    def table(self, head: Sequence[object], rows: Iterable[Sequence[object]]) -> Self:
        """Columns in which every cell is a number are aligned to the right."""
        cells = [[str(cell) for cell in row] for row in rows]
        right = [
            bool(cells) and all(_is_number(row[column]) for row in cells)
            for column in range(len(head))
        ]
        lines = [_row("th", list(map(str, head)), right)]
        lines += [_row("td", row, right) for row in cells]
        return self._add(
            f'<div class="wide"><table><thead>{lines[0]}</thead>'
            f"<tbody>{''.join(lines[1:])}</tbody></table></div>"
        )

    def bars(
        self,
        bars: Iterable[tuple[str, float, str]],
        marked: Iterable[int] = (),
        above: Iterable[str] = (),
    ) -> Self:
        """One bar for each (label, share from 0 to 1, text), below some lines of text.

        Those that `marked` names by number are green."""
        lines = [f"<p>{html.escape(line)}</p>" for line in above]
        green = set(marked)
        for number, (label, share, text) in enumerate(bars):
            kind = "bar marked" if number in green else "bar"
            width = 100 * min(1.0, max(0.0, share))
            lines.append(
                f'<div class="{kind}" style="--share: {width:.1f}%"><span>{html.escape(label)}'
                f"</span><span>{html.escape(text)}</span></div>"
            )
        return self._add(f'<div class="bars">{"".join(lines)}</div>')

    def png(self, data: bytes, alt: str, dark: bytes | None = None) -> Self:
        """A picture, PNG or JPEG. `dark`: the same for readers with a dark scheme."""
        return self._add(f"<figure>{_picture(data, alt, dark)}</figure>")

    def images(self, images: Iterable[tuple[bytes, str]]) -> Self:
        """PNGs or JPEGs in a row, each above its caption."""
        figures = [
            f"<figure>{_picture(data, caption.partition(chr(10))[0])}"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            for data, caption in images
        ]
        return self._add(f'<div class="images">{"".join(figures)}</div>')

    @contextmanager
    def card(self, title: str) -> Iterator[None]:
        """Frames what is added inside, side by side where the window is wide enough."""
        self._add(f'<section class="card"><h3>{html.escape(title)}</h3><div class="row">')
        yield
        self._add("</div></section>")

    @contextmanager
    def details(self, summary: str) -> Iterator[None]:
        """Hides what is added inside until the reader opens it."""
        self._add(f"<details><summary>{html.escape(summary)}</summary>")
        yield
        self._add("</details>")

    @contextmanager
    def row(self) -> Iterator[None]:
        """Puts what is added inside side by side where the window is wide enough."""
        self._add('<div class="row">')
        yield
        self._add("</div>")

    def html(self) -> str:
        title, newline = html.escape(self._title), "\n"
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{title}</h1>\n{newline.join(self._parts)}\n</body>\n</html>\n"
        )

    def _add(self, part: str) -> Self:
        self._parts.append(part)
        return self


def _is_number(text: str) -> bool:
    return _NUMBER.match(text) is not None or text in ("", "-")


def _row(tag: str, cells: Sequence[str], right: Sequence[bool]) -> str:
    inside = "".join(
        f"<{tag}{_RIGHT if number else ''}>{html.escape(cell)}</{tag}>"
        for cell, number in zip(cells, right, strict=True)
    )
    return f"<tr>{inside}</tr>"


def _picture(data: bytes, alt: str, dark: bytes | None = None) -> str:
    image = f'<img src="{_uri(data)}" alt="{html.escape(alt)}">'
    if dark is None:
        return image
    source = f'<source srcset="{_uri(dark)}" media="(prefers-color-scheme: dark)">'
    return f"<picture>{source}{image}</picture>"


def _uri(data: bytes) -> str:
    (kind,) = (kind for start, kind in _TYPES.items() if data.startswith(start))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
