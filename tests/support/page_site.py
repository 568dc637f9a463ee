"""A page with its real server: drawn images that the demo's model knows, indexed, and `imgsearch web` for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from shapes.gallery import QUERIES, draw_gallery
from support.serving import Running, running

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

CAMERAS = (("FUJIFILM", "X-T5"), ("Canon", "Canon EOS R6"))
QUERY = QUERIES[0].text
HOSTILE = "<img src=x onerror=alert(1)>.png"
_OTHERS = 40


@dataclass
class Site:
    """A running server, its images, and which of them show what ``QUERY`` describes."""

    server: Running
    folder: Path
    matching: list[str]
    base: str = ""
    state: Any = None

    def enter(self, context: BrowserContext) -> None:
        """Open the one-time link in a context; contexts made with ``state`` are in the same session."""
        page = context.new_page()
        link = re.search(r"http://\S+/open/\S+", self.server.text())
        assert link, self.server.text()
        page.goto(link[0])
        self.base, self.state = page.url, context.storage_state()
        page.close()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Draw images into a folder: two years, two cameras, a hostile name, a copy; index and serve them."""
    images = folder / "images"
    for name in ("Holidays", "Work"):
        (images / name).mkdir(parents=True)
    scenes = draw_gallery(str(folder / "drawn"))
    right = [path for path, scene in scenes.items() if QUERIES[0].matches(scene)]
    chosen = right + [path for path in scenes if path not in right][:_OTHERS]
    matching = []
    for number, path in enumerate(chosen):
        name = HOSTILE if number == 0 else f"{number:03}.jpg"
        target = images / ("Holidays" if number % 2 else "Work") / name
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = CAMERAS[number % 2]
        exif.get_ifd(0x8769)[0x9003] = f"{2022 + number % 2}:07:{number % 28 + 1:02} 12:00:00"
        with Image.open(path) as drawn:
            drawn.save(target, "PNG" if number == 0 else "JPEG", exif=exif, quality=92)
        if path in right:
            matching.append(name)
    (images / "Work" / "copy.jpg").write_bytes((images / "Work" / "002.jpg").read_bytes())
    index = folder / "index"
    environment = {**os.environ, "IMGSEARCH_RUNTIME_DIR": str(folder / "none")}
    command = [
        sys.executable,
        "-m",
        "imgsearch",
        "index",
        str(images),
        "--index",
        str(index),
        "--model",
        "demo",
    ]
    subprocess.run([*command, "--thumbs"], env=environment, check=True, capture_output=True)
    options = ("--no-browser", "--port", 0, "--index", index)
    with running(folder / "run", *options, ready="works once", program=("-m", "imgsearch", "web")) as server:
        yield Site(server, images, matching)
