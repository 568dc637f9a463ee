"""Keeps keys and values of prompts' openings in the user's cache, so that a cold question needs one pass, not two.

AnnFile and best effort: what is missing, damaged or of another machine is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from imgsearch.errors import CheckpointError
from imgsearch.model import checkpoint
from imgsearch.model.engine.text import KVCache
from imgsearch.model.runtime import machine

LONGEST = 64
"""Tokens of an opening that is kept: some 7 MB of the 2B model's."""
_FILES = 8
_DIGEST = 32  # bytes of the checksum before the tensors


_SETTLED_NS = (
    2_000_000_000  # a file that changed later than this may change again within a tick of the clock, unseen
)
# What computes an opening: with another version of any of these it is another one.
_SOURCES = ("forward", "text", "layers", "prefix_cache", "rotary")


def weights_state(folder: str) -> list[tuple[int, ...]] | None:
    """Return what changes when a checkpoint's weights do; None if that can't be told.

    Taken before the weights are mapped and again after, equal states say that the map is of these files. Not the
    fingerprint, which is of what lies in the folder now, and looks at samples only.
    """
    try:
        found = [os.stat(os.path.join(folder, name)) for name in checkpoint.weight_files(folder)]
    except (OSError, CheckpointError):
        return None
    if any(time.time_ns() - max(one.st_mtime_ns, one.st_ctime_ns) < _SETTLED_NS for one in found):
        return None
    return [(one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found]


class Openings:
    """The openings of mapped weights as one kind of engine computes them: with the same bits or not at all."""

    def __init__(self, weights: list[tuple[int, ...]], computed: dict[str, str]) -> None:
        """Take the state of the weights that are mapped, and how they are computed with: dtypes, sizes, kernels."""
        self._key: list[object] = [weights, computed]

    def read(self, ids: bytes) -> KVCache | None:
        """Return the keys and values of an opening, given by its token ids; None if they are not there, or damaged."""
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

    def write(self, ids: bytes, past: KVCache) -> None:
        """Keep an opening, and of all checkpoints' no more than the last few that were used."""
        with contextlib.suppress(OSError):
            path = self._path(ids)
            folder = os.path.dirname(path)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            tensors = save({"keys": torch.stack(past.keys), "values": torch.stack(past.values)})
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".new", delete=False) as file:
                try:
                    file.write(hashlib.sha256(tensors).digest() + tensors)
                    file.flush()
                    os.replace(file.name, path)
                except BaseException:  # also Ctrl-C: nobody else would ever remove it
                    os.remove(file.name)
                    raise
            kept = sorted((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder))
            for _, old in kept[:-_FILES]:
                os.remove(old)

    def _path(self, ids: bytes) -> str:
        import platformdirs

        said = [*self._key, ids.hex(), machine(), _sources()]
        name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return os.path.join(platformdirs.user_cache_dir("imgsearch"), "openings", name[:40])


def _sources() -> str:
    """Return a sha256 of the modules that compute an opening. Raises OSError where there is no source."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
