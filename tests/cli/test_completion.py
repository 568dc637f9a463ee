"""What Tab completes: saved queries, and the cameras, lenses, keywords and folders of the index; in real shells too."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import typer.main
from typer._completion_classes import BashComplete

from imgsearch.cli import app
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model
CAMERAS = [("FUJIFILM", "X-T5"), ("FUJIFILM", "X-T30 II"), ("Apple", "iPhone 12")]
HOSTILE = (
    "$(touch hacked)",
    "\\$(touch hacked)",
    "`touch hacked`",
    "a'b",
    'a"b',
    "a\nb",
    "a;b",
    "a!b",
    "a\u202eb",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home folder of the test's own, and a current folder with nothing in it."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "IMGSEARCH_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("home", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path) -> str:
    """Give an index of images with cameras, a lens and keywords, some of them with names made to do harm."""
    folder = tmp_path / "my photos"
    for number in range(len(CAMERAS) + len(HOSTILE)):
        paint(
            folder / f"{number}.png",
            *[("red", "green", "blue", "white")[number // 4**n % 4] for n in range(4)],
        )
    run(tmp_path / "ix", folder)
    with closing(sqlite3.connect(tmp_path / "ix" / "catalog.sqlite")) as db:
        keys = [key for (key,) in db.execute("SELECT sha256 FROM metadata ORDER BY sha256")]
        known = [*CAMERAS, *(("Evil", name) for name in HOSTILE)]
        for key, (make, model) in zip(keys, known, strict=True):
            facts = make, model, "XF 35mm F1.4", '["holiday", "my cat"]', key
            db.execute("UPDATE metadata SET make=?, model=?, lens=?, keywords=? WHERE sha256=?", facts)
        db.commit()
    return str(tmp_path / "ix")


def completed(*words: str) -> list[str]:
    """Return how the last word may continue, as typer's protocol tells a shell that quotes by itself."""
    shell = BashComplete(typer.main.get_command(app), {}, "imgsearch", "_IMGSEARCH_COMPLETE")
    return [item.value for item in shell.get_completions([*words[:-1]], words[-1])]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a shell that finds imgsearch."""
    return {**os.environ, "PATH": f"{Path.home() / 'bin'}:{os.environ['PATH']}", **more}


@pytest.fixture
def program(home: Path) -> Path:
    """Put a program `imgsearch` on the path of ``environment``."""
    path = home / "bin" / "imgsearch"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m imgsearch "$@"\n')
    path.chmod(0o755)
    return path


def script(shell: str) -> str:
    """Return what sets completion up in a shell."""
    done = subprocess.run(
        [sys.executable, "-m", "imgsearch"],
        env={**os.environ, "_IMGSEARCH_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_values_of_the_index_complete_what_filters_take(index: str, tmp_path: Path) -> None:
    """Cameras by model or by make, lenses and keywords, whatever their case; folders that are indexed."""
    query = ("query", "--index", index)
    assert completed(*query, "--camera", "x") == ["X-T30 II", "X-T5"]
    assert completed(*query, "--camera", "fuji") == ["FUJIFILM X-T30 II", "FUJIFILM X-T5"]
    assert completed(*query, "--camera", "nikon") == []
    assert completed("list", "--index", index, "--lens", "xf 35") == ["XF 35mm F1.4"]
    assert completed("facets", "--index", index, "--keyword", "") == ["holiday", "my cat"]
    assert completed("similar", "--index", index, "--in", str(tmp_path)[:4]) == [str(tmp_path / "my photos")]
    assert completed(*query, "--in", str(tmp_path / "my photos")) == []  # the shell completes what is inside


def test_what_is_known_without_an_index_completes_too() -> None:
    """Types, several of them, shapes, what images have, and models."""
    assert completed("query", "--type", "jpg,hei") == ["jpg,heic", "jpg,heics", "jpg,heif", "jpg,heifs"]
    assert completed("query", "--shape", "p") == ["panorama", "portrait"]
    assert completed("list", "--has", "k") == ["keywords"]
    assert completed("index", "--model", "d") == ["demo"]
    assert completed("query", "--sort", "n") == ["newest"]


def test_saved_queries_complete_behind_their_sign(home: Path) -> None:
    """@rec, also as bash splits it and where a command could stand; `save` takes names without the sign."""
    assert imgsearch("save", "red-boats", "a red boat").code == 0
    assert completed("query", "@re") == completed("query", "blue", "@re") == ["@receipts", "@red-boats"]
    assert completed("query", "@", "red") == completed("@red") == completed("@", "red") == ["@red-boats"]
    assert completed("save", "--delete", "red") == ["red-boats"]
    assert completed("query", "re") == []


def test_the_index_is_the_one_that_the_command_would_ask(index: str, home: Path, tmp_path: Path) -> None:
    """Without --index it is that of the config file, or the one that is found by itself."""
    assert completed("query", "--camera", "") == []
    assert imgsearch("config", "query.index", index).code == 0
    assert completed("query", "--camera", "i") == ["iPhone 12"]
    assert completed("list", "--camera", "i") == []
    shutil.copytree(index, tmp_path / "here" / ".imgsearch")
    assert completed("list", "--camera", "i") == ["iPhone 12"]
    assert completed("list", "--index", "") == [str(tmp_path / "here" / ".imgsearch")]


def test_nothing_is_offered_that_a_shell_could_run(index: str) -> None:
    """Of names that come from image files, those with quotes, dollars or control characters are left out."""
    offered = completed("query", "--index", index, "--camera", "")
    assert offered == ["iPhone 12", "X-T30 II", "X-T5"]


def test_in_bash_values_are_quoted(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """bash inserts what it is told: a space has a backslash, unless a quote was opened."""
    words = ("query", "--index", index, "--camera", "X-T3")
    monkeypatch.setenv("_IMGSEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_CWORD", "5")
    monkeypatch.setenv("COMP_WORDS", "\n".join(("imgsearch", *words)))
    assert completed(*words) == ["X-T30\\ II"]
    monkeypatch.setenv("COMP_WORDS", "\n".join(("imgsearch", *words[:-1], '"X-T3')))
    assert completed(*words) == ["X-T30 II"]


@pytest.mark.slow("starts the program")
@pytest.mark.parametrize("broken", ["catalogue", "manifest", "config"])
def test_what_is_broken_yields_nothing(index: str, home: Path, broken: str, tmp_path: Path) -> None:
    """A broken index or config file: no candidate, no word on stderr, no traceback, and the program ends well."""
    files = {
        "catalogue": Path(index) / "catalog.sqlite",
        "manifest": Path(index) / "manifest.json",
        "config": home / ".config" / "imgsearch" / "config.toml",
    }
    if sys.platform == "darwin":
        files["config"] = home / "Library" / "Application Support" / "imgsearch" / "config.toml"
    files[broken].parent.mkdir(parents=True, exist_ok=True)
    files[broken].write_bytes(b"\0broken" * 1000)
    index = "" if broken == "config" else index
    words = ["imgsearch", "query", *(["--index", index] if index else []), "--keyword", "h"]
    done = subprocess.run(
        [sys.executable, "-m", "imgsearch"],
        env={
            **os.environ,
            "_IMGSEARCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    assert done.returncode == 0
    assert done.stdout.strip() in ((b"", b"holiday") if broken == "manifest" else (b"",))


@pytest.mark.slow("starts the program")
def test_completion_loads_no_numpy(index: str) -> None:
    """Tab waits for neither NumPy nor any library that is as large."""
    code = (
        "import sys, typer.main; from typer._completion_classes import BashComplete; from imgsearch.cli import app\n"
        "shell = BashComplete(typer.main.get_command(app), {}, 'imgsearch', '_IMGSEARCH_COMPLETE')\n"
        "for option in ('--camera', '--keyword', '--in', '--type', '--model', '--index'):\n"
        f"    shell.get_completions(['query', '--index', {index!r}, option], '')\n"
        "shell.get_completions(['query'], '@')\n"
        "print({'numpy', 'torch', 'PIL', 'faiss'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow("starts a shell")
def test_bash_completes(index: str, program: Path) -> None:
    """In bash, as its words are when Tab is pressed."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    ask = """
        COMP_WORDS=(imgsearch query --index "$IX" --camera X-T3); COMP_CWORD=5; _imgsearch_completion imgsearch
        printf '%s\\n' "${COMPREPLY[@]}"
        COMP_WORDS=(imgsearch query @ rec); COMP_CWORD=3; _imgsearch_completion imgsearch
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script("bash") + ask],
        env=environment(IX=index),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("X-T30\\ II\n@receipts\n", "")


@pytest.mark.slow("starts a shell")
def test_fish_completes(index: str, program: Path) -> None:
    """In fish, which is asked for the completions of a line."""
    if shutil.which("fish") is None:
        pytest.skip("there is no fish here")
    ask = f"\ncomplete -C 'imgsearch query --index {index} --camera fuji'; complete -C 'imgsearch query @rec'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script("fish") + ask],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.split("\n")) == ["", "@receipts", "FUJIFILM X-T30 II", "FUJIFILM X-T5"]


@pytest.mark.slow("starts a shell")
def test_zsh_completes(index: str, program: Path) -> None:
    """In zsh, whose script evaluates what it is told: candidates arrive as they are, and nothing else is run."""
    if shutil.which("zsh") is None:
        pytest.skip("there is no zsh here")
    ask = """
        _arguments() { print -r -- "$2${1#*: :}" }
        for line in "imgsearch query --index $IX --camera X-T3" "imgsearch query @rec"; do
            words=(${(z)line}); CURRENT=$#words; _imgsearch_completion
        done
    """
    setup = "compdef() { :; }\n" + script("zsh").replace("#compdef imgsearch", "")
    done = subprocess.run(
        ["zsh", "-f", "-c", setup + ask],
        env=environment(IX=index),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == '(("X-T30 II"))\n(("@receipts"))\n'
    assert not Path("hacked").exists()
