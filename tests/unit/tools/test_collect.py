"""Results collected: copied or linked into a folder with a list of them, on a contact sheet, and on a page."""

from __future__ import annotations

import base64
import csv
import errno
import io
import os
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imgsearch.errors import FolderError, UsageError
from imgsearch.tools.collect import Result
from imgsearch.tools.collect import folder as collecting
from imgsearch.tools.collect.folder import MANIFEST, copy_to, link_to
from imgsearch.tools.collect.page import write_page
from imgsearch.tools.collect.sheet import Cell, draw_contact_sheet, write_sheet
from imgsearch.types import Silent
from support.faults.drives import Loop

ODD = ("=1+1, 'x'.png", "a\nb.png", "<img src=x onerror=alert(1)>.png", "\u202egpj.png", "-rf.png", "é日.png")


def drawn(folder: Path, *names: str, bytes_name: bytes = b"") -> list[Result]:
    """Draw an image in a colour of its own for each name, two years old, and return them as results."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for rank, name in enumerate([*names, *([os.fsdecode(bytes_name)] if bytes_name else [])], start=1):
        path = os.path.join(folder, name)
        Image.new("RGB", (40, 20), (rank * 40 % 256, 100, len(str(folder)) % 256)).save(path, "PNG")
        os.utime(path, ns=(1_650_000_000_000_000_001, 1_650_000_000_123_456_789))
        results.append(Result(rank, path, 0, 1 - rank / 10))
    return results


def rows(path: Path | str) -> list[dict[str, str]]:
    """Read a list of results."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_copies_are_whole_and_as_old_as_the_files(tmp_path: Path) -> None:
    """Each copy has the bytes, the time and no more rights than its file, in a folder that is made for it."""
    results = drawn(tmp_path / "photos", "lake.png", *ODD)
    os.chmod(results[0].path, 0o444)
    done = copy_to(str(tmp_path / "a" / "b"), results)
    assert (done.made, done.renamed, done.failed, done.stopped) == (7, 0, {}, "")
    for result in results:
        copy = tmp_path / "a" / "b" / os.path.basename(result.path)
        assert copy.read_bytes() == Path(result.path).read_bytes()
        assert copy.stat().st_mtime_ns == 1_650_000_000_123_456_789
    assert (tmp_path / "a" / "b" / "lake.png").stat().st_mode & 0o777 == 0o444
    assert len(os.listdir(done.folder)) == 8  # and the list: nothing is left over


def test_links_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link leads to the file from wherever the folder is moved; a link to it that is there is left as it is."""
    results = drawn(tmp_path / "photos", "lake.png", "sea.png")
    monkeypatch.chdir(tmp_path)
    done = link_to("links", results)
    assert (done.made, os.readlink(tmp_path / "links" / "sea.png")) == (2, results[1].path)
    again = link_to("links", results)
    assert (again.made, len(again.targets), len(os.listdir("links"))) == (0, 2, 3)


@pytest.mark.parametrize("collect", [copy_to, link_to])
def test_no_file_is_ever_replaced(tmp_path: Path, collect: object) -> None:
    """Images of one name are numbered, behind whatever has the name: a file, a folder, or a link to nowhere."""
    results = [*drawn(tmp_path / "one", "lake.png"), *drawn(tmp_path / "second", "lake.png")]
    out = tmp_path / "out"
    (out / "lake (2).png").mkdir(parents=True)
    (out / "lake.png").write_bytes(b"mine")
    (out / "lake (3).png").symlink_to("nowhere")
    done = collect(str(out), results)  # type: ignore[operator]
    assert [os.path.basename(target) for target in done.targets.values()] == ["lake (4).png", "lake (5).png"]
    assert done.renamed == 2
    assert (out / "lake.png").read_bytes() == b"mine"
    assert os.readlink(out / "lake (3).png") == "nowhere"


def test_a_run_can_be_repeated(tmp_path: Path) -> None:
    """What is there already with the same bytes is not copied again, also in the folder that it comes from."""
    results = [*drawn(tmp_path / "one", "lake.png"), *drawn(tmp_path / "second", "lake.png")]
    out = tmp_path / "out"
    copy_to(str(out), results)
    again = copy_to(str(out), results)
    assert (again.made, len(again.targets), sorted(os.listdir(out))) == (
        0,
        2,
        [MANIFEST, "lake (2).png", "lake.png"],
    )
    assert copy_to(str(tmp_path / "one"), results[:1]).made == 0


def test_the_list_tells_what_came_from_where(tmp_path: Path) -> None:
    """The list has rank, score, source and target of each result, and a later run adds one of its own."""
    results = drawn(tmp_path / "photos", "lake.png", ODD[0], ODD[1])
    out = tmp_path / "out"
    done = copy_to(str(out), [*results, Result(4, results[0].path, page=1)])
    assert done.manifest == str(out / MANIFEST)
    read = rows(done.manifest)
    assert [row["rank"] for row in read] == ["1", "2", "3", "4"]
    assert [row["score"] for row in read] == ["0.9000", "0.8000", "0.7000", ""]
    assert [row["source"] for row in read] == [result.path for result in results] + [results[0].path]
    assert [row["target"] for row in read] == [str(out / os.path.basename(row["source"])) for row in read]
    before = Path(done.manifest).read_bytes()
    assert copy_to(str(out), results[:1]).manifest == str(out / "imgsearch-results (2).csv")
    assert Path(done.manifest).read_bytes() == before


def test_no_cell_of_the_list_is_a_formula(tmp_path: Path) -> None:
    """A name such as =1+1 stands behind its folder, so no spreadsheet computes it."""
    done = copy_to(str(tmp_path / "out"), drawn(tmp_path / "photos", *ODD))
    assert all(
        not cell.startswith(("=", "+", "-", "@", "\t"))
        for row in rows(done.manifest)
        for cell in row.values()
    )


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="its names are UTF-8")
def test_a_name_that_is_not_utf8_stands_in_the_list_in_base64_too(tmp_path: Path) -> None:
    """The list is UTF-8 whatever a name holds; the exact bytes are in two more columns."""
    results = drawn(tmp_path / "photos", bytes_name=b"caf\xe9.png")
    done = copy_to(str(tmp_path / "out"), results)
    (row,) = rows(done.manifest)
    assert row["source"].endswith("caf\\xe9.png")
    assert base64.b64decode(row["source_b64"]) == os.fsencode(results[0].path)
    assert os.path.exists(base64.b64decode(row["target_b64"]))


def test_a_file_that_can_not_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    """A file that is not there, a folder and a pipe in a file's place are told; the rest is copied."""
    results = drawn(tmp_path / "photos", "lake.png", "gone.png", "sea.png")
    os.unlink(results[1].path)
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    others = [Result(4, str(tmp_path / "photos" / "pipe.png")), Result(5, str(tmp_path / "photos"))]
    done = copy_to(str(tmp_path / "out"), [*results, *others])
    assert done.made == 2
    assert done.failed[results[1].path] == "not there now"
    assert "regular" in done.failed[others[0].path]
    assert set(done.failed) == {results[1].path, *(other.path for other in others)}
    assert len(rows(done.manifest)) == 2


@pytest.mark.slow("mounts a small drive")
def test_a_full_disk_leaves_whole_copies_and_their_list(tmp_path: Path) -> None:
    """When the disk is full, what was copied is complete and listed, nothing else is left, and it is told."""
    results = drawn(tmp_path / "photos", "lake.png")
    for rank in (2, 3, 4):
        path = tmp_path / "photos" / f"{rank}.png"
        path.write_bytes(os.urandom(3_000_000))
        results.append(Result(rank, str(path)))
    drive = Loop(tmp_path, megabytes=8)
    try:
        done = copy_to(str(drive.point / "out"), results)
        assert done.stopped == "the disk is full"
        there = {Path(target).name: Path(target).read_bytes() for target in done.targets.values()}
        assert there == {name: (tmp_path / "photos" / name).read_bytes() for name in there}
        assert 2 <= len(there) < 4
        assert sorted(os.listdir(done.folder)) == sorted([*there, MANIFEST])
        assert len(rows(done.manifest)) == len(there)
    finally:
        drive.take()


def test_without_hard_links_nothing_is_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without hard links, as of a memory card, copies get free names all the same."""

    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    results = [*drawn(tmp_path / "one", "lake.png"), *drawn(tmp_path / "second", "lake.png")]
    done = copy_to(str(tmp_path / "out"), results)
    assert sorted(os.listdir(done.folder)) == [MANIFEST, "lake (2).png", "lake.png"]
    assert [Path(target).read_bytes() for target in done.targets.values()] == [
        Path(result.path).read_bytes() for result in results
    ]


def test_two_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two runs with other images of the same names end with all of them, and a list each."""
    names = [f"{number}.png" for number in range(30)]
    both = [drawn(tmp_path / "one", *names), drawn(tmp_path / "second", *names)]
    out = tmp_path / "out"
    threads = [threading.Thread(target=copy_to, args=(str(out), results)) for results in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = sorted(Path(result.path).read_bytes() for results in both for result in results)
    assert sorted(path.read_bytes() for path in out.glob("*.png")) == wanted
    assert sum(len(rows(path)) for path in out.glob("*.csv")) == 60


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    """Where a file has the folder's name, or the name of one above it, the message names it."""
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/inside"):
        with pytest.raises(FolderError, match=r"file.* is not a folder; name another one"):
            copy_to(str(tmp_path / folder), [])


def test_interrupted_what_was_copied_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C there is no half copy, and the list has those that are whole."""
    results = drawn(tmp_path / "photos", "lake.png", "sea.png")
    real, calls = os.fsync, []

    def interrupted(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copy_to(str(tmp_path / "out"), results)
    assert sorted(os.listdir(tmp_path / "out")) == [MANIFEST, "lake.png"]
    assert len(rows(tmp_path / "out" / MANIFEST)) == 1


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_every_name_has_others_that_a_file_can_have(name: str) -> None:
    """The names with a number are different, fit into 255 bytes, and keep a short extension."""
    name = os.fsdecode(os.fsencode(name)[:255].decode(errors="ignore").encode()) or "a"
    names: Iterator[str] = collecting._names(name)
    found = [next(names) for _ in range(12)]
    assert len({*found}) == 12
    assert all(len(os.fsencode(one)) <= 255 for one in found)
    extension = os.path.splitext(name)[1]
    assert all(one.endswith(extension) for one in found) or len(os.fsencode(extension)) > 240


# The sheet


def test_a_contact_sheet_marks_what_is_wrong(tmp_path: Path) -> None:
    """Four results a row, each on a grey card; a wrong one has a red frame."""
    blue = np.zeros((120, 90, 3), np.uint8)
    blue[..., 2] = 255
    cells = [Cell(blue[:, : 90 - n], n + 1, 0.9 - n / 100, right=n != 1) for n in range(5)]
    with open(tmp_path / "sheet.png", "wb") as file:
        draw_contact_sheet(file, "PNG", "a query", "4 of 5 correct", cells)
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    assert sheet.size == (16 + 4 * 220, 64 + 2 * 250)
    for number, (column, row) in enumerate([(0, 0), (1, 0), (2, 0), (3, 0), (0, 1)]):
        left, top = 16 + 220 * column, 64 + 250 * row
        red, green, _ = sheet.getpixel((left + 1, top + 102))
        assert (red > 150 and green < 100) == (number == 1)
        assert sheet.getpixel((left + 102, top + 102))[2] > 200  # the image in the middle of its card
    assert sheet.getpixel((16 + 220 + 1, 64 + 250 + 102)) == (255, 255, 255)


@pytest.mark.parametrize(("name", "format"), [("hits.png", "PNG"), ("hits.JPG", "JPEG")])
def test_a_sheet_shows_every_result(tmp_path: Path, name: str, format: str) -> None:
    """The image of each result is in its place, whatever its name; one that is missing is told, and leaves its card."""
    results = drawn(tmp_path / "photos", *ODD)
    os.unlink(results[1].path)
    missing = write_sheet(str(tmp_path / name), results, Silent())
    assert missing == {results[1].path: "not there now"}
    with Image.open(tmp_path / name) as sheet:
        assert sheet.format == format
        for number in range(6):
            row, column = divmod(number, 4)
            middle = sheet.convert("RGB").getpixel((16 + 220 * column + 102, 64 + 280 * row + 102))
            wanted = ((number + 1) * 40, 100, len(str(tmp_path / "photos")) % 256)
            if number != 1:
                assert np.abs(np.subtract(middle, wanted)).max() < 12


def test_a_sheet_of_many_is_about_as_high_as_wide(tmp_path: Path) -> None:
    """A thousand results make an image that programs still open, not a strip."""
    cells = [Cell(None, rank, None, "a.png", note="missing") for rank in range(1, 1001)]
    out = io.BytesIO()
    draw_contact_sheet(out, "JPEG", "1,000 results", "", cells)
    width, height = Image.open(out).size
    assert max(width, height) < 10_000


# The page


class Reader(HTMLParser):
    """What a browser makes of a page: its tags with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    """All images are inside; nothing is loaded, no script runs, and hostile names are shown as text."""
    results = drawn(tmp_path / "photos", *ODD)
    assert write_page(str(tmp_path / "hits.html"), results, Silent()) == {}
    reader = Reader()
    reader.feed((tmp_path / "hits.html").read_text())
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == 6
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in images)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "iframe", "link", "object", "base"})
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    policy = next(attributes["content"] for tag, attributes in reader.tags if "http-equiv" in attributes)
    assert str(policy).startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "<img src=x onerror=alert(1)>.png" in reader.text
    assert "\u202e" not in reader.text
    assert "\\u202egpj.png" in reader.text


def test_a_page_links_to_the_files(tmp_path: Path) -> None:
    """Each image leads to its file, whose address holds nothing that ends it early."""
    results = drawn(tmp_path / "photos", 'a"#?b.png', "a\nb.png")
    write_page(str(tmp_path / "hits.html"), results, Silent())
    reader = Reader()
    reader.feed((tmp_path / "hits.html").read_text())
    assert [attributes["href"] for tag, attributes in reader.tags if tag == "a"] == [
        Path(result.path).as_uri() for result in results
    ]


@pytest.mark.parametrize(
    ("write", "name", "wrong"), [(write_sheet, "hits.png", "hits.gif"), (write_page, "hits.html", "hits.png")]
)
def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, write: object, name: str, wrong: str) -> None:
    """A name that is taken, a folder that does not exist, and another kind of file are refused in one line."""
    (tmp_path / name).write_bytes(b"mine")
    for path, why in ((tmp_path / name, "is there already"), (tmp_path / "no" / name, "does not exist")):
        with pytest.raises(UsageError, match=why):
            write(str(path), [], Silent())  # type: ignore[operator]
    with pytest.raises(UsageError, match="has to end in"):
        write(str(tmp_path / wrong), [], Silent())  # type: ignore[operator]
    assert (tmp_path / name).read_bytes() == b"mine"
    assert os.listdir(tmp_path) == [name]
