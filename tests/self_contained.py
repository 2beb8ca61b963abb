"""Reads a page with the standard library's parser, and fails if it is not one whole file."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "source", "br", "hr", "link", "input"}


@dataclass
class Read(HTMLParser):
    """What a page holds. Raises AssertionError if a tag is not closed, or anything is loaded."""

    images: list[Image.Image] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        for name, value in attrs:
            assert name not in ("onclick", "onload", "onerror"), name
            if name in ("src", "srcset", "href", "poster", "data", "action"):
                self._keep_image(value or "")

    def _keep_image(self, uri: str) -> None:
        found = re.fullmatch(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", uri)
        assert found, f"not inside the page: {uri[:80]}"
        image = Image.open(io.BytesIO(base64.b64decode(found[2], validate=True)))
        image.load()
        assert image.format == found[1].upper()
        self.images.append(image)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if "style" not in self._open:
            self.text += data

    def table(self, *head: str) -> list[list[str]]:
        """The rows of the only table whose first cells of the head are these."""
        (found,) = (table for table in self.tables if tuple(table[0][: len(head)]) == head)
        return found[1:]


def read_page(text: str) -> Read:
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    assert '<meta charset="utf-8">' in text and 'name="viewport"' in text
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in styles and "@import" not in styles
    page = Read()
    page.feed(text)
    page.close()
    assert page._open == [] and "script" not in page.tags
    return page


def cells(rows: list[list[str]], column: int) -> Iterator[str]:
    return (row[column] for row in rows)
