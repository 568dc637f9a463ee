"""Keeps keys and values of prompts' openings in the user's cache, so that a cold question needs one pass, not two.

Derived and best effort: what is missing, damaged or of another machine is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from imgsearch.errors import CheckpointError
from imgsearch.model import checkpoint
from imgsearch.model.language import Past
from imgsearch.model.runtime import machine

LONGEST = 64
"""Tokens of an opening that is kept: some 7 MB of the 2B model's."""
_FILES = 8
_DIGEST = 32  # bytes of the checksum before the tensors


class Openings:
    """The openings of one checkpoint as one kind of engine computes them: with the same bits or not at all."""

    def __init__(self, folder: str, computed: dict[str, object]) -> None:
        """``computed`` says all that the bits of a pass depend on beside the checkpoint, the machine and torch."""
        self._folder, self._computed = folder, computed

    def read(self, ids: bytes) -> Past | None:
        """Return the keys and values of an opening, given by its token ids; None if they are not there, or damaged."""
        with contextlib.suppress(OSError, SafetensorError, KeyError, CheckpointError):
            path = self._path(ids)
            with open(path, "rb") as file:
                content = file.read()
            digest, tensors = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(tensors).digest() == digest:
                found = load(tensors)
                os.utime(path)
                return Past(list(found["keys"]), list(found["values"]))
        return None

    def write(self, ids: bytes, past: Past) -> None:
        """Keep an opening, and of all checkpoints' no more than the last few that were used."""
        with contextlib.suppress(OSError, CheckpointError):
            path = self._path(ids)
            folder = os.path.dirname(path)
            os.makedirs(folder, mode=0o700, exist_ok=True)
            tensors = save({"keys": torch.stack(past.keys), "values": torch.stack(past.values)})
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".new", delete=False) as file:
                file.write(hashlib.sha256(tensors).digest() + tensors)
            os.replace(file.name, path)
            kept = sorted((entry.stat().st_mtime_ns, entry.path) for entry in os.scandir(folder))
            for _, old in kept[:-_FILES]:
                os.remove(old)

    def _path(self, ids: bytes) -> str:
        import platformdirs

        said = [checkpoint.fingerprint(self._folder), ids.hex(), self._computed, machine()]
        name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return os.path.join(platformdirs.user_cache_dir("imgsearch"), "openings", name[:40])
