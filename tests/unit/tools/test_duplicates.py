"""Duplicates: which files show the same image, which of them is kept and why; nothing is deleted."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from imgsearch.errors import UsageError
from imgsearch.media.pixelhash import are_near, codes, distances, texture
from imgsearch.tools.maintenance import duplicates as module
from imgsearch.tools.maintenance.duplicates import Duplicates, Group, Member, find_duplicates, reason_to_keep
from imgsearch.tools.maintenance.near import near_pairs
from imgsearch.tools.maintenance.removal_script import shell_word, write_script
from support import fakes
from support.fakes import FakeModel, run
from support.tagged_files import exif

fake_model = fakes.fake_model


def drawn(seed: int) -> NDArray[np.uint8]:
    """Draw an image of soft light shapes, of which the fake model sees little."""
    small = np.random.default_rng(seed).integers(130, 256, (8, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((96, 80), Image.Resampling.BICUBIC))


def save(path: Path, pixels: NDArray[np.uint8], tags: Image.Exif | None = None, **options: int) -> Path:
    """Save an image, with its EXIF if it has any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=tags or Image.Exif(), **options)
    return path


def at(seconds: float) -> Image.Exif:
    """Return the EXIF of an image that was taken some seconds after noon."""
    moment = datetime(2024, 7, 14, 12) + timedelta(seconds=seconds)
    return exif({0x0110: "X-T5"}, {0x9003: f"{moment:%Y:%m:%d %H:%M:%S}"})


@pytest.fixture
def photos(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give the folder that ``find`` indexes."""
    return tmp_path / "photos"


@pytest.fixture
def find(photos: Path, tmp_path: Path) -> Callable[..., Duplicates]:
    """Give what indexes the photos and finds their duplicates."""

    def search(paths: tuple[Path, ...] = (), references: tuple[Path, ...] = ()) -> Duplicates:
        run(tmp_path / "ix", photos)
        return find_duplicates(str(tmp_path / "ix"), [*map(str, paths)], [*map(str, references)])

    return search


def shown(group: Group) -> dict[str, str]:
    """Return what the others of a group are to the one to keep, by their names."""
    return {Path(other.path).name: other.relation for other in group.others}


def test_versions_of_an_image_are_one_group(find: Callable[..., Duplicates], photos: Path) -> None:
    """Copies, other files of the same pixels, scaled, saved again, turned and mirrored ones: each with what it is."""
    original = drawn(1)
    save(photos / "a.png", original)
    (photos / "copy.png").write_bytes((photos / "a.png").read_bytes())
    save(photos / "again.bmp", original)
    save(photos / "low.jpg", original, quality=40)
    save(photos / "small.png", np.array(Image.fromarray(original).resize((48, 40))))
    save(photos / "turned.png", np.ascontiguousarray(np.rot90(original)))
    save(photos / "flipped.png", np.ascontiguousarray(original[:, ::-1]))
    save(photos / "other.png", drawn(2))
    os.utime(photos / "a.png", (1, 1))
    (group,) = find().groups
    assert Path(group.keep.path).name == "a.png"
    assert shown(group) == {
        "copy.png": "copy",
        "again.bmp": "pixels",
        "low.jpg": "resaved",
        "small.png": "scaled",
        "turned.png": "rotated",
        "flipped.png": "mirrored",
    }


def test_plain_images_and_others_are_no_duplicates(find: Callable[..., Duplicates], photos: Path) -> None:
    """Images of one colour each, whose hashes are all zero, and different scenes make no group."""
    for number, colour in enumerate([(230, 20, 20), (200, 30, 30), (20, 200, 40)]):
        save(photos / f"plain{number}.png", np.full((64, 64, 3), colour, np.uint8))
        save(photos / f"scene{number}.png", drawn(number))
    assert find().groups == []


def test_the_same_plain_pixels_are_a_duplicate(find: Callable[..., Duplicates], photos: Path) -> None:
    """Two files of the very same colour and size are known by the checksum of their pixels."""
    for ending in ("png", "bmp"):
        save(photos / f"plain.{ending}", np.full((64, 64, 3), (9, 99, 199), np.uint8))
    (group,) = find().groups
    assert [*shown(group).values()] == ["pixels"]


def test_a_burst_is_a_group_of_its_own_kind(find: Callable[..., Duplicates], photos: Path) -> None:
    """Frames of one camera within seconds are a burst, also of nearly the same pixels; later ones are not."""
    for frame in range(3):
        save(photos / f"f{frame}.jpg", np.roll(drawn(3), frame, axis=1), at(frame))
    save(photos / "later.jpg", np.roll(drawn(3), 1, axis=0), at(600))
    (group,) = find().groups
    assert group.burst
    assert {Path(file.path).name for file in (group.keep, *group.others)} == {"f0.jpg", "f1.jpg", "f2.jpg"}


def test_no_chain_leads_away_from_the_one_to_keep(
    find: Callable[..., Duplicates], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a is like b and b like c, but c not like a, c is not in the group of a."""
    near = {("a", "b"), ("b", "c")}
    for number, name in enumerate("abc"):
        save(photos / f"{name}.png", drawn(number))
        os.utime(photos / f"{name}.png", (number, number))

    class Search(module._Search):
        def _neighbours(self, advance: object) -> dict[int, list[int]]:
            return {
                content: [other for other in self.pictures if other != content] for content in self.pictures
            }

        def _related(self, keep: object, others: list[module.HashedPicture]) -> dict[int, str]:  # type: ignore[override]
            name = self._name(keep)
            pairs = (
                (other.content, {(name, self._name(other)), (self._name(other), name)}) for other in others
            )
            return {content: "resaved" for content, both in pairs if both & near}

        def _name(self, picture: object) -> str:
            return Path(self._members(picture)[0].path).stem  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_Search", Search)
    (group,) = find().groups
    assert (Path(group.keep.path).name, list(shown(group))) == ("a.png", ["b.png"])


def member(**changed: object) -> Member:
    """Return a file that is like another but for what is given."""
    fields = {"path": "/b", "bytes": 10, "mtime_ns": 5, "width": 4, "height": 3, "facts": 1}
    return Member(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("better", "reason"),
    [
        ({"reference": True, "width": 1}, "reference"),
        ({"width": 8, "facts": 0}, "pixels"),
        ({"facts": 2, "mtime_ns": 9}, "metadata"),
        ({"mtime_ns": 1, "bytes": 1}, "oldest"),
        ({"bytes": 11, "path": "/c"}, "bytes"),
        ({"path": "/a"}, "name"),
    ],
)
def test_why_a_file_is_kept(better: dict[str, object], reason: str) -> None:
    """Reference, most pixels, most metadata, oldest, largest file, name: the first that differs is the reason."""
    files = sorted([member(), member(**better)], key=module.order)
    assert files[0] == member(**better)
    assert reason_to_keep(files[0], files[1:]) == reason


def test_files_of_a_reference_are_never_proposed(find: Callable[..., Duplicates], photos: Path) -> None:
    """The file in the reference is kept though it is smaller; two files there alone are no group."""
    save(photos / "kept" / "small.png", np.array(Image.fromarray(drawn(1)).resize((48, 40))))
    save(photos / "new" / "large.png", drawn(1))
    for name in ("one.png", "two.png"):
        save(photos / "kept" / name, drawn(2))
    (group,) = find((photos / "new",), (photos / "kept",)).groups
    assert (Path(group.keep.path).name, group.reason) == ("small.png", "reference")
    assert [Path(file.path).name for file in group.removable] == ["large.png"]


def test_a_folder_confines_the_search(find: Callable[..., Duplicates], photos: Path) -> None:
    """With a path, files elsewhere are neither kept nor proposed."""
    for name in ("in/a.png", "in/b.png", "out/c.png"):
        save(photos / name, drawn(1))
    (group,) = find((photos / "in",)).groups
    assert {Path(file.path).name for file in (group.keep, *group.others)} == {"a.png", "b.png"}
    assert find((photos / "out",)).groups == []


def test_what_is_gone_or_has_changed_is_left_out(
    find: Callable[..., Duplicates], photos: Path, tmp_path: Path
) -> None:
    """A file that is not as it was indexed is neither kept nor proposed, and counted."""
    for name in ("a", "b", "c", "d"):
        save(photos / f"{name}.png", drawn(1))
    find()
    (photos / "a.png").unlink()
    save(photos / "b.png", drawn(9))
    found = find_duplicates(str(tmp_path / "ix"))
    (group,) = found.groups
    assert {Path(file.path).name for file in (group.keep, *group.others)} == {"c.png", "d.png"}
    assert found.left_out == 2


def test_two_names_of_one_file_are_no_duplicates(find: Callable[..., Duplicates], photos: Path) -> None:
    """Removing one name of a file may remove it, or frees nothing: hard links are one file."""
    save(photos / "a.png", drawn(1))
    os.link(photos / "a.png", photos / "b.png")
    assert find().groups == []


def test_images_without_a_hash_are_counted(
    find: Callable[..., Duplicates], photos: Path, tmp_path: Path
) -> None:
    """In an index that was made before there were hashes, copies are found, and the images without a hash counted."""
    import sqlite3
    from contextlib import closing

    save(photos / "a.png", drawn(1))
    (photos / "copy.png").write_bytes((photos / "a.png").read_bytes())
    save(photos / "low.jpg", drawn(1), quality=40)
    find()
    with closing(sqlite3.connect(tmp_path / "ix" / "catalog.sqlite")) as db, db:
        db.execute("DELETE FROM hash")
    found = find()
    assert found.without_hash == 2
    assert [[*shown(group).values()] for group in found.groups] == [["copy"]]


@pytest.mark.parametrize("which", ["paths", "references"])
def test_a_folder_that_is_not_indexed_is_refused(
    find: Callable[..., Duplicates], photos: Path, tmp_path: Path, which: str
) -> None:
    """A path or a reference outside of the index is an error that names it."""
    save(photos / "a.png", drawn(1))
    with pytest.raises(UsageError, match="not in the index"):
        find(**{which: (tmp_path / "elsewhere",)})


def test_the_script_deletes_nothing_as_it_is(
    find: Callable[..., Duplicates], photos: Path, tmp_path: Path
) -> None:
    """It runs without deleting; without the comment signs it deletes just what was proposed, whatever the names."""
    names = [
        "a.png",
        "it's $(touch x) `y`.png",
        "line\nrm -rf $HOME; break.png",
        "-rf.png",
        os.fsdecode(b"\xff.png"),
    ]
    for name in names:
        save(photos / name, drawn(1))
    os.utime(photos / "a.png", (1, 1))
    script = tmp_path / "review.sh"
    write_script(str(script), find().groups)
    assert stat.S_IMODE(script.stat().st_mode) == 0o600
    before = sorted(os.listdir(photos))
    subprocess.run(["bash", script], check=True, cwd=tmp_path)
    assert sorted(os.listdir(photos)) == before
    script.write_text(script.read_text().replace("# rm", "rm"))
    subprocess.run(["bash", script], check=True, cwd=tmp_path)
    assert os.listdir(photos) == ["a.png"]


def test_a_script_overwrites_nothing(tmp_path: Path) -> None:
    """A file or a dangling link in its place, and a folder that is not there, are refused."""
    (tmp_path / "there.sh").write_text("mine")
    (tmp_path / "link.sh").symlink_to(tmp_path / "nowhere")
    for name in ("there.sh", "link.sh", "no/folder.sh"):
        with pytest.raises(UsageError, match="script: "):
            write_script(str(tmp_path / name), [])
    assert (tmp_path / "there.sh").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name))
def test_a_name_is_one_word_on_one_line(name: bytes) -> None:
    """Whatever bytes a name has, it stands on one line of text; a plain one as shlex quotes it."""
    word = shell_word(os.fsdecode(name))
    assert "\n" not in word
    assert word.isprintable()
    word.encode()
    if name.isalnum():
        assert word == shlex.quote(name.decode())


@given(st.integers(0, 2**32 - 1))
def test_near_pairs_of_many_are_those_of_each_with_each(seed: int) -> None:
    """The join by bands finds every pair of few bits' difference, and none that comparing each with each does not."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, (40, 128), dtype=np.uint8)
    for row in range(20, 40):
        bits[row] = bits[row - 20]
        for place in rng.integers(0, 512, int(rng.integers(0, 16))):
            bits[row, place // 8] ^= np.uint8(1 << (place % 8))
    first, second = near_pairs(bits)
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    assert {(row - 20, row) for row in range(20, 40)} <= found
    for one, two in found:
        apart = min(distances(codes(bits[[one]], n), codes(bits[[two]]))[0] for n in range(8))
        apart = min(apart, *(distances(codes(bits[[two]], n), codes(bits[[one]]))[0] for n in range(8)))
        assert are_near(np.array([apart]), texture(bits[[one]]), texture(bits[[two]]))[0]
