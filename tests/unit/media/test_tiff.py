"""TIFF is decoded by its tags: depth, format, photometric interpretation, layout, alpha and pages."""

from __future__ import annotations

import io
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imgsearch.media.decoders.tiff import MAX_PAGES
from imgsearch.media.formats import check_picture, load_pictures
from imgsearch.types import PixelBudget
from support.decoded import BUDGET, load, off, pages, refusal
from support.pictures import QUADRANTS
from support.tagged import GREYS, fields, pack, packed, tiff, tiles

ORDERS = pytest.mark.parametrize("big", [False, True], ids=["Intel", "Motorola"])


def numbers(
    bits: int, *, negative: bool = False, shades: NDArray[np.uint8] | None = None
) -> NDArray[np.int64]:
    """Return the four shades as whole numbers of a depth."""
    shades = fields(GREYS) if shades is None else shades
    values = np.round(shades / 255.0 * (2**bits - 1)).astype(np.int64)
    return 2**bits - 1 - values if negative else values


@ORDERS
@pytest.mark.parametrize("negative", [True, False], ids=["white is 0", "black is 0"])
@pytest.mark.parametrize("bits", [4, 6, 8, 10, 12, 14, 16, 20, 24, 32])
def test_grey_of_any_depth_comes_out(bits: int, negative: bool, big: bool) -> None:
    """Unsigned grey of any depth is read as its share of the greatest number, turned round where white is 0."""
    data = tiff(
        ({258: bits, 262: 0 if negative else 1}, pack(numbers(bits, negative=negative), bits, big=big)),
        big=big,
    )
    assert off(load(data), GREYS) <= (9 if bits < 6 else 3)


@ORDERS
@pytest.mark.parametrize("bits", [16, 32])
def test_compressed_grey_of_any_depth_comes_out(bits: int, big: bool) -> None:
    """Deflate changes nothing about what the numbers mean."""
    strip = zlib.compress(pack(numbers(bits, negative=True), bits, big=big))
    assert off(load(tiff(({258: bits, 259: 8, 262: 0}, strip), big=big)), GREYS) <= 3


@ORDERS
@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("way", [5, 8, 32773], ids=["LZW", "Deflate", "PackBits"])
@pytest.mark.parametrize("bits", [6, 12, 16, 32])
def test_whatever_is_compressed_needs_no_imagecodecs(
    bits: int, way: int, tiled: bool, big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only packs bytes is unpacked by Pillow's libtiff, whatever the numbers are, and in several strips."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    name = {5: "tiff_lzw", 8: "tiff_adobe_deflate", 32773: "packbits"}[way]
    shades = numbers(bits, negative=True)
    parts = [pack(shades[y : y + 20], bits, big=big) for y in (0, 20, 40)]
    shape = {322: 32, 323: 32} if tiled else {278: 20}
    parts = [packed(part, name) for part in (tiles(shades, bits, big=big) if tiled else parts)]
    data = tiff(({258: bits, 259: way, 262: 0, **shape}, parts), big=big)
    assert off(load(data), GREYS) <= 4


@ORDERS
@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("negative", [False, True], ids=["black is 0", "white is 0"])
def test_floating_point_comes_out(kind: str, negative: bool, big: bool) -> None:
    """Half, single and double precision, 0 … 1, in grey and in colour."""
    dtype = np.dtype(kind).newbyteorder(">" if big else "<")
    shades = fields(GREYS) / 255.0
    strip = (1 - shades if negative else shades).astype(dtype).tobytes()
    bits = dtype.itemsize * 8
    assert off(load(tiff(({258: bits, 262: 0 if negative else 1, 339: 3}, strip), big=big)), GREYS) <= 2
    colours = (fields() / 255.0).astype(dtype).tobytes()
    assert (
        off(load(tiff(({258: [bits] * 3, 262: 2, 277: 3, 339: [3] * 3}, colours), big=big)), QUADRANTS) <= 2
    )


@ORDERS
@pytest.mark.parametrize("bits", [8, 16])
def test_signed_numbers_run_from_their_least_to_their_greatest(bits: int, big: bool) -> None:
    """Of signed numbers the least is black."""
    values = numbers(bits) - 2 ** (bits - 1)
    strip = values.astype(f"{'>' if big else '<'}i{bits // 8}").tobytes()
    assert off(load(tiff(({258: bits, 339: 2}, strip), big=big)), GREYS) <= 2


@ORDERS
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("samples", [3, 4])
def test_one_plane_per_colour_is_put_together(samples: int, bits: int, big: bool) -> None:
    """PlanarConfiguration 2, with and without compression and alpha, gives the fields as drawn."""
    colours = np.dstack([fields(), np.full((48, 64), 255, np.uint8)])[..., :samples]
    planes = pack(numbers(bits, shades=colours).transpose(2, 0, 1).reshape(-1, 64), bits, big=big)
    size = len(planes) // samples
    tags: dict[int, Any] = {258: [bits] * samples, 262: 2, 277: samples, 284: 2, 338: [2] * (samples - 3)}
    if samples == 3:
        del tags[338]
    separate = tiff((tags, planes), big=big)
    # One strip holds all planes: where each begins has to be told.
    assert off(load(_with_strips(separate, samples, size, big)), QUADRANTS) <= 1


def _with_strips(data: bytes, count: int, size: int, big: bool) -> bytes:
    """Return a TIFF of one strip with its strip cut into ``count`` of the same size."""
    import struct

    order = ">" if big else "<"
    out = bytearray(data)
    start = struct.unpack_from(order + "I", out, 4)[0]
    for entry in range(struct.unpack_from(order + "H", out, start)[0]):
        at = start + 2 + 12 * entry
        tag = struct.unpack_from(order + "H", out, at)[0]
        if tag in (273, 279):
            first = struct.unpack_from(order + "I", out, at + 8)[0]
            values = [size] * count if tag == 279 else [first + number * size for number in range(count)]
            struct.pack_into(order + "HII", out, at + 2, 4, count, len(out))
            out += struct.pack(f"{order}{count}I", *values)
    return bytes(out)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["unspecified", "associated", "unassociated"])
@pytest.mark.parametrize("colours", [1, 3, 4])
def test_an_opaque_extra_channel_changes_nothing(colours: int, kind: int, bits: int) -> None:
    """Grey, RGB and CMYK with one more channel, which is alpha or is not, of 8 and 16 bits."""
    drawn = {
        1: fields(GREYS)[..., None],
        3: fields(),
        4: np.dstack([255 - fields(), np.zeros((48, 64), np.uint8)]),
    }
    extra = np.full((48, 64, 1), 0 if kind == 0 else 255, np.uint8)
    values = numbers(bits, shades=np.concatenate([drawn[colours], extra], axis=2))
    tags = {258: [bits] * (colours + 1), 262: {1: 1, 3: 2, 4: 5}[colours], 277: colours + 1, 338: kind}
    assert off(load(tiff((tags, pack(values, bits)))), GREYS if colours == 1 else QUADRANTS) <= 2


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("samples", [2, 4])
def test_associated_alpha_is_not_multiplied_twice(samples: int, bits: int) -> None:
    """Colours that are stored multiplied by alpha lie over white as they should."""
    half = np.full((48, 64, samples), 40, np.uint8)
    half[..., -1] = 128
    tags = {258: [bits] * samples, 262: 1 if samples == 2 else 2, 277: samples, 338: 1}
    assert off(load(tiff((tags, pack(numbers(bits, shades=half), bits)))), [167] * 4) <= 2


def test_a_palette_of_eight_bits_is_understood() -> None:
    """A colour map of 0 … 255, which TIFF does not allow and programs write, is no black picture."""
    entries = np.zeros((3, 256), np.uint16)
    entries[:, :4] = np.transpose(QUADRANTS)
    strip = fields(range(4)).tobytes()
    for factor in (1, 257):
        data = tiff(({262: 3, 320: (entries * factor).ravel().tolist()}, strip))
        assert off(load(data), QUADRANTS) == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_lab_of_both_depths_comes_out(bits: int) -> None:
    """CIE L*a*b* of 8 and 16 bits: a* and b* are signed."""
    lab = fields([(50, 0, 0), (75, 0, 0), (100, 0, 0), (0, 0, 0)]).astype(np.int64)
    lab[..., 0] = np.round(lab[..., 0] / 100 * (2**bits - 1))
    data = tiff(({258: [bits] * 3, 262: 8, 277: 3}, pack(lab, bits)))
    assert off(load(data), [119, 185, 255, 0]) <= 2


def test_uncompressed_ycbcr_is_read_or_unsupported() -> None:
    """YCbCr is converted, with and without subsampling; what stops early is corrupt, odd blocks are unsupported."""
    strip = fields([(76, 84, 255)] * 4).tobytes()
    tags = {258: [8] * 3, 262: 6, 277: 3}
    assert off(load(tiff(({**tags, 530: [1, 1]}, strip))), [(254, 0, 0)] * 4) <= 3
    blocks = bytes([76] * 4 + [84, 255]) * (32 * 24)
    assert off(load(tiff(({**tags, 530: [2, 2]}, blocks))), [(254, 0, 0)] * 4) <= 3
    assert refusal(tiff(({**tags, 530: [2, 2]}, blocks[:-7]))).reason == "corrupt"
    assert refusal(tiff(({**tags, 530: [3, 1]}, blocks))).reason == "unsupported"


def test_what_unpacks_to_many_bytes_is_refused_by_its_header() -> None:
    """A page within the limit of pixels may still be of 32 numbers of 64 bits each."""
    tags = {256: 9000, 257: 9000, 258: [64] * 32, 259: 8, 262: 2, 277: 32, 338: [0] * 29}
    assert refusal(tiff((tags, zlib.compress(b"")))).reason == "too many pixels"


@ORDERS
@pytest.mark.parametrize("bits", [8, 16])
def test_bigtiff_comes_out_in_both_byte_orders(bits: int, big: bool) -> None:
    """BigTIFF, in the first page and in those behind."""
    page = {258: [bits] * 3, 262: 2, 277: 3}, pack(numbers(bits, shades=fields()), bits, big=big)
    found = pages(tiff(page, page, big=big, bigtiff=True))
    assert [off(picture, QUADRANTS) <= 1 for picture in found] == [True, True]


@pytest.mark.parametrize("compression", [33003, 34887, 50001, 50002])
def test_other_compressions_are_unsupported_without_imagecodecs(
    compression: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JPEG 2000, LERC, WebP and JPEG XL inside are no damage; the reason names what can read them."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    error = refusal(tiff(({259: compression}, b"\0" * 100)))
    assert error.reason == "unsupported"
    assert "imagecodecs" in error.detail


def test_a_strip_without_bytes_is_corrupt() -> None:
    """What was never written is no black, whoever decodes it."""
    for compression in (1, 8):
        for photometric in (0, 1):
            error = refusal(tiff(({258: 16, 259: compression, 262: photometric}, b"")))
            assert error.reason == "corrupt"


def test_a_cameras_raw_data_is_unsupported() -> None:
    """A colour filter array is not shown as the mosaic that it is."""
    assert refusal(tiff(({258: 16, 262: 32803}, b"\0" * 6144))).reason == "unsupported"


# Pages

RGB = {258: [8] * 3, 262: 2, 277: 3}
PICTURE = RGB, fields().tobytes()
SMALL = {**RGB, 256: 16, 257: 12}, fields([(9, 9, 9)] * 4, (16, 12)).tobytes()


def shade(number: int, **tags: Any) -> tuple[dict[int, Any], bytes]:
    return {**RGB, **{int(tag[1:]): value for tag, value in tags.items()}}, fields(
        [(number,) * 3] * 4
    ).tobytes()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "kind", [{}, {254: 2, 297: [0, 3]}, {255: 3}], ids=["plain", "NewSubfileType", "SubfileType"]
)
def test_every_page_is_a_picture(kind: dict[int, Any], big: bool) -> None:
    """All pages come, numbered from 0, whichever way they are called pages."""
    found = pages(tiff(*[({**RGB, **kind}, shade(n)[1]) for n in (10, 120, 240)], big=big))
    assert [(picture.page, *quarter(picture)) for picture in found] == [(0, 10), (1, 120), (2, 240)]


def quarter(picture: Any) -> list[int]:
    return [int(picture.pixels[2, 2, 0])]


@pytest.mark.parametrize("reduced", [{254: 1}, {255: 2}], ids=["NewSubfileType", "SubfileType"])
def test_a_thumbnail_is_no_page(reduced: dict[int, Any]) -> None:
    """A reduced page, first or last, gives way to the full one."""
    small = {**SMALL[0], **reduced}, SMALL[1]
    for data in (tiff(small, PICTURE), tiff(PICTURE, small), tiff(small, PICTURE, small)):
        assert off(load(data), QUADRANTS) == 0


def test_a_mask_is_no_page() -> None:
    """A transparency mask belongs to a picture and is none."""
    mask = {258: 8, 262: 4, 254: 4}, fields(GREYS).tobytes()
    assert off(load(tiff(PICTURE, mask)), QUADRANTS) == 0


@pytest.mark.parametrize("reduced", [{254: 1}, {}], ids=["said", "unsaid"])
def test_the_full_picture_in_a_subdirectory_is_found(reduced: dict[int, Any]) -> None:
    """As in DNG and in Photoshop's TIFF: the main directory holds the thumbnail."""
    data = tiff(({**SMALL[0], **reduced, 330: PICTURE}, SMALL[1]))
    assert off(load(data), QUADRANTS) == 0


def test_smaller_copies_in_subdirectories_are_no_pictures() -> None:
    """A pyramid's levels stay what they are: smaller copies."""
    data = tiff(({**RGB, 330: ({**SMALL[0], 254: 1}, SMALL[1])}, PICTURE[1]))
    assert off(load(data), QUADRANTS) == 0


def test_a_file_of_thumbnails_only_still_shows_one() -> None:
    """Where every page is called reduced, the largest is the picture."""
    data = tiff(({**SMALL[0], 254: 1}, SMALL[1]), ({**RGB, 254: 1}, PICTURE[1]))
    assert off(load(data), QUADRANTS) == 0


def test_a_broken_page_does_not_cost_the_others() -> None:
    """The pages that can be read come with their numbers, and the last tells of the other."""
    found = pages(tiff(shade(10), ({**RGB, 257: 4000}, b"short"), shade(240)))
    assert [(picture.page, *quarter(picture)) for picture in found] == [(0, 10), (2, 240)]
    assert "page 2 can't be read" in found[-1].note
    assert refusal(tiff(({**RGB, 257: 4000}, b"short"))).reason == "corrupt"


def test_pages_are_counted() -> None:
    """Beyond the limit pages are left out, and the last says so; pages in a circle end."""
    data = tiff(*[shade(n % 250) for n in range(MAX_PAGES + 2)])
    found = pages(data)
    assert len(found) == MAX_PAGES
    assert str(MAX_PAGES) in found[-1].note
    circle = bytearray(tiff(shade(10), shade(20)))
    circle[-4:] = circle[4:8]
    assert [quarter(picture) for picture in pages(bytes(circle))] == [[10], [20]]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (slice(0, 1), [0]),
        (slice(1, 3), [1, 2]),
        (slice(2, None), [2, 3]),
        (slice(3, 9), [3]),
        (slice(4, 9), []),
    ],
)
def test_only_the_pages_that_are_asked_for_are_decoded(wanted: slice, found: list[int]) -> None:
    """They keep their numbers, and nothing is said of the others."""
    data = tiff(*[shade(20 * n) for n in range(4)])
    some = pages(data, pages=wanted)
    assert [picture.page for picture in some] == found
    assert [quarter(picture) for picture in some] == [[20 * n] for n in found]
    assert not any(picture.note for picture in some)


def test_pages_beyond_the_limit_can_be_asked_for() -> None:
    """The limit is how many are read, not where they are."""
    data = tiff(*[shade(n % 250) for n in range(MAX_PAGES + 8)])
    assert [picture.page for picture in pages(data, pages=slice(MAX_PAGES + 3, MAX_PAGES + 5))] == [103, 104]
    assert len(found := pages(data, pages=slice(2, None))) == MAX_PAGES
    assert "100 pages from page 3 on" in found[-1].note


def test_a_tiff_of_one_page_is_no_document() -> None:
    """It is a photo, so it is read whichever pages are asked for."""
    assert [picture.page for picture in pages(tiff(shade(10)), pages=slice(4, 9))] == [0]


def test_a_large_budget_reads_fewer_pages() -> None:
    """What waits in memory has a limit."""
    found = pages(tiff(*[shade(n) for n in range(40)]), budget=PixelBudget(4096, 1_310_720))
    assert len(found) == 24
    assert "24 pages" in found[-1].note


@pytest.mark.parametrize("big", [False, True])
def test_pages_in_a_file_on_disk_are_found_too(big: bool, tmp_path: Path) -> None:
    """libtiff reads a file itself: it is told where a page is, also one in a subdirectory."""

    def packed(number: int) -> tuple[dict[int, Any], bytes]:
        return {**RGB, 259: 8}, zlib.compress(shade(number)[1])

    path = tmp_path / "x.tif"
    small = {**SMALL[0], 254: 1}
    path.write_bytes(
        tiff(packed(10), ({**small, 330: packed(99)}, SMALL[1]), packed(200), big=big, bigtiff=big)
    )
    with path.open("rb") as stream:
        found = list(load_pictures(stream, "x.tif", BUDGET))
        assert not stream.closed
    assert [quarter(picture) for picture in found] == [[10], [99], [200]]


def test_a_predictor_of_floating_point_is_unsupported_without_imagecodecs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Predictor 3 of colours in floating point is no damage."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    tags = {258: [32] * 3, 259: 8, 262: 2, 277: 3, 317: 3, 339: [3] * 3}
    assert refusal(tiff((tags, zlib.compress(bytes(64 * 48 * 12))))).reason == "unsupported"


def test_a_later_page_out_of_bounds_is_left_out() -> None:
    """Each page meets the limit by its own header."""
    found = pages(tiff(shade(10), ({**RGB, 256: 60000, 257: 60000}, b"")))
    assert [picture.page for picture in found] == [0]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pages_are_upright_whoever_decodes_them(orientation: int) -> None:
    """Orientation counts for Pillow's pages and for tifffile's alike."""
    eight = load(tiff(({274: orientation}, fields(GREYS).tobytes())))
    twelve = load(tiff(({258: 12, 274: orientation}, pack(numbers(12), 12))))
    assert (
        (eight.width, eight.height)
        == (twelve.width, twelve.height)
        == ((64, 48) if orientation == 3 else (48, 64))
    )
    assert np.abs(eight.pixels.astype(int) - twelve.pixels).max() <= 1


def test_a_check_leaves_the_file_open() -> None:
    """Whoever has looked at the size can go on to decode."""
    stream = io.BytesIO(tiff(shade(10), shade(20)))
    check_picture(stream, "x.tif")
    assert [picture.page for picture in load_pictures(stream, "x.tif", BUDGET)] == [0, 1]


def test_a_check_refuses_what_decoding_would() -> None:
    """A check reads the tags, also of what Pillow can't open."""
    check_picture(io.BytesIO(tiff(({258: 12}, pack(numbers(12), 12)))), "x.tif")
    with pytest.raises(Exception, match="raw"):
        check_picture(io.BytesIO(tiff(({258: 16, 262: 32803}, b""))), "x.tif")
