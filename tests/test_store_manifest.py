"""A cache's manifest: what it says, in which facts two may differ, and what is refused."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.files.sealed import seal, unseal
from shared.records.identity import cache_id, require_same
from shared.records.manifest import Manifest
from shared.records.manifest_json import manifest_json, parse_manifest
from shared.records.manifest_schema import FORMAT_VERSION
from shared.targets.codecs import CODECS
from tests.small_cache import any_teacher, batch_manifest, make_manifest
from tests.stores import every_format, refused


def leaves(facts: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in facts.items():
        if isinstance(value, dict) and name not in ("versions", "added"):
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name)


LEAVES = list(leaves(asdict(make_manifest())))
INFORMATIVE = {
    ("format_version",),
    ("views",),
    ("source", "spec"),
    ("teacher", "weights"),
    ("teacher", "rows"),
    ("versions",),
    ("added",),
}
IDENTITY = [leaf for leaf in LEAVES if leaf not in INFORMATIVE]


def other(value: Any) -> Any:
    """Of the same type, not equal."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple():
            return (*value[:-1], other(value[-1]))
        case dict():
            return {**value, "more": "1"}
        case None:
            return "half"
    raise AssertionError(value)


def changed(manifest: Manifest, leaf: tuple[str, ...]) -> Manifest:
    outer = getattr(manifest, leaf[0])
    if len(leaf) == 1:
        return replace(manifest, **{leaf[0]: other(outer)})
    inner = replace(outer, **{leaf[1]: other(getattr(outer, leaf[1]))})
    return replace(manifest, **{leaf[0]: inner})


def value_of(manifest: Manifest, leaf: tuple[str, ...]) -> Any:
    value: Any = manifest
    for name in leaf:
        value = getattr(value, name)
    return value


def test_leaves_are_all_there() -> None:
    assert len(LEAVES) == len(set(LEAVES)) > 20
    assert set(LEAVES) >= INFORMATIVE
    assert ("teacher", "sha256") in IDENTITY and ("source", "digest") in IDENTITY


@every_format
@pytest.mark.parametrize("codec", CODECS)
def test_manifest_round_trip(codec: str, store: str) -> None:
    manifest = make_manifest(codec=codec, store=store)
    again = parse_manifest(manifest_json(manifest), "here")
    assert again == manifest
    assert manifest_json(again) == manifest_json(manifest)
    assert cache_id(again) == cache_id(manifest)
    facts = json.loads(manifest_json(manifest))
    assert facts["format_version"] == FORMAT_VERSION
    assert facts["cache_id"] == cache_id(manifest)
    assert facts["teacher"]["architecture"] == "resnet18"


@pytest.mark.parametrize("leaf", IDENTITY, ids=".".join)
def test_a_manifest_that_differs_is_named(leaf: tuple[str, ...]) -> None:
    mine = make_manifest()
    theirs = changed(mine, leaf)
    assert cache_id(theirs) != cache_id(mine)
    text = refused(lambda: require_same(mine, theirs, "/the/cache"))
    name = " ".join(leaf)
    there, here = (json.dumps(value_of(manifest, leaf)) for manifest in (theirs, mine))
    short = [value if len(value) <= 80 else value[:77] + "..." for value in (there, here)]
    assert f"/the/cache was made with {name} {short[0]} and this run asks for {short[1]}:" in text


@pytest.mark.parametrize("leaf", sorted(INFORMATIVE), ids=".".join)
def test_where_things_lay_does_not_matter(leaf: tuple[str, ...]) -> None:
    mine = make_manifest()
    theirs = changed(mine, leaf)
    assert theirs != mine
    require_same(mine, theirs, "here")
    assert cache_id(theirs) == cache_id(mine)


def test_the_first_of_two_differences_is_named() -> None:
    mine = make_manifest()
    theirs = replace(mine, seed=99, policy="center")
    assert 'made with policy "center"' in refused(lambda: require_same(mine, theirs, "here"))


@pytest.mark.parametrize("leaf", [x for x in LEAVES if x != ("format_version",)], ids=".".join)
def test_an_edited_manifest_is_refused(leaf: tuple[str, ...]) -> None:
    """Also where the fact is informative: a wrong number of views would be used in silence."""
    kinds = {"targets": ("channels",), "added": {"attention1": (4,)}}
    unusual = {"teacher": any_teacher(), "crop": 0.9, "augment": "erasing=0.25"}
    # The JSON names every fact that is not as in most caches.
    facts = json.loads(manifest_json(batch_manifest(**kinds, **unusual)))
    inner = facts
    for name in leaf[:-1]:
        inner = inner[name]
    value = inner[leaf[-1]]
    inner[leaf[-1]] = [*value, 1] if isinstance(value, list) else other(value)
    text = refused(lambda: parse_manifest(json.dumps(facts).encode(), "/some/manifest.json"))
    assert "/some/manifest.json" in text
    assert "was edited or is damaged" in text


def test_reformatting_a_manifest_is_no_edit() -> None:
    manifest = make_manifest()
    compact = json.dumps(json.loads(manifest_json(manifest))).encode()
    assert parse_manifest(compact, "here") == manifest


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, str(FORMAT_VERSION), None])
def test_another_format_version_is_refused(version: object) -> None:
    facts = unseal(manifest_json(make_manifest()))
    data = seal({**facts, "format_version": version})
    text = refused(lambda: parse_manifest(data, "/some/manifest.json"))
    assert f"/some/manifest.json has format version '{version}', and this code reads 1 to" in text


def test_a_manifest_with_other_facts_is_refused() -> None:
    facts = unseal(manifest_json(make_manifest()))
    less = {name: value for name, value in facts.items() if name != "policy"}
    text = refused(lambda: parse_manifest(seal(less), "/some/manifest.json"))
    assert "/some/manifest.json holds facts that this code cannot use (policy is missing)" in text
    text = refused(lambda: parse_manifest(seal({**facts, "mood": 1}), "/some/manifest.json"))
    assert "'mood' is not a field" in text


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"3", b'"text"', b"{}", b"{", b"null"])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    text = refused(lambda: parse_manifest(data, "/some/manifest.json"))
    assert "/some/manifest.json is not a manifest in JSON (" in text


@given(samples=st.integers(1, 10_000), block=st.integers(1, 3000))
def test_blocks_cut_the_samples(samples: int, block: int) -> None:
    manifest = make_manifest(samples, block)
    rows = [manifest.rows(number) for number in range(manifest.blocks)]
    assert list(chain.from_iterable(rows)) == list(range(samples))
    assert all(len(some) == block for some in rows[:-1])
    assert 1 <= len(rows[-1]) <= block


def test_the_manifest_of_a_resnet_names_nothing_of_other_networks() -> None:
    """So that caches that exist go on, and the same run writes the same bytes as before."""
    facts = unseal(manifest_json(make_manifest()))
    assert set(facts["teacher"]) == {
        "architecture", "stem", "classes", "channels", "weights", "sha256", "head_sha256",
    }  # fmt: skip
    assert "crop" not in facts
    unusual = replace(make_manifest(), teacher=any_teacher(), crop=0.9)
    again = parse_manifest(manifest_json(unusual), "here")
    assert again == unusual and cache_id(again) != cache_id(make_manifest())
