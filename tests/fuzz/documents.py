"""Documents, JPEG XL and SVG, damaged: the process that reads them tells images or a reason, or ends, and goes on."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from fuzz.decoders import damaged
from imgsearch.errors import PictureError
from imgsearch.media.documents import AS_USUAL, open_document
from imgsearch.types import DEFAULT_BUDGET
from support.pdfs import FORM, Drawn, pdf, words
from support.pictures import scene
from support.raws import dng

_NUMBERS = (
    b"0",
    b"-1",
    b"2147483648",
    b"99999999999",
    b"1e38",
    b"<<",
    b">>",
    b"[",
    b"]",
    b"1 0 R",
    b"/",
    b"(",
)
"""What may stand in a PDF in another's place."""


def _pillows(*modes: str) -> bytes:
    out = io.BytesIO()
    first, *others = [scene(3, (48, 40)).convert(mode) for mode in modes]
    first.save(out, "PDF", save_all=True, append_images=others)
    return out.getvalue()


def _comic() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("1.png", "2.jpg", "text.txt"):
            image = io.BytesIO()
            scene(3, (48, 40)).save(image, "JPEG" if name == "2.jpg" else "PNG")
            file.writestr(name, image.getvalue())
    return out.getvalue()


def _shard() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name in ("1.png", "1.json", "n" * 120 + ".png"):
            image = io.BytesIO()
            scene(3, (48, 40)).save(image, "PNG")
            member = tarfile.TarInfo(name)
            member.size = len(image.getvalue())
            file.addfile(member, io.BytesIO(image.getvalue()))
    return out.getvalue()


def _jxl(**options: object) -> bytes:
    import pillow_jxl  # noqa: F401

    out = io.BytesIO()
    scene(3, (48, 40)).save(out, "JXL", **options)
    return out.getvalue()


_SVG = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY e "some &amp; more">]>
<svg xmlns="http://www.w3.org/2000/svg" width="3in" height="40" viewBox="0 0 90 40"><title>&e;</title>
<defs><linearGradient id="g"><stop stop-color="red"/><stop offset="1"/></linearGradient>
<filter id="f"><feGaussianBlur stdDeviation="3"/><feTurbulence baseFrequency="0.1" numOctaves="3"/></filter>
<pattern id="p" width="9" height="9" patternUnits="userSpaceOnUse"><circle r="4"/></pattern></defs>
<rect width="50" height="30" fill="url(#g)" filter="url(#f)"/><path d="M1 1C9 9 9 1 40 40z" stroke-dasharray="3 1"/>
<g transform="scale(2) rotate(9)"><use href="#x"/><text id="x" y="9" font-size="9">Text</text></g>
<image href="a.png" width="9" height="9"/><circle r="20" cx="60" cy="20" fill="url(#p)"/></svg>"""


_KINDS: tuple[tuple[str, Callable[[], bytes]], ...] = (
    (
        ".pdf",
        lambda: pdf(Drawn(), Drawn(words("text"), turn=90), info={"Title": "T", "CreationDate": "D:2024"}),
    ),
    (".pdf", lambda: pdf(Drawn(draws="", other=FORM.page), catalog=FORM.catalog, objects=FORM.objects)),
    (".pdf", lambda: _pillows("RGB", "L", "CMYK")),
    (".pdf", lambda: _pillows("1", "P")),
    (".cbz", _comic),
    (".tar", _shard),
    (".jxl", lambda: _jxl(lossless=True)),
    (".jxl", lambda: _jxl(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")),
    (".svg", lambda: _SVG),
    (".svgz", lambda: gzip.compress(_SVG)),
    (".dng", lambda: dng(np.array(scene(3, (48, 40))), preview=np.array(scene(3, (48, 40))))),
)


@cache
def _whole(number: int) -> tuple[str, bytes]:
    """Return extension and bytes of a small document of one of the kinds."""
    extension, made = _KINDS[number]
    return extension, made()


def _rewritten(random: random.Random, data: bytes) -> bytes:
    """Return a PDF with words of its syntax in others' place, so that it is parsed further than noise would be."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        at = random.randrange(5, len(changed))
        changed[at : at + random.choice((0, 1, 2))] = random.choice(_NUMBERS)
    return bytes(changed)


def case(random: random.Random, folder: Path) -> None:
    """Have the first pictures and texts of one damaged document read, from memory or from a file."""
    extension, data = _whole(random.randrange(len(_KINDS)))
    damage = _rewritten if extension == ".pdf" and random.random() < 0.5 else damaged
    data = damage(random, data)
    path = folder / f"a{extension}"
    path.write_bytes(data)
    with path.open("rb") as file:
        stream = file if random.random() < 0.5 else io.BytesIO(data)
        try:
            with open_document(stream, path.name, AS_USUAL) as document:
                for place in document.places[:4]:
                    try:
                        picture = document.picture(place, DEFAULT_BUDGET)
                        document.text(place)
                    except PictureError:
                        continue
                    assert picture.pixels.shape[2] == 3
                    assert min(picture.width, picture.height, *picture.pixels.shape[:2]) > 0
        except PictureError:
            pass
