"""Every link of README.md and docs/*.md to a file, a picture or a heading leads there."""

import re

import pytest

from tests.pages import NAMES, PAGES, anchors_of, text_of
from tests.processes import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


def links_of(name: str) -> list[str]:
    links = LINK.findall(re.sub(r"```.*?```", "", text_of(name), flags=re.DOTALL))
    return [link for link in links if not link.startswith("https://")]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for link in links_of(name):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors_of(target), f"{link}: {sorted(anchors_of(target))}"


@pytest.mark.parametrize("name", NAMES)
def test_pages_named_in_code_are_there(name: str) -> None:
    for path in re.findall(r"`((?:tests|docs|train|shared|precompute)/[\w./]+)`", text_of(name)):
        assert (ROOT / path).exists(), f"{name} names {path}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links_of("README.md")}
    assert {str(page.relative_to(ROOT)) for page in PAGES[1:]} <= linked


def test_there_are_links_to_headings() -> None:
    assert sum("#" in link for name in NAMES for link in links_of(name)) >= 15


def test_headings_become_anchors_as_on_github() -> None:
    anchors = anchors_of(ROOT / "docs/recipes.md")
    assert {"the-words", "the-teachers-mode-a-known-deviation"} <= anchors
