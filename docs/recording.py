"""Records the README's pictures: a terminal in which images are indexed and searched, and an answer's contact sheet.

    python docs/recording.py        # with the extra [docs] installed; writes into docs/img/

The commands really run, in a pseudo-terminal of their own home, on the images and with the model of `imgsearch demo`.
Only waits are shortened, and the home is shown as /home/me.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pty
import select
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte
from PIL import Image, ImageDraw, ImageFont

PICTURES = Path(__file__).parent / "img"
SHEET = "2-three-white-stars-on-blue.png"
COLUMNS, ROWS = 76, 19
TYPED, LEAST, LONGEST = 32, 80, 120  # milliseconds: of a key, of a frame of output, of a wait without any
SCENES = [  # a command, and how long its answer is shown, in milliseconds
    ("imgsearch index shapes --model demo", 1200),
    ("imgsearch query three white stars on blue -k 5", 1800),
    ("imgsearch similar shapes/007.png -k 5", 2600),
]
SIZE, MARGIN = 15, 12
BACKGROUND, CURSOR = (24, 27, 33), (150, 156, 164)
COLOURS = {
    "default": (222, 226, 230),
    "green": (126, 200, 120),
    "brown": (226, 192, 110),
    "blue": (110, 168, 232),
    "cyan": (104, 200, 200),
    "red": (232, 120, 112),
    "magenta": (200, 140, 220),
    "black": (120, 126, 134),
}


class Recorder:
    """A terminal that keeps a picture of every state, with the milliseconds that it is shown."""

    def __init__(self) -> None:
        """Begin with an empty screen."""
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.frames: list[tuple[Image.Image, int]] = []
        # Matplotlib ships the font, so every machine draws the same.
        spec = importlib.util.find_spec("matplotlib")
        assert spec
        assert spec.origin
        fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
        self.fonts = [ImageFont.truetype(fonts / f"DejaVuSansMono{bold}.ttf", SIZE) for bold in ("", "-Bold")]
        self.advance = round(self.fonts[0].getlength("M"))
        self.line = SIZE + 5

    def show(self, text: str, milliseconds: int) -> None:
        """Write what the program, or a person's typing, puts on the screen, and keep a picture of it."""
        self.stream.feed(text.encode())
        self.keep(milliseconds)

    def keep(self, milliseconds: int) -> None:
        """Keep a picture of the screen as it is."""
        size = (COLUMNS * self.advance + 2 * MARGIN, ROWS * self.line + 2 * MARGIN)
        image = Image.new("RGB", size, BACKGROUND)
        draw = ImageDraw.Draw(image)
        cursor = self.screen.cursor
        for row in range(ROWS):
            for column in range(COLUMNS):
                cell = self.screen.buffer[row][column]
                at = (MARGIN + column * self.advance, MARGIN + row * self.line)
                if not cursor.hidden and (column, row) == (cursor.x, cursor.y):
                    draw.rectangle((*at, at[0] + self.advance - 1, at[1] + self.line - 3), fill=CURSOR)
                if cell.data.strip():
                    colour = COLOURS.get(cell.fg, COLOURS["default"])
                    draw.text(at, cell.data, fill=colour, font=self.fonts[cell.bold])
        self.frames.append((image, milliseconds))

    def run(self, command: str, home: str, after: int) -> None:
        """Type a command, run it in a pseudo-terminal, and show its output as it comes."""
        self.show("\x1b[32m$\x1b[0m ", 400)
        for letter in command:
            self.show(letter, TYPED)
        self.show("\r\n", LEAST)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = subprocess.Popen(
            shlex.split(command), cwd=home, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(home)
        )
        os.close(theirs)
        last = time.monotonic()
        while True:
            ready, _, _ = select.select([ours], [], [], LEAST / 1000)
            try:
                data = os.read(ours, 65536) if ready else b""
            except OSError:  # Linux's end of a pseudo-terminal
                break
            if ready and not data:
                break
            if data:
                self.stream.feed(data.replace(os.fsencode(home), b"/home/me"))
                waited = round((time.monotonic() - last) * 1000)
                self.frames[-1] = (self.frames[-1][0], min(max(waited, LEAST), LONGEST))
                self.keep(LEAST)
                last = time.monotonic()
        os.close(ours)
        if process.wait():
            sys.exit(f"{command}: exit code {process.returncode}")
        self.keep(after)

    def save(self, path: Path) -> None:
        """Write an animated GIF that begins with its last picture, which is what a preview shows, and repeats."""
        self.frames.insert(0, self.frames.pop())
        palette = Image.new("P", (1, 1))
        steps = range(5)
        shades = [
            tuple(b + (c - b) * step // 4 for b, c in zip(BACKGROUND, colour, strict=True))
            for colour in (*COLOURS.values(), CURSOR)
            for step in steps
        ]
        palette.putpalette([value for shade in shades for value in shade])
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image, _ in self.frames]
        durations = [milliseconds for _, milliseconds in self.frames]
        images[0].save(
            path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
        )
        print(
            f"{path}: {len(images)} frames, {sum(durations) / 1000:.1f} s, {path.stat().st_size / 1000:.0f} KB"
        )


def environment(home: str) -> dict[str, str]:
    """Return the environment of someone who has never used imgsearch."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "IMGSEARCH_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "HOME": home, "PATH": path, "TERM": "xterm-256color", "IMGSEARCH_SERVER": "off"}


def main() -> None:
    """Run the demo for its images and its contact sheet, then record the scenes."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        subprocess.run(
            ["imgsearch", "demo"], cwd=home, env=environment(home), check=True, capture_output=True
        )
        shutil.copy(Path(home, "demo-gallery", "sheets", SHEET), PICTURES / SHEET.partition("-")[2])
        shutil.move(Path(home, "demo-gallery", "pictures"), Path(home, "shapes"))
        shutil.rmtree(Path(home, "demo-gallery"))
        recorder = Recorder()
        for command, after in SCENES:
            recorder.run(command, home, after)
        recorder.save(PICTURES / "search.gif")


if __name__ == "__main__":
    main()
