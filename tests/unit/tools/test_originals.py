"""verify --files names image files whose bytes are not those that were indexed, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.errors import UsageError
from imgsearch.tools.maintenance import originals
from imgsearch.tools.maintenance.originals import CHANGED, compare_originals
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def folder(tmp_path: Path, gallery: Path, fake_model: FakeModel) -> str:
    """Give an index of the gallery."""
    run(tmp_path / "index", gallery)
    return str(tmp_path / "index")


def rot(path: Path) -> None:
    """Flip a bit, and put the time back."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_files_as_they_were_are_ok(folder: str, gallery: Path) -> None:
    """Where nothing has changed every file is read, and that is all."""
    report = compare_originals(folder)
    assert (report.ok, report.same, report.missing, report.changed) == (True, 5, 0, [])
    assert report.bytes == sum(path.stat().st_size for path in gallery.rglob("*.*"))
    assert str(report.summary()) == "OK: 5 images read, all as they were indexed"


def test_changed_missing_and_unreadable_files_are_told_apart(
    folder: str, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other bytes, no bytes at all, a file that is away, and one that the disk refuses."""
    rot(gallery / "red.png")
    (gallery / "green.png").write_bytes(b"")
    (gallery / "sub" / "white.png").unlink()
    real = originals.open_regular

    def refuse(path: str) -> object:
        if path.endswith("blue.jpg"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(originals, "open_regular", refuse)
    shown: dict[str, str] = {}
    report = compare_originals(folder, show=shown.__setitem__)
    assert (report.ok, report.same, report.missing, report.unreadable) == (False, 1, 1, 1)
    assert shown == {
        str(gallery / "red.png"): CHANGED,
        str(gallery / "green.png"): CHANGED,
        str(gallery / "blue.jpg"): "can't be read: Input/output error",
    }
    assert sorted(report.changed) == [str(gallery / "green.png"), str(gallery / "red.png")]


def test_only_what_is_asked_for_is_read(folder: str, gallery: Path, tmp_path: Path) -> None:
    """A folder, a file, both in one another, by any name; what is not indexed is refused."""
    (tmp_path / "link").symlink_to(gallery)
    for paths, count in (
        ([gallery / "sub"], 2),
        ([gallery / "red.png"], 1),
        ([gallery / "sub", gallery / "sub" / "white.png", gallery / "red.png"], 3),
        ([gallery, gallery], 5),
        ([tmp_path / "link" / "sub"], 2),
    ):
        assert compare_originals(folder, [str(path) for path in paths]).same == count
    with pytest.raises(UsageError, match="not in the index"):
        compare_originals(folder, [str(tmp_path / "elsewhere")])


def test_what_it_advises_indexes_the_changed_file_again(folder: str, gallery: Path, tmp_path: Path) -> None:
    """The command lists the path, and gives one that mends it; after that all is as indexed."""
    rot(gallery / "red.png")
    done = imgsearch("verify", "--files", "--index", folder)
    assert done.code == 1
    assert done.out.decode() == f"{gallery / 'red.png'}\n"
    assert f"imgsearch index --index {folder} --reread {gallery / 'red.png'}" in done.err
    run(folder, reread=(str(gallery / "red.png"),))
    assert imgsearch("verify", "--files", gallery, "--index", folder).code == 0


def test_the_command_in_json_and_what_it_refuses(folder: str, gallery: Path) -> None:
    """One object per file that differs, and the counts; paths and --files belong together, --repair apart."""
    paint(gallery / "red.png", "pink")
    (gallery / "green.png").unlink()
    done = imgsearch("verify", "--files", "--index", folder, "--json")
    assert done.code == 1
    found, counts = done.objects
    assert (found["path"], found["what"], found["damaged"]) == (str(gallery / "red.png"), CHANGED, None)
    assert counts == {"files": {"same": 3, "changed": 1, "unreadable": 0, "missing": 1}}
    for arguments in (["--files", "--repair"], [str(gallery)]):
        refused = imgsearch("verify", *arguments, "--index", folder)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "--files" in refused.err
