"""Films through PyAV (FFmpeg): the keyframes that stand for a film, and the frame at any moment of it.

Only the file's own bytes are read, by the demuxer that its first bytes name and the decoders of CODECS. What that takes
is bounded: moments are sought, not read up to, keyframes alone are decoded, and time is limited.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av

from imgsearch.errors import PictureError
from imgsearch.media.decoders.raster import check_size
from imgsearch.media.documents.contract import DocumentOptions, Place
from imgsearch.media.documents.film_frames import (
    Candidate,
    choose_moments,
    picture_of,
    shown_size,
    thumbnail,
    wanted,
)
from imgsearch.media.limits import TooLong
from imgsearch.media.metadata.film import from_tags
from imgsearch.text import format_bytes
from imgsearch.types import Metadata, Picture, PixelBudget

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CODECS = (
    "h264 hevc libdav1d vp8 vp9 mpeg4 mjpeg mpeg1video mpeg2video h263 h261 prores dnxhd dvvideo ffv1 huffyuv ffvhuff "
    "utvideo rawvideo png qtrle msmpeg4v1 msmpeg4v2 msmpeg4 wmv1 wmv2 wmv3 vc1 flv theora svq1 svq3 cinepak indeo3 "
    "indeo5 msrle msvideo1 rpza cfhd jpeg2000"
)
"""FFmpeg's names of the decoders that are let at a film: those of cameras, phones, screen recorders and editors."""
SECONDS = 15.0
"""Of the processor that the choice of a film's frames may take; what has been found by then counts."""
PICTURE_SECONDS = 8.0
"""Of the processor that one frame may take."""
_DEMUXERS = (
    (rb"\x1aE\xdf\xa3", "matroska"),
    (rb"RIFF....AVI ", "avi"),
    (rb"....(?:ftyp|moov|mdat|wide|free|skip|pnot)", "mov"),
    (rb"\0\0\x01\xba", "mpeg"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (rb"OggS", "ogg"),
    (rb"(?:.{4})?G.{187}(?:.{4})?G", "mpegts"),
)
"""How a file begins → FFmpeg's demuxer for it."""
_HEAD_BYTES = 512
_SAMPLES = 3
"""Keyframes that are looked at for each that is kept."""
_MOST_READ = 1 << 30
"""Bytes of a film that the choice of its frames may read."""
_MOST_PIXELS = 1_000_000_000
"""How much of a film is decoded frame by frame where its keyframes show too little: 20 seconds of Full HD."""
_MOST_PACKETS = 2_000
"""Packets between a moment and the keyframe that a search for it finds."""
_EARLIER = (0, 2_000, 20_000)
"""Milliseconds by which a moment is sought too early, in turn, until there is a keyframe before it."""
_SPARSE = 3
"""Where there are fewer keyframes than this, it is worth another look."""
_SHORT, _LONG = 4_000, 3_600_000
"""Milliseconds of a film for which one keyframe will do, and of one that does not say how long it is."""
_BYTES_A_PIXEL = 24


def open_reader(stream: BinaryIO, name: str, options: DocumentOptions) -> Film:
    """Open a film and choose its frames; raises PictureError, for instance "not an image" where it has only sound."""
    with _film_errors():
        return Film(stream, options)


class Film:
    """An open film; see ``contract.Reader``. ``picture`` takes any moment, not only those of ``places``."""

    def __init__(self, stream: BinaryIO, options: DocumentOptions) -> None:
        """Open it and choose its frames: ``options.frames`` at most, 0 for a number by its length, -1 for none."""
        av.logging.set_level(None)
        self._source = _Source(stream, SECONDS, _MOST_READ)
        self._max_pixels = int(options.max_megapixels * 1_000_000)
        self._container: InputContainer = av.open(
            self._source,
            "r",
            format=_demuxer(stream),
            options={"codec_whitelist": CODECS.replace(" ", ",")},
            metadata_errors="replace",
            buffer_size=1 << 16,
            io_open=_refuse,
        )
        self._stream = self._video()
        context = self._stream.codec_context
        context.thread_count = 1
        # The size may change in the middle.
        context.options = {"max_pixels": str(self._max_pixels)}
        size = shown_size(context.width, context.height, self._stream.sample_aspect_ratio)
        check_size(size, self._max_pixels)
        self.cost = _BYTES_A_PIXEL * size[0] * size[1]
        self._step = self._stream.time_base or Fraction(1, 1000)
        self._start = Fraction(self._container.start_time or 0, 1_000_000)
        self.note = ""
        self._unread: list[int] = []
        moments = self._choose(options.frames) if options.frames >= 0 else []
        self.places = [Place(moment, moment / 1000) for moment in moments]

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return the frame that a player shows at a moment; the last one after the end."""
        with _film_errors():
            self._source.allow(PICTURE_SECONDS, _MOST_READ)
            frame = self._frame_at(place.page) or self._frame_at(self._duration())
            if frame is None:
                raise PictureError("corrupt", "no frame can be decoded there")
            size = shown_size(frame.width, frame.height, self._stream.sample_aspect_ratio)
            check_size(size, self._max_pixels)
            return Picture(*picture_of(frame, size, budget), place.page)

    def metadata(self) -> Metadata:
        """Return what the film's tags tell; those of the whole before those of the stream."""
        return from_tags({**self._stream.metadata, **self._container.metadata})

    def text(self, place: Place) -> str:
        """Return "": a film has no text of its own."""
        return ""

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _video(self) -> VideoStream:
        """Return the stream to be seen. Raises PictureError where there is none, or nobody to decode it."""
        found = cast("VideoStream | None", self._container.streams.best("video"))
        if found is None or found.disposition & av.stream.Disposition.attached_pic:
            sound = bool(self._container.streams.audio)
            raise PictureError("not an image", "it has audio, but no video" if sound else "it has no video")
        context = found.codec_context
        if context is None or context.codec.name not in CODECS.split():
            coded = f"in {context.codec.name}" if context else "in a way that is not known"
            raise PictureError("unsupported", f"its video is encoded {coded}")
        return found

    def _choose(self, frames: int) -> list[int]:
        """Return the milliseconds of the frames that stand for the film, in order."""
        duration = self._duration()
        found: dict[int, Candidate] = {}
        try:
            self._sample(found, duration, _SAMPLES * wanted(frames, duration) if duration else 1)
            last = max(found, default=0)
            if 0 < last < duration // 2:
                # It claims to be longer than it is, or can't be sought in.
                self._sample(found, last, _SAMPLES * wanted(frames, last))
            if len(found) < _SPARSE:
                self._walk(found, _SAMPLES * wanted(frames, _LONG), keyframes=True)
            few = len(found) < _SPARSE and duration > _SHORT
            if few or all(one.is_blank for one in found.values()):
                self._walk(found, _SAMPLES * wanted(frames, duration), keyframes=False)
        except TooLong:
            if not found:
                raise
            self.note = "only some of its frames were read: they take long to decode"
        if not found:
            raise PictureError("corrupt", "no frame of it can be decoded")
        last = max(found)
        if self._unread and min(self._unread) > last and not self.note:
            self.note = f"end missing, nothing can be read after {last / 1000:.0f} s"
        duration = max(1, min(duration, 2 * last) or last)
        return choose_moments([found[at] for at in sorted(found)], wanted(frames, duration), duration)

    def _duration(self) -> int:
        """Return the milliseconds that the film claims to last; 0 if it does not say."""
        if self._stream.duration:
            return max(0, int(self._stream.duration * self._step * 1000))
        return max(0, (self._container.duration or 0) // 1000)

    def _sample(self, found: dict[int, Candidate], duration: int, count: int) -> None:
        """Add the keyframes at ``count`` moments, evenly spread: first a few far apart, in case that time runs out."""
        for part in _coarse_to_fine(count):
            sought = int(duration * (part + 0.5) / count)
            packet = next(self._packets(sought), None)
            if packet is None:
                self._unread.append(sought)
            elif (moment := self._moment(packet)) not in found:
                frame = self._keyframe(packet)
                if frame is not None:
                    found[moment] = Candidate(moment, thumbnail(frame))

    def _walk(self, found: dict[int, Candidate], count: int, *, keyframes: bool) -> None:
        """Add frames from the start on, without seeking: the keyframes, or as many of all as may be decoded.

        Where they become more than twice ``count``, every other one is dropped.
        """
        kept: dict[int, Candidate] = {}
        stride, seen, pixels = 1, 0, 0
        try:
            for packet in self._packets(0):
                if keyframes and not packet.is_keyframe:
                    continue
                for moment, frame in self._frames(packet, alone=keyframes):
                    seen += 1
                    pixels += frame.width * frame.height
                    if seen % stride == 0:
                        kept[moment] = Candidate(moment, thumbnail(frame))
                if len(kept) > 2 * count:
                    kept = dict(list(kept.items())[::2])
                    stride *= 2
                if pixels > _MOST_PIXELS and not keyframes:
                    break
        finally:
            found |= kept

    def _frame_at(self, moment: int) -> VideoFrame | None:
        """Return the frame that is shown at a moment; None if there is none that can be decoded."""
        shown, pixels = None, 0
        for packet in self._packets_until(moment):
            if shown is None and self._moment(packet) == moment and packet.is_keyframe:
                frame = self._keyframe(packet)
                if frame is not None:
                    return frame
            for at, frame in self._frames(packet):
                if shown is not None and at > moment:
                    return shown
                shown = frame
                pixels += frame.width * frame.height
            if pixels > _MOST_PIXELS:
                break
        return shown

    def _packets_until(self, moment: int) -> Iterator[Packet[VideoStream]]:
        """Yield the packets from the last keyframe on that is shown at a moment or before it."""
        for earlier in _EARLIER:
            start = max(0, moment - earlier)
            packets = self._packets(start)
            needed: list[Packet[VideoStream]] = []
            for packet in packets:
                # Some containers are sought in by the order of decoding, or roughly.
                if packet.is_keyframe and (self._moment(packet) <= moment or start == 0):
                    needed.clear()
                elif not needed:
                    break
                needed.append(packet)
                if self._moment(packet) > moment or len(needed) > _MOST_PACKETS:
                    break
            if needed:
                yield from needed
                yield from packets
                return

    def _packets(self, moment: int) -> Iterator[Packet[VideoStream]]:
        """Seek a moment, and yield the film's packets from the next keyframe on; those of other streams are dropped.

        The one that ends the film is empty. What can't be read is the end.
        """
        try:
            try:
                # MPEG transport streams don't find their start by its time, but by an earlier one; AVI does.
                self._go_to(Fraction(moment, 1000) if moment else Fraction(-1))
            except av.FFmpegError:
                self._go_to(Fraction(moment, 1000))
            begun = False
            for number, packet in enumerate(self._container.demux(self._stream)):
                self._source.check()
                begun = begun or packet.is_keyframe
                if begun:
                    yield packet
                elif number > _MOST_PACKETS:
                    return
        except av.FFmpegError:
            self._source.check()

    def _go_to(self, place: Fraction) -> None:
        # A hundredth of a millisecond later, so that a rounded moment finds its own keyframe.
        place += self._start + Fraction(1, 100_000)
        self._container.seek(math.floor(place / self._step), stream=self._stream)

    def _frames(
        self, packet: Packet[VideoStream], *, alone: bool = False
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the frames that come out of the decoder for a packet, with their moments; none where it is damaged."""
        self._source.check()
        if alone:
            frame = self._keyframe(packet)
            if frame is not None:
                yield self._moment(packet), frame
            return
        try:
            frames = self._stream.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:
            return
        for frame in frames:
            yield self._moment(frame), frame

    def _keyframe(self, packet: Packet[VideoStream]) -> VideoFrame | None:
        """Return the frame of a keyframe's packet alone; None if it can't be decoded."""
        self._source.check()
        context = self._stream.codec_context
        context.flush_buffers()
        try:
            frames = context.decode(packet) or context.decode(None)
        except av.FFmpegError:
            return None
        finally:
            context.flush_buffers()
        return frames[0] if frames else None

    def _moment(self, of: Packet[VideoStream] | VideoFrame) -> int:
        """Return when a packet's or a frame's picture is shown, in milliseconds; rounded up: it is shown by then."""
        stamp = of.pts if of.pts is not None else of.dts
        if stamp is None:
            return 0
        milliseconds = 1000 * (stamp * self._step - self._start)
        return max(0, math.ceil(milliseconds - Fraction(1, 100)))


class _TooMuch(TooLong):
    """Too much of a film has been read."""

    def __init__(self) -> None:
        """Say how much that is."""
        PictureError.__init__(self, "takes too long", f"given up after {format_bytes(_MOST_READ)} of reading")


class _Source:
    """The film's bytes for FFmpeg: reads end with TooLong once time is up or too much has been read."""

    def __init__(self, stream: BinaryIO, seconds: float, most: int) -> None:
        """Take a seekable stream, and what is allowed for the first stretch of work."""
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        stream.seek(0)
        self.allow(seconds, most)

    def allow(self, seconds: float, most: int) -> None:
        """Begin a stretch of work: seconds of this thread on the processor, and bytes."""
        self._seconds, self._rest = seconds, most
        self._until = time.thread_time() + seconds

    def read(self, size: int) -> bytes:
        """Return the next bytes; TooLong if there may be no more."""
        self.check()
        data = self._stream.read(size)
        self._rest -= len(data)
        return data

    def check(self) -> None:
        """Raise TooLong if the work has taken too long."""
        if self._rest < 0:
            raise _TooMuch
        if time.thread_time() > self._until:
            raise TooLong(self._seconds)


def _demuxer(stream: BinaryIO) -> str:
    """Return FFmpeg's name of the container that a file is. Raises PictureError for what is none."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    for start, name in _DEMUXERS:
        if re.match(start, head, re.DOTALL):
            return name
    raise PictureError("not an image" if head else "empty file", "nor a video" if head else "")


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """Open nothing: a film is one file."""
    raise PermissionError("a film that refers to another file")


@contextmanager
def _film_errors() -> Iterator[None]:
    """Turn what FFmpeg says of a damaged film into a PictureError; its numbers look like those of a disk's errors."""
    try:
        yield
    except av.MemoryError as error:
        raise PictureError("out of memory", "not enough memory to decode it") from error
    except av.FFmpegError as error:
        said = (error.strerror or "it can't be decoded").lower()
        if isinstance(error, av.InvalidDataError):
            said = "its header or index is missing or damaged, as in an unfinished recording or copy"
        raise PictureError("corrupt", said) from error


def _coarse_to_fine(count: int) -> list[int]:
    """Return 0 … count - 1 so that any first few of them are spread over all: by their bits in reverse."""
    bits = max(1, (count - 1).bit_length())
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    return [number for number in order if number < count]
