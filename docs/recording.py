"""Records the README's first picture: a terminal in which images are indexed and searched, with thumbnails.

    python docs/recording.py        # with the extra [dev] installed; writes docs/img/search.webp

The commands really run, on a pseudo-terminal that answers as kitty does, in their own home, on the images and with the
model of `imgsearch demo`; what they write is decoded by the small terminal of the tests. Only waits are shortened, and
the home is shown as /home/me.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from terminal_picture import CELL, MARGIN, PICTURES, terminal_for  # noqa: E402

from imgsearch.tools.demo.gallery import unpack_gallery  # noqa: E402
from support.terminal_pictures import GROUND, Screen  # noqa: E402
from support.terminal_replies import run_on_terminal  # noqa: E402

WINDOW = 88, 30
TYPED, LEAST, LONGEST = 32, 80, 120  # milliseconds: of a key, of a frame of output, of a wait without any
SCENES = [  # a command, with the example of the gallery, and how long its answer is shown, in milliseconds
    ("imgsearch index drawings --model demo", 1200),
    ("imgsearch query umbrella in the rain -k 8", 2200),
    ("imgsearch query umbrella in the rain -k 8 --preview", 2800),
    ("imgsearch similar {example} -k 8 -p", 3200),
]


class Recorder:
    """A terminal that keeps a picture of every state, with the milliseconds that it is shown."""

    def __init__(self, home: str) -> None:
        """Begin with an empty screen."""
        self.home = os.fsencode(home)
        self.frames: list[tuple[Image.Image, int]] = []
        self.clear()

    def clear(self) -> None:
        """Begin a new screen."""
        self.screen = Screen(*WINDOW, CELL)
        self.held = b""
        self.last = time.monotonic()

    def show(self, text: str, milliseconds: int) -> None:
        """Write what a person types, and keep a picture of it."""
        self.screen.feed(text.encode())
        self.keep(milliseconds)

    def keep(self, milliseconds: int) -> None:
        """Keep a picture of the screen as it is."""
        drawn = self.screen.draw()
        framed = Image.new("RGB", (drawn.width + 2 * MARGIN, drawn.height + 2 * MARGIN), GROUND)
        framed.paste(drawn, (MARGIN, MARGIN))
        self.frames.append((framed, milliseconds))

    def watch(self, data: bytes) -> None:
        """Take what a program writes, and keep a picture; an image that is under way is waited for."""
        self.held += data
        begun = max(self.held.rfind(b"\x1b_"), self.held.rfind(b"\x1b]"))
        end = begun if begun > self.held.rfind(b"\x1b\\") else len(self.held)
        self.screen.feed(self.held[:end].replace(self.home, b"/home/me"))
        self.held = self.held[end:]
        waited = round((time.monotonic() - self.last) * 1000)
        self.frames[-1] = (self.frames[-1][0], min(max(waited, LEAST), LONGEST))
        self.keep(LEAST)
        self.last = time.monotonic()

    def run(self, command: str, after: int) -> None:
        """Type a command, run it, and show its output as it comes."""
        self.clear()
        self.show("\x1b[32m$\x1b[0m ", 400)
        for letter in command:
            self.show(letter, TYPED)
        self.show("\n", LEAST)
        ran = run_on_terminal(
            shlex.split(command),
            terminal_for("kitty", WINDOW),
            window=WINDOW,
            environment=environment(os.fsdecode(self.home)),
            folder=os.fsdecode(self.home),
            watch=self.watch,
        )
        if ran.code or self.screen.unknown:
            sys.exit(f"{command}: exit code {ran.code}; {self.screen.unknown[:3]}")
        self.keep(after)

    def save(self, path: Path) -> None:
        """Write an animated WebP that begins with its last picture, which is what a preview shows, and repeats."""
        self.frames.insert(0, self.frames.pop())
        images, durations = zip(*self.frames, strict=True)
        images[0].save(
            path,
            save_all=True,
            append_images=images[1:],
            duration=list(durations),
            loop=0,
            lossless=False,
            quality=70,
            method=4,
            minimize_size=True,
        )
        seconds = sum(durations) / 1000
        print(f"{path}: {len(images)} frames, {seconds:.1f} s, {path.stat().st_size / 1000:.0f} KB")


def environment(home: str) -> dict[str, str]:
    """Return the environment of someone who has never used imgsearch."""
    folders = {f"XDG_{kind}_HOME": f"{home}/.{kind.lower()}" for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**folders, "HOME": home, "PATH": path, "IMGSEARCH_SERVER": "off"}


def main() -> None:
    """Unpack the demo's images, then record the scenes."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        gallery = unpack_gallery(str(Path(home, "drawings")))
        example = os.path.relpath(gallery.example, home)
        recorder = Recorder(home)
        for command, after in SCENES:
            recorder.run(command.format(example=example), after)
        recorder.save(PICTURES / "search.webp")


if __name__ == "__main__":
    main()
