"""SVG: drawn at the budget's size from the file alone; bombs, references to elsewhere and nonsense do no harm."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("resvg_py")

from imgsearch.errors import PictureError
from imgsearch.media.documents import DocumentOptions, open_document, svg
from imgsearch.types import Picture, PixelBudget

BUDGET = PixelBudget(4096, 57_600)
RED, WHITE = [255, 0, 0], [255, 255, 255]


def drawing(inside: str, attributes: str = 'width="40" height="20"', before: str = "") -> bytes:
    """Return an SVG."""
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"{before}<svg {namespaces} {attributes}>{inside}</svg>".encode()


SQUARE = drawing('<rect x="10" width="30" height="20" fill="red"/>')


def reader(data: bytes) -> svg._Svg:
    """Open a drawing in this process: the limits of the other are tested elsewhere."""
    return svg.open_reader(io.BytesIO(data), "a.svg", DocumentOptions())


def read(data: bytes) -> Picture:
    """Return what is seen of a drawing."""
    opened = reader(data)
    return opened.picture(opened.places[0], BUDGET)


def refusal(data: bytes) -> PictureError:
    """Return why a drawing is not read."""
    with pytest.raises(PictureError) as caught:
        reader(data)
    return caught.value


def test_a_drawing_has_the_budgets_pixels_on_white() -> None:
    """However small it says it is: there are no pixels that it could lack."""
    picture = read(SQUARE)
    assert (picture.width, picture.height) == (40, 20)
    high, wide = picture.pixels.shape[:2]
    assert 0.95 * BUDGET.max_pixels <= high * wide <= 1.05 * BUDGET.max_pixels
    assert picture.pixels[high // 2, wide // 8].tolist() == WHITE
    assert picture.pixels[high // 2, wide // 2].tolist() == RED


def test_a_packed_drawing_is_read() -> None:
    """SVGZ is gzip."""
    assert np.array_equal(read(gzip.compress(SQUARE)).pixels, read(SQUARE).pixels)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="2in" height="36pt"', (192, 48)),
        ('viewBox="0 0 30 10"', (30, 10)),
        ('viewBox="0,0,30,10" width="50%"', (15, 10)),
        ('width="1e9" height="5e8"', (100_000, 50_000)),
        ("", (240, 240)),
        ('width="3em" height="auto" viewBox="0 0 9 9"', (48, 9)),
    ],
)
def test_its_size_is_that_in_css_pixels(attributes: str, size: tuple[int, int]) -> None:
    """Units, a view box, a size beyond reason, and none at all."""
    picture = read(drawing('<circle cx="5" cy="5" r="5"/>', attributes))
    assert (picture.width, picture.height) == size


@pytest.mark.parametrize("attributes", ['width="0" height="9"', 'width="-4" height="9"', 'viewBox="0 0 0 0"'])
def test_a_drawing_without_extent_is_corrupt(attributes: str) -> None:
    """There is nothing to draw on."""
    assert refusal(drawing("", attributes)).reason == "corrupt"
    assert refusal(drawing("", 'width="9000" height="2"')).reason == "aspect ratio over 200"


def test_text_is_drawn_and_told() -> None:
    """Also in a font that is not there; the first of its texts is its first line."""
    data = drawing('<text y="15" font-family="No Such Font">Hello <tspan>World</tspan></text><text>2</text>')
    assert read(data).pixels.min() < 128
    assert reader(data).text(reader(data).places[0]) == "Hello World\n2"


def test_title_and_description_are_its_metadata() -> None:
    """What the drawing says of itself."""
    told = reader(
        drawing("<title>A map</title><desc>of nothing</desc><g><title>not this</title></g>")
    ).metadata()
    assert (told.title, told.description) == ("A map", "of nothing")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_any_encoding_is_understood(encoding: str) -> None:
    """XML says which it is in."""
    name = encoding.removesuffix("-sig")
    text = drawing("<title>Grün</title>", before=f'<?xml version="1.0" encoding="{name}"?>').decode()
    assert reader(text.encode(encoding)).metadata().title == "Grün"


def image(path: Path) -> str:
    """Write a red image and return its path."""
    Image.new("RGB", (8, 8), "red").save(path)
    return str(path)


def test_nothing_outside_of_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a path, nor an address, nor one behind an entity or in a drawing within the drawing."""
    path = image(tmp_path / "secret.png")
    monkeypatch.chdir(tmp_path)
    ways = [path, f"file://{path}", "secret.png", "./secret.png", "http://127.0.0.1:9/secret.png", f" {path}"]
    elements = [
        *(f'<image width="40" height="20" xlink:href="{way}"/>' for way in ways),
        *(f'<image width="40" height="20" href="{way}"/>' for way in ways),
        f'<filter id="f"><feImage href="{path}"/></filter><rect width="40" height="20" fill="white" filter="url(#f)"/>',
        f'<use href="{path}"/>',
        f'<style>@import url("{path}"); rect {{ fill: url("{path}") }}</style>',
        f'<g xml:base="{tmp_path}/"><image width="40" height="20" href="secret.png"/></g>',
    ]
    within = drawing(elements[0])
    elements.append(
        f'<image width="40" height="20" href="data:image/svg+xml;base64,{base64.b64encode(within).decode()}"/>'
    )
    for element in elements:
        assert (read(drawing(element)).pixels == 255).all(), element
    entity = drawing(
        '<image width="40" height="20" href="&e;"/>', before=f'<!DOCTYPE svg [<!ENTITY e "{path}">]>'
    )
    assert (read(entity).pixels == 255).all()
    external = drawing("<text>&e;</text>", before=f'<!DOCTYPE svg [<!ENTITY e SYSTEM "file://{path}">]>')
    assert refusal(external).reason == "corrupt"


def test_an_image_in_the_file_is_drawn(tmp_path: Path) -> None:
    """As most drawings have them: in the address itself."""
    data = base64.b64encode(Path(image(tmp_path / "a.png")).read_bytes()).decode()
    drawn = read(drawing(f'<image width="40" height="40" href="data:image/png;base64,{data}"/>'))
    assert drawn.pixels[5, 5].tolist() == RED


def test_scripts_do_not_run() -> None:
    """They are no part of the picture."""
    data = drawing(
        '<script>document.documentElement.setAttribute("fill", "red")</script><rect id="r" onload="alert(1)"/>'
        '<foreignObject width="40" height="20"><body xmlns="http://www.w3.org/1999/xhtml">HTML</body></foreignObject>'
    )
    assert (read(data).pixels == 255).all()


def test_entities_of_a_program_are_understood() -> None:
    """Illustrator's namespaces are entities."""
    data = drawing("<title>&t;</title>", before='<!DOCTYPE svg [<!ENTITY t "A title">]>')
    assert reader(data).metadata().title == "A title"


def test_bombs_are_refused() -> None:
    """Entities of entities, long ones many times, and gigabytes in kilobytes of gzip."""
    names = "abcdefghij"
    nested = '<!ENTITY a "0123456789">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in itertools.pairwise(names)
    )
    error = refusal(drawing("<title>&j;</title>", before=f"<!DOCTYPE svg [{nested}]>"))
    assert error.reason in ("corrupt", "decompression bomb")
    long = f'<!DOCTYPE svg [<!ENTITY a "{"x" * 100_000}">]>'
    assert refusal(drawing(f"<title>{'&a;' * 400}</title>", before=long)).reason in (
        "corrupt",
        "decompression bomb",
    )
    packed = gzip.compress(b"<svg>" + b" " * (40 << 20), 9)
    assert refusal(packed).reason == "decompression bomb"
    assert refusal(drawing(" " * (33 << 20))).reason == "too large a file"


def test_what_is_too_much_to_draw_is_refused() -> None:
    """Elements in elements, which would overflow a stack."""
    assert refusal(drawing("<g>" * 1000 + "</g>" * 1000)).reason == "unsupported"


def test_what_is_no_drawing_is_not_read() -> None:
    """Other XML, damaged XML, and a packed end that is missing."""
    assert refusal(b"<html></html>").reason == "not an image"
    assert refusal(SQUARE[:-3]).reason == "corrupt"
    assert refusal(gzip.compress(SQUARE)[:-9]).reason == "corrupt"
    assert refusal(b"\x1f\x8bnonsense").reason == "corrupt"


def test_it_is_drawn_in_a_process_of_its_own() -> None:
    """Like a document, of one image, by its name alone: what it begins with says little."""
    with open_document(io.BytesIO(SQUARE), "a.svg") as document:
        assert len(document.places) == 1
        assert (document.picture(document.places[0], BUDGET).pixels == read(SQUARE).pixels).all()
    with pytest.raises(PictureError, match="not an image"), open_document(io.BytesIO(SQUARE), "a.xml"):
        pass
