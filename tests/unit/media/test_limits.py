"""What decoding may cost: memory that threads share, by what is free, and the time of one file."""

from __future__ import annotations

import io
import threading
from contextlib import ExitStack
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imgsearch.errors import PictureError
from imgsearch.media import limits
from imgsearch.media.decoders import raster
from imgsearch.media.limits import Cost, MemoryLimiter, timed
from imgsearch.types import DEFAULT_BUDGET
from support.bombs import bmp_rle, tiff
from support.decoded import pages, refusal

MB = 1_000_000


def cost(megabytes: int) -> Cost:
    return Cost(megabytes * MB, "as drawn")


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30))
def test_what_is_held_at_once_fits_into_half_of_what_is_free(sizes: list[int]) -> None:
    """However many threads ask, what they hold together is at most half of the free memory, and all get their turn."""
    limiter, lock = MemoryLimiter(lambda: 1000 * MB), threading.Lock()
    held: list[int] = []
    seen: list[list[int]] = []

    def work(size: int) -> None:
        with limiter.take(cost(size), 10 * MB):
            with lock:
                held.append(size)
                seen.append(list(held))
            with lock:
                held.remove(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(sizes)
    assert all(sum(together) <= 500 for together in seen)


def test_memory_is_given_back_when_decoding_fails() -> None:
    """A picture that turns out to be broken gives its memory back."""
    limiter = MemoryLimiter(lambda: 1000 * MB)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), limiter.take(cost(500), MB):
            raise ValueError("broken")
    with limiter.take(cost(500), MB):
        pass


def test_what_is_too_large_for_all_of_it_is_refused_with_figures() -> None:
    """A picture that needs more than half of the free memory is not waited for; another day it may fit."""
    free = [1000 * MB]
    limiter = MemoryLimiter(lambda: free[0])
    with pytest.raises(PictureError) as caught, limiter.take(cost(501), 100 * MB):
        pass
    assert caught.value.reason == "too large for the memory"
    assert caught.value.detail == "it takes about 501.0 MB to decode: as drawn; 1.0 GB are free"
    free[0] = 1002 * MB
    with limiter.take(cost(501), 100 * MB):
        pass


def test_a_small_picture_needs_no_free_memory() -> None:
    """What takes little is decoded however little is free, and without a look at it."""

    def never() -> int:
        raise AssertionError

    with MemoryLimiter(never).take(cost(64), 1):
        pass


def test_ordinary_photos_are_decoded_without_a_look_at_the_memory() -> None:
    """What is free is asked of the system, which takes its time: three photos of a megapixel at once don't need it."""

    def never() -> int:
        raise AssertionError

    limiter, photo = MemoryLimiter(never), raster.finishing(Image.new("RGB", (1200, 800)), DEFAULT_BUDGET)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(limiter.take(photo, MB))


@pytest.mark.parametrize(
    ("megabytes", "file_bytes", "refused"), [(1000, 0, False), (1400, MB, False), (1401, MB, True)]
)
def test_a_small_file_may_take_a_gigabyte(megabytes: int, file_bytes: int, refused: bool) -> None:
    """What a file may take grows with its bytes, whatever is free: a photo has more of them than a bomb."""
    limiter = MemoryLimiter(lambda: 100_000 * MB)
    if not refused:
        with limiter.take(cost(megabytes), file_bytes):
            return
    with pytest.raises(PictureError, match="decompression bomb"), limiter.take(cost(megabytes), file_bytes):
        pass


def test_a_stream_can_be_read_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is that of the thread; when it is over, reading raises the reason; what reads in C gets the stream's own."""
    now = [0.0]
    monkeypatch.setattr(limits.time, "thread_time", lambda: now[0])
    stream = timed(io.BytesIO(b"abcdef"))
    assert stream.read(2) == b"ab"
    now[0] = 17.9
    buffer = bytearray(3)
    assert stream.readinto(buffer) == 3  # type: ignore[attr-defined]
    assert (bytes(buffer), stream.tell()) == (b"cde", 5)
    now[0] = 18.1
    assert stream.getvalue() == b"abcdef"  # type: ignore[attr-defined]
    with pytest.raises(PictureError) as caught:
        stream.read()
    assert (caught.value.reason, caught.value.detail) == (
        "takes too long",
        "given up after 18 seconds of decoding",
    )


def test_a_large_file_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of time grows with the file beyond its ordinary size."""
    now = [0.0]
    monkeypatch.setattr(limits.time, "thread_time", lambda: now[0])
    monkeypatch.setattr(limits, "_ORDINARY", 10)
    stream = timed(io.BytesIO(b"a" * 30))
    now[0] = 53.0
    stream.read()
    now[0] = 55.0
    with pytest.raises(PictureError, match="54 seconds"):
        stream.read()


def test_many_small_reads_are_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of reads of a few bytes one in sixteen is checked, so a decoder that reads no other way ends as well."""
    now = [0.0]
    monkeypatch.setattr(limits.time, "thread_time", lambda: now[0])
    stream = timed(io.BytesIO(b"a" * 30))
    now[0] = 19.0
    with pytest.raises(PictureError, match="18 seconds"):
        list(iter(lambda: stream.read(1), b""))


def test_a_decoder_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that reads bit by bit ends with that reason, in the middle of its work."""
    monkeypatch.setattr(limits, "SECONDS", 0.05)
    error = refusal(bmp_rle(3000))
    assert (error.reason, error.detail) == ("takes too long", "given up after 0 seconds of decoding")


def test_a_tiff_that_takes_too_long_keeps_the_pages_that_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that were decoded in time are kept, and a note tells how many."""
    whole, clock = tiff(1000, (1,), photometric=1, pages=50), count()
    monkeypatch.setattr(limits.time, "thread_time", lambda: float(next(clock)))  # a second for each check
    monkeypatch.setattr(limits, "SECONDS", 10_000.0)
    assert len(pages(whole)) == 50
    monkeypatch.setattr(limits, "SECONDS", next(clock) / 2)
    found = pages(whole)
    assert 0 < len(found) < 50
    assert found[-1].note == f"only its first {len(found)} pages are read"
    monkeypatch.setattr(limits, "SECONDS", -1.0)
    assert refusal(whole).reason == "takes too long"
