"""Siblings in TIFF: colour models, layout and compression, pages."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

from support.pictures import QUADRANTS, encode, quadrants
from support.siblings import QUARTERS, UNSUPPORTED, Drawn, fields_of
from support.siblings.tiff_numbers import GREY, OR_UNSUPPORTED, TURNED, differenced, numbers, planes, rows
from support.tagged import GREYS, fields, packed, tiff, tiles

LAB = fields_of(QUADRANTS, tolerance=12)


def palette(colours: Any, count: int, scale: int) -> list[int]:
    """Return a colour map of so many entries: all red ones, then green, then blue."""
    entries = [0] * 3 * count
    for number, colour in enumerate(colours):
        for channel in range(3):
            entries[count * channel + number] = colour[channel] * scale
    return entries


def tiff_colour_models() -> Drawn:
    indexes = fields((0, 1, 2, 3))
    yield (
        "palette4.tif",
        tiff(({258: 4, 262: 3, 320: palette(QUADRANTS, 16, 257)}, rows(indexes, 4))),
        QUARTERS,
    )
    yield (
        "palette4-with-8-bit-entries.tif",
        tiff(({258: 4, 262: 3, 320: palette(QUADRANTS, 16, 1)}, rows(indexes, 4))),
        QUARTERS,
    )
    yield (
        "palette8-with-8-bit-entries-tiles.tif",
        tiff(({258: 8, 262: 3, 320: palette(QUADRANTS, 256, 1), 322: 32, 323: 32}, tiles(indexes, 8))),
        QUARTERS,
    )
    yield (
        "palette16.tif",
        tiff(({258: 16, 262: 3, 320: palette(QUADRANTS, 65536, 257)}, rows(indexes, 16))),
        OR_UNSUPPORTED,
    )
    yield (
        "palette1.tif",
        tiff(({258: 1, 262: 3, 320: palette(QUADRANTS[:2], 2, 257)}, rows(fields((0, 1, 1, 0)), 1))),
        fields_of((QUADRANTS[0], QUADRANTS[1], QUADRANTS[1], QUADRANTS[0])),
    )
    yield (
        "palette8-bigtiff-deflate.tif",
        tiff(
            ({258: 8, 259: 8, 262: 3, 320: palette(QUADRANTS, 256, 257)}, zlib.compress(rows(indexes, 8))),
            bigtiff=True,
        ),
        QUARTERS,
    )
    ycc = np.asarray(Image.fromarray(fields()).convert("YCbCr"))
    for across, down in ((2, 1), (4, 1), (2, 2)):
        tags = {258: [8] * 3, 262: 6, 277: 3, 530: [across, down], 531: 1}
        blocks = np.concatenate(
            [
                ycc[..., 0]
                .reshape(48 // down, down, 64 // across, across)
                .swapaxes(1, 2)
                .reshape(48 // down, 64 // across, -1),
                ycc[::down, ::across, 1:],
            ],
            axis=2,
        )
        yield f"ycbcr-{across}-{down}-plain.tif", tiff((tags, blocks.tobytes())), OR_UNSUPPORTED
        yield (
            f"ycbcr-{across}-{down}-lzw.tif",
            tiff(({**tags, 259: 5}, packed(blocks.tobytes(), "tiff_lzw"))),
            OR_UNSUPPORTED,
        )
    yield (
        "ycbcr-1-1-deflate.tif",
        tiff(({258: [8] * 3, 259: 8, 262: 6, 277: 3, 530: [1, 1]}, zlib.compress(ycc.tobytes()))),
        QUARTERS,
    )
    yield (
        "ycbcr-in-jpeg-with-tables.tif",
        encode(quadrants((64, 48)), ".tiff", compression="jpeg", quality=95),
        fields_of(QUADRANTS, tolerance=12),
    )
    whole = encode(quadrants((64, 48)), ".jpg", quality=95, subsampling=0)
    yield (
        "rgb-in-jpeg-without-tables.tif",
        tiff(({258: [8] * 3, 259: 7, 262: 6, 277: 3, 530: [1, 1]}, whole)),
        fields_of(QUADRANTS, tolerance=12),
    )
    yield (
        "old-style-jpeg.tif",
        tiff(({258: [8] * 3, 259: 6, 262: 6, 277: 3, 513: 8, 514: len(whole), 530: [1, 1]}, whole)),
        fields_of(QUADRANTS, tolerance=12, or_skipped="unsupported"),
    )
    inks = Image.fromarray(np.dstack([255 - fields(), np.zeros((48, 64), np.uint8)]), "CMYK")
    yield (
        "cmyk-in-jpeg.tif",
        encode(inks, ".tiff", compression="jpeg", quality=95),
        fields_of(QUADRANTS, tolerance=14),
    )
    lab = ImageCms.profileToProfile(
        Image.fromarray(fields()),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    numbers_ = np.dstack([np.asarray(band) for band in lab.split()])
    yield "icc-lab8.tif", tiff(({258: [8] * 3, 262: 9, 277: 3}, numbers_.tobytes())), LAB
    signed = numbers_ ^ np.array([0, 128, 128], np.uint8)
    yield (
        "cielab8-deflate-planes.tif",
        tiff(
            (
                {258: [8] * 3, 259: 8, 262: 8, 277: 3, 284: 2},
                [zlib.compress(strip) for strip in planes(signed, 8)],
            )
        ),
        LAB,
    )
    yield (
        "cielab8-grey.tif",
        tiff(({258: 8, 262: 8}, signed[..., 0].tobytes())),
        UNSUPPORTED,
    )
    yield (
        "transparency-mask-only.tif",
        tiff(({258: 1, 262: 4, 254: 4}, b"\xaa" * 8 * 48)),
        UNSUPPORTED,
    )
    yield "logluv.tif", tiff(({258: [16] * 3, 259: 34676, 262: 32845, 277: 3}, b"\0" * 300)), UNSUPPORTED
    yield "camera-raw.tif", tiff(({258: 16, 262: 32803}, b"\0" * 2 * 64 * 48)), UNSUPPORTED
    yield (
        "five-inks.tif",
        tiff(({258: [8] * 5, 262: 5, 277: 5, 332: 2}, rows(np.dstack([fields()] * 2)[..., :5], 8))),
        UNSUPPORTED,
    )


def tiff_layout_and_compression() -> Drawn:
    rgb = fields()
    tags = {258: [8] * 3, 262: 2, 277: 3}
    yield (
        "strips-of-five-rows-lzw.tif",
        tiff(
            ({**tags, 259: 5, 278: 5}, [packed(rows(rgb[y : y + 5], 8), "tiff_lzw") for y in range(0, 48, 5)])
        ),
        QUARTERS,
    )
    yield (
        "strips-of-five-rows-16-bits-planes-motorola.tif",
        tiff(
            (
                {258: [16] * 3, 262: 2, 277: 3, 278: 5, 284: 2},
                [
                    rows(rgb[y : y + 5, :, channel].astype(np.uint64) * 257, 16, big=True)
                    for channel in range(3)
                    for y in range(0, 48, 5)
                ],
            ),
            big=True,
        ),
        QUARTERS,
    )
    yield (
        "tiles-larger-than-the-picture.tif",
        tiff(({**tags, 322: 128, 323: 128}, tiles(rgb, 8, 128))),
        QUARTERS,
    )
    yield (
        "tiles-of-planes-deflate.tif",
        tiff(
            (
                {**tags, 259: 8, 284: 2, 322: 16, 323: 16},
                [zlib.compress(tile) for channel in range(3) for tile in tiles(rgb[..., channel], 8, 16)],
            )
        ),
        QUARTERS,
    )
    yield (
        "packbits-motorola.tif",
        tiff(({**tags, 259: 32773}, packed(rows(rgb, 8), "packbits")), big=True),
        QUARTERS,
    )
    for way, name in (("tiff_adobe_deflate", "deflate"), ("zstd", "zstd"), ("lzma", "lzma")):
        data = encode(quadrants((64, 48)), ".tiff", compression=way)
        yield f"{name}-by-pillow.tif", data, QUARTERS
    yield "without-byte-counts.tif", tiff(({**tags, 279: None}, rows(rgb, 8))), OR_UNSUPPORTED
    yield (
        "byte-count-of-zero.tif",
        tiff(({**tags, 279: 0}, rows(rgb, 8))),
        fields_of(QUADRANTS, or_skipped="corrupt"),
    )
    yield "rows-per-strip-of-2-to-the-32.tif", tiff(({**tags, 278: 2**32 - 1}, rows(rgb, 8))), QUARTERS
    yield (
        "bigtiff-motorola-tiles-deflate.tif",
        tiff(
            ({**tags, 259: 8, 322: 32, 323: 32}, [zlib.compress(tile) for tile in tiles(rgb, 8)]),
            big=True,
            bigtiff=True,
        ),
        QUARTERS,
    )
    yield (
        "bigtiff-motorola-lzw-predictor.tif",
        tiff(
            ({**tags, 259: 5, 317: 2}, packed(rows(differenced(rgb, 8), 8), "tiff_lzw")),
            big=True,
            bigtiff=True,
        ),
        OR_UNSUPPORTED,
    )
    for orientation in (3, 6, 8):
        wide = numbers(16, QUADRANTS)
        turned = {3: TURNED, 6: [QUADRANTS[i] for i in (2, 0, 3, 1)], 8: [QUADRANTS[i] for i in (1, 3, 0, 2)]}
        yield (
            f"orientation-{orientation}-16-bits-planes.tif",
            tiff(({258: [16] * 3, 262: 2, 274: orientation, 277: 3, 284: 2}, planes(wide, 16))),
            fields_of(turned[orientation], size=(64, 48) if orientation == 3 else (48, 64)),
        )
    yield "without-samples-per-pixel.tif", tiff(({258: 8, 262: 1, 277: None}, rows(numbers(8), 8))), GREY
    yield (
        "without-photometric.tif",
        tiff(({258: 8, 262: None}, rows(numbers(8), 8))),
        fields_of(GREYS, or_skipped="unsupported"),
    )
    one = tiff(({258: [8] * 3, 262: 2, 277: 3}, rows(rgb, 8)))
    yield "bytes-behind.tif", one + b"\0" * 5000, QUARTERS
    at = one.rindex(struct.pack("<HHII", 257, 3, 1, 48))
    yield "height-as-long.tif", one[:at] + struct.pack("<HHII", 257, 4, 1, 48) + one[at + 12 :], QUARTERS


def several_pages() -> Drawn:
    tags = {258: [8] * 3, 262: 2, 277: 3}
    full = rows(fields(), 8)
    other = rows(fields(TURNED), 8)
    small = {**tags, 254: 1, 256: 16, 257: 12}, rows(fields(TURNED, (16, 12)), 8)
    both = fields_of(QUADRANTS, TURNED)
    yield "thumbnail-between.tif", tiff((tags, full), small, (tags, other)), both
    yield (
        "thumbnail-between-motorola-big.tif",
        tiff((tags, full), small, (tags, other), big=True, bigtiff=True),
        both,
    )
    yield "two-thumbnails-first.tif", tiff(small, small, (tags, full)), QUARTERS
    yield "mask-first.tif", tiff(({258: 1, 262: 4, 254: 4}, b"\xaa" * 8 * 48), (tags, full)), QUARTERS
    yield (
        "pages-of-unlike-kinds.tif",
        tiff((tags, full), ({258: 16, 262: 0}, rows(numbers(16, negative=True), 16))),
        fields_of(QUADRANTS, GREYS),
    )
    yield "first-page-broken.tif", tiff(({**tags, 259: 8}, b"nothing"), (tags, full)), QUARTERS
    yield "first-page-unsupported.tif", tiff(({**tags, 259: 34712}, b"nothing"), (tags, full)), QUARTERS
    yield (
        "thumbnail-with-picture-below-and-next.tif",
        tiff((small[0] | {330: (tags, full)}, small[1]), (tags, other)),
        both,
    )
    yield (
        "pages-by-pillow.tif",
        encode(
            quadrants((64, 48)),
            ".tiff",
            save_all=True,
            append_images=[Image.fromarray(fields(TURNED))],
            compression="tiff_lzw",
        ),
        both,
    )
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(fields(), photometric="rgb", subifds=2)
        writer.write(fields()[::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(fields()[::4, ::4], photometric="rgb", subfiletype=1)
    yield "pyramid-by-tifffile.tif", out.getvalue(), QUARTERS
    out = io.BytesIO()
    tifffile.imwrite(out, np.stack([fields(GREYS), fields(GREYS[::-1])]).astype(np.uint16) * 257, imagej=True)
    yield "stack-by-imagej.tif", out.getvalue(), fields_of(GREYS, GREYS[::-1])
