"""Colours of other spaces as sRGB: ICC profiles, and what takes their place (cICP, gAMA, EXIF's R03), by LittleCMS."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageCms

MAX_PROFILE = 8 << 20
"""Bytes of the largest profile that is heeded; a printer's table has some megabytes."""

_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Pillow's mode → the colour space that a profile for it has."""
_SAME = 2
"""A profile that moves no colour further than this, of 255, is sRGB's own: the numbers stay as they are."""
_LEAST_RANGE = 100
"""Black and white are at least this far apart in what a profile makes of them, or it is nonsense."""

_CREATOR, _OURS = slice(80, 84), b"imgs"
"""Where a profile tells who made it, and what is there if this module did, for colours and for grey alike."""

_D65 = (0.3127, 0.3290)
_SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# White, red, green, blue as x, y; the numbers are those of ITU-T H.273, which HEIF, AVIF and PNG's cICP share.
_PRIMARIES: dict[int, tuple[float, ...]] = {
    1: (*_D65, *_SRGB),
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_ADOBE = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_PQ, _HLG = 16, 18
_WHITE_NITS = 203.0
"""How bright the white of a page is in HDR, by ITU-R BT.2408."""
_KNEE = 0.75
"""Up to this share of white, HDR is shown as it is; what is brighter is pressed together."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image (L, LA, RGB, RGBA, CMYK) with its colours in sRGB; alpha stays.

    The same image comes back where ``profile`` is None, can't be understood, belongs to another kind of image
    or means sRGB.
    """
    transform = _transform_for(image.mode, profile)
    if transform is None:
        return image
    mode = _colours(image.mode, profile)
    colours = image.convert(mode) if image.mode != mode else image
    turned = ImageCms.applyTransform(colours, transform)
    assert turned is not None
    if image.mode in ("LA", "RGBA"):
        turned.putalpha(image.getchannel("A"))
    return turned


def moves(mode: str, profile: bytes | None) -> bool:
    """Tell whether ``to_srgb`` would change the numbers of an image of this mode."""
    return _transform_for(mode, profile) is not None


@lru_cache(maxsize=32)
def from_cicp(primaries: int, transfer: int, *, narrow: bool = False) -> bytes | None:
    """Return a profile for a pair of code points of ITU-T H.273, None where they name no colours.

    With ``narrow`` black is 16 of 255 and white 235. HDR (PQ, HLG) is tone-mapped: the white of a page becomes white.
    Video's transfer functions count as sRGB's, as viewers show them.
    """
    if primaries not in _PRIMARIES:
        if transfer not in (_PQ, _HLG):
            return None
        primaries = 9
    signal = np.linspace(0, 1, 4096)
    if narrow:
        signal = np.clip((255 * signal - 16) / 219, 0, 1)
    if transfer == _PQ:
        light = _tone_mapped(_from_pq(signal) / _WHITE_NITS)
    elif transfer == _HLG:
        light = _tone_mapped(1000 * _from_hlg(signal) ** 1.2 / _WHITE_NITS)
    else:
        light = signal ** _GAMMAS[transfer] if transfer in _GAMMAS else _from_srgb(signal)
    return _matrix_profile(_PRIMARIES[primaries], light)


@lru_cache(maxsize=32)
def from_gamma(gamma: float | None, chromaticities: tuple[float, ...] | None) -> bytes | None:
    """Return a profile for PNG's gAMA (the encoding's exponent, 1 / 2.2) and cHRM (white, red, green, blue as x, y).

    Either may be missing and is then sRGB's. An exponent that is about 1 / 2.2 means sRGB's curve.
    """
    if gamma is not None and not 0.1 <= gamma <= 3:
        gamma = None
    signal = np.linspace(0, 1, 4096)
    like_srgb = gamma is None or abs(gamma * 2.2 - 1) < 0.05
    light = _from_srgb(signal) if like_srgb else signal ** (1 / (gamma or 1))
    return _matrix_profile(chromaticities or _PRIMARIES[1], light)


@lru_cache(maxsize=1)
def adobe_rgb() -> bytes | None:
    """Return the profile that EXIF's interoperability index "R03" stands for."""
    return _matrix_profile(_ADOBE, np.linspace(0, 1, 4096) ** (563 / 256))


def _transform_for(mode: str, profile: bytes | None) -> ImageCms.ImageCmsTransform | None:
    if not profile or len(profile) > MAX_PROFILE:
        return None
    return _transform(profile, _colours(mode, profile))


def _colours(mode: str, profile: bytes | None) -> str:
    """Return the mode that an image's colours are turned in: without alpha, and RGB for a profile of our own."""
    mode = mode[:-1] if mode in ("LA", "RGBA") else mode
    return "RGB" if mode == "L" and profile and profile[_CREATOR] == _OURS else mode


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what turns the colours of a profile into sRGB, None where nothing is to be turned; for many threads."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != _SPACES.get(mode):
            return None
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            # A table (of a printer) has its own way of fitting colours into less; a matrix has none, nor needs one.
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return transform if _is_worth_it(transform, mode) else None
    except Exception:  # metadata of anybody, parsed by others: it must not lose the picture
        return None


def _is_worth_it(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell whether a transform changes colours, and makes sense: white is much lighter than black."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    bands = len(mode)
    grid = np.stack(np.meshgrid(*[levels] * bands, indexing="ij"), -1).reshape(-1, 1, bands)
    image = Image.fromarray(grid if bands > 1 else grid[..., 0], mode)
    found = np.asarray(ImageCms.applyTransform(image, transform)).reshape(-1, 3).astype(int)
    dark, light = found[0].mean(), found[-1].mean()
    if mode == "CMYK":
        # Without ink; and with all of the black, since nobody prints all four.
        dark, light = found[len(levels) - 1].mean(), found[0].mean()
    if light - dark < _LEAST_RANGE:
        return False
    plain = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return mode == "CMYK" or int(np.abs(found - plain).max()) > _SAME


def _from_srgb(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _from_pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the candelas per square metre of SMPTE ST 2084."""
    root = signal ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _from_hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scene's light, 0 … 1, of ITU-R BT.2100's hybrid log-gamma."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def _tone_mapped(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring light in which white is 1 into 0 … 1: unchanged up to the knee, then ever flatter."""
    room = 1 - _KNEE
    return np.where(light <= _KNEE, light, 1 - room * np.exp(-(np.maximum(light, _KNEE) - _KNEE) / room))


def _matrix_profile(chromaticities: Sequence[float], light: NDArray[np.float64]) -> bytes | None:
    """Return an ICC profile (version 2, RGB) of primaries and the light that each signal 0 … 1 means.

    None where the chromaticities span no colours. Layout: ICC.1:2001-04, 6.1, 6.5.3 and 6.5.26.
    """
    matrix = _to_d50(chromaticities)
    if matrix is None:
        return None

    def xyz(values: ArrayLike) -> bytes:
        numbers = np.round(np.asarray(values) * 65536).astype(int).tolist()
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *numbers)

    curve = np.round(np.clip(light, 0, 1) * 65535).astype(">u2").tobytes()
    curve = b"curv\0\0\0\0" + struct.pack(">I", len(light)) + curve
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)
    parts = {name: xyz(column) for name, column in columns} | {b"wtpt": xyz(_D50)}
    names = [*parts, b"rTRC", b"gTRC", b"bTRC"]
    at = 128 + 4 + 12 * len(names)
    table, body = struct.pack(">I", len(names)), b""
    for name in names:
        part = parts.get(name, curve)
        # All three channels share one curve.
        place = at + len(body) if name != b"gTRC" and name != b"bTRC" else at + len(body) - len(curve)
        table += name + struct.pack(">2I", place, len(part))
        body += part if place == at + len(body) else b""
    head = struct.pack(">I4xI", at + len(body), 0x02400000) + b"mntrRGB XYZ " + b"\0" * 12 + b"acsp"
    head = head.ljust(68, b"\0") + xyz(_D50)[8:] + _OURS
    return head.ljust(128, b"\0") + table + body


_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _to_d50(chromaticities: Sequence[float]) -> NDArray[np.float64] | None:
    """Return the matrix from linear RGB to XYZ under D50, None where the primaries make no sense."""
    xy = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if (xy[:, 1] <= 0).any() or (xy < 0).any() or (xy.sum(axis=1) > 1.1).any():
        return None
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in xy)
    columns = np.array(primaries).T
    try:
        matrix = columns * np.linalg.solve(columns, white)
    except np.linalg.LinAlgError:
        return None
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ matrix
    sensible = np.isfinite(adapted).all() and np.abs(adapted).max() < 4 and (adapted[1] > 0).all()
    return adapted if sensible else None
