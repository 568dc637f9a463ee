"""The first Ctrl-C ends a command, whatever a thread of it is doing, and what was done stays done."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from support.cli import imgsearch
from support.datasets_drawn import parquet
from support.fakes import paint
from support.serving import PATIENCE

# A decoder that is in C for ever: it holds no lock of Python's, and no signal brings it back.
STUCK = """
import ctypes, sys
def stuck(*_, **__):
    system, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    system.pthread_mutex_init(lock, None)
    print("stuck", file=sys.stderr, flush=True)
    while True:
        system.pthread_mutex_lock(lock)
"""
DECODER = STUCK + "from imgsearch.media import formats; formats.load_pictures = stuck\n"
OPENER = STUCK + "from imgsearch.tools.transfer import importer; importer.open_source = stuck\n"
RUN = "sys.argv = ['imgsearch', *sys.argv[1:]]\nfrom imgsearch.__main__ import main\nmain()\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with three painted pictures, an index of them, a fourth that is not in it, and a dataset."""
    folder = tmp_path_factory.mktemp("interrupted")
    for name in ("red", "green", "blue"):
        paint(folder / "pictures" / f"{name}.png", name, size=(96, 64))
    paint(folder / "new.png", "yellow", size=(96, 64))
    parquet(folder, 3)
    done = imgsearch("index", folder / "pictures", "--index", folder / "index", "--model", "demo")
    assert done.code == 0, done.err
    assert imgsearch("export", folder / "all.parquet", "--index", folder / "index").code == 0
    return folder


def interrupted(
    program: str, *words: object, at: str = "stuck", number: int = signal.SIGINT
) -> tuple[int, str]:
    """Run the command line in ``program``, send a signal once it says ``at``; return the code and what it said."""
    command = [sys.executable, "-c", program + RUN, *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if at in line:
                break
        process.send_signal(number)
        return process.wait(PATIENCE), said + process.stderr.read()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "words",
    [
        ["similar", "new.png", "--index", "index"],
        ["query", "red", "--image", "new.png", "--index", "index"],
        ["embed", "new.png", "--model", "demo"],
        ["eval", "drawn.parquet", "--model", "demo", "--no-cache"],
        ["train", "drawn.parquet", "--model", "demo", "--out", "trained", "--batch-size", "2"],
        ["verify", "--repair", "--index", "index"],
        ["demo", "--out", "gallery"],
    ],
    ids=" ".join,
)
def test_a_stuck_decoder_does_not_hold_a_command_up(
    place: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends every command with code 130 and a line while a decoder does not come back."""
    monkeypatch.chdir(place)
    if words[0] == "verify":
        monkeypatch.chdir(copytree(place, place / "damaged"))
        with open("index/vectors/00000001.f16", "r+b") as vectors:
            vectors.seek(5000)
            vectors.write(b"\xff\xff\xff")
    code, said = interrupted(DECODER, *words)
    assert code == 130, said
    assert "interrupted" in said  # another thread may get stuck after the line
    assert "Traceback" not in said


def test_a_stuck_drive_does_not_hold_an_import_up(place: Path, tmp_path: Path) -> None:
    """Ctrl-C ends an import with code 130 while a file that it reads does not answer."""
    code, said = interrupted(OPENER, "import", place / "all.parquet", "--index", tmp_path / "index")
    assert code == 130, said
    assert "interrupted" in said  # another thread may get stuck after the line


def test_what_was_indexed_before_a_stuck_decoder_is_kept(place: Path, tmp_path: Path) -> None:
    """`index` says how far it came, and the next run goes on from there."""
    for name in ("1red", "2green", "3blue"):
        paint(tmp_path / "pictures" / f"{name}.png", name[1:], size=(64, 64))
    third = (
        STUCK
        + "from imgsearch.media import formats; load = formats.load_pictures\n"
        + "formats.load_pictures = lambda s, name, *a, **k: (stuck if '3' in name else load)(s, name, *a, **k)\n"
        + "from imgsearch.indexing import ingest; ingest.COMMIT_SECONDS = 0\n"
    )
    words = (
        "index",
        tmp_path / "pictures",
        "--index",
        tmp_path / "index",
        "--model",
        "demo",
        "--batch-size",
        "1",
    )
    code, said = interrupted(third, *words)
    assert code == 130, said
    assert "of 3 images indexed. Run the same command to continue" in said
    again = imgsearch(*words)
    assert again.code == 0, again.err
    assert imgsearch("list", "--index", tmp_path / "index", "-0").out.count(b"\0") == 3
