"""What a person feels of `imgsearch web`: key press to painted hits, first paint, weight, scrolling, server memory.

Theory: a remembered query costs no model: 30 ms of waiting for the next key, a search (3 to 10 ms at 100,000 rows),
some 100 KB of JSON, and one drawing of 30 tiles: under 100 ms. With the model warm its forward comes on top, and 60
ms are left for all else. The page is some 30 small files over loopback: first paint within 300 ms, at most 150 KB. A
grid that holds only what is in the window costs the same at 10,000 hits as at 100; "no dropped second" means that no
two frames are more than a second apart, and a smooth scroll that most are 17 ms apart. The server's memory after
1,000 thumbnails of 12 megapixels is bounded by its pool of four decoders, whatever their number.

    python benchmarks/web.py [--rows 100000] [--photos 1000] [--work DIR] [--index DIR] [--size 1280x800]
        [--queries 12] [--speed 2500] [--seconds 12] [--chromium PATH] [--only keys,paint,scroll,memory]

Without --index an index is made in --work and used again: scenes of shapes, each file with bytes of its own, embedded
by the demo model with a little noise; the first --photos of them have 12 megapixels, the others are small, and all
have a date and a camera. Any other index does, too; its model is then the one that is timed. Thumbnails of the made
index are deleted before memory is measured. Takes the system's Chromium by playwright, without a GPU. Prints a table
and one JSON line. Times are medians with the worst in brackets. All together takes some four minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import measure
import synthetic

SCENES = 300
SMALL, LARGE = (320, 240), (4000, 3000)
NOISE = 0.35  # of a vector's length: how far copies of a scene lie apart
_VERSION = 1
_FIRST = datetime(2012, 1, 1)
_STEP = timedelta(minutes=70)  # 100,000 images are 13 years
_BLOCK = 4096
_THUMBNAILS = 1000

# Fetched by the page itself, as many at a time as a browser does: how many failed.
FETCH = """
async (keys) => {
  const left = [...keys];
  let failed = 0;
  const one = async () => {
    while (left.length) {
      const answer = await fetch(`thumb/${left.pop()}?size=s`, {cache: "no-store"});
      if (!answer.ok || !(await answer.arrayBuffer()).byteLength) failed += 1;
    }
  };
  await Promise.all(Array.from({length: 6}, one));
  return failed;
}
"""
# Noted in the page: when a key went down, and when the hits that it led to were painted, without and with thumbnails.
WATCH = """
window.noted = {key: 0, painted: [], pictures: []};
addEventListener("keydown", (event) => { noted.key = event.timeStamp; }, true);
const painted = (then) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => then(performance.now());
  channel.port2.postMessage(0);
});
const seen = () => [...document.querySelectorAll(".tile img")].filter((image) => {
  const box = image.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
});
addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  const grid = document.querySelector('.grid[aria-label="Results"]');
  if (!grid || grid.noted || !grid.querySelector(".tile img")) return;
  grid.noted = true;
  const since = noted.key;
  painted((now) => noted.painted.push(now - since));
  const wait = () => {
    if (!grid.isConnected) return;
    if (!seen().every((image) => image.complete && image.naturalWidth)) requestAnimationFrame(wait);
    else painted((now) => noted.pictures.push(now - since));
  };
  wait();
}).observe(document, {childList: true, subtree: true}));
"""
FRAMES = """
async (seconds) => {
  const gaps = [], nodes = [0];
  let last = performance.now();
  const end = last + seconds * 1000;
  window.stop_ = false;
  while (last < end && !window.stop_) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    if (gaps.length % 30 === 0) nodes.push(document.querySelectorAll("*").length);
  }
  return {gaps, nodes: Math.max(...nodes), scrolled: scrollY};
}
"""


# ---- the index -------------------------------------------------------------------------------------------------


def make_index(work: str, rows: int, photos: int) -> str:
    """Return the folder of an index of ``rows`` real files, of which the first ``photos`` have 12 megapixels."""
    import numpy as np

    from imgsearch.client import load_encoder
    from imgsearch.index.writer import IndexWriter
    from imgsearch.spec import choose_spec
    from imgsearch.types import ModelOptions, Silent

    home = os.path.join(os.path.abspath(work), f"web-{rows}-{photos}")
    folder, said = os.path.join(home, "index"), os.path.join(home, "made.json")
    if os.path.exists(said):
        with open(said) as file:
            if json.load(file)["version"] == _VERSION:
                return folder
    if os.path.exists(home):
        raise SystemExit(f"{home} is not a whole index of this version of the script; remove it")
    pictures = os.path.join(home, "pictures")
    os.makedirs(pictures)
    choice = ModelOptions(model="demo")
    checkpoint, spec = choose_spec(choice, Silent())
    small, large, vectors = _scenes(load_encoder(checkpoint, spec, choice, Silent()), spec)
    chance = np.random.default_rng(18)
    with IndexWriter(folder, spec) as writer:
        root = writer.catalog.put_root(pictures, {})
        for first in range(0, rows, _BLOCK):
            numbers = range(first, min(first + _BLOCK, rows))
            named = [_put(root, pictures, number, large if number < photos else small) for number in numbers]
            block = vectors[[number % SCENES for number in numbers]]
            noise = chance.standard_normal(block.shape, dtype=np.float32)
            block = block + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            writer.commit([content for content, _ in named], block, [state for _, state in named])
            print(f"{numbers[-1] + 1:,} of {rows:,} rows", file=sys.stderr)
    with open(said, "w") as file:
        json.dump({"version": _VERSION, **synthetic.build(folder)}, file)
    return folder


def _scenes(encoder: Any, spec: Any) -> tuple[list[bytes], list[bytes], Any]:
    """Return scenes as small and as large JPEG files, and their vectors (SCENES, dim)."""
    import numpy as np
    from PIL import Image

    from imgsearch.types import Input
    from shapes.render import render
    from shapes.scene import KINDS, draw_scene

    chance, rows = random.Random(18), []
    small: list[bytes] = []
    large: list[bytes] = []
    for number in range(SCENES):
        drawn = np.asarray(render(draw_scene(KINDS[number % len(KINDS)], chance), chance))
        given = Input(image=encoder.prepare(drawn), instruction=spec.document_prompt)
        rows.append(encoder.embed([given])[0])
        for files, size in ((small, SMALL), (large, LARGE)):
            if files is large and number >= 20:
                continue
            out = io.BytesIO()
            Image.fromarray(drawn).resize(size).save(out, "JPEG", quality=75)
            files.append(out.getvalue())
    return small, large, np.stack(rows)


def _put(root: int, folder: str, number: int, scenes: Sequence[bytes]) -> tuple[Any, Any]:
    """Write the file of a number, whose bytes no other has; return its content and its state."""
    import hashlib

    from imgsearch.index.rows import FileState
    from imgsearch.types import Metadata, SourceFile

    scene, comment = scenes[number % len(scenes)], b"%09d" % number
    # A comment after the start of the image makes it another file.
    data = scene[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + scene[2:]
    name = synthetic.picture_name(number)
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    stat, digest = os.stat(path), hashlib.sha256(data).digest()
    taken = _FIRST + _STEP * number
    known = Metadata(taken=taken, taken_from="image", make="Maker", model=f"Camera {number % 7}")
    size = LARGE if len(scene) > 60_000 else SMALL
    state = FileState(root, SourceFile(folder, name, stat.st_size, stat.st_mtime_ns), digest, metadata=known)
    return (digest, 0, *size), state


# ---- the server and the browser --------------------------------------------------------------------------------


@dataclass
class Served:
    """A running server: its process and the link that opens a session."""

    process: subprocess.Popen[str]
    link: str

    def memory(self) -> dict[str, float]:
        """Return its memory in MB."""
        return measure.memory(self.process.pid)


@contextlib.contextmanager
def served(folder: str) -> Iterator[Served]:
    """Run `imgsearch web` for an index in a process of its own."""
    with tempfile.TemporaryDirectory() as runtime:
        env = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        argv = [sys.executable, "-m", "imgsearch", "web", "--no-browser", "--port", "0", "--index", folder]
        process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("http"):
                    yield Served(process, line.strip())
                    break
            else:
                raise SystemExit("imgsearch web did not start")
        finally:
            process.terminate()
            process.wait(30)


def show(name: str, taken: Sequence[float], unit: str = "ms") -> float:
    """Print a median and the worst; return the median."""
    middle = statistics.median(taken)
    print(f"{name:<58} {middle:>8,.0f} {unit}  ({max(taken):,.0f})")
    return middle


def settle(page: Any, count: int) -> None:
    """Wait until so many answers have been painted with their thumbnails."""
    end = time.monotonic() + 60
    while page.evaluate("noted.pictures.length") < count and time.monotonic() < end:
        time.sleep(0.02)


def keys(page: Any, base: str, queries: Sequence[str], remembered: bool) -> dict[str, float]:
    """Time the last key of each query; a remembered one was asked with Enter before."""
    box = page.get_by_role("combobox", name="Search")
    rounds = 2 if remembered else 1  # the second time thumbnails are made, and the query is known
    painted: list[float] = []
    pictures: list[float] = []
    for turn in range(rounds):
        for words in queries:
            page.goto(base)
            box.fill(words[:-1])
            settle(page, 1)
            page.evaluate("noted.painted = []; noted.pictures = []")
            page.keyboard.press(words[-1])
            settle(page, 1)
            if turn == rounds - 1:
                painted += page.evaluate("noted.painted.slice(0, 1)")
                pictures += page.evaluate("noted.pictures.slice(0, 1)")
            else:
                page.keyboard.press("Enter")
                page.wait_for_timeout(300)
    kind = "remembered query" if remembered else "new query, model warm"
    return {
        "painted_ms": show(f"key press to painted hits, {kind}", painted),
        "pictures_ms": show(f"key press to painted thumbnails, {kind}", pictures),
    }


def forward(folder: str, queries: Sequence[str]) -> float:
    """Return the median milliseconds in which this process's copy of the index's model embeds the words."""
    from imgsearch.client import load_encoder
    from imgsearch.index.reader import ImageIndex
    from imgsearch.spec import choose_spec
    from imgsearch.types import Input, ModelOptions, Silent

    with ImageIndex(folder) as index:
        spec = index.spec
    choice = ModelOptions(model=spec.model)
    checkpoint, _ = choose_spec(choice, Silent())
    encoder = load_encoder(checkpoint, spec, choice, Silent())
    taken = []
    for words in (*queries, *queries):
        began = measure.now()
        encoder.embed([Input(words, instruction=spec.query_prompt)])
        taken.append((measure.now() - began) * 1e3)
    return show("forward of the model alone", taken[len(queries) :])


def paint(browser: Any, state: Any, base: str) -> dict[str, float]:
    """Time the first paint of fresh tabs, and weigh the page in a browser that has kept nothing of it."""
    taken, sizes = [], {}
    context = browser.new_context(storage_state=state)
    for turn in range(8):
        page = context.new_page()
        page.goto(base, wait_until="load")
        page.wait_for_timeout(500)
        entries = page.evaluate(
            "performance.getEntriesByName('first-contentful-paint').map((it) => it.startTime)"
        )
        taken += entries
        if turn == 0:
            sizes = page.evaluate(
                """() => performance.getEntries()
                  .filter((it) => it.entryType === "navigation" || it.name.includes("/static/"))
                  .reduce((all, it) => ({
                    files: all.files + 1, wire: all.wire + it.transferSize, raw: all.raw + it.decodedBodySize,
                  }), {files: 0, wire: 0, raw: 0})"""
            )
        page.close()
    context.close()
    first = show("first paint of a fresh tab", taken)
    print(
        f"{'weight without thumbnails and answers':<58} {sizes['wire'] / 1e3:>8,.1f} KB on the wire, "
        f"{sizes['raw'] / 1e3:,.1f} KB of {sizes['files']} files"
    )
    return {"first_paint_ms": first, "wire_kb": sizes["wire"] / 1e3, "raw_kb": sizes["raw"] / 1e3}


def scroll(page: Any, address: str, name: str, speed: int, seconds: int) -> dict[str, float]:
    """Scroll a grid with a steady hand; print how far apart frames were and how many elements the page had."""
    page.goto(address)
    page.locator(".tile img").first.wait_for()
    page.wait_for_timeout(1000)
    session = page.context.new_cdp_session(page)
    task = page.evaluate_handle(f"() => {{ window.frames_ = ({FRAMES})({seconds}); }}")
    session.send(
        "Input.synthesizeScrollGesture",
        {"x": 600, "y": 500, "yDistance": -speed * seconds, "speed": speed, "gestureSourceType": "mouse"},
    )
    found = page.evaluate("() => window.frames_")
    task.dispose()
    gaps = sorted(found["gaps"])
    middle, late = statistics.median(gaps), gaps[int(len(gaps) * 0.99)]
    print(
        f"{'frames, ' + name:<58} {len(gaps) / seconds:>8,.0f} a second; gaps: median {middle:.0f} ms, 99 % {late:.0f} "
        f"ms, longest {gaps[-1]:.0f} ms; {found['scrolled']:,.0f} pixels, at most {found['nodes']:,} elements"
    )
    return {
        "frames": len(gaps),
        "median_ms": statistics.median(gaps),
        "longest_ms": gaps[-1],
        "elements": found["nodes"],
    }


def to_the_end(page: Any, base: str, words: str, hits: int) -> dict[str, float]:
    """Go to the last of many hits by the End key; print how long that takes, and how far apart frames were."""
    page.goto(f"{base}?q={words.replace(' ', '+')}")
    page.locator(".tile img").first.wait_for()
    page.keyboard.press("ArrowDown")
    task = page.evaluate_handle(f"() => {{ window.frames_ = ({FRAMES})(120); }}")
    began, index = measure.now(), -1
    while index < hits - 1 and measure.now() - began < 60:
        page.keyboard.press("End")
        now = page.evaluate("document.activeElement.closest('.tile')?.tile?.index ?? -1")
        index = max(index, now)
    taken = measure.now() - began
    found = page.evaluate("() => { window.stop_ = true; return window.frames_; }")
    task.dispose()
    longest = max(found["gaps"])
    print(
        f"{'End key to hit':<58} {index + 1:>8,} after {taken:.1f} s; longest gap between frames {longest:.0f} "
        f"ms, at most {found['nodes']:,} elements"
    )
    return {"hits": index + 1, "seconds": taken, "longest_ms": longest, "elements": found["nodes"]}


def thumbnails(page: Any, base: str, server: Served) -> dict[str, float]:
    """Let 1,000 thumbnails be made, then served again; print times and the server's memory."""
    request = page.context.request
    origin = base.split("/p/")[0]
    headers = {"Content-Type": "application/json", "Origin": origin}
    asked = {"sort": "oldest", "n": 200, "filters": {}}
    images: list[dict[str, Any]] = []
    for offset in range(0, _THUMBNAILS, 200):
        answer = request.post(
            f"{base}api/list", data=json.dumps({**asked, "offset": offset}), headers=headers
        )
        images += answer.json()["images"]
    before, told = server.memory(), {"before_mb": 0.0}
    for name in ("made", "again"):
        began = measure.now()
        if failed := page.evaluate(FETCH, [image["key"] for image in images]):
            raise SystemExit(f"{failed:,} thumbnails were not made")
        taken, now = measure.now() - began, server.memory()
        told |= {f"{name}_s": taken, f"{name}_mb": now["VmRSS"], f"{name}_own_mb": now["RssAnon"]}
        print(
            f"{f'{len(images):,} thumbnails, {name}':<58} {taken * 1e3 / len(images):>8,.1f} ms each; server "
            f"{now['VmRSS']:,.0f} MB, {now['RssAnon']:,.0f} of its own ({before['RssAnon']:,.0f} before)"
        )
    return told | {"before_mb": before["VmRSS"], "before_own_mb": before["RssAnon"]}


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--photos", type=int, default=_THUMBNAILS)
    parser.add_argument("--work", default="/tmp/imgsearch-benchmarks", help="where indexes are kept")
    parser.add_argument("--index", help="another index than the invented one")
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--queries", type=int, default=12)
    parser.add_argument("--speed", type=int, default=2_500, help="pixels a second")
    parser.add_argument("--seconds", type=int, default=12, help="how long each grid is scrolled")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--only", default="keys,paint,scroll,memory")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    folder = options.index or make_index(options.work, options.rows, options.photos)
    colours, shapes = (
        ("red", "blue", "green", "yellow", "black", "orange"),
        ("star", "circle", "square", "ring"),
    )
    words = [f"{colour} {shape}" for colour in colours for shape in shapes]
    known, new = words[: options.queries], words[options.queries :][: options.queries]
    parts, told = options.only.split(","), dict[str, Any]()
    width, height = map(int, options.size.split("x"))
    arguments = ["--disable-gpu", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    if "memory" in parts and not options.index:
        shutil.rmtree(os.path.join(folder, "thumbs"), ignore_errors=True)
    with served(folder) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=arguments)
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(server.link)
        page.locator("#q").wait_for()
        base = page.url.split("?")[0]
        page.goto(f"{base}?q=warm+up")  # the model is loaded, the index's files are cached
        page.locator(".tile img").first.wait_for()
        if "memory" in parts:
            told["memory"] = thumbnails(page, base, server)
        if "paint" in parts:
            told["paint"] = paint(browser, context.storage_state(), base)
        if "keys" in parts:
            told["remembered"] = keys(page, base, known, remembered=True)
            told["new"] = keys(page, base, new, remembered=False)
            told["forward_ms"] = forward(folder, new)
        if "scroll" in parts:
            told["hits"] = scroll(page, f"{base}?q=red", "scrolling hits", options.speed, options.seconds)
            told["timeline"] = scroll(
                page, f"{base}?view=timeline", "scrolling the timeline", options.speed, options.seconds
            )
            images = context.request.get(f"{base}api/status").json()["images"]
            told["end"] = to_the_end(page, base, "red", min(images, 10_000))
        browser.close()
    print(json.dumps({"benchmark": "web", "rows": options.rows, "size": options.size, **told}))


if __name__ == "__main__":
    main()
