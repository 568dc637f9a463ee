"""Keeps the keys and values of prompts' shared prefixes in memory, so that each prefix is computed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from imgsearch.model.engine.text import KVCache

MAX_TOKENS = 512
"""The longest prefix that is kept; longer ones are computed with each prompt."""
_ENTRIES = 4


class PrefixCache:
    """The last few prefixes that were used, by their token ids; safe to use from several threads.

    A prefix is always computed alone, never with what stands behind it, so that the same prompt gets the same vector
    at first and later.
    """

    def __init__(self, prefill: Callable[[NDArray[np.int64]], KVCache]) -> None:
        """Take what computes the keys and values of (length,) token ids; nothing is computed yet."""
        self._prefill = prefill
        self._entries: OrderedDict[bytes, KVCache] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, ids: NDArray[np.int64]) -> KVCache:
        """Return the keys and values of a prefix, computed when it is met first; the least recently used goes."""
        key = ids.tobytes()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = self._prefill(ids)
                if len(self._entries) > _ENTRIES:
                    self._entries.popitem(last=False)
            self._entries.move_to_end(key)
            return self._entries[key]
