"""shared/page.py: a page is one file, shows any text as it is, and is valid."""

import io

import pytest
from PIL import Image

from shared.page import Page
from tests.self_contained import read_page

ODD = "<script>alert('x')</script> & \"quoted\" — 猫"


def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(buffer, kind)
    return buffer.getvalue()


def test_everything_is_on_the_page_and_inside_it() -> None:
    page = Page("title").heading("first").text("some text").note("look here")
    page.table(["name", "share"], [["a", "1.5 %"], ["b", "20 %"]])
    page.png(picture(), "a curve", dark=picture())
    with page.card("sample 7"):
        page.images([(picture("JPEG"), "source"), (picture(), "view\nflipped")])
        page.bars([("cat", 0.7, "70 %"), ("dog", 0.3, "30 %")], marked=[1])
    read = read_page(page.html())
    assert read.tables == [[["name", "share"], ["a", "1.5 %"], ["b", "20 %"]]]
    assert [image.format for image in read.images] == ["PNG", "PNG", "JPEG", "PNG"]
    for text in ("title", "first", "some text", "look here", "sample 7", "view\nflipped", "70 %"):
        assert text in read.text
    assert read.tags.count("picture") == read.tags.count("section") == 1


def test_text_is_shown_as_it_is() -> None:
    page = Page(ODD).heading(ODD).text(ODD).note(ODD).table([ODD], [[ODD]]).bars([(ODD, 1, ODD)])
    page.png(picture(), ODD).images([(picture(), ODD)])
    with page.card(ODD):
        pass
    read = read_page(page.html())  # which fails on any script
    assert read.text.count(ODD) == 11  # the title twice
    assert read.tables == [[[ODD], [ODD]]]


def test_only_columns_of_numbers_are_aligned_to_the_right() -> None:
    rows = [["7", 1.5, "70.31 ± 0.20", "-", "1,797", "v1"], ["x", -2, "9 %", 3, "1e-7", "2"]]
    text = Page("t").table("abcdef", rows).html()
    head = text.split("<thead>")[1].split("</thead>")[0]
    plain, right = "<th>{}</th>", '<th class="number">{}</th>'
    expected = [plain, right, right, right, right, plain]
    cells = [form.format(name) for form, name in zip(expected, "abcdef", strict=True)]
    assert head == f"<tr>{''.join(cells)}</tr>"


def test_what_is_no_picture_is_not_embedded() -> None:
    with pytest.raises(ValueError, match="not enough values"):
        Page("t").png(b"GIF89a", "a picture")
