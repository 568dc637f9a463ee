"""Weight files as memory: each is mapped once, and its pages are brought near while something else is computed."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Iterator

import numpy as np

from imgsearch.errors import CheckpointError
from imgsearch.model.checkpoint import tensor_ranges, weight_files

# A page fault on Linux maps the 64 kB around it, if they are in the cache; one byte of each is touched.
_STRIDE = 65_536
_maps: weakref.WeakValueDictionary[tuple[str, int, int], mmap.mmap] = weakref.WeakValueDictionary()
_turn = threading.Lock()


def map_file(path: str) -> mmap.mmap:
    """Map a file for reading; the same map as before if one is still in use. Raises OSError, ValueError (empty)."""
    with open(path, "rb") as file, _turn:
        status = os.fstat(file.fileno())
        key = (os.path.realpath(path), status.st_dev, status.st_ino)
        found = _maps.get(key)
        if found is None or len(found) != status.st_size:
            found = _maps[key] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return found


@contextlib.contextmanager
def prefetch_pages(folder: str, device: str = "auto", dtype: str = "auto") -> Iterator[None]:
    """Touch the language layers of a checkpoint in a second thread, if torch is still to be imported in the block.

    Importing torch keeps one core busy for a second. The first pass over mapped weights takes a page fault for every
    64 kB of them, and waits for the disk where they have not been read before: both can be over by then. Nothing is
    touched for another ``device`` than the CPU, nor for a ``dtype`` in which weights are not used as they are mapped:
    those are read, and a disk that fails at that is an error, where a touched page would end the process.
    """
    held: list[mmap.mmap] = []  # until the model has them
    if "torch" not in sys.modules and device in ("auto", "cpu") and dtype in ("auto", "float32", "bfloat16"):
        # Whoever loads the weights says what is wrong with them; without a thread nothing is touched.
        with contextlib.suppress(CheckpointError, OSError, ValueError, RuntimeError):
            runs = [(path, *run) for path in _paths(folder) for run in _layers(path)]
            held = [map_file(path) for path, *_ in runs]
            work = [(mapped, start, end) for mapped, (_, start, end) in zip(held, runs, strict=True)]
            threading.Thread(target=_touch, args=(work,), daemon=True).start()
    yield
    held.clear()


def _paths(folder: str) -> list[str]:
    return [os.path.join(folder, name) for name in weight_files(folder)]


def _layers(path: str) -> list[tuple[int, int]]:
    """Return where in a file the language layers' weights are, those that lie together as one."""
    runs: list[tuple[int, int]] = []
    for name, start, end in sorted(tensor_ranges(path), key=lambda entry: entry[1]):
        if "language_model.layers." in name:
            if runs and runs[-1][1] == start:
                start = runs.pop()[0]
            runs.append((start, end))
    return runs


def _touch(work: list[tuple[mmap.mmap, int, int]]) -> None:
    """Read a byte of every 64 kB. NumPy does it without Python's lock, so that nobody waits for it."""
    for mapped, start, end in work:
        if start < min(end, len(mapped)):
            np.frombuffer(mapped, np.uint8)[start:end:_STRIDE].max()
