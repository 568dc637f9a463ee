"""Draws pictures of terminals in which previews are shown: by half blocks, and by an image protocol decoded again.

    python docs/terminal_picture.py       # with the extra [dev] installed; writes into docs/img/
    python docs/terminal_picture.py --width 100 --lines 40 --as kitty out.png -- imgsearch query red car -p

The commands really run, on a pseudo-terminal that answers as a recorded one does; what they write is decoded by the
small terminal of the tests. Without arguments it makes the pictures of the documentation, in a home of their own, on
the images of `imgsearch demo`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.terminal_pictures import GROUND, Screen  # noqa: E402
from support.terminal_replies import TERMINALS, Recorded, run_on_terminal  # noqa: E402

PICTURES = ROOT / "docs" / "img"
MARGIN = 12
CELL = 9, 18
AS = {
    "blocks": "GNOME Terminal 3.52",
    "kitty": "kitty 0.26.5",
    "sixel": "foot 1.25.0",
    "iterm2": "WezTerm 20251025",
}
"""Protocol → the recorded terminal that speaks it."""
SCENES = {  # a picture, the protocol, the window, and the command that is shown in it
    "preview-blocks.png": ("blocks", (78, 33), "imgsearch query umbrella in the rain -k 6 -p"),
    "preview-kitty.png": ("kitty", (78, 33), "imgsearch query a red car -k 6 -p"),
}


def terminal_for(protocol: str, window: tuple[int, int], cell: tuple[int, int] = CELL) -> Recorded:
    """Return a recorded terminal that speaks a protocol, with a window of columns and lines and cells of a size."""
    known = TERMINALS[AS[protocol]]
    replies = {
        question: reply
        for question, reply in known.replies.items()
        if question not in (b"\x1b[16t", b"\x1b[14t", b"\x1b]1337;ReportCellSize\x1b\\")
    }
    pixels = window[0] * cell[0], window[1] * cell[1]
    return replace(known, replies=replies, pixels=pixels, environment={**known.environment, **_COLOURS})


_COLOURS = {"COLORTERM": "truecolor"}


def picture(
    argv: Sequence[str],
    protocol: str,
    window: tuple[int, int],
    *,
    typed: str = "",
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    home: str = "",
    cell: tuple[int, int] = CELL,
) -> Image.Image:
    """Return a picture of the screen after a command, with text and images; ``typed`` is shown as the command.

    ``folder`` is where it runs. Empty lines at the end are cut off. Raises RuntimeError if it fails, or writes what the
    small terminal does not understand.
    """
    ran = run_on_terminal(
        argv, terminal_for(protocol, window, cell), window=window, environment=environment, folder=folder
    )
    screen = Screen(*window, cell)
    if typed:
        screen.feed(f"\x1b[32m$\x1b[0m {typed}\n".encode())
    screen.feed(ran.output.replace(os.fsencode(home), b"/home/me") if home else ran.output)
    if ran.code not in (0, 1) or screen.unknown:
        raise RuntimeError(f"{' '.join(argv)}: exit code {ran.code}; {screen.unknown[:3]}; {screen.text}")
    used = max((at for at, line in enumerate(screen.text) if line), default=0) + 1
    drawn = screen.draw().crop((0, 0, window[0] * cell[0], used * cell[1]))
    framed = Image.new("RGB", (drawn.width + 2 * MARGIN, drawn.height + 2 * MARGIN), GROUND)
    framed.paste(drawn, (MARGIN, MARGIN))
    return framed


def save(image: Image.Image, path: Path) -> None:
    """Write a picture as a PNG of 256 colours, which is enough for these and a quarter of the size."""
    small = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    small.save(path, optimize=True)
    print(f"{path}: {image.width} × {image.height}, {path.stat().st_size / 1000:.0f} KB")


def scenes() -> None:
    """Make the pictures of the documentation."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "IMGSEARCH_SERVER": "off", "PATH": _path()}
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            environment[name] = str(Path(home, name))
        subprocess.run(
            ["imgsearch", "demo"],
            cwd=home,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
        )
        folder = str(Path(home, "demo-gallery"))
        for name, (protocol, window, command) in SCENES.items():
            image = picture(
                command.split(),
                protocol,
                window,
                typed=command,
                environment=environment,
                folder=folder,
                home=home,
            )
            save(image, PICTURES / name)


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def main() -> None:
    """Draw a given command's picture, or those of the documentation."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--as", dest="protocol", choices=sorted(AS), default="kitty")
    options.add_argument("--width", type=int, default=100, metavar="COLUMNS")
    options.add_argument("--lines", type=int, default=40)
    options.add_argument("picture", nargs="?", type=Path)
    options.add_argument("command", nargs="*")
    given = options.parse_args()
    if given.picture is None:
        scenes()
        return
    if not given.command:
        options.error("which command? put it behind --")
    window = given.width, given.lines
    save(
        picture(
            given.command,
            given.protocol,
            window,
            typed=" ".join(given.command),
            environment={"PATH": _path()},
        ),
        given.picture,
    )


if __name__ == "__main__":
    main()
