"""Processes that read documents, seen from the one that asks: started, asked, limited in time, and ended."""

from __future__ import annotations

import atexit
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any, BinaryIO

from imgsearch.errors import PictureError, exhausted
from imgsearch.media.documents import DocumentFormat
from imgsearch.media.documents.contract import Corners, Document, DocumentOptions, Place, choose, said
from imgsearch.media.documents.guest import LENGTH, exactly, send
from imgsearch.media.limits import DECODING, Cost
from imgsearch.media.splice import length
from imgsearch.types import Metadata, Picture, PixelBudget, is_utf8

_WALL = 6
"""The clock may show so many times what the processor may take: the machine is busy, or the disk is slow."""
_SLOW = 0.5
"""A request has been slow if it took this share of its seconds, by the clock: after a crash it is not repeated, ...."""
_SLOW_IN_A_ROW = 3
"""... and after so many places in a row that ended so, nothing more of a document is asked for."""
_TO_START = 120.0
"""Seconds by the clock that a process may take until it is ready."""
_ORDINARY = 64 << 20
"""Bytes of a file that is opened in the usual time; a larger one may take more in proportion, ...."""
_SLOWEST = 16.0
"""... up to so many times."""
_KEPT = 4
"""Processes that wait for the next document, at most."""
_DOCUMENTS = 200
"""A process ends after so many documents, or once it has had so much memory: libraries leak."""
_GROWN = 512 << 20
_MOST_ANSWER, _MOST_PIXELS = 64 << 20, 1 << 30
"""Bytes of an answer and of its pixels: nobody has to believe a process that reads bytes of anybody."""
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character of UTF-16."""
_NONSENSE = "its answer makes no sense"
_clock = time.monotonic


class _Ended(Exception):
    """The process has ended without an answer: why, in the words of a PictureError."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the words."""
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class _Child:
    """A process that reads documents of one kind, one at a time."""

    def __init__(self, format: DocumentFormat) -> None:
        """Start it. OSError if the system does not let us."""
        self.module = format.module
        self.documents = 0
        self.worn = False
        self._is_ready = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._channel = ours
            self._pixels = _memory()
            try:
                # A session of its own: Ctrl-C is for us. Its input is a pipe that ends when we do.
                self._process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-m", "imgsearch.media.documents.guest"),
                        *map(str, (theirs.fileno(), self._pixels, format.module, format.memory)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), self._pixels),
                    start_new_session=True,
                    # Nothing that it does is worth threads, each of which takes addresses.
                    env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                )
            except BaseException:
                ours.close()
                os.close(self._pixels)
                raise

    def ask(self, request: dict[str, Any], seconds: float, files: tuple[int, ...] = ()) -> dict[str, Any]:
        """Return the answer to a request. Raises _Ended, or PictureError if that is the answer.

        It may take ``seconds`` of the processor. After _Ended, or anything else but PictureError, the process is gone.
        """
        try:
            if not self._is_ready:
                self._receive(_TO_START)
                self._is_ready = True
            send(self._channel, {**request, "seconds": seconds}, files)
            answer = self._receive(_WALL * seconds, seconds)
        except OSError as error:
            why = self._why(seconds)
            self.end()
            raise why from error
        except BaseException:
            self.end()
            raise
        # A process that has been refused memory once is kept for nothing else.
        self.worn = self.worn or answer.get("resident", 0) > _GROWN or answer.get("error") == "out of memory"
        if "error" in answer:
            raise PictureError(str(answer["error"]), str(answer["detail"]))
        return answer

    def _receive(self, wait: float, seconds: float = 0.0) -> dict[str, Any]:
        """Return the next answer, which may take ``wait`` seconds by the clock and ``seconds`` of the processor."""
        until = time.monotonic() + wait
        try:
            self._channel.settimeout(wait)
            (size,) = LENGTH.unpack(exactly(self._channel, LENGTH.size))
            if size <= _MOST_ANSWER:
                self._channel.settimeout(max(1.0, until - time.monotonic()))
                answer = _cleaned(json.loads(exactly(self._channel, size)))
                if isinstance(answer, dict):
                    return answer
        except TimeoutError as error:
            raise _Ended("takes too long", f"given up after {wait:.3g} seconds of waiting") from error
        except (OSError, EOFError) as error:
            raise self._why(seconds) from error
        except ValueError:
            pass
        raise _Ended("crashed the reader", _NONSENSE)

    def _why(self, seconds: float) -> _Ended:
        """Tell why the process has ended; it has closed its end of the socket, so it is about to."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.poll()
        if code == -signal.SIGPROF:
            return _Ended("takes too long", f"given up after {seconds:.3g} seconds of reading")
        if code is not None and code < 0:
            # What libraries in C++ do without memory, and what a system does that has none.
            spent = ", perhaps for want of memory" if -code in (signal.SIGABRT, signal.SIGKILL) else ""
            return _Ended("crashed the reader", f"it ended by {_signal_name(-code)}{spent}")
        return _Ended("crashed the reader", f"it ended with {code}")

    def pixels(self, height: int, width: int) -> Any:
        """Return the pixels of the last answer, (height, width, 3) uint8. ValueError if there are none such.

        They are read, not mapped: what is mapped and cut off by the other side would end this process.
        """
        import numpy as np

        if min(height, width) < 1 or 3 * height * width > _MOST_PIXELS:
            raise ValueError(f"{height} × {width} pixels")
        if os.fstat(self._pixels).st_size != 3 * height * width:
            raise ValueError("its pixels are not 3 bytes each")
        found = np.empty((height, width, 3), np.uint8)
        rest, place = found.data.cast("B"), 0
        while rest:
            count = os.preadv(self._pixels, [rest[: 1 << 30]], place)
            if not count:
                raise ValueError("too few pixels")
            rest, place = rest[count:], place + count
        os.ftruncate(self._pixels, 0)
        return found

    @property
    def is_there(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process at once; nothing happens if it has ended."""
        with suppress(OSError):
            self._process.kill()
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
            self._channel.close()
            os.close(self._pixels)
        self._process.wait()


def _memory() -> int:
    """Return a descriptor of memory that another process can be given."""
    with suppress(AttributeError):
        return os.memfd_create("imgsearch")
    with tempfile.TemporaryFile() as file:  # macOS has none without a file
        return os.dup(file.fileno())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Readers:
    """The processes of this one that read documents, those at work and a few that wait for more.

    Each has one document at a time, of one thread. More documents at a time have as many processes: nobody waits for
    another, who may be waiting for them.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._waiting: list[_Child] = []
        self._process = os.getpid()

    def take(self, format: DocumentFormat) -> _Child:
        """Return a process for documents of one kind. Raises PictureError or OutOfResources if none can be started."""
        with self._lock:
            self._forget_parents()
            gone = [child for child in self._waiting if not child.is_there]
            self._waiting = [child for child in self._waiting if child.is_there]
            found = next((child for child in self._waiting if child.module == format.module), None)
            if found:
                self._waiting.remove(found)
        for child in gone:
            child.end()
        if found:
            return found
        try:
            return _Child(format)
        except OSError as error:
            raise exhausted(error) or PictureError("unreadable", f"no process to read it: {error}") from error

    def give_back(self, child: _Child) -> None:
        """Keep a process that has closed its document for the next one, or end it."""
        if child.worn or child.documents >= _DOCUMENTS:
            child.end()
            return
        with self._lock:
            self._waiting.append(child)
            more = self._waiting.pop(0) if len(self._waiting) > _KEPT else None
        if more:
            more.end()

    def close(self) -> None:
        """End the processes that wait."""
        with self._lock:
            self._forget_parents()
            waiting, self._waiting = self._waiting, []
        for child in waiting:
            child.end()

    def _forget_parents(self) -> None:
        """After a fork: what the other process has started is none of this one's."""
        if self._process != os.getpid():
            self._waiting, self._process = [], os.getpid()


READERS = Readers()
# Where Python's own exit does not come to this, the processes end with the pipe that they watch.
atexit.register(READERS.close)


@contextmanager
def opened(
    format: DocumentFormat, stream: BinaryIO, name: str, options: DocumentOptions
) -> Iterator[Document]:
    """Open a document until the end of the block; raises as ``open_document`` does."""
    file, own = _descriptor(stream)
    try:
        document = _Document(format, file, length(stream), name, options)
        try:
            yield document
        finally:
            document.close()
    finally:
        if own:
            os.close(file)


def _descriptor(stream: BinaryIO) -> tuple[int, bool]:
    """Return a descriptor of a stream's bytes, and whether it is of a copy, to be closed."""
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
        return stream.fileno(), False
    copy = _memory()
    try:
        stream.seek(0)
        place = 0
        while data := stream.read(1 << 20):
            while data:
                count = os.pwrite(copy, data, place)
                data, place = data[count:], place + count
    except OSError as error:
        os.close(copy)
        raise exhausted(error) or PictureError("unreadable", f"no room to copy it: {error}") from error
    except BaseException:
        os.close(copy)
        raise
    return copy, True


class _Document:
    """An open document: the process that has it open, or none after a crash, until the next call."""

    def __init__(
        self, format: DocumentFormat, file: int, size: int, name: str, options: DocumentOptions
    ) -> None:
        self._format, self._file, self._size = format, file, size
        self._opening = {"do": "open", "name": name, "options": asdict(options)}
        self._child: _Child | None = None
        self._one = True
        self._slow = 0  # places in a row
        answer = self._ask({})
        try:
            places = [_place(place) for place in answer["places"]]
            self.note = str(answer["note"])
            self.metadata = _unpack_metadata(answer["metadata"])
            self._cost = Cost(int(answer["cost"]), f"an image of {format.name}")
        except (TypeError, ValueError, KeyError) as error:
            self._drop()
            raise PictureError("crashed the reader", _NONSENSE) from error
        self._one = len(places) == 1
        self.places = choose(places, options.pages)

    def picture(self, place: Place, budget: PixelBudget) -> Picture:
        """Return the picture at a place; raises PictureError."""
        request = {"do": "picture", "place": place, "budget": [budget.min_pixels, budget.max_pixels]}
        with DECODING.take(self._cost, self._size):
            answer = self._ask(request, place)
            assert self._child is not None
            try:
                (height, width), (wide, high) = answer["shape"], answer["size"]
                pixels = self._child.pixels(int(height), int(width))
                picture = Picture(pixels, int(wide), int(high), place.page, str(answer["note"]))
            except (TypeError, ValueError, KeyError) as error:
                self._drop()
                raise self._error("crashed the reader", _NONSENSE, place) from error
        if self._child.worn:
            self._drop()
        return picture

    def text(self, place: Place) -> str:
        """Return the file's own text of a page; raises PictureError."""
        return str(self._ask({"do": "text", "place": place}, place).get("text", ""))

    def lines(self, place: Place) -> list[tuple[str, Corners | None]]:
        """Return the lines of that text with their corners; raises PictureError."""
        answer = self._ask({"do": "lines", "place": place}, place)
        try:
            return [(str(line), _corners(corners)) for line, corners in answer["lines"]]
        except (TypeError, ValueError, KeyError) as error:
            self._drop()
            raise self._error("crashed the reader", _NONSENSE, place) from error

    def close(self) -> None:
        """Close the document; its process goes to the next one."""
        child, self._child = self._child, None
        if child is None:
            return
        try:
            child.ask({"do": "close"}, self._format.seconds)
        except (_Ended, PictureError):
            child.end()
        else:
            READERS.give_back(child)

    def _ask(self, request: dict[str, Any], place: Place | None = None) -> dict[str, Any]:
        """Return the answer to a request, or to the opening if there is none.

        A process that dies of it, but has read other things before, may have been spoilt by those: a new one is asked,
        unless it took long to die.
        """
        if self._slow >= _SLOW_IN_A_ROW:
            raise self._error(
                "takes too long", f"not tried after {self._slow} in a row that took too long", place
            )
        began = _clock()
        while True:
            child, self._child = self._child, None
            is_open, is_new = child is not None, False
            try:
                if child is None:
                    child = READERS.take(self._format)
                    is_new, child.documents = child.documents == 0, child.documents + 1
                    slowly = min(max(1.0, self._size / _ORDINARY), _SLOWEST)
                    answer = child.ask(self._opening, slowly * self._format.seconds, (self._file,))
                    is_open = True
                if request:
                    answer = child.ask(request, self._format.seconds)
            except _Ended as error:
                is_slow = error.reason == "takes too long" or _clock() - began > _SLOW * self._format.seconds
                self._slow += is_slow
                if is_new or is_slow:
                    raise self._error(error.reason, error.detail, place) from error
            except PictureError as error:
                assert child is not None
                if error.reason == "out of memory" and not is_new:
                    child.end()
                    continue
                if is_open:
                    self._child = child
                else:
                    READERS.give_back(child)
                raise self._error(error.reason, error.detail, place) from error
            else:
                self._child, self._slow = child, 0
                return answer

    def _drop(self) -> None:
        """End the process; the next call begins a new one."""
        child, self._child = self._child, None
        if child:
            child.end()

    def _error(self, reason: str, detail: str, place: Place | None) -> PictureError:
        """Return the error for a place, which is named where the document has others."""
        if place is None or self._one:
            return PictureError(reason, detail)
        return PictureError(reason, f"{said(place)}: {detail}" if detail else said(place))


def _cleaned(answer: Any) -> Any:
    """Return an answer whose texts are Unicode: what a file tells may hold halves of characters, in no encoding."""
    if isinstance(answer, str):
        return answer if is_utf8(answer) else _HALF.sub("\ufffd", answer)
    if isinstance(answer, list):
        return [_cleaned(one) for one in answer]
    if isinstance(answer, dict):
        return {_cleaned(name): _cleaned(value) for name, value in answer.items()}
    return answer


def _place(answer: Any) -> Place:
    page, time, name = answer
    return Place(int(page), None if time is None else float(time), str(name))


def _corners(answer: Any) -> Corners | None:
    if answer is None:
        return None
    left, top, *others = map(float, answer)
    one, two, three, four, five, six = others
    return left, top, one, two, three, four, five, six


def _unpack_metadata(answer: Any) -> Metadata:
    """Return what ``guest.pack_metadata`` packed."""
    taken = answer["taken"]
    when = None if taken is None else datetime.fromisoformat(taken)
    return Metadata(**{**answer, "taken": when, "keywords": tuple(answer["keywords"])})
