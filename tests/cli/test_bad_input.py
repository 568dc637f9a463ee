"""Bad input and what it gets: the table of the product's promises, a row or more a test."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from imgsearch.index.writer import IndexWriter
from support import TESTS
from support.cli import Done, imgsearch
from support.pictures import scene


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder of four pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(4):
        scene(seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def index(photos: Path, tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give an index of the pictures, which IMGSEARCH_INDEX names."""
    folder = tmp_path / "index"
    monkeypatch.setenv("IMGSEARCH_INDEX", str(folder))
    assert imgsearch("index", photos, "--model", tiny_checkpoint).code == 0
    return folder


def one_line(done: Done, code: int = 2) -> str:
    """Check that a command ended with one line on stderr and nothing on stdout; return the line."""
    assert done.code == code, done.err
    assert done.out == b""
    assert done.err.count("\n") == 1, done.err
    assert "Traceback" not in done.err
    return done.err.strip()


def contents(index: Path) -> dict[str, bytes]:
    """Return the bytes of every file of an index but the lock and SQLite's shared memory."""
    return {
        path.name: path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file() and path.name not in ("writer.lock", "catalog.sqlite-shm", "catalog.sqlite-wal")
    }


# ---- a folder that does not exist, is unreadable, or holds no image -----------------------------------------


def test_a_folder_that_does_not_exist_is_named_and_the_index_untouched(index: Path, tmp_path: Path) -> None:
    """A missing folder is one line with its name and exit code 2; the index is as it was."""
    before = contents(index)
    line = one_line(imgsearch("index", tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in line
    assert "does not exist" in line
    assert contents(index) == before


def test_an_unreadable_folder_is_named(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can't be listed is one line with the reason and exit code 2; the index is as it was."""
    locked = tmp_path / "locked"
    locked.mkdir()
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    before = contents(index)
    done = imgsearch("index", locked)
    assert done.code == 2
    assert "Permission denied" in done.err
    assert contents(index) == before


def test_a_folder_without_pictures_is_exit_one_and_makes_no_index(tmp_path: Path) -> None:
    """A folder that holds no picture is one line, exit code 1, and no index appears."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    line = one_line(imgsearch("index", tmp_path / "texts", "--index", tmp_path / "new"), code=1)
    assert str(tmp_path / "texts") in line
    assert "1 other file" in line
    assert not (tmp_path / "new").exists()


# ---- truncated, corrupt, zero-byte, wrong-extension, or non-image file ---------------------------------------


def test_bad_files_are_skipped_counted_listed_and_tried_again_only_when_they_change(
    index: Path, photos: Path
) -> None:
    """Bad files are skipped by reason, the run goes on and exits 0; only a changed one is tried again."""
    whole = (photos / "0.png").read_bytes()
    (photos / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (photos / "corrupt.png").write_bytes(whole[:200] + bytes(100) + whole[300:])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "note.jpg").write_text("just words")
    (photos / "good.png").write_bytes(encoded(9))
    done = imgsearch("index")
    assert done.code == 0
    assert "1 indexed" in done.err
    listed = {
        Path(row["path"]).name: row["reason"] for row in imgsearch("status", "--errors", "--json").objects
    }
    assert listed == {
        "truncated.png": "corrupt",
        "corrupt.png": "corrupt",
        "empty.jpg": "empty file",
        "note.jpg": "not an image",
    }
    again = imgsearch("index", "--json")
    assert (again.objects[0]["skipped"], again.objects[0]["indexed"]) == (4, 0)
    assert "0 new or changed" in again.err
    (photos / "empty.jpg").write_bytes(encoded(11))
    mended = imgsearch("index", "--json").objects[0]
    assert (mended["skipped"], mended["indexed"]) == (3, 1)


def encoded(seed: int) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    import io

    stream = io.BytesIO()
    scene(seed).save(stream, "PNG")
    return stream.getvalue()


# ---- a decompression bomb, an aspect ratio over 200 ----------------------------------------------------------


def test_a_decompression_bomb_and_a_thread_of_a_picture_are_skipped(index: Path, photos: Path) -> None:
    """A picture over --max-megapixels or thinner than 1:200 is skipped with that reason; a higher limit admits it."""
    (photos / "bomb.png").write_bytes(png_header(60_000, 60_000))
    scene(5, (804, 4)).save(photos / "thread.png")
    scene(6, (1200, 1000)).save(photos / "large.png")
    assert imgsearch("index", "--max-megapixels", 1).code == 0
    listed = {
        Path(row["path"]).name: row["reason"] for row in imgsearch("status", "--errors", "--json").objects
    }
    assert listed == {
        "bomb.png": "too many pixels",
        "large.png": "too many pixels",
        "thread.png": "aspect ratio over 200",
    }
    assert imgsearch("index", "--max-megapixels", 100, "--json").objects[0]["indexed"] == 1


def png_header(width: int, height: int) -> bytes:
    """Return the beginning of a PNG file that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


# ---- file names ---------------------------------------------------------------------------------------------


def test_strange_file_names_round_trip(index: Path, photos: Path) -> None:
    """Names with spaces, newlines, quotes, bytes that are no UTF-8, emoji or 255 bytes come back exactly."""
    names = [
        b"a b.png",
        b"new\nline.png",
        b"q'uo\"te.png",
        b"latin-\xe9.png",
        "🐈.png".encode(),
        b"x" * 251 + b".png",
    ]
    for number, name in enumerate(names):
        with open(os.path.join(os.fsencode(photos), name), "wb") as file:
            file.write(encoded(20 + number))
    assert imgsearch("index", "--json").objects[0]["indexed"] == len(names)
    wanted = {os.path.join(os.fsencode(photos), name) for name in names}
    by_nul = set(imgsearch("query", "x", "-n", 50, "-0").out.split(b"\0"))
    assert wanted <= by_nul
    by_json = {os.fsencode(hit["path"]) for hit in imgsearch("query", "x", "-n", 50, "--json").objects}
    assert wanted <= by_json
    text = imgsearch("query", "x", "-n", 50)
    assert len(text.lines) == len(names) + 4
    for name in names:
        path = os.path.join(os.fsencode(photos), name)
        assert imgsearch("similar", os.fsdecode(path), "-n", 1, "-0").out == path + b"\0"


# ---- symlink loops, the same folder twice, nested roots -----------------------------------------------------


def test_every_file_is_there_once_whatever_way_leads_to_it(index: Path, photos: Path) -> None:
    """Symlink loops, a folder given twice and nested folders leave each file in the index once."""
    (photos / "sub").mkdir()
    scene(7).save(photos / "sub" / "7.png")
    (photos / "sub" / "up").symlink_to(photos)
    (photos / "link.png").symlink_to(photos / "0.png")
    done = imgsearch("index", photos, photos / "sub", photos, "--follow-symlinks")
    assert done.code == 0
    paths = [hit["path"] for hit in imgsearch("query", "x", "-n", 50, "--json").objects]
    assert sorted(paths) == sorted(
        [*(str(photos / f"{n}.png") for n in range(4)), str(photos / "sub" / "7.png")]
    )
    assert imgsearch("status", "--json").objects[0]["files"] == 5


# ---- an empty query, a query over 8,192 tokens --------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_query_is_an_error_that_says_so(index: Path, text: str) -> None:
    """An empty question is refused before the model is loaded."""
    assert "the query is empty" in one_line(imgsearch("query", text))


def test_a_query_over_the_limit_is_an_error_that_says_so(index: Path) -> None:
    """A text of more than 8,192 tokens is refused with both figures, never cut in silence."""
    done = imgsearch("query", "x y " * 9000)
    assert done.code == 2
    assert "8192" in done.err.replace(",", "")
    assert done.out == b""


@pytest.mark.slow("embeds 8,192 tokens")
def test_a_long_text_beside_a_picture_is_cut_and_that_is_said(index: Path, photos: Path) -> None:
    """Only a text that accompanies a picture is cut, and that is said; the picture still counts."""
    done = imgsearch("query", "x y " * 9000, "--image", photos / "0.png", "-n", 1)
    assert done.code == 0
    assert "8192" in done.err.replace(",", "")


def test_no_question_on_stdin_is_an_error(index: Path) -> None:
    """`query -` with nothing but blank lines says that no question came."""
    done = imgsearch("query", "-", stdin="\n\n")
    assert done.code == 2
    assert "no query" in done.err


def test_a_bad_picture_as_question_is_named(index: Path, photos: Path) -> None:
    """`similar` and `--image` name a file that is missing or no picture, in one line."""
    (photos / "note.jpg").write_text("just words")
    for arguments in (("similar",), ("query", "x", "--image")):
        line = one_line(imgsearch(*arguments, photos / "note.jpg"))
        assert str(photos / "note.jpg") in line
        assert "not an image" in line
        line = one_line(imgsearch(*arguments, photos / "missing.jpg"))
        assert str(photos / "missing.jpg") in line


# ---- a damaged manifest, database or vector file ------------------------------------------------------------

DAMAGE = {
    "manifest.json": b"{",
    "catalog.sqlite": b"this is no database, whatever its name says" * 100,
    "vectors/00000001.f16": b"short",
}


@pytest.mark.parametrize("how", ["overwritten", "emptied", "deleted"])
@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_a_damaged_file_is_named_with_the_command_to_rebuild(
    index: Path, photos: Path, name: str, how: str, tiny_checkpoint: str
) -> None:
    """A damaged manifest, database or vector file is named in one line, and the command that it says mends it."""
    path = index / name
    fix = "imgsearch index FOLDER --rebuild" if name == "catalog.sqlite" else "imgsearch verify --repair"
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(DAMAGE[name] if how == "overwritten" else b"")
    for command in (("similar", photos / "0.png"), ("query", "x")):
        line = one_line(imgsearch(*command))
        assert str(path) in line
        assert line.rstrip().endswith(fix)  # IMGSEARCH_INDEX names the index
    assert str(path) in one_line(imgsearch("status"))
    assert str(path) in one_line(imgsearch("index", photos))
    assert imgsearch("index", photos, "--rebuild", "--model", tiny_checkpoint).code == 0
    assert len(imgsearch("similar", photos / "0.png", "--json").objects) == 4


def test_a_flipped_bit_in_a_vector_is_never_a_wrong_hit(index: Path, photos: Path) -> None:
    """A vector whose bytes changed on disk is found out by its checksum before it is shown."""
    path = index / "vectors" / "00000001.f16"
    data = bytearray(path.read_bytes())
    data[4096 + 10] ^= 1
    path.write_bytes(data)
    line = one_line(imgsearch("similar", photos / "1.png"))
    assert "checksum" in line
    assert str(path) in line


# ---- disk full during a commit ------------------------------------------------------------------------------


def test_a_full_disk_is_a_clear_error_and_the_last_commit_stands(
    index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fills up in a commit, one line says so, and the index answers as at the last commit."""
    before = imgsearch("similar", photos / "0.png", "--json").objects
    scene(30).save(photos / "30.png")
    written = []
    real = os.pwrite

    def fill_up(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= 4096:
            if written:
                raise OSError(28, "No space left on device")
            written.append(real(descriptor, data[: len(data) // 2], offset))
            return written[0]
        return real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fill_up)
        done = imgsearch("index")
    assert written
    assert done.code == 2
    assert "the disk is full" in done.err
    assert imgsearch("similar", photos / "0.png", "--json").objects == before
    assert imgsearch("index", "--json").objects[0]["indexed"] == 1


def test_a_database_that_can_not_grow_is_a_clear_error(
    index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When SQLite finds the disk full, one line says so, and the index answers as at the last commit."""
    before = imgsearch("similar", photos / "0.png", "--json").objects
    for seed in range(40, 60):
        scene(seed, (64, 48)).save(photos / f"{'long' * 40}-{seed}.png")
    real = sqlite3.connect

    def cramped(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = real(*arguments, **options)  # type: ignore[arg-type]
        if "mode=rwc" in str(arguments[0]) and "catalog" in str(arguments[0]):
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", cramped)
        done = imgsearch("index")
    assert done.code == 2
    assert "full" in done.err
    assert imgsearch("similar", photos / "0.png", "--json").objects == before
    assert imgsearch("index", "--json").objects[0]["indexed"] == 20


# ---- Ctrl-C, a closed pipe, a second writer, a read-only index folder ---------------------------------------


def test_ctrl_c_exits_130_and_keeps_what_was_committed(
    index: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a run ends it with 130 and one line; the next run goes on from there."""
    from imgsearch.model.embedder import Qwen3VLEmbedder

    for seed in range(70, 90):
        scene(seed, (64, 48)).save(photos / f"{seed}.png")
    real, calls = Qwen3VLEmbedder.embed, []

    def press(self: object, *arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return real(self, *arguments, **options)  # type: ignore[arg-type]

    # A shell starts its background jobs with Ctrl-C ignored; these tests may be one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Qwen3VLEmbedder, "embed", press)
            done = imgsearch("index", "--batch-size", 5)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.code == 130
    assert "interrupted" in done.err
    assert imgsearch("status", "--json").objects[0]["files"] == 4 + 10
    assert imgsearch("index", "--json").objects[0]["indexed"] == 10


def test_a_closed_pipe_is_silent(index: Path) -> None:
    """When the reader of the output goes away, the program ends without a word."""
    command = [sys.executable, "-m", "imgsearch", "status"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 141


def test_a_second_writer_is_told_who_holds_the_lock_and_readers_go_on(index: Path, photos: Path) -> None:
    """While one process writes, another that wants to is told which one; searching is not blocked."""
    with IndexWriter(str(index)):
        scene(8).save(photos / "8.png")
        done = imgsearch("index")
        assert done.code == 2
        assert f"process {os.getpid()} on " in done.err
        assert imgsearch("similar", photos / "0.png").code == 0
        assert imgsearch("status").code == 0


def test_reads_work_in_an_index_folder_that_may_not_be_written(
    index: Path, photos: Path, tmp_path: Path
) -> None:
    """In a read-only index folder status and similar answer; index says that it can't write."""
    frozen = tmp_path / "frozen"
    shutil.copytree(index, frozen)
    scene(8).save(photos / "8.png")
    for path in [*frozen.rglob("*"), frozen]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        status = unprivileged("status", "--index", frozen)
        similar = unprivileged("similar", photos / "0.png", "--paths", "--index", frozen)
        index_ = unprivileged("index", "--index", frozen)
    finally:
        for path in [frozen, *frozen.rglob("*")]:
            path.chmod(0o755)
    assert (status.returncode, status.stderr) == (0, "")
    assert (similar.returncode, similar.stdout.splitlines()[0]) == (0, str(photos / "0.png"))
    assert index_.returncode == 2
    assert index_.stderr.count("\n") == 1
    assert "could not be written" in index_.stderr


def unprivileged(*argv: object) -> subprocess.CompletedProcess[str]:
    """Run a command that permissions hold for, also when the tests run as root."""
    code = (
        "import sys; from support.privileges import drop; drop(); from imgsearch.__main__ import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def test_a_full_disk_behind_stdout_is_an_error(index: Path, photos: Path) -> None:
    """When the answer can't be written, one line says so and the exit code is 2, not that of nothing found."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "imgsearch", "similar", str(photos / "0.png")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_traceback(index: Path, photos: Path, closed: str) -> None:
    """With stdin, stdout or stderr closed the program does its work; nothing of its own gets their numbers."""
    command = f'"{sys.executable}" -m imgsearch similar "{photos}/0.png" {closed}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_working_folder_that_was_deleted_is_no_traceback(index: Path, tmp_path: Path) -> None:
    """In a folder that no longer exists the program finds its index all the same."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && "{sys.executable}" -m imgsearch status'
    environment = {name: value for name, value in os.environ.items() if name != "IMGSEARCH_INDEX"}
    environment["HOME"] = environment["XDG_DATA_HOME"] = str(tmp_path / "home")
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.startswith("imgsearch: there is no index in ")


@pytest.mark.parametrize("command", ["index foo", "remove foo", "similar foo.png", "status --index rel"])
def test_a_relative_path_in_a_deleted_folder_is_an_error_in_words(
    index: Path, tmp_path: Path, command: str
) -> None:
    """Where the working folder is gone, a relative path is one line and exit code 2."""
    gone = tmp_path / "gone"
    gone.mkdir()
    line = f'cd "{gone}" && rmdir "{gone}" && "{sys.executable}" -m imgsearch {command}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("imgsearch: ")
    assert "Traceback" not in done.stderr


def test_talk_that_nobody_can_hear_stops_no_work(index: Path, photos: Path) -> None:
    """With a full disk behind stderr the work is done all the same."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (photos / "3.png").unlink()
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "imgsearch", "index"]
        assert subprocess.run(command, stderr=full, check=False).returncode == 0
    assert imgsearch("status", "--json").objects[0]["files"] == 3


def test_a_model_folder_that_was_replaced_is_said(index: Path, photos: Path, tiny_copy: str) -> None:
    """When another checkpoint lies where the index's own one was, that is said, with a command that works."""
    from random_checkpoint import write_random_checkpoint

    assert imgsearch("index", "--model", tiny_copy).code == 0
    write_random_checkpoint(tiny_copy, seed=3)
    done = imgsearch("index", "--model", tiny_copy)
    assert "no longer the model" in one_line(done)
    assert imgsearch(*shlex.split(done.err.split("rebuild the index with: imgsearch ")[1])).code == 0
    assert len(imgsearch("query", "x", "--json").objects) == 4
