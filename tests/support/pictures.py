"""Draws synthetic pictures for tests: colourful, clearly different by seed, the same on every machine."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

QUADRANTS = ((220, 40, 40), (40, 180, 60), (50, 70, 210), (230, 200, 40))
"""The colours of quadrants(): top left red, top right green, bottom left blue, bottom right yellow."""


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return an RGB picture of ``size`` (width, height): a slanted gradient with shapes, drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    width, height = size
    ends = rng.integers(0, 256, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    along = np.cos(angle) * x / max(width - 1, 1) + np.sin(angle) * y / max(height - 1, 1)
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-9)
    sky = ends[0] + along[..., None] * (ends[1] - ends[0])
    image = Image.fromarray(sky.round().astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 9))):
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        rx, ry = rng.uniform(0.06, 0.3, 2) * (width, height)
        box = (cx - rx, cy - ry, cx + rx, cy + ry)
        match int(rng.integers(0, 4)):
            case 0:
                draw.ellipse(box, fill=colour)
            case 1:
                draw.rectangle(box, fill=colour)
            case 2:
                corners = rng.uniform(-1, 1, (3, 2)) * (rx, ry) * 1.5 + (cx, cy)
                draw.polygon([(float(px), float(py)) for px, py in corners], fill=colour)
            case _:
                draw.line(
                    (cx - rx, cy - ry, cx + rx, cy + ry), fill=colour, width=max(2, int(min(rx, ry) / 4))
                )
    return image


def quadrants(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Return an RGB picture whose four quarters have the colours QUADRANTS, so that its turns can be told."""
    width, height = size
    image = Image.new("RGB", size)
    for index, colour in enumerate(QUADRANTS):
        left, top = (index % 2) * (width // 2), (index // 2) * (height // 2)
        image.paste(
            colour, (left, top, width if index % 2 else width // 2, height if index > 1 else height // 2)
        )
    return image


def encode(image: Image.Image, extension: str, **options: Any) -> bytes:
    """Return the bytes of an image in the format of an extension (".jpg"); options go to the encoder."""
    buffer = io.BytesIO()
    extension = extension.lower()
    if extension in (".heic", ".heif", ".hif"):
        import pillow_heif

        pillow_heif.from_pillow(image).save(buffer, **{"quality": 90, **options})
        return buffer.getvalue()
    Image.init()
    name = {".jfif": "JPEG", ".pnm": "PPM", ".j2k": "JPEG2000"}.get(extension)
    name = name or Image.EXTENSION[extension]
    if name == "JPEG2000":
        options.setdefault("no_jp2", extension != ".jp2")
    image.save(buffer, name, **options)
    return buffer.getvalue()


def save(image: Image.Image, path: str | os.PathLike[str], **options: Any) -> str:
    """Write an image in the format of its path's extension, making its folder; return the path as str."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    data = encode(image, os.path.splitext(path)[1], **options)
    with open(path, "wb") as file:
        file.write(data)
    return path
