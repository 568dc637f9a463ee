"""What the name of a file tells of its image: whether a pattern matches it, its type, and that it is a screenshot."""

from __future__ import annotations

import fnmatch
import functools
import re
import unicodedata
from collections.abc import Callable

_SAID = (
    r"screen[ _-]?(shot|cap|clip)|bildschirm(foto|aufnahme)|capture d.?[eé]cran|captura de (pantalla|tela|ecr[aã])"
    r"|schermata|schermafbeelding|sk[aä]rm(avbild|klipp|bild)|zrzut ekranu|снимок экрана"
    r"|スクリーンショット|屏幕截图|屏幕快照|截屏|螢幕截圖"
)
"""How systems call a screenshot in file names, titles and the names of programs; folded."""
_PROGRAMS = r"\b(flameshot|spectacle|sharex|greenshot|lightshot|shutter|snagit|scrot|ksnip)\b"
_SIZES = (
    "1280x720 1280x800 1366x768 1440x900 1536x864 1600x900 1680x1050 1920x1080 1920x1200 2048x1152 2160x1440 "
    "2256x1504 2304x1440 2560x1080 2560x1440 2560x1600 2880x1620 2880x1800 2880x1920 3000x2000 3024x1964 "
    "3072x1920 3200x1800 3240x2160 3440x1440 3456x2234 3840x1600 3840x2160 3840x2400 4480x2520 5120x1440 "
    "5120x2880 6016x3384 "
    "640x1136 720x1280 720x1520 720x1560 720x1600 750x1334 828x1792 1080x1920 1080x2160 1080x2220 1080x2280 "
    "1080x2316 1080x2340 1080x2376 1080x2400 1080x2408 1080x2412 1080x2424 1080x2460 1125x2436 1170x2532 "
    "1179x2556 1206x2622 1242x2208 1242x2688 1260x2800 1284x2778 1290x2796 1320x2868 1344x2992 1440x2560 "
    "1440x2880 1440x2960 1440x3040 1440x3088 1440x3120 1440x3200 1488x2266 1536x2048 1620x2160 1640x2360 "
    "1668x2224 1668x2388 1668x2420 2048x2732 2064x2752"
)
_SCREENS = frozenset(tuple(sorted(map(int, size.split("x")))) for size in _SIZES.split())
"""The sizes of screens of computers, phones and tablets, the shorter side first."""


def folded(text: str) -> str:
    """Return a text without regard to case, and to how accents are put together."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def file_name(path: bytes) -> str:
    """Return the folded name of a file; bytes that are not UTF-8 stand as U+FFFD."""
    return folded(bytes(path).rpartition(b"/")[2].decode(errors="replace"))


def file_type(name: str) -> str:
    """Return the extension of a folded name, without the dot; "" if it has none."""
    return name.rpartition(".")[2] if "." in name else ""


@functools.lru_cache(maxsize=32)
def matcher(glob: str) -> Callable[[str], object]:
    """Return what tells whether a folded name matches a pattern such as ``img_*.jpg``, whatever its case."""
    return re.compile(fnmatch.translate(folded(glob))).match


def is_screenshot(name: str, camera: str, told: str, width: int, height: int) -> bool:
    """Whether an image is a picture of a screen, by its file's folded ``name`` and what is known of it.

    ``camera`` are make and model, ``told`` is what software, title and description say. It is one if no camera is named
    and its name or these call it so, or if it is a PNG of the size of a screen.
    """
    if camera.strip():
        return False
    if re.search(_SAID, name) or (told.strip() and re.search(f"{_SAID}|{_PROGRAMS}", folded(told))):
        return True
    return file_type(name) == "png" and (min(width, height), max(width, height)) in _SCREENS


def _screenshot(path: bytes, camera: str | None, told: str | None, width: int, height: int) -> bool:
    return is_screenshot(file_name(path), str(camera or ""), str(told or ""), int(width), int(height))


FUNCTIONS: dict[str, Callable[..., str | bool]] = {
    "file_type": lambda path: file_type(file_name(path)),
    "file_matches": lambda path, glob: matcher(glob)(file_name(path)) is not None,
    "is_screenshot": _screenshot,
}
"""The same for SQLite: by name, with the file's path in front."""
CAMERA = "metadata.make || ' ' || metadata.model"
TOLD = "metadata.software || ' ' || metadata.title || ' ' || metadata.description"
