"""Small emoji sets, names and photographs in the layout of the packages that recipes/things reads; drawn here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from things.packages import CLIPART, ICONS, NAMES, PHOTO_FILES, PHOTOS, STAMPS, STYLES

EMOJI = {"1f408": "cat", "1f431": "cat face", "1f697": "automobile", "1f34e": "red apple", "1f6b2": "bicycle"}
GERMAN = {
    "1f408": "Katze",
    "1f431": "Katzengesicht",
    "1f697": "Auto",
    "1f34e": "roter Apfel",
    "1f6b2": "Fahrrad",
}
MANY = EMOJI | {f"1f9{number:02x}": f"tool {number}" for number in range(16, 26)}
"""More things, of which some are never seen in training."""
_CIRCLE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="5" cy="4" r="4" fill="{fill}"/></svg>'
_BODY = '<circle cx="8" cy="8" r="{r}" fill="{fill}"/>'


def write_set(folder: Path, fill: str, emoji: Mapping[str, str] = EMOJI, *, codes: bool) -> str:
    """Write an emoji set of circles in the layout of its package; return its folder."""
    inside = folder / "package"
    inside.mkdir(parents=True)
    names = {code: name.replace(" ", "-") for code, name in emoji.items()}
    icons = {name: {"body": _BODY.format(r=7 - n % 5, fill=fill)} for n, name in enumerate(names.values())}
    (inside / "icons.json").write_text(json.dumps({"icons": icons, "width": 16, "height": 16}))
    if codes:
        (inside / "chars.json").write_text(json.dumps(names))
        animals = [name for name in names.values() if name.startswith("cat")]
        objects = [name for name in names.values() if not name.startswith("cat")]
        categories = {"Animals & Nature": animals, "Objects": objects}
        (inside / "metadata.json").write_text(json.dumps({"categories": categories}))
    return str(folder)


def write_names(folder: Path, emoji: Mapping[str, str] = EMOJI) -> str:
    """Write names in four languages, German ones where there are some, in the layout of CLDR's; return the folder."""
    for language in ("en", "de", "fr", "es"):
        names = {**emoji, **GERMAN} if language == "de" else emoji
        words = {
            chr(int(code, 16)): {"tts": [name], "default": ["thing", f"word{code}"]}
            for code, name in names.items()
        }
        inside = folder / "package" / "annotations" / language
        inside.mkdir(parents=True)
        (inside / "annotations.json").write_text(json.dumps({"annotations": {"annotations": words}}))
    return str(folder)


def write_cache(cache: Path) -> str:
    """Write every package that the recipe fetches, in small, so that it fetches none; return the cache's folder."""
    for number, (style, package) in enumerate(STYLES.items()):
        fill = f"#{(number * 20 + 20):02x}60{(250 - number * 20):02x}"
        write_set(cache / package.folder, fill, MANY, codes=style in ("noto", "twemoji"))
    for package in ICONS:
        write_set(cache / package.folder, "#000", MANY, codes=False)
    write_names(cache / NAMES.folder, MANY)
    for name in PHOTO_FILES:
        (cache / PHOTOS.folder).mkdir(exist_ok=True)
        Image.radial_gradient("L").convert("RGB").save(cache / PHOTOS.folder / name)
    write_clipart(cache / CLIPART.folder, ("cat_somebody_01", "bicycle"))
    write_stamps(cache / STAMPS.folder, {"cat": "A cat.", "boat": "My old boat.", "kite": "A kite."})
    return str(cache)


def write_clipart(folder: Path, names: Iterable[str]) -> str:
    """Write clip art of circles, each of another colour, as files that are called so; return their folder."""
    for number, name in enumerate(names):
        path = folder / "svg" / f"{name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_CIRCLE.format(fill=f"#{number % 256:02x}8040"))
    return str(folder)


def write_stamps(folder: Path, captions: Mapping[str, str]) -> str:
    """Write stamps, all PNG but the last, which is SVG, with their captions by the file's name; return their folder."""
    inside = folder / "stamps"
    inside.mkdir(parents=True)
    *pngs, svg = captions
    for number, name in enumerate(pngs):
        Image.new("RGBA", (300, 200), (number % 256, 80, 120, 255)).save(inside / f"{name}.png")
    (inside / f"{svg}.svg").write_text(_CIRCLE.format(fill="#a04020"))
    for name, caption in captions.items():
        (inside / f"{name}.txt").write_text(f"{caption}\nde.utf8=Etwas anderes.\n", encoding="utf-8")
    return str(folder)
