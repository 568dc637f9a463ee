"""The process that reads documents: it gets open files and requests by a socket, and answers until the other side ends.

It is started as ``python -m imgsearch.media.documents.guest SOCKET PIXELS MODULE BYTES``: the descriptors of the socket
and of the memory for pixels, the reader's module, and how much memory reading may take. Requests and answers are JSON
behind four bytes of length; a file comes along as a descriptor. The process trusts no file: it opens none by name.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO, cast

from imgsearch.errors import PictureError
from imgsearch.media.documents.contract import Corners, DocumentOptions, Opener, Place, Reader, ReaderOfLines
from imgsearch.media.formats import picture_errors
from imgsearch.types import NO_METADATA, Metadata, PixelBudget

LENGTH = struct.Struct("!I")
IDLE_SECONDS = 60.0
"""How long it waits for the next request before it ends."""
_MOST_TEXT = 1_000_000
"""Characters of a page's text that are handed on."""
_FILES = 64
"""File descriptors that it may have; libraries open some while they are loaded."""


def main() -> None:
    """Answer requests until the socket closes, or nobody has asked for a while."""
    socket_fd, pixels, module, memory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    channel = socket.socket(fileno=socket_fd)
    channel.settimeout(IDLE_SECONDS)
    # The default ends the process, also while it is in C; whoever started us may have had it ignored or blocked.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    guest = _Guest(pixels, module)
    _limit(memory)
    send(channel, {})  # ready: nothing that it has loaded counts for a file
    while (received := receive(channel)) is not None:
        request, files = received
        # Time of the processor, so that a busy machine makes no file slower; the other side looks at the clock.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        answer = guest.answer(request, files)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answer["resident"] = _resident()
        send(channel, answer)


def _end_with_parent() -> None:
    """End the process once the other side has ended, whatever it is doing: nobody ever writes to this pipe.

    Linux's signal for that purpose (PR_SET_PDEATHSIG) comes when the thread ends that started us: they come and go.
    """
    os.read(0, 1)
    os._exit(0)


def _limit(memory: int) -> None:
    """Bound what the process can have from now on. macOS ignores the one for memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, most in ((resource.RLIMIT_NOFILE, _FILES), (resource.RLIMIT_AS, _addresses() + memory)):
        soft, hard = resource.getrlimit(kind)
        limits = [limit for limit in (soft, hard, most) if limit != resource.RLIM_INFINITY]
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (min(limits), hard))


def _addresses() -> int:
    """Return how many bytes of addresses are in use; a guess where the system does not tell."""
    try:
        return _statm()[0]
    except OSError:
        return 1 << 30


def _resident() -> int:
    """Return how many bytes of memory are in use; on macOS the most that have been.

    Linux would tell the latter by the process that has started this one, a model's gigabytes included.
    """
    try:
        return _statm()[1]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _statm() -> list[int]:
    """Return the bytes of addresses and of memory in use (proc(5)). OSError on other systems than Linux."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return [int(pages) * resource.getpagesize() for pages in file.read().split()]


class _Guest:
    """Keeps the document that is open."""

    def __init__(self, pixels: int, module: str) -> None:
        self._pixels = pixels
        self._open: Opener = importlib.import_module(module).open_reader
        self._reader: Reader | None = None
        self._stream: BinaryIO | None = None

    def answer(self, request: dict[str, Any], files: list[int]) -> dict[str, Any]:
        """Do what is asked; an error of any kind is an answer, too."""
        try:
            with picture_errors():
                match request["do"]:
                    case "open":
                        return self._opened(files[0], request["name"], request["options"])
                    case "picture":
                        return self._picture(Place(*request["place"]), PixelBudget(*request["budget"]))
                    case "text":
                        return {"text": self._known().text(Place(*request["place"]))[:_MOST_TEXT]}
                    case "lines":
                        return {"lines": self._lines(Place(*request["place"]))}
                self._close()
                return {}
        except PictureError as error:
            return {"error": error.reason, "detail": error.detail}

    def _opened(self, file: int, name: str, options: dict[str, Any]) -> dict[str, Any]:
        self._close()
        self._stream = cast("BinaryIO", io.BufferedReader(_File(file), 1 << 16))
        wanted = DocumentOptions(**{**options, "passwords": tuple(options["passwords"])})
        reader = self._reader = self._open(self._stream, name, wanted)
        metadata = NO_METADATA
        with suppress(Exception):  # bytes of anybody; no metadata is worth a document
            metadata = reader.metadata()
        return {
            "places": list(reader.places),
            "note": reader.note,
            "cost": reader.cost,
            "metadata": pack_metadata(metadata),
        }

    def _picture(self, place: Place, budget: PixelBudget) -> dict[str, Any]:
        picture = self._known().picture(place, budget)
        os.ftruncate(self._pixels, 0)  # what the other side has not come to fetch
        data = memoryview(picture.pixels.tobytes())
        for start in range(0, len(data), 1 << 30):
            os.pwrite(self._pixels, data[start : start + (1 << 30)], start)
        return {
            "shape": picture.pixels.shape[:2],
            "size": [picture.width, picture.height],
            "page": picture.page,
            "note": picture.note,
        }

    def _lines(self, place: Place) -> list[tuple[str, Corners | None]]:
        reader = self._known()
        if isinstance(reader, ReaderOfLines):
            return list(reader.lines(place))
        return [(line, None) for line in reader.text(place)[:_MOST_TEXT].splitlines()]

    def _known(self) -> Reader:
        assert self._reader is not None
        return self._reader

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(
                Exception
            ):  # a library that has lost its way must not keep the next file from being read
                reader.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


class _File(io.RawIOBase):
    """A file by its descriptor, with a position of its own: the descriptor's is that of the other side, too.

    It does not tell its descriptor, for libraries in C would move that position.
    """

    def __init__(self, file: int) -> None:
        self._file, self._place, self._size = file, 0, os.fstat(file).st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._file, len(buffer), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()


def send(channel: socket.socket, message: dict[str, Any], files: tuple[int, ...] = ()) -> None:
    """Send a message and descriptors along with it; OSError if nobody is there to take it."""
    data = json.dumps(message).encode()
    # Descriptors travel with the first bytes.
    if files:
        socket.send_fds(channel, [LENGTH.pack(len(data))], list(files))
        channel.sendall(data)
    else:
        channel.sendall(LENGTH.pack(len(data)) + data)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next request and the descriptors that came with it; None at the end, or if none came for long."""
    try:
        # Descriptors come with the first byte.
        first, files, _, _ = socket.recv_fds(channel, 1, 1)
        if not first:
            return None
        length = LENGTH.unpack(first + exactly(channel, LENGTH.size - 1))[0]
        return json.loads(exactly(channel, length)), files
    except (OSError, EOFError):
        return None


def exactly(channel: socket.socket, count: int) -> bytes:
    """Return the next ``count`` bytes; EOFError if there are no more, and OSError as sockets raise it."""
    data = bytearray()
    while len(data) < count:
        more = channel.recv(min(count - len(data), 1 << 16))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


def pack_metadata(metadata: Metadata) -> dict[str, Any]:
    """Return metadata as JSON holds it; ``unpack_metadata`` reads it."""
    taken = metadata.taken.isoformat() if metadata.taken else None
    return {name: getattr(metadata, name) for name in Metadata.__slots__} | {"taken": taken}


if __name__ == "__main__":
    main()
