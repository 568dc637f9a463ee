"""`imgsearch watch`: what changes in the indexed folders is indexed, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

from imgsearch.errors import IndexMissing, UsageError
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.gentle import priority
from imgsearch.startup import StopByInterrupt
from imgsearch.tools.watch import Event, WatchOptions, pending, units, watch
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, indexed, paint, run

fake_model = fakes.fake_model

Step = Callable[[], object]


class Script:
    """Plays changes: ``steps`` are done one a second of its clock, and the paths that they return have changed.

    After the last one Ctrl-C is pressed. ``events`` is what was told.
    """

    def __init__(self, index: Path, *steps: Step, options: WatchOptions | None = None) -> None:
        self.index, self.steps, self.now = index, list(steps), 0.0
        self.options = options or WatchOptions()
        self.events: list[Event] = []
        self.followed: list[list[str]] = []

    def follow(self, folders: Sequence[str]) -> Generator[set[str], None, None]:
        """Follow some folders, as far as there are steps."""
        self.followed.append(list(folders))
        yield set()
        while self.steps:
            self.now += 1
            changed = self.steps.pop(0)()
            paths = changed if isinstance(changed, list | tuple) else [changed] if changed else []
            yield set(map(str, paths))
        raise KeyboardInterrupt

    def play(self) -> list[str]:
        """Watch to the end; return the names of the events, "started" left out."""
        with pytest.raises(KeyboardInterrupt):
            watch(
                str(self.index),
                self.options,
                self.events.append,
                following=self.follow,
                clock=lambda: self.now,
            )
        assert self.events[0].name == "started"
        return [event.name for event in self.events[1:]]

    def data(self, name: str) -> list[dict[str, object]]:
        """Return the data of the events of a name."""
        return [event.as_json() for event in self.events if event.name == name]

    def wait(self, seconds: float) -> Step:
        """Return a step in which time passes."""

        def step() -> None:
            self.now += seconds

        return step


def nothing() -> None:
    """Let a second pass."""


@pytest.fixture
def photos(fake_model: FakeModel, tmp_path: Path) -> Path:
    """Give a folder with an indexed image; the index is beside it."""
    paint(tmp_path / "photos" / "red.png", "red")
    run(tmp_path / "ix", tmp_path / "photos")
    fake_model.loads = fake_model.embedded = 0
    return tmp_path / "photos"


@pytest.fixture
def index(photos: Path) -> Path:
    """Give the index."""
    return photos.parent / "ix"


def test_a_new_image_is_indexed_once_it_stays_as_it_is(photos: Path, index: Path) -> None:
    """A file that still grows is not read; three quiet seconds later it is."""
    whole = paint(photos.parent / "blue.png", "blue").read_bytes()
    blue = photos / "blue.png"

    def grow(size: int) -> Step:
        def step() -> Path:
            blue.write_bytes(whole[:size])
            assert indexed(index, photos) == {"red.png"}
            return blue

        return step

    script = Script(index, grow(50), grow(90), nothing, nothing, grow(len(whole)), nothing, nothing)
    assert script.play() == ["pass"]
    script = Script(index, grow(len(whole)), nothing, nothing, nothing)
    blue.unlink()
    assert script.play() == ["pass", "indexed"]
    assert indexed(index, photos) == {"red.png", "blue.png"}


def test_a_gentle_watch_leaves_the_machine_to_others(
    photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run of it is a gentle one: it lowers the priority, and indexes as ever."""
    lowered: list[str] = []
    monkeypatch.setattr(priority, "lower", lambda: lowered.append("once"))
    blue = photos / "blue.png"
    script = Script(index, lambda: paint(blue, "blue"), *[nothing] * 4, options=WatchOptions(gentle=True))
    assert script.play() == ["pass", "indexed"]
    assert lowered == ["once"] * 2
    assert indexed(index, photos) == {"red.png", "blue.png"}


def test_a_file_that_never_stops_growing_is_indexed_in_the_end(photos: Path, index: Path) -> None:
    """After ten minutes of growth a file is read as it is."""
    blue = paint(photos / "blue.png", "blue")
    end = pending.GROWING_SECONDS

    def grow(number: int) -> Step:
        def step() -> Path:
            script.now += 1
            os.utime(blue, ns=(0, number))
            return blue

        return step

    script = Script(index, *map(grow, range(int(end / 2) + 3)))
    blue.rename(kept := photos.parent / "kept.png")
    script.steps.insert(0, lambda: kept.rename(blue))
    assert script.play() == ["pass", "indexed"]


def test_a_burst_is_one_batch(photos: Path, index: Path, fake_model: FakeModel) -> None:
    """Images that come one after the other are indexed together, by a model that is loaded once."""
    names = ["blue", "green", "white", "pink", "yellow"]
    steps = [lambda name=name: paint(photos / f"{name}.png", name) for name in names]
    script = Script(index, *steps, nothing, nothing, nothing)
    assert script.play() == ["pass", "indexed"]
    assert script.data("indexed")[0]["indexed"] == 5
    assert fake_model.loads == 1


def test_a_long_burst_does_not_hold_up_what_is_complete(photos: Path, index: Path) -> None:
    """While images keep coming, those that are complete are indexed every so often."""
    steps = [lambda n=n: paint(photos / f"{n}.png", (n, 0, 0)) for n in range(40)]
    names = Script(index, *steps).play()
    assert names.count("indexed") in (1, 2)
    assert len(indexed(index)) > 15


def test_all_folders_are_checked_every_hour(photos: Path, index: Path) -> None:
    """What nobody reported, as on a network drive, is found by the next check of all folders."""
    script = Script(index)
    script.steps = [lambda: paint(photos / "blue.png", "blue") and None, script.wait(3600), nothing]
    assert script.play() == ["pass", "pass"]
    assert [event["reason"] for event in script.data("pass")] == ["start", "interval"]
    assert indexed(index, photos) == {"red.png", "blue.png"}


def test_what_is_deleted_leaves_the_index(photos: Path, index: Path) -> None:
    """A deleted file, and a deleted folder, are removed; a moved one is known again without the model."""
    paint(photos / "a" / "b" / "blue.png", "blue")
    paint(photos / "white.png", "white")
    run(index)

    def move() -> list[Path]:
        (photos / "red.png").rename(photos / "moved.png")
        shutil.rmtree(photos / "a")
        return [photos / "red.png", photos / "moved.png", photos / "a" / "b" / "blue.png", photos / "a"]

    script = Script(index, move, nothing, nothing, nothing)
    assert script.play() == ["pass", "indexed"]
    assert indexed(index, photos) == {"moved.png", "white.png"}
    (data,) = script.data("indexed")
    assert (data["indexed"], data["reused"], data["pruned"]) == (0, 1, 2)


def test_what_index_leaves_out_is_left_out(photos: Path, fake_model: FakeModel) -> None:
    """Hidden, excluded and other files, and the index's own, start nothing and are not indexed."""
    index = photos / ".imgsearch"
    run(index, photos, walk=None)
    (photos / ".imgsearchignore").write_text("private/\n")
    names = [".hidden/x.png", "private/x.png", "notes.txt", ".imgsearch/vectors/x.png", "y.png.part"]

    def change() -> list[Path]:
        paths = [photos / name for name in names]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            if path.suffix == ".png":
                paint(path, "blue")
            else:
                path.write_text("x")
        return [*paths, index / "catalog.sqlite", photos.parent / "elsewhere.png"]

    assert Script(index, change, nothing, nothing, nothing, nothing).play() == ["pass"]
    assert indexed(index, photos) == {"red.png"}


def test_a_changed_ignore_file_is_obeyed(photos: Path, index: Path) -> None:
    """Where an ignore file comes, its folder is checked again."""
    paint(photos / "drafts" / "blue.png", "blue")
    run(index)

    def ignore() -> Path:
        (file := photos / ".imgsearchignore").write_text("drafts/\n")
        return file

    # The name begins with a dot: it is hidden, and counts all the same.
    assert Script(index, ignore, nothing, nothing, nothing).play() == ["pass", "indexed"]
    assert indexed(index, photos) == {"red.png"}


def test_another_writer_is_waited_for(photos: Path, index: Path) -> None:
    """While another process updates the index, the watch says so once and catches up when it has finished."""
    script = Script(index)
    writer = IndexWriter(str(index))

    def done() -> None:
        paint(photos / "blue.png", "blue")
        writer.close()

    script.steps = [script.wait(10), script.wait(10), done, script.wait(10), nothing]
    assert script.play() == ["error", "pass"]
    assert "another imgsearch" in script.events[1].text
    assert indexed(index, photos) == {"red.png", "blue.png"}


def test_a_folder_that_goes_away_and_comes_back_is_followed_again(photos: Path, index: Path) -> None:
    """An unmounted or deleted folder costs no image and no end; when it is back it is checked and followed."""
    away = photos.with_name("away")
    script = Script(index)

    def back() -> None:
        away.rename(photos)
        paint(photos / "blue.png", "blue")

    script.steps = [
        lambda: photos.rename(away) and photos / "red.png",
        *([script.wait(10)] * 3),
        lambda: indexed(index, photos) == {"red.png"} and back(),
        *([script.wait(10)] * 3),
    ]
    names = script.play()
    assert names[0] == "pass"
    assert names[-1] == "pass"
    assert [str(photos)] in script.followed[:1]
    assert [] in script.followed
    assert script.followed[-1] == [str(photos)]
    assert indexed(index, photos) == {"red.png", "blue.png"}


def test_a_bad_file_keeps_nothing_else_from_being_indexed(photos: Path, index: Path) -> None:
    """A file that can't be decoded is skipped, as index does it; what came with it is indexed."""

    def change() -> list[Path]:
        (bad := photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        return [bad, paint(photos / "blue.png", "blue")]

    script = Script(index, change, nothing, nothing, nothing)
    assert script.play() == ["pass", "indexed"]
    (data,) = script.data("indexed")
    assert (data["indexed"], data["skipped"]) == (1, 1)


def test_a_failed_run_is_made_up_for(photos: Path, index: Path, fake_model: FakeModel) -> None:
    """What an error kept from being indexed, a check of all folders indexes later."""

    def fails(embedded: int) -> None:
        fake_model.before = None
        raise fakes_storage_error()

    def change() -> Path:
        fake_model.before = fails
        return paint(photos / "blue.png", "blue")

    script = Script(index)
    script.steps = [change, nothing, nothing, nothing, script.wait(10), nothing]
    assert script.play() == ["pass", "error", "pass"]
    assert script.data("error")[0]["kind"] == "StorageError"
    assert indexed(index, photos) == {"red.png", "blue.png"}


def fakes_storage_error() -> Exception:
    from imgsearch.errors import StorageError

    return StorageError("the disk is full")


def test_a_system_that_reports_no_changes_is_checked_every_hour(photos: Path, index: Path) -> None:
    """Where the folders can't be followed, that is told, and the regular checks go on."""
    script = Script(index)
    script.steps = [lambda: paint(photos / "blue.png", "blue") and None, script.wait(3600), nothing]
    follow = script.follow

    def limited(folders: Sequence[str]) -> Generator[set[str], None, None]:
        if folders:
            raise OSError("OS file watch limit reached.")
        yield from follow(folders)

    script.follow = limited  # type: ignore[method-assign]
    assert script.play() == ["error", "pass", "pass"]
    assert "fs.inotify.max_user_watches" in script.events[1].text
    assert indexed(index, photos) == {"red.png", "blue.png"}


def test_more_changes_than_can_be_remembered_are_a_check_of_all(
    photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of changes takes no more memory: all folders are checked instead."""
    monkeypatch.setattr(pending, "_MOST", 3)
    script = Script(index, lambda: [paint(photos / f"{n}.png", (n, 0, 0)) for n in range(5)], nothing)
    assert script.play() == ["pass", "pass"]
    assert len(indexed(index)) == 6


def test_many_changes_in_one_folder_are_that_folder(photos: Path, index: Path) -> None:
    """Where many files of a folder have changed, the folder is indexed instead of each of them."""
    script = Script(index, lambda: [paint(photos / "a" / f"{n}.png", (n, 0, 0)) for n in range(20)])
    script.steps += [nothing] * 4
    assert script.play() == ["pass", "indexed"]
    assert script.data("indexed")[0]["paths"] == [str(photos / "a")]


def test_the_model_is_unloaded_when_idle(photos: Path, index: Path, fake_model: FakeModel) -> None:
    """One model serves all changes; after the idle time it is loaded again with the next one."""
    script = Script(index)
    change = [nothing, nothing, nothing]
    script.steps = [
        *(lambda: paint(photos / "blue.png", "blue"), *change),
        *(lambda: paint(photos / "white.png", "white"), *change),
        script.wait(900),
        *(lambda: paint(photos / "pink.png", "pink"), *change),
    ]
    assert script.play() == ["pass", "indexed", "indexed", "indexed"]
    assert fake_model.loads == 2


def test_without_an_index_there_is_nothing_to_watch(tmp_path: Path) -> None:
    """An index that is missing ends the watch: a person has to make it."""
    with pytest.raises(IndexMissing):
        watch(str(tmp_path / "none"), WatchOptions(), print)


def test_impossible_times_are_refused() -> None:
    """Both times must be above zero."""
    for name in ("every_seconds", "idle_seconds"):
        with pytest.raises(UsageError, match="must be above 0"):
            WatchOptions(**{name: 0.0})


# ---- the program ----------------------------------------------------------------------------------------------


def start(index: Path, *argv: str) -> subprocess.Popen[str]:
    """Start the program's watch."""
    command = [sys.executable, "-m", "imgsearch", "watch", "--index", str(index), "--json", *argv]
    env = {**os.environ, "IMGSEARCH_SERVER": "off"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_program_hears_of_a_new_image(tmp_path: Path, number: int, code: int) -> None:
    """With watchfiles, a new image is indexed by itself; a signal ends the watch with its exit code."""
    paint(tmp_path / "photos" / "red.png", "red")
    assert imgsearch("index", tmp_path / "photos", "--index", tmp_path / "ix", "--model", "demo").code == 0
    process = start(tmp_path / "ix")
    assert process.stdout is not None
    lines = map(json.loads, process.stdout)
    assert next(lines)["event"] == "started"
    assert next(lines)["event"] == "pass"
    paint(tmp_path / "photos" / "blue.png", "blue")
    event = next(lines)
    assert (event["event"], event["indexed"]) == ("indexed", 1)
    process.send_signal(number)
    assert next(lines) == {"event": "stopped", "signal": signal.Signals(number).name}
    assert process.wait() == code
    assert indexed(tmp_path / "ix", tmp_path / "photos") == {"red.png", "blue.png"}


_BUSY = """
import hashlib, sys
from imgsearch.startup import StopByInterrupt
def last(number):
    print("stopped", number, flush=True)
with StopByInterrupt(0.2, last):
    try:
        print("busy", flush=True)
    finally:  # the signal may come this early
        # Minutes in C, which no signal interrupts.
        hashlib.pbkdf2_hmac("sha256", b"x", b"x", 2_000_000_000)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_can_not_be_interrupted_is_ended(number: int, code: int) -> None:
    """A signal during a long call in C ends the process after the time that it is given."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    process.send_signal(number)
    assert process.stdout.read() == f"stopped {int(number)}\n"
    assert process.wait() == code


def test_a_stop_in_time_is_a_keyboard_interrupt() -> None:
    """SIGTERM becomes what Ctrl-C is, so that work ends as it should; afterwards signals do what they did."""
    before = signal.getsignal(signal.SIGTERM)
    stop = StopByInterrupt(60, print)
    with pytest.raises(KeyboardInterrupt), stop:
        signal.raise_signal(signal.SIGTERM)
    assert (stop.number, stop.exit_code) == (signal.SIGTERM, 0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_missing_extra_is_named(photos: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without watchfiles the error tells which extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = imgsearch("watch", "--index", index)
    assert done.code == 2
    assert "[watch]" in done.err


# ---- units ------------------------------------------------------------------------------------------------------

NASTY = [
    "/opt/my apps/py",
    "a b",
    'say "x"',
    "100%n",
    "$HOME",
    "back\\slash",
    "it's",
    "tab\there",
    "ünï",
    ";",
    "-x",
]


def systemd_words(line: str) -> list[str]:
    """Split a command line as systemd.service(5) has it: quoted words, escapes, %% and $$."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"(?: |$)', line)
    assert " ".join(f'"{word}"' for word in words) == line

    def plain(word: str) -> str:
        word = re.sub(
            r'\\(x[0-9a-f]{2}|["\\])', lambda at: chr(int(at[1][1:], 16)) if at[1][0] == "x" else at[1], word
        )
        assert not re.search(r"(?<!%)(%%)*%(?!%)", word)
        return word.replace("%%", "%").replace("$$", "$")

    return list(map(plain, words))


def test_a_systemd_unit_gives_every_argument_as_it_is() -> None:
    """Spaces, quotes, percent and dollar signs reach the program; the sections are systemd's."""
    text = units.unit("systemd", NASTY, {"IMGSEARCH_MODEL_DIR": "/a b/100%", "HF_TOKEN": "secret"})
    lines = text.splitlines()
    (start,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    assert systemd_words(start) == NASTY
    (environment,) = [line.removeprefix("Environment=") for line in lines if line.startswith("Environment=")]
    assert systemd_words(environment) == ["IMGSEARCH_MODEL_DIR=/a b/100%"]
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    assert "secret" not in text


def test_a_launchd_file_gives_every_argument_as_it_is() -> None:
    """The property list reads back as the same program, arguments and settings."""
    words = [word for word in NASTY if word.isprintable()]
    text = units.unit("launchd", words, {"HF_HOME": "/a & b"})
    found = plistlib.loads(text.encode())
    assert found["ProgramArguments"] == words
    assert found["EnvironmentVariables"] == {"HF_HOME": "/a & b"}
    assert found["RunAtLoad"] is True


def test_a_unit_for_bytes_that_are_no_text_is_refused() -> None:
    """Neither file can hold a path that is not UTF-8; the error names it."""
    for kind in ("systemd", "launchd"):
        with pytest.raises(UsageError, match="not valid UTF-8"):
            units.unit(kind, ["/x", os.fsdecode(b"/\xff")], {})  # type: ignore[arg-type]


def test_the_command_prints_a_unit_of_itself(photos: Path, index: Path) -> None:
    """--unit prints the file alone on stdout, with the index and the options that were given."""
    done = imgsearch(
        "watch", "--index", index, "--unit", "systemd", "--every", 30, "--gentle", "--device", "cpu"
    )
    (start,) = [line for line in done.lines if line.startswith("ExecStart=")]
    words = systemd_words(start.removeprefix("ExecStart="))
    assert words == [
        *(sys.executable, "-m", "imgsearch", "watch", "--index", str(index)),
        *("--every", "30", "--unload-after", "15", "--gentle", "--device", "cpu"),
    ]
    assert "systemctl --user enable --now imgsearch-watch" in done.err
    plist = imgsearch("watch", "--index", index, "--unit", "launchd")
    assert plistlib.loads(plist.out)["ProgramArguments"][:4] == words[:4]
