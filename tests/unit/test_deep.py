"""Paths of any length: what one call can't take is reached in steps, by the rules of one call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imgsearch import deep
from imgsearch.files import Walk, WalkOptions, check_root, open_source
from support.digging import STEP, dig, put_down

LENGTHS = [3_000, 4_000, 4_200, 9_000, 15_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_file_at_any_depth_is_found_and_read(tmp_path: Path, length: int) -> None:
    """The walk yields it with its size, and opening reads its bytes, on either side of what one call takes."""
    (tmp_path / "a.jpg").write_bytes(b"some bytes")
    (tmp_path / "root").mkdir()
    folder = dig(tmp_path / "root", length)
    path = put_down(tmp_path / "a.jpg", folder)
    walk = Walk(str(tmp_path / "root"), WalkOptions(), {".jpg"})
    (source,) = list(walk)
    assert walk.left_alone == {}
    assert (os.path.join(source.root, source.path), source.size) == (path, 10)
    with open_source(path) as opened:
        assert opened.stream.read() == b"some bytes"
    assert walk.is_gone(source.path[:-5] + "b.jpg", 0) == (True, "deleted")
    assert check_root(folder) == folder
    assert check_root(path) == path


def test_questions_about_a_long_path_are_answered(tmp_path: Path) -> None:
    """What is there, what is missing and what is a link are told apart, and nothing is left open."""
    (tmp_path / "a.jpg").write_bytes(b"some bytes")
    folder = dig(tmp_path, 5_000)
    path = put_down(tmp_path / "a.jpg", folder)
    (tmp_path / "link").symlink_to("a.jpg")
    link = put_down(tmp_path / "link", folder)
    (tmp_path / "astray").symlink_to("nowhere")
    astray = put_down(tmp_path / "astray", folder)
    before = len(os.listdir("/proc/self/fd"))
    assert [deep.isdir(name) for name in (folder, path, link, astray)] == [True, False, False, False]
    assert [deep.isfile(name) for name in (folder, path, link, astray)] == [False, True, True, False]
    assert [deep.islink(name) for name in (folder, path, link, astray)] == [False, False, True, True]
    assert [deep.exists(name) for name in (folder, f"{folder}/", link, astray)] == [True, True, True, False]
    assert [deep.lexists(name) for name in (astray, f"{folder}/b")] == [True, False]
    assert [deep.is_readable(name) for name in (path, astray)] == [True, False]
    assert deep.stat(path).st_size == 10
    with deep.scandir(folder) as entries:
        assert {(entry.name, entry.is_symlink()) for entry in entries} == {
            ("a.jpg", False),
            ("link", True),
            ("astray", True),
        }
    assert deep.holds_files(str(tmp_path / STEP))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_that_is_too_long_is_an_error_as_ever(tmp_path: Path) -> None:
    """A single name that no system takes is refused, however the path is cut."""
    with pytest.raises(OSError, match="File name too long"):
        deep.stat(f"{tmp_path}/{'x' * 5000}")
    with pytest.raises(OSError, match="File name too long"):
        deep.stat("x" * 5000)
    assert not deep.exists("/" + "x" * 5000)


def test_a_link_on_a_long_way_is_followed_as_one_call_would(tmp_path: Path) -> None:
    """A path through a link to a folder leads to what lies there."""
    (tmp_path / "a.jpg").write_bytes(b"x")
    folder = dig(tmp_path, 4_500)
    put_down(tmp_path / "a.jpg", folder)
    (tmp_path / "short").symlink_to(STEP)
    assert deep.isfile(f"{tmp_path}/short{folder.removeprefix(f'{tmp_path}/{STEP}')}/a.jpg")


def test_folders_without_end_are_left_alone(tmp_path: Path) -> None:
    """Beyond 16,384 bytes a walk goes no deeper, says so, and finds all else."""
    folder = dig(tmp_path, 17_000)
    (tmp_path / "a.jpg").write_bytes(b"x")
    put_down(tmp_path / "a.jpg", folder)
    (tmp_path / "b.jpg").write_bytes(b"x")
    walk = Walk(str(tmp_path), WalkOptions(), {".jpg"})
    assert [source.path for source in walk] == ["b.jpg"]
    ((left, reason),) = walk.left_alone.items()
    assert reason == "its path is longer than 16,384 bytes"
    assert folder.startswith(f"{tmp_path}/{left}/")


def test_a_deep_folder_that_is_left_out_is_no_trouble(tmp_path: Path) -> None:
    """Whether an excluded folder holds a file is found out at any depth: a folder of it alone is not empty."""
    (tmp_path / "in" / "node_modules").mkdir(parents=True)
    bottom = dig(tmp_path / "in" / "node_modules", 4_000, name="n")
    (tmp_path / "note.txt").write_bytes(b"x")
    os.rename(tmp_path / "note.txt", f"{bottom}/note.txt")
    try:
        walk = Walk(str(tmp_path), WalkOptions(), {".jpg"})
        assert list(walk) == []
        assert walk.empty_folders == set()
    finally:  # pytest's own cleaning goes no deeper than Python's stack
        subprocess.run(["rm", "-rf", tmp_path / "in"], check=True)
