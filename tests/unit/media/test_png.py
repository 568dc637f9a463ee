"""PNG: what is no part of the pixels never costs them, and what means something for them counts."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from support.decoded import load, off, refusal
from support.pictures import QUADRANTS, encode, quadrants, scene
from support.tagged import chunk, fields, png

PIXELS = fields()
ANCILLARY = {
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"tEXt": b"Comment\0words",
    b"zTXt": b"Comment\0\0" + zlib.compress(b"words"),
    b"iTXt": b"Comment\0\0\0\0\0words",
    b"iCCP": b"profile\0\0" + zlib.compress(b"no profile"),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"sRGB": b"\0",
    b"eXIf": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    b"tIME": struct.pack(">HBBBBB", 2024, 1, 1, 0, 0, 0),
    b"bKGD": b"\0" * 6,
    b"sBIT": b"\x08\x08\x08",
    b"hIST": b"\0" * 6,
    b"sPLT": b"palette\0\x08",
    b"cICP": b"\1\x0d\0\1",
    b"mDCV": b"\0" * 24,
    b"cLLI": b"\0" * 8,
    b"acTL": struct.pack(">II", 1, 0),
    b"abCd": b"anything",
}


@pytest.mark.parametrize("name", ANCILLARY, ids=bytes.decode)
@pytest.mark.parametrize("damage", ["none", "checksum", "short", "empty", "long"])
def test_no_ancillary_chunk_costs_the_picture(name: bytes, damage: str) -> None:
    """Whole, damaged, cut short or far too long, before or behind the pixels: they are the same."""
    contents = ANCILLARY[name]
    contents = {"short": contents[: len(contents) // 2], "empty": b"", "long": contents * 40}.get(
        damage, contents
    )
    one = chunk(name, contents, checksum=7 if damage == "checksum" else None)
    for data in (png(PIXELS, before=one), png(PIXELS, after=one)):
        assert np.array_equal(load(data).pixels, PIXELS)


@pytest.mark.parametrize("name", [b"iTXt", b"zTXt", b"iCCP"], ids=bytes.decode)
@pytest.mark.parametrize("megabytes", [2, 40])
def test_large_metadata_costs_nothing(name: bytes, megabytes: int) -> None:
    """Texts and profiles that unpack to megabytes, once or many times, are passed over."""
    packed = zlib.compress(b"x " * (megabytes << 19))
    contents = {
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + packed,
        b"zTXt": b"Raw profile type exif\0\0" + packed,
        b"iCCP": b"profile\0\0" + packed,
    }[name]
    many = chunk(name, contents) * (3 if megabytes == 40 else 70)
    for data in (png(PIXELS, before=many), png(PIXELS, after=many)):
        assert np.array_equal(load(data).pixels, PIXELS)


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP"], ids=bytes.decode)
def test_an_unknown_method_of_compression_costs_nothing(name: bytes) -> None:
    """Method 0 is the only one there is; another chunk is passed over."""
    assert np.array_equal(load(png(PIXELS, before=chunk(name, b"key\0\7nonsense"))).pixels, PIXELS)


def test_a_wrong_checksum_of_the_stream_alone_is_noted() -> None:
    """Where each chunk is intact and all pixels are there, the Adler-32 behind them is the writer's mistake."""
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    wrong = zlib.compress(rows)[:-4] + b"\0\0\0\0"
    found = load(png(PIXELS, pixels=wrong))
    assert np.array_equal(found.pixels, PIXELS)
    assert "checksum" in found.note
    assert load(png(PIXELS)).note == ""


def test_damaged_pixels_are_corrupt() -> None:
    """If the chunk's checksum is wrong as well as the stream's, the pixels are not what was written."""
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    data = bytearray(png(PIXELS, pixels=zlib.compress(rows, 0)))
    data[data.index(b"IDAT") + 500] ^= 0xFF
    assert refusal(bytes(data)).reason == "corrupt"


@pytest.mark.parametrize("kept", [0.99, 0.95])
def test_a_png_without_its_last_rows_is_decoded_and_marked(kept: float) -> None:
    """The rows that are there are the picture's, and the note tells how many."""
    whole = np.asarray(scene(3, (64, 200)))
    data = encode(Image.fromarray(whole), ".png", compress_level=0)
    found = load(data[: int(len(data) * kept)])
    assert found.note.startswith("end missing, 9")
    assert np.array_equal(found.pixels[:180], whole[:180])


def test_a_png_without_much_of_it_is_corrupt() -> None:
    """Half a picture is refused, with the share that is there."""
    data = encode(scene(3, (64, 200)), ".png", compress_level=0)
    error = refusal(data[: len(data) // 2])
    assert (error.reason, error.detail[:19]) == ("corrupt", "end missing, 49 % o")


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_transparent_grey_is_transparent_at_every_depth(bits: int) -> None:
    """tRNS names a sample of the file's own depth; pixels of that value are clear, no others."""
    top = 2**bits - 1
    numbers = (257, 258, 40000, 65535) if bits == 16 else (0, 1, top - 1, top)
    for clear in numbers:
        shades = [255 if number == clear else round(number * 255 / top) for number in numbers]
        key = chunk(b"tRNS", struct.pack(">H", clear))
        assert off(load(png(fields(numbers, dtype=np.uint32), bits, 0, before=key)), shades) <= 1


@pytest.mark.parametrize("clear", [0, 1])
def test_one_bit_with_one_of_them_transparent_is_seen(clear: int) -> None:
    """Black on nothing lies on white, white on nothing on black."""
    data = png(fields([0, 1, 0, 1]), 1, 0, before=chunk(b"tRNS", struct.pack(">H", clear)))
    assert off(load(data), [0, 255, 0, 255]) == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_is_transparent(bits: int) -> None:
    """tRNS of RGB, also where the high and the low byte of a sample differ."""
    values = PIXELS.astype(np.uint32) * (1 if bits == 8 else 256) + (0 if bits == 8 else 77)
    key = struct.pack(">3H", *values[0, 0])
    assert off(load(png(values, bits, 2, before=chunk(b"tRNS", key))), [(255,) * 3, *QUADRANTS[1:]]) <= 1


@pytest.mark.parametrize("length", [0, 1, 3, 300])
def test_transparency_of_the_wrong_size_is_none(length: int) -> None:
    """tRNS that is too short or too long for its colours counts as none."""
    assert off(load(png(PIXELS, before=chunk(b"tRNS", b"\0" * length))), QUADRANTS) == 0
    assert (
        off(
            load(png(fields((40, 100, 170, 230)), 8, 0, before=chunk(b"tRNS", b"\0" * length))),
            (40, 100, 170, 230),
        )
        == 0
    )


def test_what_apples_tools_write_for_ios_is_unsupported() -> None:
    """CgBI is a PNG that only Apple reads; it is not broken."""
    data = png(PIXELS)
    assert refusal(data[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + data[8:]).reason == "unsupported"


@pytest.mark.parametrize("where", ["eXIf", "XMP", "raw profile"])
def test_orientation_is_found_wherever_it_stands(where: str) -> None:
    """eXIf, XMP in a text, and ImageMagick's profile in a text, packed or not, turn the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    plain = b"\nexif\n      %d\n%s\n" % (len(exif.tobytes()), exif.tobytes().hex().encode())
    one = {
        "eXIf": chunk(b"eXIf", exif.tobytes()[6:]),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
        "raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(plain)),
    }[where]
    for data in (png(PIXELS, before=one), png(PIXELS, after=one)):
        assert (load(data).width, load(data).height) == (48, 64)


@pytest.mark.parametrize("name", [b"acTL", b"fcTL"], ids=bytes.decode)
def test_a_damaged_animation_shows_its_first_picture(name: bytes) -> None:
    """An APNG whose control chunks are broken is a PNG."""
    data = bytearray(encode(quadrants(), ".png", save_all=True, append_images=[Image.new("RGB", (96, 64))]))
    data[data.index(name) + 5] ^= 0xFF
    assert off(load(bytes(data)), QUADRANTS) == 0


def test_pixels_in_many_chunks_and_with_bytes_behind_are_the_same() -> None:
    """However the stream is cut into chunks, and whatever follows the end mark."""
    whole = png(PIXELS)
    at = whole.index(b"IDAT") - 4
    stream = whole[at + 8 : -16]
    cut = b"".join(chunk(b"IDAT", stream[i : i + 7]) + chunk(b"IDAT", b"") for i in range(0, len(stream), 7))
    data = whole[:at] + cut + chunk(b"IEND", b"") + b"behind" * 1000
    assert np.array_equal(load(data).pixels, np.asarray(Image.open(io.BytesIO(whole))))
