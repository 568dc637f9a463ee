"""Works ahead in threads of whoever takes the results, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from contextlib import closing
from queue import SimpleQueue
from typing import TypeVar

from imgsearch.machine import cores

MOST_THREADS = 32
_LISTENING = 0.5  # seconds that a wait for a result lasts at most; then it is repeated
S = TypeVar("S")
T = TypeVar("T")


def look_ahead(
    work: Callable[[S], T], items: Iterable[S], ahead: int, weigh: Callable[[T], float] | None = None
) -> Generator[T, None, None]:
    """Run ``work`` on each item in threads; yield the results in order, at most ``ahead`` of them in memory.

    Where results differ much in size, ``weigh`` says how many usual ones one is worth, at least 1: fewer are then kept.

    ``items`` are taken as they are needed. What ``work`` raises is raised where its result is due. Closing the
    generator, or an error, drops what has not begun and waits for nothing: Ctrl-C must end a command whatever a decoder
    is doing. What has begun is finished in its thread, and its result is dropped.
    """
    results: deque[Future[T]] = deque()
    threads = _Threads(min(MOST_THREADS, cores.usable().count + 1))
    try:
        for item in items:
            results.append(threads.submit(work, item))
            while results and _weight(results, weigh) >= ahead:
                yield _awaited(results.popleft())
        while results:
            yield _awaited(results.popleft())
    finally:
        for result in results:
            result.cancel()
        threads.close()


def _awaited(result: Future[T]) -> T:
    """Wait for a result and return it, or raise what the work raised, or KeyboardInterrupt.

    A signal that comes in the moment before a wait begins, or that the system gives to another thread, does not end
    the wait: Python looks for it when the wait is over. So each wait is a short one.
    """
    try:
        while not result.done():
            wait((result,), _LISTENING)
        return result.result()
    finally:
        del result  # which knows the error, and the error this frame


def _weight(results: Iterable[Future[T]], weigh: Callable[[T], float] | None) -> float:
    """Return how much is kept, or about to be: of what is not ready yet nobody knows more than that it is one."""
    known = [weigh(one.result()) if weigh and one.done() and not one.exception() else 1.0 for one in results]
    return sum(known)


def aside(work: Callable[[], T]) -> T:
    """Return what ``work`` gives, done in a thread: so Ctrl-C need not wait for a decoder to come back from C."""
    with closing(look_ahead(lambda _: work(), (None,), 1)) as results:
        return next(results)


class _Threads:
    """Up to so many threads that do what is submitted, in order. A process that ends does not wait for them.

    (Those of a ThreadPoolExecutor are joined when Python ends, whatever they are doing.)
    """

    def __init__(self, most: int) -> None:
        self._most, self._started = most, 0
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, work: Callable[[S], T], item: S) -> Future[T]:
        """Have ``work`` done on ``item``. Raises RuntimeError if not one thread can be started."""
        result: Future[T] = Future()
        if self._started < self._most:
            try:
                threading.Thread(target=self._run, name="decode", daemon=True).start()
                self._started += 1
            except RuntimeError:
                if not self._started:
                    raise
                self._most = self._started  # the system has no more
        self._jobs.put(lambda: _do(result, work, item))
        return result

    def close(self) -> None:
        """Let each thread end after what it is doing; nothing is waited for."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # else what it worked on would stay in memory until the next job comes


def _do(result: Future[T], work: Callable[[S], T], item: S) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(work(item))
    except BaseException as error:
        result.set_exception(error)
        del result  # which knows the error, and the error this frame
