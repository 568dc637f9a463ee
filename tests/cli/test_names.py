"""Files with odd names, from the walk to what is printed: bytes that are not UTF-8, and paths of any length."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgsearch.types import Input
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


@pytest.fixture
def asked(tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the texts that the model is asked for; there is an index to ask."""
    monkeypatch.setenv("IMGSEARCH_INDEX", str(tmp_path / "index"))
    assert imgsearch("index", paint(tmp_path / "pictures" / "red.png", "red").parent).code == 0
    texts: list[str] = []
    embed = fakes.FakeEncoder.embed

    def note(self: fakes.FakeEncoder, inputs: Sequence[Input], *args: Any, **options: Any) -> Any:
        texts.extend(item.text for item in inputs if item.text)
        return embed(self, [replace(item, text="red") for item in inputs], *args, **options)

    monkeypatch.setattr(fakes.FakeEncoder, "embed", note)
    return texts


def test_words_in_a_c_locale_are_the_words_that_were_typed(asked: list[str]) -> None:
    """Where Python takes the bytes of argv for ASCII, the model gets the text that they are, as from stdin."""
    in_c_locale = "chât é".encode().decode("ascii", "surrogateescape")
    assert imgsearch("query", in_c_locale, "--no-remember").code == 0
    assert imgsearch("query", "-", "--no-remember", stdin="chât é\n").code == 0
    assert imgsearch("embed", "--text", in_c_locale).code == 0
    assert asked == ["chât é"] * 3


@pytest.mark.parametrize("words", ["ch\udce2t", "\udcff\udcfe", "caf\udcc3"])
def test_words_that_are_not_utf8_are_refused_in_one_line(asked: list[str], words: str) -> None:
    """Bytes that are no text ask nothing: the line says what to do, and on stdin it costs no other query its answer."""
    for argv in (
        ("query", words),
        (words,),
        ("embed", "--text", words),
        ("embed", "--text", "red", "--instruction", words),
    ):
        done = imgsearch(*argv)
        assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert "the query is not valid UTF-8; use a terminal with a UTF-8 locale" in imgsearch("query", words).err
    done = imgsearch("query", "-", "--json", stdin=b"a\n" + os.fsencode(words) + b"\nb\n")
    assert ([hit["query"] for hit in done.objects], done.code) == (["a", "b"], 2)
    assert "line 2: the query is not valid UTF-8" in done.err
    assert asked == ["a", "b"]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--min-score", "nan"), "--min-score nan: must be a number"),
        (("--min-score", "-NaN"), "--min-score nan: must be a number"),
        (("--within", "nan"), "--within nan: must be a percentage from 0 to 100"),
        (("--within", "nan%"), "--within nan: must be a percentage from 0 to 100"),
        (("--within", "inf"), "--within inf: must be a percentage from 0 to 100"),
        (("-n", "-1"), "--limit -1: ask for at least one image"),
    ],
)
def test_figures_that_compare_with_nothing_are_refused(
    asked: list[str], argv: tuple[str, ...], line: str
) -> None:
    """A threshold that is no number would let everything through, or nothing: it is refused by both commands."""
    for command in (("query", "red"), ("similar", "red.png")):
        assert line in imgsearch(*command, *argv).err
    assert asked == []


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30])
def test_any_number_of_results_may_be_asked_for(asked: list[str], number: int, tmp_path: Path) -> None:
    """More than there are gives all that there are."""
    red = str(tmp_path / "pictures" / "red.png")
    assert imgsearch("query", "red", "-n", number, "--paths").lines == [red]
    assert imgsearch("similar", red, "-n", number, "--paths").lines == [red]
