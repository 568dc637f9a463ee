"""Work in threads ahead of whoever takes its results, in order."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.media.lookahead import aside, look_ahead
from support.serving import until


@given(st.lists(st.floats(0, 0.002), max_size=20), st.integers(1, 8))
def test_results_come_in_order(pauses: list[float], ahead: int) -> None:
    """However long each item takes, its result comes in its turn, and none is lost."""

    def work(item: tuple[int, float]) -> int:
        time.sleep(item[1])
        return item[0]

    assert list(look_ahead(work, enumerate(pauses), ahead)) == list(range(len(pauses)))


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_no_more_than_so_many_are_ahead(ahead: int) -> None:
    """Items are taken as results are, so that at most so many have been begun and not been taken yet."""
    begun = taken = 0

    def items() -> Iterator[int]:
        nonlocal begun
        for begun in range(1, 31):
            assert begun - taken <= ahead
            yield begun

    for item in look_ahead(lambda item: item, items(), ahead):
        taken = item
    assert (begun, taken) == (30, 30)


def test_an_error_comes_in_its_turn() -> None:
    """What the work raises for an item is raised after the results before it, and what came later is dropped."""
    results = look_ahead(lambda item: 12 // item, [4, 3, 0, 2], 4)
    assert (next(results), next(results)) == (3, 4)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_ctrl_c_that_wakes_nobody_ends_the_wait() -> None:
    """Ctrl-C ends the wait for a result even if the signal came in the moment before the wait began."""
    ours, gate, given_up = threading.get_ident(), threading.Event(), []

    def waits() -> bool:
        return sys._current_frames()[ours].f_code is threading.Condition.wait.__code__

    def work() -> None:
        until(waits)
        _thread.interrupt_main()  # makes a note of the signal, as its handler does, and wakes no thread
        given_up.append(not gate.wait(10))

    try:
        with pytest.raises(KeyboardInterrupt):
            aside(work)
    finally:
        gate.set()
    until(lambda: given_up)
    assert given_up == [False]


def test_closing_drops_what_has_not_begun_and_ends_the_threads() -> None:
    """Who takes no more results waits only for what is being done; no thread is left behind."""
    begun: list[int] = []
    gate = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item:
            gate.wait(10)
        return item

    before = threading.active_count()
    results = look_ahead(work, range(1000), 500)
    assert next(results) == 0
    threading.Timer(0.05, gate.set).start()
    results.close()
    assert len(begun) < 100
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
