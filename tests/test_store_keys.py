"""The file of keys: any key comes back, and anything else is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.images.listing import Keys
from shared.records.keys import decode_keys, encode_keys
from shared.store.opening import open_cache
from shared.store.static_files import stored_keys
from tests.small_cache import make_cache, make_manifest
from tests.stores import refused

name = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        name | st.sampled_from(["a\nb", "a\\nb", "\\", "\n", "\\\\n", "\udcff.jpg"]), max_size=5
    )
)
def test_any_key_comes_back(names: list[str]) -> None:
    keys = Keys.pack(names)
    data = encode_keys(keys)
    assert data.count(b"\n") == len(names)
    again = decode_keys(data)
    assert list(again) == names
    assert again.text == keys.text and again.ends.tolist() == keys.ends.tolist()


@pytest.mark.parametrize("data", [b"a", b"a\nb", b"a\\\n", b"\\x\n"])
def test_what_is_not_a_file_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_keys(data)


def test_keys_are_plain_lines(tmp_path: Path) -> None:
    make_cache(tmp_path, make_manifest())
    lines = (tmp_path / "train/keys.txt").read_text().splitlines()
    assert lines == [f"class{index % 3}/{index:05d}.jpg" for index in range(10)]
    cache = open_cache(tmp_path, "train")
    keys = stored_keys(cache)
    assert keys is not None and list(keys) == lines
    for lost in (b"", "\n".join(lines[1:]).encode() + b"\n", b"x" * 9 + b"\n" * 10):
        (tmp_path / "train/keys.txt").write_bytes(lost)
        text = refused(lambda: stored_keys(cache))
        assert "keys.txt, which holds the key of every sample, is missing or damaged" in text
