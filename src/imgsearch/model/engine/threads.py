"""Shares a batch between threads on a CPU, each with cores of its own: data parallelism within one process.

Left to itself torch shares every single product between all cores, and at each of thousands of operations all of
them wait for the slowest. Weights are read once a thread, so a thread needs enough tokens to be worth them.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import accumulate
from typing import TypeVar

import torch

LEAST_TOKENS = 200
"""Of a part: with fewer, reading the weights takes longer than what is won."""
WHOLE_TOKENS = 500
"""Of each core, on a processor with AMX: with so many, a batch is not shared. AMX multiplies many rows faster than few
(0.53 teraflop a second and core with 1,024, 0.40 with 252)."""

R = TypeVar("R")
_lock = threading.Lock()


def choose_parts(tokens: Sequence[int], cores: int, unit: str | None) -> tuple[int, str]:
    """Return into how many parts prompts of so many ``tokens`` each are shared, one a thread, and why.

    ``unit`` is what the CPU multiplies the model's dtype with, as ``runtime.bfloat16_unit`` names it. There are as
    many parts as divide ``cores``, so that no core is left over, and as have LEAST_TOKENS and a prompt at least, on
    average.
    """
    total = sum(tokens)
    if unit == "AMX" and total >= cores * WHOLE_TOKENS:
        return 1, f"AMX multiplies {total:,} tokens faster together"
    most = max(1, min(cores, len(tokens), total // LEAST_TOKENS))
    count = next(parts for parts in range(most, 0, -1) if cores % parts == 0)
    if count == 1:
        return 1, f"{total:,} tokens are too few to be shared" if cores > 1 else "there is one core"
    return count, f"each thread has {cores // count} of {cores} cores and about {total // count:,} tokens"


def split(tokens: Sequence[int], cores: int, unit: str | None = None) -> list[slice]:
    """Cut prompts of so many ``tokens`` each, in their order, into parts of about as many tokens (``choose_parts``)."""
    if not tokens:
        return []
    total = sum(tokens)
    count, _ = choose_parts(tokens, cores, unit)
    # Where a prompt's middle lies says to which part it belongs.
    parts = [
        (2 * end - length) * count // (2 * total)
        for length, end in zip(tokens, accumulate(tokens), strict=True)
    ]
    starts = [parts.index(part) for part in sorted(set(parts))]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True)]


def run(compute: Callable[[slice], R], parts: Sequence[slice]) -> list[R]:
    """Compute the parts side by side, on all the cores that torch has in this thread; return what each gave.

    All have ended when this returns or raises the first error of them; but Ctrl-C comes at once.
    """
    if len(parts) < 2:
        return [compute(part) for part in parts]
    cores = torch.get_num_threads()
    futures = [_threads(len(parts), max(1, cores // len(parts))).submit(compute, part) for part in parts]
    try:
        wait(futures)
    except BaseException:
        for future in futures:
            future.cancel()  # what has not begun
        raise
    errors = list(filter(None, (future.exception() for future in futures)))
    if not errors:
        return [future.result() for future in futures]
    try:
        raise errors[0]
    finally:
        # An error knows this frame: if the frame knew it, too, a failed pass's tensors would stay for a while.
        futures.clear()
        errors.clear()


def _threads(count: int, cores: int) -> ThreadPoolExecutor:
    """Return ``count`` threads in which torch uses so many ``cores``; they wait until the process ends."""
    with _lock:
        return _started(count, cores, os.getpid())


@functools.cache
def _started(count: int, cores: int, process: int) -> ThreadPoolExecutor:
    """Start the threads; once for each ``process``, since a forked one has none of them."""
    defaults: list[int] = []
    up = threading.Barrier(count + 1)

    def begin() -> None:
        # A thread's first question makes it take over torch's default count, even after it has set its own.
        defaults.append(torch.get_num_threads())
        torch.set_num_threads(cores)
        up.wait()

    pool = ThreadPoolExecutor(count, "imgsearch-pass", initializer=begin)
    try:
        for _ in range(count):
            pool.submit(int)  # a thread for each, since none is idle before all are up
        up.wait()
    except BaseException:
        up.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    # What was set last is the default of threads that start later: so it is set back, by one that ends with it.
    last = threading.Thread(target=torch.set_num_threads, args=(max(defaults),))
    last.start()
    last.join()
    return pool
