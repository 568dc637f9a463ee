"""Colour profiles for tests, and colours as the numbers that mean them, worked out without the code under test."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from imgsearch.media import colour

MUTED = ((200, 60, 60), (60, 160, 80), (70, 80, 190), (220, 190, 90))
"""Colours that every space of the tests holds."""
SWAPPED = (0.3127, 0.3290, 0.64, 0.33, 0.15, 0.06, 0.30, 0.60)
SPACES: dict[str, tuple[tuple[float, ...], float]] = {
    "Display P3": (colour._PRIMARIES[12], 2.2),
    "Rec. 2020": (colour._PRIMARIES[9], 2.4),
    "Adobe RGB": (colour._ADOBE, 563 / 256),
    "ProPhoto": ((0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), 1.8),
    "green and blue swapped": (SWAPPED, 2.2),
    "linear": (colour._PRIMARIES[1], 1.0),
    "DCI": (colour._PRIMARIES[11], 2.6),
}


def profile(space: str) -> bytes:
    primaries, gamma = SPACES[space]
    made = colour._matrix_profile(primaries, np.linspace(0, 1, 4096) ** gamma)
    assert made is not None
    # Who made it is not told: the package knows its own.
    return made[:80] + bytes(4) + made[84:]


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def light(signal: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def into(space: str, colours: Any = MUTED) -> NDArray[np.float64]:
    """Return sRGB colours as the numbers 0 … 1 that mean them in a space, worked out without LittleCMS."""
    primaries, gamma = SPACES[space]
    to_d50, from_srgb = colour._to_d50(primaries), colour._to_d50(colour._PRIMARIES[1])
    assert to_d50 is not None
    assert from_srgb is not None
    linear = light(np.asarray(colours) / 255) @ (np.linalg.inv(to_d50) @ from_srgb).T
    return np.clip(linear, 0, 1) ** (1 / gamma)


def grey_profile(gamma: float) -> bytes:
    """Return a profile of grey: ICC.1:2001-04, 6.3.2."""
    curve = np.round(np.linspace(0, 1, 1024) ** gamma * 65535).astype(">u2").tobytes()
    parts = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    parts[b"kTRC"] = b"curv\0\0\0\0" + struct.pack(">I", 1024) + curve
    table, body, at = struct.pack(">I", 2), b"", 128 + 4 + 24
    for name, part in parts.items():
        table += name + struct.pack(">2I", at + len(body), len(part))
        body += part
    head = struct.pack(">I4xI", at + len(body), 0x02400000) + b"mntrGRAYXYZ " + b"\0" * 12 + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def hdr(transfer: int, nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signal of PQ (16) or HLG (18), 1000 cd/m² at most, for brightnesses."""
    if transfer == 16:
        power = (nits / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    scene_light = (nits / 1000) ** (1 / 1.2)
    log = 0.17883277 * np.log(np.maximum(12 * scene_light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene_light <= 1 / 12, np.sqrt(3 * scene_light), log)


def ink_profile(order: tuple[int, int, int]) -> bytes:
    """Return a profile of CMYK whose first three inks take away red, green and blue in an order: a table (lut8)."""
    table = bytearray()
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    for inks in np.ndindex(2, 2, 2, 2):
        colours = [255 * (1 - max(inks[order.index(channel)], inks[3])) for channel in range(3)]
        turned = ImageCms.applyTransform(Image.new("RGB", (1, 1), tuple(colours)), lab)
        assert turned is not None
        # Pillow's own a* and b* begin at -128, as in the profile.
        table += bytes(band.tobytes()[0] for band in turned.split())
    straight = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + straight * 4 + bytes(table) + straight * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    at = 128 + 4 + 24
    entries = struct.pack(">I4sII4sII", 2, b"A2B0", at + 20, len(lut), b"wtpt", at, 20)
    head = struct.pack(">I4xI", at + 20 + len(lut), 0x02400000) + b"prtrCMYKLab " + b"\0" * 12 + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + entries + white + lut
