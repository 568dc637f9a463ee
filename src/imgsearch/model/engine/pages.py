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
from imgsearch.model.checkpoint import Checkpoint

# A page fault on Linux maps the 64 kB around it, if they are in the cache; one byte of each is touched.
_STRIDE = 65_536
_open_maps: weakref.WeakValueDictionary[tuple[str, int, int], mmap.mmap] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def map_file(path: str) -> mmap.mmap:
    """Map a file for reading; the same map as before if one is still in use. Raises OSError, ValueError (empty)."""
    with open(path, "rb") as file, _lock:
        status = os.fstat(file.fileno())
        key = (os.path.realpath(path), status.st_dev, status.st_ino)
        found = _open_maps.get(key)
        if found is None or len(found) != status.st_size:
            found = _open_maps[key] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return found


@contextlib.contextmanager
def prefetch_pages(checkpoint: Checkpoint, device: str = "auto", dtype: str = "auto") -> Iterator[None]:
    """Touch the language layers of a checkpoint in a second thread, if torch is still to be imported in the block.

    Importing torch keeps one core busy for a second. The first pass over mapped weights takes a page fault for every
    64 kB of them, and waits for the disk where they have not been read before: both can be over by then. Nothing is
    touched for another ``device`` than the CPU, nor for a ``dtype`` in which weights are not used as they are mapped:
    those are read, and a disk that fails at that is an error, where a touched page would end the process.
    """
    maps: list[mmap.mmap] = []  # until the model has them
    if "torch" not in sys.modules and device in ("auto", "cpu") and dtype in ("auto", "float32", "bfloat16"):
        # Whoever loads the weights says what is wrong with them; without a thread nothing is touched.
        with contextlib.suppress(CheckpointError, OSError, ValueError, RuntimeError):
            runs = _language_layers(checkpoint)
            maps = [map_file(path) for path, *_ in runs]
            work = [(mapped, start, end) for mapped, (_, start, end) in zip(maps, runs, strict=True)]
            threading.Thread(target=_touch, args=(work,), daemon=True).start()
    yield
    maps.clear()


def _language_layers(checkpoint: Checkpoint) -> list[tuple[str, int, int]]:
    """Return where the language layers' weights are, file, start and end; those that lie together as one."""
    runs: list[tuple[str, int, int]] = []
    for tensor in sorted(checkpoint.tensors, key=lambda tensor: (tensor.path, tensor.start)):
        if "language_model.layers." in tensor.name:
            path, start = tensor.path, tensor.start
            if runs and (runs[-1][0], runs[-1][2]) == (path, start):
                start = runs.pop()[1]
            runs.append((path, start, tensor.start + tensor.size))
    return runs


def _touch(work: list[tuple[mmap.mmap, int, int]]) -> None:
    """Read a byte of every 64 kB. NumPy does it without Python's lock, so that nobody waits for it."""
    for mapped, start, end in work:
        if start < min(end, len(mapped)):
            np.frombuffer(mapped, np.uint8)[start:end:_STRIDE].max()
