"""Tars: the shards of a WebDataset by their images, in the order of the file; damage, holes, links and any name."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Iterable

import pytest
from PIL import Image

from fuzz.decoders import damaged
from imgsearch.errors import PictureError
from imgsearch.media.documents import AS_USUAL, Place, document_format, tar
from imgsearch.media.documents.tar import open_reader
from imgsearch.media.formats import picture_errors
from imgsearch.types import PixelBudget

BUDGET = PixelBudget(4096, 57_600)


def _png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (90, 80), colour).save(out, "PNG")
    return out.getvalue()


RED, BLUE = _png("red"), _png("blue")


def _tar(members: Iterable[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _reader(data: bytes, name: str = "a.tar") -> tar._Tar:
    return open_reader(io.BytesIO(data), name, AS_USUAL)


def _names(data: bytes, name: str = "a.tar") -> list[str]:
    return [place.name for place in _reader(data, name).places]


def _colour(data: bytes, page: int) -> tuple[int, ...]:
    picture = _reader(data).picture(Place(page), BUDGET)
    assert picture.page == page
    return tuple(map(int, picture.pixels[40, 40]))


SHARD = _tar(
    [
        ("000010.jpg", RED),
        ("000010.txt", b"a red one"),
        ("000010.json", b"{}"),
        ("000009.input.png", BLUE),
        ("000009.cls", b"7"),
    ]
)


def test_the_images_of_a_shard_are_in_its_order() -> None:
    """Of each sample of a WebDataset its images count, whatever their field is called; captions and classes don't."""
    assert _names(SHARD) == ["000010.jpg", "000009.input.png"]
    assert [_colour(SHARD, page) for page in range(2)] == [(255, 0, 0), (0, 0, 255)]
    assert _reader(SHARD).note == ""


def test_a_comic_book_is_in_a_persons_order() -> None:
    """Page 10 comes behind page 9 in a CBT, wherever it stands."""
    pages = _tar([(f"Page {number}.png", RED) for number in (10, 9, 1)])
    assert _names(pages, "a.cbt") == ["Page 1.png", "Page 9.png", "Page 10.png"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_forms_of_names_are_read(form: int) -> None:
    """Long names, those of `tar -c .` and absolute ones are read in all forms; hidden files aren't."""
    long = "d" * 90 + "/" + "n" * 60 + ".png"
    names = (long, "./a.png", "/etc/b.png", ".hidden.png", "../c.png", "x/._d.png")
    assert _names(_tar([(name, RED) for name in names], form)) == [long, "./a.png", "/etc/b.png", "../c.png"]


def test_links_and_devices_are_no_images() -> None:
    """A link that is called like an image is passed over, wherever it leads."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, kind in (
            ("a.png", tarfile.SYMTYPE),
            ("b.png", tarfile.LNKTYPE),
            ("c.png", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
    assert _names(out.getvalue()) == []


def test_what_is_whole_of_a_tar_cut_short_is_read() -> None:
    """The members up to the cut are there, and the note says that there were more."""
    whole = _tar([("1.png", RED), ("2.png", BLUE)])
    cut = _reader(whole[: 512 + 512 + 512 + 40])
    assert [place.name for place in cut.places] == ["1.png"]
    assert "cut short" in cut.note
    no_end = _reader(whole[: 4 * 512])
    assert [place.name for place in no_end.places] == ["1.png", "2.png"]
    assert "there may be images" in no_end.note


def test_what_comes_before_a_damaged_header_is_read() -> None:
    """Noise in the place of the second header costs what follows it, which the note says."""
    data = bytearray(_tar([("1.png", RED), ("2.png", BLUE)]))
    data[1024:1536] = random.Random(1).randbytes(512)
    reader = _reader(bytes(data))
    assert [place.name for place in reader.places] == ["1.png"]
    assert "damaged" in reader.note


def test_a_member_that_is_damaged_costs_itself_only() -> None:
    """It has its reason, and the next one is read."""
    data = _tar([("1.png", RED[:60]), ("2.png", BLUE)])
    with pytest.raises(PictureError, match="corrupt"):
        _colour(data, 0)
    assert _colour(data, 1) == (0, 0, 255)


def test_holes_are_not_filled() -> None:
    """A member with holes, which may claim any size, is refused and takes no memory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}
        file.addfile(member)
    with pytest.raises(PictureError, match=r"too large a file|holes"):
        _colour(out.getvalue(), 0)


def test_a_member_may_not_be_larger_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of over 256 MiB is refused by its header."""
    monkeypatch.setattr(tar, "MOST_BYTES", 100)
    with pytest.raises(PictureError, match="too large a file"):
        _colour(_tar([("a.png", RED)]), 0)


def test_a_packed_tar_is_told() -> None:
    """One that gzip has packed under the name of a plain one is refused in one line."""
    import gzip

    with pytest.raises(PictureError, match="packed by gzip; unpack it"):
        _reader(gzip.compress(SHARD))


def test_only_so_many_images_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the limit is not read, and the note says so."""
    monkeypatch.setattr(tar, "MAX_MEMBERS", 1)
    reader = _reader(SHARD)
    assert [place.name for place in reader.places] == ["000010.jpg"]
    assert reader.note == "only its first 1 images are read"


def test_a_tar_is_known_by_its_name() -> None:
    """Its head is the name of its first member, which may be anything."""
    assert document_format(SHARD[:64], "a.TAR") is not None
    assert document_format(SHARD[:64], "a.bin") is None
    assert document_format(bytes(64), "a.tar") is None


def test_damage_ends_in_an_image_or_a_reason() -> None:
    """Whatever is wrong with the bytes, nothing but a PictureError comes of it."""
    chance = random.Random(5)
    for _ in range(300):
        try:
            with picture_errors():
                reader = _reader(damaged(chance, SHARD))
                for place in reader.places:
                    reader.picture(place, BUDGET)
        except PictureError:
            pass


def test_no_member_but_the_images_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of millions of members only the images stay in memory, and what lies behind the most is told as not read."""
    data = _tar([("1.png", RED), *((f"{number}.txt", b"") for number in range(50)), ("2.png", BLUE)])
    reader = _reader(data)
    assert [place.name for place in reader.places] == ["1.png", "2.png"]
    assert len(reader._tar.members) <= 1
    assert tuple(map(int, reader.picture(Place(1), BUDGET).pixels[40, 40])) == (0, 0, 255)
    monkeypatch.setattr(tar, "MOST_MEMBERS", 20)
    reader = _reader(data)
    assert [place.name for place in reader.places] == ["1.png"]
    assert reader.note == "only its first 20 members are read"


def test_of_joined_tars_the_second_is_told() -> None:
    """`cat a.tar b.tar` has images behind the first end: the note says that they are not read."""
    reader = _reader(_tar([("1.png", RED)]) + _tar([("2.png", BLUE)]))
    assert [place.name for place in reader.places] == ["1.png"]
    assert "more behind its end" in reader.note


def _block(name: str, size: bytes = b"", *, kind: bytes = b"0") -> bytes:
    """Return a member's header with a size of any bytes, and the right checksum."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def _pax(**fields: str) -> bytes:
    return tarfile.TarInfo._create_pax_generic_header(fields, tarfile.XHDTYPE, "utf-8")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "nonsense",
    [
        _block("2.png", b"\xff" * 12),
        _block("2.png", b"\xff" * 10 + b"\xf0\x00"),
        _pax(size="-4096") + _block("2.png", b"0"),
        _pax(**{"GNU.sparse.map": "0,nonsense"}) + _block("2.png", b"0"),
        _pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}) + _block("2.png", b"1000") + b"x" * 512,
        b"".join(_pax(comment="x") for _ in range(2000)),
    ],
    ids=["size -1", "size -4096", "pax size", "sparse map", "sparse 1.0", "nested"],
)
@pytest.mark.timeout(30)
def test_headers_of_nonsense_lose_nothing_before_them(nonsense: bytes) -> None:
    """What tarfile raises at them, or would loop at for ever, ends the list of images with a note."""
    start = _tar([("1.png", RED)]).rstrip(b"\0")
    start += b"\0" * (-len(start) % 512)
    reader = _reader(start + nonsense + b"\0" * 1024)
    assert reader.places[0].name == "1.png"
    assert reader.note
    assert tuple(map(int, reader.picture(Place(0), BUDGET).pixels[40, 40])) == (255, 0, 0)
