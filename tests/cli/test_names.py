"""Files with odd names, from the walk to what is printed: bytes that are not UTF-8, and paths of any length."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from support import fakes
from support.cli import imgsearch
from support.digging import dig, put_down
from support.fakes import FakeModel, paint

fake_model = fakes.fake_model


def test_a_name_that_is_not_utf8_comes_with_its_bytes(
    tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every JSON that names such a file has its bytes in base64 beside the path, and bare paths are those bytes."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    root = tmp_path / "caf\udce9"
    name = f"{root}/r\udcff.png"
    paint(tmp_path / "red.png", "red")
    root.mkdir()
    for target in (name, f"{root}/copy.png"):
        os.rename(paint(tmp_path / "red.png", "red"), target)
    Path(f"{root}/bad\udcfe.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    os.mkfifo(f"{root}/.imgsearchignore")
    assert imgsearch("index", root, "--json").code == 2
    os.remove(f"{root}/.imgsearchignore")
    os.makedirs(f"{root}/left\udcfd")
    os.mkfifo(f"{root}/left\udcfd/.imgsearchignore")
    (run,) = imgsearch("index", root, "--json").objects
    assert decoded(run["left_alone"][0]["path_b64"]) == f"{root}/left\udcfd"

    (hit,) = imgsearch("query", "red", "--json").objects
    paths = [hit["path"], *hit["copies"]]
    assert [decoded(hit["path_b64"]), *map(decoded, hit["copies_b64"])] == paths
    assert sorted(paths) == sorted([name, f"{root}/copy.png"])
    (same,) = imgsearch("similar", name, "--json").objects
    assert decoded(same["path_b64"]) == same["path"] == name
    files = imgsearch("list", "--json").objects
    assert [decoded(file["path_b64"]) for file in files] == [file["path"] for file in files]
    (skipped,) = imgsearch("status", "--errors", "--json").objects
    assert decoded(skipped["path_b64"]) == f"{root}/bad\udcfe.png"
    (status,) = imgsearch("status", "--json").objects
    assert [*map(decoded, status["roots_b64"])] == status["roots"] == [str(root)]
    assert imgsearch("similar", name, "-0").out == os.fsencode(name) + b"\0"
    assert imgsearch("similar", name, "--paths").out == os.fsencode(name) + b"\n"
    assert "r\\xff.png" in imgsearch("similar", name).out.decode()


def decoded(data: str) -> str:
    return os.fsdecode(base64.b64decode(data))


def test_images_at_any_depth_are_indexed_found_and_kept(
    tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that no single call of the system takes works with every command that takes or shows a path."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    root = tmp_path / "root"
    root.mkdir()
    folder = dig(root, 8_000)
    red = put_down(paint(tmp_path / "red.png", "red"), folder)
    blue = put_down(paint(tmp_path / "blue.png", "blue"), folder[: folder.rindex("/")])
    paint(root / "green.png", "green")
    (run,) = imgsearch("index", root, "--json").objects
    assert (run["indexed"], run["left_alone"]) == (3, [])
    (again,) = imgsearch("index", root, "--json").objects
    assert (again["indexed"], again["unchanged"], again["pruned"]) == (0, 3, 0)

    hit, *_ = imgsearch("query", "red", "--json").objects
    assert (hit["path"], hit["missing"]) == (red, False)
    hit, *_ = imgsearch("similar", blue, "--json").objects
    assert (hit["path"], hit["score"]) == (blue, 1.0)
    assert imgsearch("query", "blue", "--in", folder, "--paths").lines == [red]
    assert imgsearch("query", "blue", "--image", red, "--paths").code == 0
    assert imgsearch("list", folder).lines == [red]
    assert imgsearch("verify").code == 0
    assert imgsearch("index", folder).code == 0

    line = imgsearch("similar", f"{folder}/none.png").err
    assert "none.png: No such file or directory; give the path of an image" in line
    assert len(line) < 400
    os.rename(root, tmp_path / "moved")
    assert imgsearch("relocate", root, tmp_path / "moved").code == 0
    (run,) = imgsearch("index", "--json").objects
    assert (run["unchanged"], run["indexed"], run["pruned"]) == (3, 0, 0)
    moved = f"{tmp_path}/moved{red.removeprefix(str(root))}"
    assert imgsearch("remove", moved).code == 0
    assert moved not in imgsearch("list").lines
