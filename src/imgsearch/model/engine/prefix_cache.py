"""Keeps the keys and values of prompts' shared prefixes, in memory and for large models as files in the user's cache.

The files are for the cold query: without them every new process computes the prefix of its one prompt in a pass of its
own over all the weights, a tenth of the time that the whole query takes. They are derived and best effort: what is
missing, damaged or keyed otherwise is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from imgsearch.fs import atomic_write
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.engine.text import KVCache
from imgsearch.model.runtime import numerics

MAX_TOKENS = 512
"""The longest prefix that is kept; longer ones are computed with each prompt."""
MAX_STORED_TOKENS = 64
"""The longest that is kept as a file: some 7 MB of the 2B model's."""
_ENTRIES = 4
_FILES = 8
_DIGEST = 32  # bytes of the checksum before the tensors


class PrefixCache:
    """The last few prefixes that were used, by their token ids; safe to use from several threads.

    A prefix is always computed alone, never with what stands behind it, so that the same prompt gets the same vector
    at first and later.
    """

    def __init__(
        self, prefill: Callable[[NDArray[np.int64]], KVCache], store: PrefixStore | None = None
    ) -> None:
        """Take what computes the keys and values of (length,) token ids, and where to look for them first."""
        self._prefill = prefill
        self._store = store
        self._entries: OrderedDict[bytes, KVCache] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, ids: NDArray[np.int64]) -> KVCache:
        """Return the keys and values of a prefix, computed when it is met first; the least recently used goes."""
        key = ids.tobytes()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = self._find(ids)
                if len(self._entries) > _ENTRIES:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key]

    def drop_store(self) -> None:
        """Neither read nor write files from now on: weights are laid out anew, which may move last bits."""
        self._store = None

    def _find(self, ids: NDArray[np.int64]) -> KVCache:
        store = self._store if len(ids) <= MAX_STORED_TOKENS else None
        if store and (stored := store.read(ids)):
            return stored
        computed = self._prefill(ids)
        if store:
            store.write(ids, computed)
        return computed


class PrefixStore:
    """Prefixes as files, each under a hash of all that its bits depend on: with the same bits or not at all."""

    @classmethod
    def open(cls, checkpoint: Checkpoint, computation: dict[str, str]) -> PrefixStore | None:
        """Return the store of weights that are mapped; None if they have been replaced since they were opened.

        ``computation`` says how they are computed with: dtypes, sizes, kernels.
        """
        state = checkpoint.weights_state()
        return None if state is None else cls(state, computation)

    def __init__(self, weights: list[list[int]], computation: dict[str, str]) -> None:
        """Take the state of the weights, and how they are computed with."""
        self._key: list[object] = [weights, computation]

    def read(self, ids: NDArray[np.int64]) -> KVCache | None:
        """Return the keys and values of a prefix, given by its token ids; None if they are not there, or damaged."""
        with contextlib.suppress(OSError, SafetensorError, KeyError):
            path = self._path(ids)
            with open(path, "rb") as file:
                content = file.read()
            digest, tensors = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(tensors).digest() == digest:
                found = load(tensors)
                with contextlib.suppress(OSError):  # a cache that can only be read
                    os.utime(path)
                return KVCache(list(found["keys"]), list(found["values"]))
        return None

    def write(self, ids: NDArray[np.int64], kv_cache: KVCache) -> None:
        """Keep a prefix, and of all checkpoints' no more than the last few that were used."""
        with contextlib.suppress(OSError):
            path = self._path(ids)
            folder = os.path.dirname(path)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            tensors = save({"keys": torch.stack(kv_cache.keys), "values": torch.stack(kv_cache.values)})
            beside = f"{path}.{os.getpid()}-{threading.get_ident()}.new"
            with atomic_write(path, beside=beside, durable=False, mode=0o600) as file:
                file.write(hashlib.sha256(tensors).digest() + tensors)
            by_age = sorted((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder))
            for _, old in by_age[:-_FILES]:
                os.remove(old)

    def _path(self, ids: NDArray[np.int64]) -> str:
        import platformdirs

        key = [*self._key, ids.tobytes().hex(), numerics(), code_digest()]
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return os.path.join(platformdirs.user_cache_dir("imgsearch"), "prefixes", name[:40])


def code_digest(package: str = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) -> str:
    """Return a sha256 of every source file of ``package``, the whole of imgsearch.model: no list to be kept by hand.

    Whatever in it changes, prefixes are computed again. Raises OSError where there is no source.
    """
    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(package)):
        for name in sorted(name for name in names if name.endswith(".py")):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                digest.update(f"{os.path.relpath(path, package)}\0".encode() + file.read() + b"\0")
    return digest.hexdigest()
