"""Decoding in many threads holds no more pixels at once than there is room for."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from imgsearch.media.raster import Room


@given(st.lists(st.integers(1, 150), min_size=1, max_size=30))
def test_what_is_held_at_once_fits_unless_it_is_one_picture_alone(sizes: list[int]) -> None:
    """However many threads ask for room, what they hold together fits, but one large picture may come alone."""
    room, lock = Room(100), threading.Lock()
    held: list[int] = []
    seen: list[list[int]] = []

    def work(size: int) -> None:
        with room.take(size):
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
    assert all(sum(together) <= 100 or len(together) == 1 for together in seen)


def test_room_is_given_back_when_decoding_fails() -> None:
    """A picture that turns out to be broken gives its room back."""
    room = Room(10)
    for _ in range(3):
        try:
            with room.take(10):
                raise ValueError("broken")
        except ValueError:
            pass
    with room.take(10):
        assert room._taken == 10
