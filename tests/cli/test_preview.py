"""`--preview` on the commands that show images: what is drawn, into a pipe and on a terminal, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from imgsearch.cli import config
from support import fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, run
from support.terminal_pictures import Screen, difference
from support.terminal_replies import NAME, TERMINALS, run_on_terminal

fake_model = fakes.fake_model
COLOURS = {"red": (230, 30, 30), "rose": (220, 90, 90), "blue": (30, 30, 230), "green": (30, 200, 30)}


@pytest.fixture
def index(fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an index of four images of one colour each, 80 × 60 pixels, in a folder."""
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setattr(config, "config_path", lambda: str(tmp_path / "config.toml"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (80, 60), colour).save(photos / f"{name}.png")
    run(tmp_path / "ix", photos)
    return tmp_path / "ix"


def screen_of(done: Done) -> Screen:
    """Return a screen of 80 columns on which a command's output was written."""
    assert done.code == 0, done.err
    screen = Screen(80, 60)
    screen.feed(done.out)
    assert screen.unknown == []
    return screen


def tile(screen: Screen, column: int, top: int = 0) -> Image.Image:
    """Return the middle of an image in a grid of three: without its edges, which fall between cells."""
    return screen.crop(column * 27 + 4, top + 2, 16, 5)


@pytest.mark.parametrize("way", ["kitty", "iterm2", "sixel", "blocks"])
def test_a_protocol_that_was_named_is_drawn_into_a_pipe(index: Path, way: str) -> None:
    """--preview=PROTOCOL draws a grid by exactly that, the best hit first, with number, name, score and folder."""
    screen = screen_of(imgsearch("query", "red", "-k", 3, f"--preview={way}", "--index", index))
    assert set(screen.protocols) == ({way} if way != "blocks" else set())
    for column, name in enumerate(("red", "rose")):
        expected = Image.new("RGB", (160, 100), COLOURS[name])
        assert difference(tile(screen, column), expected) < 6
    named = next(line for line in screen.text if "red.png" in line)
    assert named.split()[:4] == ["1", "red.png", "2", "rose.png"]
    below = screen.text[screen.text.index(named) + 1].split()
    assert below[0].startswith("0.")
    assert below[1].endswith("photos")


def test_columns_sets_how_many_are_in_a_row(index: Path) -> None:
    """--columns 1 puts one image in a row, and --columns 4 four."""
    one = screen_of(imgsearch("query", "red", "-k", 2, "--preview=blocks", "--columns", 1, "--index", index))
    assert [line.split()[0] for line in one.text if ".png" in line] == ["1", "2"]
    four = screen_of(
        imgsearch("query", "red", "-k", "all", "--preview=blocks", "--columns", 4, "--index", index)
    )
    assert [line.split()[::2] for line in four.text if ".png" in line] == [["1", "2", "3", "4"]]


def test_a_pipe_gets_lines_unless_a_protocol_was_named(index: Path) -> None:
    """-p alone changes nothing in a pipe, nor does a protocol in the config file."""
    plain = imgsearch("query", "red", "--index", index)
    for alone in ("-p", "--preview", "--preview=auto"):
        assert imgsearch("query", "red", alone, "--index", index).out == plain.out
    Path(config.config_path()).write_text('[all]\npreview = "kitty"\n')
    assert imgsearch("query", "red", "--index", index).out == plain.out


@pytest.mark.parametrize("alone", ["-p", "--preview"])
def test_the_word_behind_it_is_a_word_of_the_query(index: Path, alone: str) -> None:
    """A value needs the sign =, so that words may follow the option, in any place."""
    plain = imgsearch("query", "red", "--index", index)
    assert imgsearch("query", alone, "red", "--index", index).out == plain.out
    assert imgsearch("query", "red", "--index", index, alone).out == plain.out
    assert imgsearch("query", "-qp", "red", "--index", index).out == plain.out


def test_similar_and_show_draw_too(index: Path, tmp_path: Path) -> None:
    """An example's neighbours are drawn as hits are, and show draws its image above what is known of it."""
    photos = tmp_path / "photos"
    similar = screen_of(
        imgsearch("similar", photos / "red.png", "-k", 2, "--preview=blocks", "--index", index)
    )
    assert difference(tile(similar, 0), Image.new("RGB", (9, 9), COLOURS["red"])) < 6
    known = screen_of(imgsearch("show", photos / "green.png", "--preview=blocks", "--index", index))
    path = str(photos / "green.png")  # a long one goes on in the next line
    top = next(at for at, line in enumerate(known.text) if line and path.startswith(line))
    assert top > 5
    assert path in "".join(known.text)
    middle = known.crop(26, 3, 8, top - 7)
    assert difference(middle, Image.new("RGB", (9, 9), COLOURS["green"])) < 6


def test_list_draws_what_it_lists(index: Path) -> None:
    """The images of a list are drawn in its order, and below each its name and folder."""
    screen = screen_of(
        imgsearch("list", "--sort", "path", "--preview=blocks", "--columns", 3, "--index", index)
    )
    for column, name in enumerate(("blue", "green", "red")):
        assert difference(tile(screen, column), Image.new("RGB", (9, 9), COLOURS[name])) < 6
    assert next(line for line in screen.text if "blue.png" in line).split()[:2] == ["1", "blue.png"]


def test_duplicates_are_drawn_in_their_groups(index: Path, tmp_path: Path) -> None:
    """Each group of duplicates has rows of its own, with what to keep first, and numbers that run on."""
    photos = tmp_path / "photos"
    for name in ("blue", "green"):
        shutil.copy(photos / f"{name}.png", photos / f"{name}-copy.png")
    run(index, photos)
    screen = screen_of(imgsearch("duplicates", "--preview=blocks", "--columns", 3, "--index", index))
    captions = [at for at, line in enumerate(screen.text) if ".png" in line]
    assert [screen.text[at].split()[::2] for at in captions] == [["1", "2"], ["3", "4"]]
    assert all(screen.text[at + 1].startswith("keep  ") for at in captions)
    first, second = (tile(screen, 0, top) for top in (0, captions[0] + 3))
    assert {difference(first, Image.new("RGB", (9, 9), COLOURS[name])) < 6 for name in ("blue", "green")} == {
        True,
        False,
    }
    assert difference(first, second) > 50


def test_a_missing_file_has_a_frame(index: Path, tmp_path: Path) -> None:
    """A hit whose file is gone keeps its place, its number and its name, in a frame that says so."""
    (tmp_path / "photos" / "red.png").unlink()
    screen = screen_of(imgsearch("query", "red", "-k", 2, "--preview=blocks", "--index", index))
    assert any("│" in line and "missing" in line for line in screen.text)
    assert any(line.split()[:2] == ["1", "red.png"] for line in screen.text)


def test_explanations_follow_the_images(index: Path) -> None:
    """With --explain the rows with what carried each result stand below the grid."""
    out = screen_of(imgsearch("query", "red", "--explain", "--preview=blocks", "--index", index)).text
    grid = next(at for at, line in enumerate(out) if "1 red.png" in line)
    assert any("above chance" in line for line in out[grid:])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preview=blocks", "--json"), "--preview shows images and --json prints data"),
        (("-p", "--paths"), "--preview shows images and --paths prints data"),
        (("--preview=png",), "--preview png: choose one of auto, kitty, iterm2, sixel, blocks, off"),
        (("--preview=blocks", "--columns", 0), "--columns 0: a row has at least 1 image"),
    ],
)
def test_what_makes_no_sense_is_refused(index: Path, options: tuple[object, ...], said: str) -> None:
    """A preview beside data, an unknown protocol and a row of no image are errors in one line."""
    done = imgsearch("query", "red", "--index", index, *options)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err


def test_sixel_without_its_extra_names_the_extra(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--preview=sixel without textual-image is an error that says how to install it."""
    monkeypatch.setitem(sys.modules, "textual_image", None)
    done = imgsearch("query", "red", "--preview=sixel", "--index", index)
    assert done.code == 2
    assert "--preview=sixel needs packages that are not installed" in done.err
    assert "[preview]" in done.err


def test_the_config_file_sets_it(index: Path) -> None:
    """The key preview takes true, false and a protocol, and --preview=off takes it back for one call."""
    for value in ("true", "false", '"sixel"'):
        Path(config.config_path()).write_text(f"[query]\npreview = {value}\n")
        assert imgsearch("query", "red", "--index", index).code == 0
        assert imgsearch("query", "red", "--preview=off", "--json", "--index", index).code == 0
    Path(config.config_path()).write_text('[query]\npreview = "png"\n')
    assert "choose one of" in imgsearch("query", "red", "--index", index).err


def on_terminal(
    index: Path, name: str, *options: str, window: tuple[int, int] = (80, 30)
) -> tuple[Screen, bytes]:
    """Return the screen after a query on a terminal, by another process, and all that was written."""
    photo = str(index.parent / "photos" / "red.png")
    ran = run_on_terminal(
        [sys.executable, "-m", "imgsearch", "similar", photo, "--all", "--index", str(index), *options],
        TERMINALS[name],
        window=window,
        environment={"HOME": str(index.parent), "XDG_CONFIG_HOME": str(index.parent / "none")},
    )
    assert (ran.code, ran.unread, ran.restored) == (0, 0, True), ran.output
    screen = Screen(*window, TERMINALS[name].cell or (10, 20))
    screen.feed(ran.output)
    return screen, b"".join(ran.asked)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("kitty 0.26.5", "kitty"),
        ("WezTerm 20251025", "iterm2"),
        ("foot 1.25.0", "sixel"),
        ("GNOME Terminal 3.52", None),
    ],
)
def test_on_a_terminal_the_best_that_it_speaks_is_drawn(index: Path, name: str, protocol: str | None) -> None:
    """-p asks the terminal, draws by its protocol, and leaves neither a reply nor another mode behind."""
    screen, asked = on_terminal(index, name, "-p")
    assert NAME in asked
    assert set(screen.protocols) == ({protocol} if protocol else set())
    assert screen.unknown == []
    top = next(at for at, line in enumerate(screen.text) if "1 red.png" in line)
    box = screen.crop(6, 2, 10, top - 4)
    assert difference(box, Image.new("RGB", (9, 9), COLOURS["red"])) < 6


def test_without_the_option_nothing_is_asked(index: Path) -> None:
    """A terminal is asked nothing unless a preview was asked for."""
    _, asked = on_terminal(index, "kitty 0.26.5")
    assert asked == b""


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
@pytest.mark.parametrize(("passes", "protocol"), [("on", "kitty placeholders"), ("off", None)])
def test_in_a_real_tmux(index: Path, tmp_path: Path, passes: str, protocol: str | None) -> None:
    """In tmux in kitty, images go through where tmux lets them, and where not it is said what to set."""
    kitty = TERMINALS["kitty 0.26.5"]
    newer = replace(kitty, replies={**kitty.replies, NAME: b"\x1bP>|kitty(0.35.2)\x1b\\"}, pixels=(900, 720))
    settings = tmp_path / "tmux.conf"
    settings.write_text(f"set -g allow-passthrough {passes}\n")
    photo, socket = index.parent / "photos" / "red.png", tmp_path / "socket"
    command = f"{sys.executable} -m imgsearch similar {photo} --all -p --index {index}; cat"
    ran = run_on_terminal(
        ["tmux", "-S", str(socket), "-f", str(settings), "new-session", command],
        newer,
        window=(100, 40),
        environment={"HOME": str(tmp_path), "TERM": "xterm-256color"},
        until=b"green.png",
    )
    subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False, capture_output=True)
    screen = Screen(100, 40, (9, 18))
    screen.feed(ran.output)
    assert set(screen.protocols) == ({protocol} if protocol else set())
    text = " ".join(screen.text)
    assert ("set -g allow-passthrough on" in text) == (passes == "off")
    top = next(at for at, line in enumerate(screen.text) if "1 red.png" in line)
    # tmux reduces colours to those that it believes the terminal to have; images are none of its business.
    tolerance = 6 if protocol else 36
    assert difference(screen.crop(8, top - 6, 8, 3), Image.new("RGB", (9, 9), COLOURS["red"])) < tolerance
