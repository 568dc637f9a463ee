"""Encodes films for tests with PyAV: known colours and scenes in many containers, codecs, proportions and turns."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from imgsearch.types import RGB
from support.pictures import quadrants, scene

av.logging.set_level(None)
os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder's own, which else tells what it does

WRITERS = (
    ("mp4", "mp4", "libx264", "yuv420p"),
    ("mp4", "mp4", "mpeg4", "yuv420p"),
    ("mp4", "mp4", "libx265", "yuv420p10le"),
    ("mp4", "mp4", "libsvtav1", "yuv420p10le"),
    ("m4v", "mp4", "libx264", "yuv420p"),
    ("mov", "mov", "mjpeg", "yuvj422p"),
    ("mov", "mov", "prores_ks", "yuv422p10le"),
    ("mov", "mov", "qtrle", "rgb24"),
    ("mkv", "matroska", "libx264", "yuv444p"),
    ("mkv", "matroska", "ffv1", "bgr0"),
    ("webm", "webm", "libvpx-vp9", "yuv420p"),
    ("webm", "webm", "libvpx", "yuv420p"),
    ("avi", "avi", "mpeg4", "yuv420p"),
    ("avi", "avi", "mjpeg", "yuvj420p"),
    ("avi", "avi", "msmpeg4v3", "yuv420p"),
    ("3gp", "3gp", "h263", "yuv420p"),
    ("3gp", "3gp", "libx264", "yuv420p"),
    ("mpg", "mpeg", "mpeg2video", "yuv420p"),
    ("wmv", "asf", "wmv2", "yuv420p"),
    ("ogv", "ogg", "libvpx", "yuv420p"),
    ("mts", "mpegts", "libx264", "yuv420p"),
    ("mts", "mpegts", "mpeg2video", "yuv420p"),
)
"""Extension, container, encoder and pixel format: those that phones, cameras, editors and recorders use."""
QUICK = {
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libx264": {"preset": "ultrafast"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Give this thread's priority back after the block: as root, SVT-AV1 makes its caller a real-time thread.

    All threads and processes that it starts later would be such ones too, before which nothing else gets to run.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def film(
    frames: Iterable[Image.Image],
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    rate: int = 10,
    keyframes: int = 10,
    turned: int = 0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    matrix: int = 5,
    full: bool = False,
    colours: Mapping[str, int] | None = None,
    tags: Mapping[str, str] | None = None,
    muxer: Mapping[str, str] | None = None,
    encoder: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of a film of RGB images.

    ``keyframes`` is how many frames lie between two of them; ``turned`` counts degrees clockwise, as a player is to do
    it. ``matrix`` (swscale's number) and ``full`` are how the colours are encoded, ``colours`` what the file says of
    them: colorspace, color_range, color_primaries, color_trc by H.273.
    """
    file = io.BytesIO()
    options: dict[str, Any] = {"bitexact": "1", **(muxer or {})} if container == "avi" else {**(muxer or {})}
    with ordinary_priority(), av.open(file, "w", format=container, container_options=options) as output:
        output.metadata.update(tags or {})
        stream: Any = None
        for number, image in enumerate(frames):
            if stream is None:
                stream = output.add_stream(
                    codec, rate=rate, options={**QUICK.get(codec, {}), **(encoder or {})}
                )
                stream.width, stream.height = image.size
                stream.pix_fmt, stream.gop_size = pixels, keyframes
                stream.codec_context.thread_count = 1
                if aspect:
                    stream.codec_context.sample_aspect_ratio = aspect
                if turned or mirrored:
                    stream.set_display_rotation(-turned, mirrored)
                for name, value in (colours or {}).items():
                    setattr(stream.codec_context, name, value)
            frame = _encoded(np.asarray(image.convert("RGB")), pixels, matrix, full)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def _encoded(image: RGB, pixels: str, matrix: int, full: bool) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    return frame.reformat(
        format=pixels,
        dst_colorspace=matrix,
        dst_color_range=2 if full or pixels.startswith("yuvj") else 1,
        threads=1,
    )


def scenes(count: int, each: int = 10, size: tuple[int, int] = (96, 64)) -> list[Image.Image]:
    """Return the frames of a film of ``count`` scenes, each of ``each`` frames that are all alike."""
    return [picture for seed in range(count) for picture in [scene(seed, size)] * each]


def turnable(count: int = 3, size: tuple[int, int] = (96, 64)) -> list[Image.Image]:
    """Return frames whose four quarters can be told apart."""
    return [quadrants(size)] * count


def sound(container: str = "mp4", cover: bytes = b"") -> bytes:
    """Return the bytes of a file that has sound alone, with the JPEG of a cover if there is one."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream("aac", rate=8000)
        if cover:
            output.add_attachment("cover.jpg", "image/jpeg", cover)
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()
