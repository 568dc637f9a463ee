"""What is known of a picture besides its pixels: read from EXIF, XMP and IPTC, and never worth an error."""

from __future__ import annotations

import io
import json
import struct
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from imgsearch.media import formats
from imgsearch.media.metadata.takeout import from_takeout
from imgsearch.media.metadata.values import date_of, offset_of, place_of
from imgsearch.types import DEFAULT_BUDGET, NO_METADATA, Metadata
from support.tagged import tiff
from support.tagged_files import KINDS, exif, keywords, packet, records, taken, with_metadata

BASE, GPS = ExifTags.Base, ExifTags.GPS
CAMERA = {BASE.Make: "FUJIFILM", BASE.Model: "X-T5", BASE.Software: "Ver 1.2"}
NORTH_WEST = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (48.0, 51.0, 30.24),
    GPS.GPSLongitudeRef: "W",
    GPS.GPSLongitude: (2.0, 17.0, 40.2),
}


def told(data: bytes, name: str = "a.bin") -> Metadata:
    """Return the metadata of a file's bytes."""
    return formats.load_metadata(io.BytesIO(data), name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_tells_when_where_and_with_what(kind: str) -> None:
    """Date to the millisecond, offset, camera, lens, place and words are read from each format that carries them."""
    details = {
        BASE.DateTimeOriginal: "2023:07:14 09:30:05",
        BASE.SubsecTimeOriginal: "347",
        BASE.OffsetTimeOriginal: "+02:00",
        BASE.LensModel: "XF23mmF1.4 R",
    }
    xmp = packet(
        'xmp:Rating="4"', "<dc:title><rdf:Alt><rdf:li>Café</rdf:li></rdf:Alt></dc:title>" + keywords("cat")
    )
    found = told(with_metadata(kind, exif(CAMERA, details, NORTH_WEST), xmp))
    assert found.taken == datetime(2023, 7, 14, 9, 30, 5, 347_000)
    assert (found.offset, found.make, found.model, found.lens) == (120, "FUJIFILM", "X-T5", "XF23mmF1.4 R")
    assert found.latitude == pytest.approx(48.8584)
    assert found.longitude == pytest.approx(-2.2945)
    assert (found.rating, found.title, found.keywords, found.software) == (4, "Café", ("cat",), "Ver 1.2")


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_leaves_the_pixels_alone(kind: str) -> None:
    """A picture with metadata decodes to the same pixels as one without."""
    plain, tagged = (
        next(formats.load_pictures(io.BytesIO(data), "a.bin", DEFAULT_BUDGET)).pixels
        for data in (with_metadata(kind), with_metadata(kind, exif(CAMERA, None, NORTH_WEST), packet()))
    )
    assert (plain == tagged).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_iptc_tells_words_and_a_date(kind: str) -> None:
    """Title, caption, keywords and the date of IPTC are read where no other block has them."""
    iptc = records(
        (5, b"Harbour"),
        (25, b"boat"),
        (25, b"sea"),
        (55, b"20240714"),
        (60, b"093000+0200"),
        (120, b"A boat"),
    )
    found = told(with_metadata(kind, iptc=iptc))
    assert (found.title, found.description, found.keywords) == ("Harbour", "A boat", ("boat", "sea"))
    assert (found.taken, found.offset) == (datetime(2024, 7, 14, 9, 30), 120)


@pytest.mark.parametrize("big", [False, True])
def test_iptc_in_words_of_32_bits_is_read(big: bool) -> None:
    """IPTC in TIFF that is declared as numbers of 32 bits, as GraphicConverter and libtiff write it, is whole."""
    block = records((5, b"Harbour"), (25, b"boat"))
    block += bytes(-len(block) % 4)
    numbers = struct.unpack(f"{'>' if big else '<'}{len(block) // 4}I", block)
    found = told(tiff(({33723: numbers}, bytes(64 * 48)), big=big))
    assert (found.title, found.keywords) == ("Harbour", ("boat",))


def test_a_photoshop_file_tells_what_its_resources_hold() -> None:
    """EXIF, XMP and IPTC of a Photoshop file are read among its resources."""
    blocks = {
        1028: records((25, b"boat")),
        1058: exif(CAMERA).tobytes(),
        1060: packet('xmp:Rating="4"'),
    }
    resources = b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
        for number, data in blocks.items()
    )
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 48, 64, 8, 3) + bytes(4)
    pixels = struct.pack(">IH", 0, 0) + bytes(3 * 64 * 48)
    data = head + struct.pack(">I", len(resources)) + resources + pixels
    assert next(formats.load_pictures(io.BytesIO(data), "a.psd", DEFAULT_BUDGET)).width == 64
    found = told(data)
    assert (found.model, found.rating, found.keywords) == ("X-T5", 4, ("boat",))


@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_a_packet_in_utf_16_is_read(kind: str, coding: str) -> None:
    """XMP may be UTF-16 in either order, with a byte order mark or without, and with zeros behind it."""
    text = packet('xmp:Rating="4"', keywords("Ωδή")).decode()
    found = told(with_metadata(kind, xmp=text.encode(coding) + b"\0\0"))
    assert (found.rating, found.keywords) == (4, ("Ωδή",))


def test_words_come_from_xmp_first_and_dates_from_the_camera() -> None:
    """Where blocks differ, XMP's title stands before IPTC's and EXIF's date before XMP's; keywords are united."""
    xmp = packet(
        'exif:DateTimeOriginal="2001-01-01T00:00:00"', "<dc:title>new</dc:title>" + keywords("a", "b")
    )
    data = with_metadata(
        "JPEG", taken("2023:07:14 09:30:05"), xmp, records((5, b"old"), (25, b"b"), (25, b"c"))
    )
    found = told(data)
    assert (found.title, found.keywords) == ("new", ("a", "b", "c"))
    assert found.taken == datetime(2023, 7, 14, 9, 30, 5)


def test_the_date_when_it_was_digitized_counts_where_the_original_is_missing() -> None:
    """DateTimeDigitized is the date of a scan; the date of the last change is none."""
    digitized = exif({BASE.DateTime: "2024:01:01 00:00:00"}, {BASE.DateTimeDigitized: "1999:05:04 03:02:01"})
    assert told(with_metadata("JPEG", digitized)).taken == datetime(1999, 5, 4, 3, 2, 1)
    assert told(with_metadata("JPEG", exif({BASE.DateTime: "2024:01:01 00:00:00"}))).taken is None


@pytest.mark.parametrize(
    "text",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "2023:13:01 00:00:00",
        "2023:02:30 10:00:00",
        "9999",
        "",
        "2023:07:14 25:00:00",
    ],
)
def test_a_date_that_no_calendar_has_is_none(text: str) -> None:
    """Empty, zero and impossible dates tell nothing, and the rest of the metadata is read."""
    found = told(with_metadata("JPEG", exif(CAMERA, {BASE.DateTimeOriginal: text})))
    assert (found.taken, found.model) == (None, "X-T5")


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [
        ((IFDRational(0, 0),) * 3, (1.0, 2.0, 3.0)),
        ((200.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
        ((0.0,) * 3, (0.0,) * 3),
        ((91.0, 0.0, 0.0), (9.0, 0.0, 0.0)),
    ],
)
def test_a_place_that_is_none_is_ignored(latitude: tuple[float, ...], longitude: tuple[float, ...]) -> None:
    """Places off the globe, without numbers, and the zero that stands for "unknown" are no places."""
    gps = {**NORTH_WEST, GPS.GPSLatitude: latitude, GPS.GPSLongitude: longitude}
    found = told(with_metadata("JPEG", exif(CAMERA, None, gps)))
    assert (found.latitude, found.longitude, found.model) == (None, None, "X-T5")


def test_windows_words_are_utf_16() -> None:
    """Title and keywords as Windows writes them are read, and so is its rating."""
    tags = {0x9C9B: "Möwe\0".encode("utf-16-le"), 0x9C9E: "sea;bird\0".encode("utf-16-le"), 0x4746: 5}
    found = told(with_metadata("JPEG", exif(tags)))
    assert (found.title, found.keywords, found.rating) == ("Möwe", ("sea", "bird"), 5)


def test_an_iphones_burst_is_known_by_its_maker_note() -> None:
    """The pictures of a burst share the id that an iPhone puts into its maker note."""
    value = b"0A1B-BURST\0"
    note = b"Apple iOS\0\0\x01MM" + struct.pack(">HHHIII", 1, 0x000B, 2, len(value), 32, 0) + value
    found = told(with_metadata("JPEG", exif(details={BASE.MakerNote: note})))
    assert found.burst == "0A1B-BURST"
    assert told(with_metadata("JPEG", xmp=packet('GCamera:BurstID="77-x"'))).burst == "77-x"


@pytest.mark.parametrize(
    "xmp",
    [
        b"<not xml",
        b"\0" * 100,
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        packet('xmp:Rating="many"', "<dc:title/>"),
        b"<x>" + b" " * (5 << 20) + b"</x>",
    ],
    ids=["no XML", "zeros", "entities", "empty", "5 MB"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_packet_of_anybodys_making_costs_nothing(kind: str, xmp: bytes) -> None:
    """A damaged, hostile or huge packet tells nothing; EXIF beside it still counts."""
    if kind == "JPEG" and len(xmp) > 65_000:
        pytest.skip("a JPEG's segment holds 64 KiB")
    assert told(with_metadata(kind, exif(CAMERA), xmp)).model == "X-T5"


@given(data=st.binary(max_size=400), kind=st.sampled_from(["exif", "xmp", "iptc", "takeout"]))
def test_no_bytes_at_all_are_an_error(data: bytes, kind: str) -> None:
    """Whatever bytes stand in a block, reading the file's metadata ends without an error."""
    if kind == "takeout":
        try:
            from_takeout(data)
        except ValueError:
            pass
        return
    block = Image.Exif()
    if kind == "exif":
        block[BASE.MakerNote] = data
        block[BASE.Model] = data.decode("latin-1")
    xmp = data if kind == "xmp" else None
    assert isinstance(told(with_metadata("JPEG", block, xmp, data if kind == "iptc" else None)), Metadata)


@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_damaged_file_is_no_error(cut: int, flip: int, value: int) -> None:
    """A file with changed bytes, cut anywhere, still gives metadata or none."""
    data = bytearray(with_metadata("JPEG", exif(CAMERA, None, NORTH_WEST), packet(), records((5, b"x"))))
    data[flip % len(data)] = value
    assert isinstance(told(bytes(data[: cut % len(data)])), Metadata)


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), st.integers(-14 * 60, 14 * 60))
def test_every_date_is_read_as_it_is_written(moment: datetime, offset: int) -> None:
    """A date of any year with any offset comes back to the millisecond, in EXIF's form and in ISO's."""
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    zone = f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    fraction = f"{moment.microsecond // 1000:03}"
    clock = f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
    day = f"{moment.year:04}:{moment.month:02}:{moment.day:02}"
    assert date_of(f"{day} {clock}", fraction, zone) == (moment, offset)
    assert date_of(f"{day.replace(':', '-')}T{clock}.{fraction}{zone}") == (moment, offset)


def test_odd_offsets_and_places() -> None:
    """An offset further than a day's and a place off the globe are none."""
    assert (offset_of("Z"), offset_of("+05:45"), offset_of("+99:00"), offset_of("2")) == (0, 345, None, None)
    assert place_of(-90, 180) == (-90, 180)
    assert place_of(90.1, 0) == (None, None)


def test_takeout_tells_date_and_place() -> None:
    """The file beside a picture of Google Takeout tells when it was taken, in UTC, and where."""
    data = {
        "title": "a.jpg",
        "photoTakenTime": {"timestamp": "1689319805"},
        "geoData": {"latitude": 48.5, "longitude": 2.25},
    }
    found = from_takeout(json.dumps(data).encode())
    assert (found.taken, found.offset) == (datetime(2023, 7, 14, 7, 30, 5), 0)
    assert (found.latitude, found.longitude) == (48.5, 2.25)


@pytest.mark.parametrize("data", [b"{}", b"[]", b"[" * 100_000, b"\xff", b'{"name": 1}', b""])
def test_what_is_no_takeout_file_is_refused(data: bytes) -> None:
    """Any other JSON, and what is none, raises ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 (json's own words, or ours)
        from_takeout(data)


def test_takeout_with_impossible_values_tells_the_rest() -> None:
    """A time beyond the calendar or a place of the wrong type is left out, the description stays."""
    data = {"photoTakenTime": {"timestamp": "1e30"}, "geoData": [1], "description": "x"}
    assert from_takeout(json.dumps(data).encode()) == Metadata(description="x")


def test_what_is_no_picture_tells_nothing() -> None:
    """A text, an empty file and a format without metadata tell nothing."""
    bitmap = io.BytesIO()
    Image.new("RGB", (8, 8)).save(bitmap, "BMP")
    assert [told(data, "a.bmp") for data in (b"", b"hello", bitmap.getvalue())] == [NO_METADATA] * 3


def test_one_source_goes_over_another_as_a_whole() -> None:
    """A date brings its own offset along and a place both its numbers; keywords are united in order."""
    first = Metadata(taken=datetime(2024, 1, 1), keywords=("a", "b"), latitude=1.0, longitude=2.0)
    second = Metadata(
        taken=datetime(1999, 1, 1), offset=60, keywords=("b", "c"), title="t", latitude=5.0, longitude=6.0
    )
    both = first.over(second)
    assert (both.taken, both.offset, both.title) == (datetime(2024, 1, 1), None, "t")
    assert (both.keywords, both.latitude, both.longitude) == (("a", "b", "c"), 1.0, 2.0)
