"""`imgsearch duplicates`: what it prints, writes and refuses."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, run

fake_model = fakes.fake_model


@pytest.fixture
def photos(fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder, indexed, with an image, its copy, a smaller one, and another image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed, side in (("a.png", 1, 90), ("small.png", 1, 45), ("other.png", 2, 90)):
        small = np.random.default_rng(seed).integers(130, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90, 90), Image.Resampling.BICUBIC).resize((side, side)).save(
            folder / name
        )
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    os.utime(folder / "a.png", (1, 1))
    run(tmp_path / "ix", folder)
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "ix"))
    return folder


def test_a_group_is_shown_with_what_to_keep_and_why(photos: Path) -> None:
    """The file to keep comes first, with its size and the reason; the others with what they are; the sum on stderr."""
    done = imgsearch("duplicates")
    assert done.code == 0
    keep, *others = done.lines
    assert keep.startswith(f"keep  {photos}/a.png  (90×90, ")
    assert keep.endswith("; oldest file)")
    assert sorted(line.rpartition("; ")[2] for line in others) == ["another size)", "same bytes)"]
    assert "1 group; 2 files" in done.err
    assert "Nothing was deleted" in done.err
    assert len(list(photos.iterdir())) == 4


def test_json_has_a_group_per_line(photos: Path) -> None:
    """Each line has kind, keep, reason, others and the bytes that could go."""
    (group,) = imgsearch("duplicates", "--json").objects
    assert {*group} == {"kind", "keep", "reason", "others", "bytes"}
    assert (group["kind"], group["reason"], group["keep"]["path"]) == (
        "duplicates",
        "oldest",
        f"{photos}/a.png",
    )
    assert sorted(other["relation"] for other in group["others"]) == ["copy", "scaled"]
    assert group["bytes"] == sum(other["bytes"] for other in group["others"])
    assert {*group["keep"]} == {"path", "bytes", "width", "height", "reference", "relation"}


def test_without_duplicates_the_exit_code_is_1(photos: Path) -> None:
    """Nothing found prints nothing on stdout, says so, and writes no script."""
    for name in ("copy.png", "small.png"):
        (photos / name).unlink()
    imgsearch("index", photos)
    done = imgsearch("duplicates", "--script", photos.parent / "review.sh")
    assert (done.code, done.out) == (1, b"")
    assert "no duplicates found" in done.err
    assert not (photos.parent / "review.sh").exists()


def test_a_script_is_written_beside_the_answer(photos: Path) -> None:
    """With --script the groups stand in a new file, every rm in a comment; one that is there is refused at once."""
    script = photos.parent / "review.sh"
    assert imgsearch("duplicates", "--script", script).code == 0
    lines = script.read_text().splitlines()
    assert sum(line.startswith("# rm -- ") for line in lines) == 2
    assert all(line.startswith("#") or not line for line in lines)
    again = imgsearch("duplicates", "--script", script)
    assert (again.code, again.out) == (2, b"")
    assert f"--script: {script} is there already" in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{there}/elsewhere"], "imgsearch: not in the index: "),
        (["--reference", "{there}/elsewhere"], "--reference: not in the index"),
        (["--script", "{there}/no/review.sh"], "does not exist"),
    ],
)
def test_bad_input_is_one_line(photos: Path, words: list[str], said: str) -> None:
    """A folder or reference that is not indexed, and a script that can't be written, are refused in one line."""
    done = imgsearch("duplicates", *(word.format(there=photos.parent) for word in words))
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_the_reference_is_never_proposed(photos: Path) -> None:
    """A file below --reference is shown as such and is not among what could be deleted."""
    inside = photos / "kept"
    inside.mkdir()
    os.rename(photos / "small.png", inside / "small.png")
    imgsearch("index", photos)
    (group,) = imgsearch("duplicates", "--reference", inside, "--json").objects
    assert (group["keep"]["path"], group["reason"]) == (f"{inside}/small.png", "reference")


def test_an_older_index_says_how_to_compare_pixels(photos: Path, tmp_path: Path) -> None:
    """Where images have no hash, their number and the command that makes them are said, and that command does."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "ix" / "catalog.sqlite")) as db, db:
        db.execute("DELETE FROM hash")
    done = imgsearch("duplicates")
    assert "3 images were indexed by an older imgsearch" in done.err
    assert "imgsearch index --reread FOLDER" in done.err
    assert imgsearch("index", "--reread", photos).code == 0
    (group,) = imgsearch("duplicates", "--json").objects
    assert len(group["others"]) == 2
