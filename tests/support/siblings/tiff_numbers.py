"""Siblings in TIFF: depth and photometric interpretation, planes, alpha and more channels."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from support.pictures import QUADRANTS, encode
from support.siblings import QUARTERS, UNSUPPORTED, Drawn, fields_of
from support.tagged import GREYS, fields, pack, packed, tiff, tiles

GREY = fields_of(GREYS)
OR_UNSUPPORTED = fields_of(QUADRANTS, or_skipped="unsupported")
GREY_OR_UNSUPPORTED = fields_of(GREYS, or_skipped="unsupported")
TURNED = (QUADRANTS[3], QUADRANTS[2], QUADRANTS[1], QUADRANTS[0])


def numbers(bits: int, colours: Any = GREYS, *, negative: bool = False) -> NDArray[np.uint64]:
    """Return the four fields as whole numbers of a depth: (rows, width[, samples])."""
    top = 2**bits - 1
    values = np.round(fields(colours).astype(np.float64) / 255 * top).astype(np.uint64)
    return top - values if negative else values


def rows(values: NDArray[Any], bits: int, *, big: bool = False) -> bytes:
    """Return numbers as the bytes of a strip."""
    return pack(values.reshape(len(values), -1), bits, big=big)


def differenced(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return what predictor 2 stores: each sample less the one to its left."""
    values = values.reshape(48, 64, -1).astype(np.int64)
    return np.diff(values, axis=1, prepend=0) % 2**bits


def planes(values: NDArray[Any], bits: int, *, big: bool = False) -> list[bytes]:
    """Return one strip per sample."""
    return [rows(values[..., channel], bits, big=big) for channel in range(values.shape[2])]


def faxed(way: str, *, white_is_zero: bool, reverse: bool = False) -> bytes:
    """Return a bilevel page in a fax's coding."""
    image = Image.fromarray(fields((0, 255, 255, 0))).convert("1")
    info = {262: 0 if white_is_zero else 1, 266: 2 if reverse else 1}
    return encode(image, ".tiff", compression=way, tiffinfo=info)


FAX = fields_of((0, 255, 255, 0))


def tiff_depth_and_photometric() -> Drawn:
    yield (
        "grey16-white-is-zero-lzw-predictor-motorola.tif",
        tiff(
            (
                {258: 16, 259: 5, 262: 0, 317: 2},
                packed(rows(differenced(numbers(16, negative=True), 16), 16, big=True), "tiff_lzw"),
            ),
            big=True,
        ),
        GREY,
    )
    yield (
        "grey16-white-is-zero-packbits.tif",
        tiff(
            ({258: 16, 259: 32773, 262: 0}, packed(rows(numbers(16, negative=True), 16), "packbits")),
        ),
        GREY,
    )
    for big in (False, True):
        order = "motorola" if big else "intel"
        signed = (numbers(16).astype(np.int64) - 2**15) % 2**16
        yield (
            f"grey16-signed-{order}.tif",
            tiff(({258: 16, 339: 2}, rows(signed, 16, big=big)), big=big),
            GREY,
        )
        yield (
            f"grey32-deflate-predictor-{order}.tif",
            tiff(
                ({258: 32, 259: 8, 317: 2}, zlib.compress(rows(differenced(numbers(32), 32), 32, big=big))),
                big=big,
            ),
            GREY,
        )
        yield (
            f"grey64-{order}.tif",
            tiff(
                ({258: 64}, (numbers(32) << np.uint64(32)).astype(f"{'>' if big else '<'}u8").tobytes()),
                big=big,
            ),
            GREY_OR_UNSUPPORTED,
        )
        yield (
            f"rgb10-{order}.tif",
            tiff(({258: [10] * 3, 262: 2, 277: 3}, rows(numbers(10, QUADRANTS), 10)), big=big),
            QUARTERS,
        )
        yield (
            f"grey16-white-is-zero-tiles-{order}.tif",
            tiff(
                (
                    {258: 16, 259: 8, 262: 0, 322: 32, 323: 32},
                    [zlib.compress(tile) for tile in tiles(numbers(16, negative=True), 16, big=big)],
                ),
                big=big,
            ),
            GREY,
        )
    yield "grey8-signed.tif", tiff(({258: 8, 339: 2}, rows((numbers(8).astype(int) - 128) % 256, 8))), GREY
    yield (
        "grey12-deflate.tif",
        tiff(({258: 12, 259: 8}, zlib.compress(rows(numbers(12), 12)))),
        GREY_OR_UNSUPPORTED,
    )
    yield (
        "grey6-white-is-zero-tiles.tif",
        tiff(({258: 6, 262: 0, 322: 32, 323: 32}, tiles(numbers(6, negative=True), 6))),
        GREY_OR_UNSUPPORTED,
    )
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    yield (
        "grey12-fill-order-2.tif",
        tiff(({258: 12, 266: 2}, rows(numbers(12), 12).translate(reverse))),
        GREY_OR_UNSUPPORTED,
    )
    yield (
        "grey4-fill-order-2.tif",
        tiff(({258: 4, 266: 2}, rows(numbers(4), 4).translate(reverse))),
        fields_of(GREYS, tolerance=10, or_skipped="unsupported"),
    )
    yield (
        "grey2-white-is-zero-deflate.tif",
        tiff(
            ({258: 2, 259: 8, 262: 0}, zlib.compress(rows(numbers(2, (0, 85, 170, 255), negative=True), 2)))
        ),
        fields_of((0, 85, 170, 255)),
    )
    yield "rgb5-6-5.tif", tiff(({258: [5, 6, 5], 262: 2, 277: 3}, b"\0\xff" * 64 * 48)), UNSUPPORTED
    bits = rows(numbers(1, (0, 255, 255, 0)), 1)
    yield (
        "bilevel-fill-order-2-motorola.tif",
        tiff(({258: 1, 266: 2}, bits.translate(reverse)), big=True),
        FAX,
    )
    for way in ("group3", "group4", "tiff_ccitt"):
        for white_is_zero in (True, False):
            name = f"bilevel-{way}-{'white' if white_is_zero else 'black'}-is-zero"
            yield f"{name}.tif", faxed(way, white_is_zero=white_is_zero), FAX
        yield f"bilevel-{way}-fill-order-2.tif", faxed(way, white_is_zero=True, reverse=True), FAX
    for kind_, name in (("f2", "16"), ("f4", "32"), ("f8", "64")):
        light = fields(GREYS, dtype=np.float64) / 255
        yield (
            f"rgba-float{name}.tif",
            tiff(
                (
                    {258: [8 * int(kind_[1])] * 4, 262: 2, 277: 4, 338: 2, 339: [3] * 4},
                    np.dstack([light, light, light, np.ones_like(light)]).astype("<" + kind_).tobytes(),
                )
            ),
            GREY,
        )
        light[0, 0] = np.nan
        yield (
            f"grey-float{name}-with-nan.tif",
            tiff(({258: 8 * int(kind_[1]), 339: 3}, light.astype("<" + kind_).tobytes())),
            GREY,
        )


def tiff_one_plane_a_colour() -> Drawn:
    for big in (False, True):
        order = "motorola" if big else "intel"
        wide = numbers(16, QUADRANTS)
        tags = {258: [16] * 3, 262: 2, 277: 3, 284: 2}
        yield (
            f"rgb16-tiles-{order}.tif",
            tiff(
                (
                    {**tags, 322: 32, 323: 32},
                    [tile for channel in range(3) for tile in tiles(wide[..., channel], 16, big=big)],
                ),
                big=big,
            ),
            QUARTERS,
        )
        yield (
            f"rgb16-deflate-predictor-{order}.tif",
            tiff(
                (
                    {**tags, 259: 8, 317: 2},
                    [
                        zlib.compress(rows(differenced(wide[..., channel], 16), 16, big=big))
                        for channel in range(3)
                    ],
                ),
                big=big,
            ),
            QUARTERS,
        )
        strips = [
            rows(wide[y : y + 20, :, channel], 16, big=big) for channel in range(3) for y in (0, 20, 40)
        ]
        yield f"rgb16-strips-{order}.tif", tiff(({**tags, 278: 20}, strips), big=big), QUARTERS
        inks = 65535 - wide
        yield (
            f"cmyk16-{order}.tif",
            tiff(
                (
                    {258: [16] * 4, 262: 5, 277: 4, 284: 2},
                    [*planes(inks, 16, big=big), b"\0" * 2 * 64 * 48],
                ),
                big=big,
            ),
            QUARTERS,
        )
    yield (
        "rgb12.tif",
        tiff(({258: [12] * 3, 262: 2, 277: 3, 284: 2}, planes(numbers(12, QUADRANTS), 12))),
        OR_UNSUPPORTED,
    )
    light = fields(QUADRANTS, dtype=np.float64) / 255
    yield (
        "rgb-float32.tif",
        tiff(
            (
                {258: [32] * 3, 262: 2, 277: 3, 284: 2, 339: [3] * 3},
                [light[..., channel].astype("<f4").tobytes() for channel in range(3)],
            )
        ),
        QUARTERS,
    )
    yield (
        "rgb8-lzw-predictor.tif",
        tiff(
            (
                {258: [8] * 3, 259: 5, 262: 2, 277: 3, 284: 2, 317: 2},
                [packed(rows(differenced(fields()[..., channel], 8), 8), "tiff_lzw") for channel in range(3)],
            )
        ),
        QUARTERS,
    )
    half = np.dstack([fields(), np.full((48, 64), 255)]).astype(np.uint64) * 257
    yield (
        "rgba16-associated.tif",
        tiff(({258: [16] * 4, 262: 2, 277: 4, 284: 2, 338: 1}, planes(half, 16))),
        QUARTERS,
    )


def tiff_alpha_and_more_channels() -> Drawn:
    opaque = np.full((48, 64), 255)
    rgb = fields()
    yield (
        "grey16-associated-tiles-motorola.tif",
        tiff(
            (
                {258: [16] * 2, 262: 1, 277: 2, 338: 1, 322: 32, 323: 32},
                tiles(np.dstack([fields(GREYS), opaque]).astype(np.uint64) * 257, 16, big=True),
            ),
            big=True,
        ),
        GREY,
    )
    yield (
        "rgb8-mask-then-alpha.tif",
        tiff(
            (
                {258: [8] * 5, 262: 2, 277: 5, 338: [0, 2]},
                rows(np.dstack([rgb, opaque * 0, opaque]), 8),
            )
        ),
        QUARTERS,
    )
    yield (
        "rgb16-mask-then-alpha.tif",
        tiff(
            (
                {258: [16] * 5, 262: 2, 277: 5, 338: [0, 2]},
                rows(np.dstack([rgb, opaque * 0, opaque]).astype(np.uint64) * 257, 16),
            )
        ),
        QUARTERS,
    )
    yield (
        "rgb8-one-unnamed-of-zeros.tif",
        tiff(({258: [8] * 4, 262: 2, 277: 4, 338: 0}, rows(np.dstack([rgb, opaque * 0]), 8))),
        QUARTERS,
    )
    yield (
        "rgb16-unnamed-of-zeros-planes.tif",
        tiff(
            (
                {258: [16] * 4, 262: 2, 277: 4, 284: 2, 338: 0},
                planes(np.dstack([rgb, opaque * 0]).astype(np.uint64) * 257, 16),
            )
        ),
        QUARTERS,
    )
    yield (
        "cmyk8-alpha-planes.tif",
        tiff(
            (
                {258: [8] * 5, 262: 5, 277: 5, 284: 2, 338: 2},
                planes(np.dstack([255 - rgb, opaque * 0, opaque]), 8),
            )
        ),
        QUARTERS,
    )
    yield (
        "cmyk8-spot-ink.tif",
        tiff(
            (
                {258: [8] * 5, 262: 5, 277: 5, 338: 0},
                rows(np.dstack([255 - rgb, opaque * 0, opaque * 0]), 8),
            )
        ),
        QUARTERS,
    )
    entries = [0] * 768
    for number, colour in enumerate(QUADRANTS):
        for channel in range(3):
            entries[256 * channel + number] = colour[channel] * 257
    yield (
        "palette8-alpha.tif",
        tiff(
            (
                {258: [8] * 2, 262: 3, 277: 2, 320: entries, 338: 2},
                rows(np.dstack([fields((0, 1, 2, 3)), opaque]), 8),
            )
        ),
        OR_UNSUPPORTED,
    )
    yield (
        "grey8-white-is-zero-alpha.tif",
        tiff(
            ({258: [8] * 2, 262: 0, 277: 2, 338: 2}, rows(np.dstack([255 - fields(GREYS), opaque]), 8)),
        ),
        GREY,
    )
    half = np.where(fields((0, 1, 1, 1)) == 0, 0, 255)
    yield (
        "rgb8-first-field-clear-planes.tif",
        tiff(({258: [8] * 4, 262: 2, 277: 4, 284: 2, 338: 2}, planes(np.dstack([rgb, half]), 8))),
        fields_of(((255, 255, 255), *QUADRANTS[1:])),
    )
    yield (
        "rgb16-first-field-clear-deflate.tif",
        tiff(
            (
                {258: [16] * 4, 259: 8, 262: 2, 277: 4, 338: 2},
                zlib.compress(rows(np.dstack([rgb, half]).astype(np.uint64) * 257, 16)),
            )
        ),
        fields_of(((255, 255, 255), *QUADRANTS[1:])),
    )
    yield (
        "rgb8-alpha-named-twice-too-often.tif",
        tiff(({258: [8] * 4, 262: 2, 277: 4, 338: [2, 0, 0]}, rows(np.dstack([rgb, opaque]), 8))),
        QUARTERS,
    )
