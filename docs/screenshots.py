"""Takes the pictures of the page that README.md and docs/web.md show, of the demo's images with dates and cameras.

    python docs/screenshots.py        # needs a Chromium and the extra [dev]; writes into docs/img/

The images are as a person would have them: in folders, taken over four years with three cameras, some of them in
bursts, saved again or copied. The page is the real one.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from imgsearch.tools.demo.gallery import unpack_gallery

PICTURES = Path(__file__).parent / "img"
CAMERAS = (("FUJIFILM", "X-T5"), ("SONY", "ILCE-7M3"), ("Apple", "iPhone 15"))
FOLDERS = (
    "2023/Lisbon",
    "2023/Garden",
    "2024/Lake",
    "2024/Studio",
    "2025/Winter",
    "2025/Drafts",
    "2026/Walks",
)
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
MAKE, MODEL, TAKEN, EXIF, OFFSET = 0x010F, 0x0110, 0x9003, 0x8769, 0x9011
QUERY = "umbrella in the rain"


def save(image: Image.Image, path: Path, taken: datetime, camera: tuple[str, str], quality: int = 88) -> None:
    """Write a JPEG as a camera would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[MAKE], exif[MODEL] = camera
    exif.get_ifd(EXIF)[TAKEN] = f"{taken:%Y:%m:%d %H:%M:%S}"
    exif.get_ifd(EXIF)[OFFSET] = "+00:00"
    image.save(path, quality=quality, exif=exif)


def write_photos(folder: Path) -> None:
    """Write the collection: the demo's gallery, with dates, cameras, bursts, exports and copies."""
    chance = random.Random(18)
    unpacked = folder.parent / "unpacked"
    pictures = list(unpack_gallery(str(unpacked)).pictures)
    chance.shuffle(pictures)
    taken = datetime(2023, 3, 4, 9, 30)
    for number, picture in enumerate(pictures):
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
        taken += timedelta(hours=chance.expovariate(1 / 104))
        place = folder / FOLDERS[min(len(FOLDERS) - 1, number * len(FOLDERS) // len(pictures))]
        camera = chance.choice(CAMERAS)
        path = place / f"IMG_{4000 + number}.jpg"
        save(image, path, taken, camera)
        if number % 30 == 7:  # a burst
            for frame in range(1, 4):
                moved = image.transform(
                    image.size, Image.Transform.AFFINE, (1, 0, 9 * frame, 0, 1, 6 * frame)
                )
                save(
                    moved,
                    place / f"IMG_{4000 + number}_{frame}.jpg",
                    taken + timedelta(seconds=frame),
                    camera,
                )
        if number % 40 == 11:  # an export for the web
            small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
            export = place / f"IMG_{4000 + number}-web.jpg"
            small.save(export, quality=70)
            os.utime(export, (taken.timestamp(), taken.timestamp()))
        if number % 45 == 13:
            shutil.copy2(path, place / f"IMG_{4000 + number} copy.jpg")
    shutil.rmtree(unpacked)


@contextlib.contextmanager
def served(home: Path) -> Iterator[str]:
    """Index the collection, open the page's server and give its one-time link."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("IMGSEARCH_", "XDG_"))},
        "HOME": str(home),
        "IMGSEARCH_RUNTIME_DIR": str(home / "run"),
    }
    (home / "run").mkdir(mode=0o700)
    program = [str(Path(sys.executable).parent / "imgsearch")]
    index = ["index", "Pictures", "--model", "demo", "--thumbs"]
    subprocess.run([*program, *index], cwd=home, env=environment, check=True)
    web = subprocess.Popen(
        [*program, "web", "--no-browser", "--port", "0"],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert web.stdout is not None
    try:
        for line in web.stdout:
            if found := re.search(r"http://127\S+", line):
                yield found[0]
                break
        else:
            raise SystemExit("the server gave no link")
    finally:
        web.terminate()
        web.wait(20)


RENAMED = """([home, shown]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(home, shown)
}"""


def saved(page: Page, name: str, home: Path) -> None:
    """Keep what the page shows, once all images in sight are there; the home is shown as /home/me."""
    page.wait_for_load_state("networkidle")
    while not page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth)"):
        page.wait_for_timeout(100)  # the page forbids the strings of code that wait_for_function needs
    page.evaluate("document.activeElement?.blur()")
    page.evaluate(RENAMED, [str(home), "/home/me"])
    taken = page.screenshot(type="png", animations="disabled", caret="hide")
    path = PICTURES / f"{name}.webp"
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(taken)
        file.flush()
        Image.open(file.name).convert("RGB").save(path, quality=80, method=6)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def asked(page: Page, base: str, query: str = QUERY) -> None:
    """Open the answer to a query."""
    page.goto(f"{base}?q={query.replace(' ', '+')}")
    expect(page.get_by_role("grid").first).to_be_visible(timeout=60_000)


def on_desk(page: Page, base: str, home: Path) -> None:
    """The answer to a query in a window, light."""
    asked(page, base)
    saved(page, "page", home)


def lightbox(page: Page, base: str, home: Path) -> None:
    """One image, large, with what is known of it."""
    asked(page, base)
    page.get_by_role("grid").first.get_by_role("link").nth(1).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    saved(page, "page-lightbox", home)


def view(name: str) -> Callable[[Page, str, Path], None]:
    """A view that needs no query."""

    def show(page: Page, base: str, home: Path) -> None:
        page.goto(f"{base}?view={name}")
        page.wait_for_timeout(1500)  # the overview may be computed first
        expect(page.locator("main img").first).to_be_visible(timeout=120_000)
        saved(page, f"page-{name}", home)

    return show


def take(browser: Browser, link: str, home: Path) -> None:
    """Take all pictures."""
    desk = browser.new_context(viewport=DESK, reduced_motion="reduce", locale="en-GB")
    page = desk.new_page()
    page.goto(link)
    base = page.url.split("?")[0]
    cookies = desk.cookies()
    time.sleep(1)  # the model is loaded meanwhile
    for one in (on_desk, lightbox, view("timeline"), view("overview"), view("duplicates")):
        one(page, base, home)
    dark = browser.new_context(viewport=DESK, color_scheme="dark", reduced_motion="reduce", locale="en-GB")
    phone = browser.new_context(
        viewport=PHONE, device_scale_factor=2, has_touch=True, reduced_motion="reduce", locale="en-GB"
    )
    for context, name in ((dark, "page-dark"), (phone, "page-phone")):
        context.add_cookies(cookies)  # type: ignore[arg-type]
        page = context.new_page()
        asked(page, base)
        saved(page, name, home)


def main() -> None:
    """Unpack, index, serve and take the pictures."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise SystemExit("no Chromium found")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "me"
        write_photos(home / "Pictures")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        with served(home) as link, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
            take(browser, link, home)
            browser.close()


if __name__ == "__main__":
    main()
