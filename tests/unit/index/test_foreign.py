"""An index that somebody else made is data: nothing outside of its folder is read, written, waited for or removed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from imgsearch import fs
from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.index import manifest, side_db
from imgsearch.index.layout import CATALOGUE, find_index
from imgsearch.model import locate
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def index(tmp_path: Path, gallery: Path, fake_model: FakeModel) -> Path:
    """Give an index of the gallery."""
    run(tmp_path / "index", gallery)
    return tmp_path / "index"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Give a folder of somebody's own files, that no command may touch."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("my own words")
    (folder / "secret").chmod(0o644)
    (folder / "00000009.f16").write_bytes(b"not yours")
    (folder / "00000001-00000000.faiss").write_bytes(b"not yours")
    return folder


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the mode and bytes of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


COMMANDS = {
    "query": ("query", "red", "--no-remember"),
    "remembered": ("query", "green"),
    "status": ("status",),
    "list": ("list",),
    "verify": ("verify",),
    "doctor": ("doctor",),
    "index": ("index", "GALLERY"),
    "rebuild": ("index", "GALLERY", "--rebuild"),
    "compact": ("compact", "--all"),
    "remove": ("remove", "GALLERY/red.png"),
    "repair": ("verify", "--repair"),
}
FOLDERS = ("vectors", "faiss", "columns", "generation-0002")
FILES = (
    "writer.lock",
    "manifest.json",
    "manifest.json.new",
    "queries.sqlite",
    "queries.sqlite-journal",
    "vectors/00000001.f16",
    "vectors/00000002.f16",
    *(CATALOGUE + ending for ending in ("", "-wal", "-shm", "-journal")),
)


def use_every_command(index: Path, gallery: Path, names: Iterable[str] = COMMANDS) -> dict[str, int]:
    """Run every command that opens an index, or some; each ends with one line, or works. Return their exit codes."""
    codes = {}
    paint(gallery / "new.png", "pink")
    for name in names:
        command, *rest = COMMANDS[name]
        done = imgsearch(command, *(part.replace("GALLERY", str(gallery)) for part in rest), "--index", index)
        assert done.code in (0, 1, 2), name
        if done.code == 2 and command not in ("verify", "doctor"):
            assert len(done.err.strip().splitlines()[-1:]) == 1
        codes[name] = done.code
    return codes


@pytest.mark.slow("eleven commands for each of two dozen links")
@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *((place, kind) for place in FILES for kind in ("file", "dangling")),
        *((place, "folder") for place in FOLDERS),
    ],
)
def test_no_command_follows_a_link_out_of_an_index(
    index: Path, gallery: Path, outside: Path, place: str, kind: str
) -> None:
    """Whatever in an index is a link: what it leads to is neither written, emptied, re-moded nor removed, nor made."""
    path = index / place
    with sqlite3.connect(index / CATALOGUE) as db:
        db.execute("INSERT INTO segment VALUES (2, 0)")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside / {"file": "secret", "folder": ".", "dangling": "not there"}[kind])
    before = snapshot(outside)
    use_every_command(index, gallery)
    assert snapshot(outside) == before


@pytest.mark.parametrize("place", ["vectors", "faiss"])
def test_a_link_to_a_folder_of_ones_own_is_refused_with_what_to_do(
    index: Path, outside: Path, place: str
) -> None:
    """Who has put a folder of the index elsewhere by a link learns which one, and what to do instead."""
    shutil.rmtree(index / place, ignore_errors=True)
    (index / place).symlink_to(outside)
    done = imgsearch("status", "--index", index)
    assert done.code == 2
    assert f"{index / place} can't be used: it is a symbolic link" in done.err
    assert "--index DIR" in done.err


@pytest.mark.slow("five commands for each of a dozen pipes")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", FILES)
def test_no_command_waits_for_a_pipe(index: Path, gallery: Path, outside: Path, place: str) -> None:
    """A named pipe in the place of any file is an error, and never waited for."""
    path = index / place
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    names = ("remembered", "status", "index", "repair", "rebuild")
    assert list(use_every_command(index, gallery, names)) == list(names)


def test_a_lock_that_has_another_name_keeps_its_bytes(index: Path, gallery: Path, outside: Path) -> None:
    """A hard link in the place of the lock is locked, and what it holds is left as it is."""
    (index / "writer.lock").unlink(missing_ok=True)
    os.link(outside / "secret", index / "writer.lock")
    before = snapshot(outside)
    use_every_command(index, gallery)
    assert snapshot(outside) == before


def test_a_file_is_made_beside_and_through_nothing(tmp_path: Path, outside: Path) -> None:
    """What a command writes in one step replaces a link that lies in its way, and does not follow it."""
    (tmp_path / "file.new").symlink_to(outside / "secret")
    with fs.atomic_write(str(tmp_path / "file")) as file:
        file.write(b"text")
    assert (tmp_path / "file").read_bytes() == b"text"
    assert (outside / "secret").read_text() == "my own words"


def test_nothing_but_a_file_gives_way_to_one(tmp_path: Path) -> None:
    """A pipe, and what else root might unlink, is left where it is."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        fs.create_own(str(tmp_path / "pipe"))
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_query_cache_that_is_no_file_is_done_without(tmp_path: Path, outside: Path, kind: str) -> None:
    """Where the cache should be and something else is, nothing is cached, and nothing is wrong."""
    path = tmp_path / side_db.NAME
    make: dict[str, Callable[[], None]] = {
        "link": lambda: path.symlink_to(outside / "secret"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }
    make[kind]()
    before = snapshot(outside)
    assert side_db.may_advise(str(tmp_path), "advice", 1) is True
    assert side_db.last_run(str(tmp_path)) is None
    assert snapshot(outside) == before


# ---- found upward


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file, or a link itself, another user's: root can, and anybody else becomes another one."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


def test_an_index_of_another_user_is_not_found_by_itself(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder .imgsearch above us that is neither ours nor root's is refused, with whose it is and how to use it."""
    monkeypatch.delenv("IMGSEARCH_INDEX", raising=False)
    monkeypatch.delenv("SUDO_UID", raising=False)
    theirs = tmp_path / "shared" / ".imgsearch"
    shutil.copytree(index, theirs)
    (tmp_path / "shared" / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "shared" / "mine")
    assert find_index() == str(theirs)
    give_away(theirs, monkeypatch)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_index()
    done = imgsearch("status")
    assert done.code == 2
    assert f"--index {theirs}" in done.err
    assert imgsearch("status", "--index", theirs).code == 0
    monkeypatch.setenv("IMGSEARCH_INDEX", str(theirs))
    assert imgsearch("status").code == 0


def test_a_link_of_another_user_is_not_followed_upward(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link .imgsearch counts as its owner's, wherever it leads."""
    monkeypatch.delenv("IMGSEARCH_INDEX", raising=False)
    monkeypatch.delenv("SUDO_UID", raising=False)
    (tmp_path / ".imgsearch").symlink_to(index)
    monkeypatch.chdir(tmp_path)
    assert find_index() == str(tmp_path / ".imgsearch")
    give_away(tmp_path / ".imgsearch", monkeypatch)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_index()


def test_a_link_upward_to_a_folder_that_is_no_index_is_not_used(
    outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link .imgsearch to a folder of other things would fill that with an index: it is refused."""
    monkeypatch.delenv("IMGSEARCH_INDEX", raising=False)
    (tmp_path / ".imgsearch").symlink_to(outside)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is not an index"):
        find_index()


def test_who_became_root_by_sudo_keeps_the_own_index(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sudo, the index of the user who called it is found as without."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    monkeypatch.delenv("IMGSEARCH_INDEX", raising=False)
    shutil.copytree(index, tmp_path / ".imgsearch")
    os.chown(tmp_path / ".imgsearch", 12345, 12345)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUDO_UID", "12345")
    assert find_index() == str(tmp_path / ".imgsearch")


# ---- the manifest


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": Infinity}',
        '{"format": ' + "9" * 4000 + "}",
        '{"format": true}',
        '{"format": 2, "checksum": 1}',
        "[]",
        "null",
        " " * (manifest.MOST_BYTES + 1),
        "\udcff",
    ],
)
def test_a_manifest_of_any_shape_is_one_line(tmp_path: Path, text: str) -> None:
    """Depths, numbers and lengths that no manifest has are damage, and no traceback."""
    (tmp_path / manifest.NAME).write_bytes(os.fsencode(text))
    with pytest.raises(ImgsearchError) as caught:
        manifest.load(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", -5),
        ("dim", 0),
        ("dim", 10**15),
        ("dim", 13.0),
        ("dim", "13"),
        ("dim", True),
        ("model", 7),
        ("model", None),
        ("model", "a\0b"),
        ("model", "[" * 5000),
        ("model", "/" + "a" * 5000),
        ("fingerprint", "00"),
        ("prompts", []),
        ("prompts", {"query": 1, "document": ""}),
        ("pixels", {"image": {"min_pixels": -1, "max_pixels": 5}}),
        ("pixels", {"image": {"min_pixels": 1, "max_pixels": 10**30}}),
        ("data", ".."),
        ("data", "generation-../../x"),
        ("data", 5),
    ],
)
def test_a_manifest_with_a_right_checksum_is_checked_too(index: Path, field: str, value: object) -> None:
    """What no imgsearch writes is damage, also where somebody has made a checksum for it."""
    spec, data = manifest.load(str(index))
    content = json.loads(manifest.text(str(index), spec, data))
    content[field] = value
    del content["checksum"]
    content["checksum"] = manifest._checksum(content)
    (index / manifest.NAME).write_text(json.dumps(content))
    for command in ("status", "query red", "verify", "doctor", "index"):
        done = imgsearch(*command.split(), "--index", index)
        assert done.code == (1 if command == "doctor" else 2), command
        assert "damaged" in done.err + done.out.decode(), command


# ---- the catalogue


VIEWS = {
    "endless view": (
        "ALTER TABLE {0} RENAME TO was_{0}",
        "CREATE VIEW {0} AS WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
        "SELECT n AS id, n AS path, n AS options, n AS mount, n AS drive, n AS reason, n AS files, n AS rows FROM r",
    ),
    "trigger": ("CREATE TRIGGER theirs AFTER INSERT ON {0} BEGIN DELETE FROM root; END",),
    "another view": ("CREATE VIEW theirs AS SELECT * FROM {0}",),
    "computed column": ("ALTER TABLE {0} ADD COLUMN x AS (zeroblob(1000000000))",),
    "index that computes": ("CREATE INDEX theirs ON {0} (hex(zeroblob(1000000)))",),
    "unique index": ("CREATE UNIQUE INDEX theirs ON {0} (1)",),
    "virtual table": ("CREATE VIRTUAL TABLE theirs USING fts5 (x)",),
    "no table": ("ALTER TABLE {0} RENAME TO theirs",),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", VIEWS)
@pytest.mark.parametrize("table", ["root", "tally"])
def test_a_schema_that_is_not_ours_is_damage(index: Path, gallery: Path, what: str, table: str) -> None:
    """Views, triggers, indexes and columns of somebody else's are never run: each command says so in one line."""
    with sqlite3.connect(index / CATALOGUE) as db:
        db.execute("PRAGMA legacy_alter_table = ON")
        for statement in VIEWS[what]:
            db.execute(statement.format(table))
    for command in ("query red", "status", "verify", "remove /", "compact --all"):
        done = imgsearch(*command.split(), "--index", index)
        assert done.code == 2, command
        assert "schema is not imgsearch's" in done.err, command
    assert imgsearch("index", gallery, "--rebuild", "--index", index).code == 0
    assert imgsearch("query", "red", "--index", index).code == 0


@pytest.mark.timeout(120)
def test_pages_that_lead_back_to_each_other_are_damage(index: Path) -> None:
    """A table whose pages refer to one page again and again, level below level, is given up and not read for ever."""
    with sqlite3.connect(index / CATALOGUE) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode = DELETE")
        size = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'segment'").fetchone()[0]
    data = bytearray((index / CATALOGUE).read_bytes())
    levels, cells, last = 12, 300, len(data) // size
    for level in range(levels):
        page, below = bytearray(size), (last + level + 1).to_bytes(4, "big")
        # An inner page: its kind, how many cells, where they begin, the page on the right; then where each cell lies.
        page[:12] = struct.pack(">BHHHx", 5, 0, cells, size - 5 * cells) + below
        for cell in range(cells):
            at = size - 5 * (cell + 1)
            page[at : at + 5] = below + b"\x01"
            page[12 + 2 * cell : 14 + 2 * cell] = at.to_bytes(2, "big")
        if level == 0:
            data[(root - 1) * size : root * size] = page
        else:
            data += page
    page = bytearray(size)
    page[0:1], page[5:7] = b"\x0d", size.to_bytes(2, "big")
    data += page
    data[28:32] = (len(data) // size).to_bytes(4, "big")
    (index / CATALOGUE).write_bytes(data)
    for command in ("query red", "status", "verify", "index"):
        done = imgsearch(*command.split(), "--index", index)
        assert done.code == 2, command
        assert "damaged" in done.err, command


OPTIONS = [
    "[" * 50_000,
    "[]",
    "7",
    '{"above": "/proc"}',
    '{"above": "relative"}',
    '{"above": 7}',
    '{"anchor": "/tmp/\\u0000"}',
    '{"exclude": "*.png"}',
    '{"exclude": [7]}',
    '{"exclude": {"a": 1}}',
    '{"include_hidden": "yes"}',
    '{"follow_symlinks": 3}',
    '{"only": ["../../etc/passwd"]}',
    '{"only": 7}',
    '{"exclude": null}',
    '{"above": null}',
    '{"only": ["a\\u0000"]}',
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", OPTIONS)
def test_options_that_no_walk_has_are_damage(index: Path, gallery: Path, options: str) -> None:
    """Options of a folder are checked where they are read: one line, and no walk that never ends."""
    with sqlite3.connect(index / CATALOGUE) as db:
        db.execute("UPDATE root SET options = ?", (options,))
    for command in ("status", "index", "query red --in .", "remove /", "list"):
        done = imgsearch(*command.split(), "--index", index)
        assert done.code == 2, command
        assert "damaged" in done.err, command


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE root SET path = X'2f00'",
        "UPDATE root SET path = 'relative'",
        "UPDATE root SET path = X'2f746d702f2e2e'",
        "UPDATE root SET mount = X'00'",
        "UPDATE file SET path = X'2f6574632f706173737764' WHERE id = 1",
        "UPDATE file SET path = X'2e2e2f2e2e2f78' WHERE id = 1",
        "UPDATE file SET path = X'6100' WHERE id = 1",
        "UPDATE file SET path = 'text' WHERE id = 1",
        "UPDATE file SET size = 'many', mtime_ns = X'00' WHERE id = 1",
    ],
)
def test_a_path_or_a_number_that_is_none_is_damage(index: Path, statement: str) -> None:
    """Paths that lead out of their folder or hold a NUL, and numbers that are none, are one line."""
    with sqlite3.connect(index / CATALOGUE) as db:
        db.execute(statement)
    for command in (
        "query red",
        "list",
        "status --errors",
        "index",
        "verify",
        "doctor",
        "similar /etc/hosts",
    ):
        done = imgsearch(*command.split(), "--index", index)
        assert done.code in (0, 1, 2), command
        assert "passwd" not in done.out.decode(), command
    assert imgsearch("index", "--index", index).code == 2


@pytest.mark.parametrize("rows", [-5, 2**31, 2**62, -(2**63)])
def test_a_segment_of_impossible_length_is_one_line(index: Path, rows: int) -> None:
    """A number of rows that no segment has is named, and nothing is read or reserved for it."""
    with sqlite3.connect(index / CATALOGUE) as db:
        db.execute("UPDATE segment SET rows = ?", (rows,))
    for command in ("query red", "status", "index", "verify"):
        done = imgsearch(*command.split(), "--index", index)
        assert done.code == 2, command
    assert imgsearch("verify", "--repair", "--index", index).code == 0
    assert imgsearch("query", "red", "--index", index).code == 0


# ---- the model that it names


def test_a_model_that_only_the_index_names_is_not_downloaded(
    tmp_path: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command fetches what somebody else's index names: each says what to run to have it."""
    with monkeypatch.context() as faked:
        fakes.install(faked)
        run(tmp_path / "index", gallery)
    monkeypatch.setattr(
        locate, "download_checkpoint", lambda *_, **__: pytest.fail("something was downloaded")
    )
    paint(gallery / "new.png", "pink")
    for command in ("query words", f"similar {gallery}/new.png", "index", f"index {gallery} --rebuild"):
        done = imgsearch(*command.split(), "--index", tmp_path / "index")
        assert done.code == 2, command
        assert f"imgsearch download {fakes.MODEL}" in done.err, command


# ---- an index that goes away


@pytest.mark.parametrize("how", ["all of it", "what is in it", "another in its place"])
def test_an_index_that_is_removed_while_it_is_written_ends_the_run(
    index: Path, gallery: Path, fake_model: FakeModel, how: str
) -> None:
    """The run says so, ends with an error, and makes nothing of the index again."""
    for number in range(40):
        paint(gallery / f"{number}.png", (number, 2 * number, 3 * number))

    def remove(embedded: int) -> None:
        if index.exists() and embedded > 20:
            shutil.rmtree(index)
            if how != "all of it":
                index.mkdir()
            if how == "another in its place":
                (index / "writer.lock").touch()

    fake_model.before = remove
    done = imgsearch("index", gallery, "--index", index, "--batch-size", "4")
    assert done.code == 2
    assert "was removed or replaced while" in done.err
    left = {"all of it": None, "what is in it": [], "another in its place": ["writer.lock"]}
    assert (sorted(os.listdir(index)) if index.exists() else None) == left[how]
