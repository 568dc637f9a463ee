"""Models of other families, as sentence-transformers loads them: to be scored beside ours, never approximated."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgsearch.errors import CheckpointError, DownloadError, MissingExtra
from imgsearch.types import RGB, Vectors

_WHOLE = 1 << 20  # bytes: up to here all of a file counts, beyond it samples
_SAMPLE = 1 << 16


class Peer:
    """A model that sentence-transformers loads, a folder or a name on the hub; loaded on first use.

    Each side goes through the model's own method (encode_query, encode_document) and so gets its own prompt;
    pictures are seen at its own pixel budget, and a truncate_dim that it sets is lifted to the full length.
    Code that a checkpoint brings along is not run.
    """

    def __init__(self, name: str, *, device: str = "auto", batch_size: int = 8) -> None:
        """Name the model; nothing is loaded yet. Raises CheckpointError for a name that is empty."""
        if not name.strip():
            raise CheckpointError("the peer's name is empty; give a model's folder, or a name on the hub")
        self.name = name
        self._folder = os.path.expanduser(name)
        self._device = None if device == "auto" else device
        self._batch_size = batch_size
        self._model: Any = None

    @property
    def fingerprint(self) -> str | None:
        """What decides the model's vectors, by its files or its commit; None for one that is not here yet."""
        folder = self._place()
        if folder is None or os.path.isdir(self._folder):
            return None if folder is None else _files_digest(folder)
        return f"{self.name}@{os.path.basename(folder)}"

    @property
    def parameters(self) -> int | None:
        """How many parameters it has, by its safetensors files if it is not loaded; None where they don't say."""
        if self._model is not None:
            return sum(int(tensor.numel()) for tensor in self._model.parameters())
        folder = self._place()
        return None if folder is None else _parameters(folder)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    def _place(self) -> str | None:
        """Return the folder that the model lies in: the one given, or the hub's snapshot; None if it is not here."""
        if os.path.isdir(self._folder):
            return self._folder
        from huggingface_hub import try_to_load_from_cache

        # A name without its owner is taken for one of the library's own models.
        for name in (self.name, f"sentence-transformers/{self.name}"):
            for file in ("modules.json", "config.json"):
                try:
                    found = try_to_load_from_cache(name, file)
                except ValueError:  # no name that the hub knows, which loading says better
                    break
                if isinstance(found, str):
                    return os.path.dirname(found)
        return None

    def load(self) -> None:
        """Load the model if it is not loaded; CheckpointError or DownloadError where that fails, MissingExtra."""
        if self._model is not None:
            return
        if not os.path.isdir(self._folder) and self.name.startswith(("/", ".", "~")):
            raise CheckpointError(f"{self.name}: no such folder; give that of a model, or a name on the hub")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtra("--peer", "train") from error
        here, place = os.path.isdir(self._folder), self._place()
        try:
            model = SentenceTransformer(
                self._folder if here else self.name,
                device=self._device,
                # The commit that is here already and that the fingerprint names, whatever the hub has by now.
                revision=None if here or place is None else os.path.basename(place),
                trust_remote_code=False,
            )
        # Other people's loading code, on anybody's folder: whatever it raises, this model can't be scored.
        except Exception as error:
            raise self._refused(error) from error
        model.truncate_dim = None
        model.eval()
        self._model = model

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit row a text, (n, dim) float32, made by the model's encode_query."""
        from sentence_transformers.base.modality import infer_modality

        # A text that looks like a picture's address is one to the library, which then fetches it.
        plain = all(infer_modality(text) == "text" for text in texts)
        return self._encode("encode_query", list(texts) if plain else [{"text": text} for text in texts])

    def encode_pictures(self, pictures: Sequence[RGB]) -> Vectors:
        """Return one unit row a picture, (n, dim) float32, made by the model's encode_document."""
        from PIL import Image

        return self._encode("encode_document", [Image.fromarray(picture) for picture in pictures])

    def close(self) -> None:
        """Let go of the model's memory."""
        self._model = None

    def _encode(self, method: str, inputs: list[Any]) -> Vectors:
        self.load()
        try:
            rows = getattr(self._model, method)(
                inputs, batch_size=self._batch_size, show_progress_bar=False, normalize_embeddings=True
            )
        except (ValueError, TypeError, KeyError, ImportError) as error:  # it takes no pictures, for example
            raise CheckpointError(f"{self.name}: {method} failed: {_line(error)}") from error
        vectors = np.asarray(rows, np.float32)
        if not np.isfinite(vectors).all():
            raise CheckpointError(
                f"{self.name}: {method} gave numbers that are not finite; it can't be scored"
            )
        return vectors

    def _refused(self, error: Exception) -> CheckpointError | DownloadError:
        said = _line(error)
        if "torchvision" in str(error).lower():
            return CheckpointError(
                f"{self.name} needs torchvision in this environment: pip install torchvision"
            )
        if "trust_remote_code" in str(error):
            return CheckpointError(
                f"{self.name} brings code of its own, which is not run; it can't be scored here"
            )
        if not os.path.isdir(self._folder) and isinstance(error, OSError):
            return DownloadError(f"{self.name} could not be fetched: {said}")
        return CheckpointError(f"{self.name} is no model that sentence-transformers loads: {said}")


def _files_digest(folder: str) -> str:
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(place, name)
            # A link to nowhere, as an unfinished download leaves it, is no file: loading says what lacks.
            if name.startswith(".") or name.lower().endswith(".md") or not os.path.isfile(path):
                continue
            try:
                with open(path, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    starts = [0] if size <= _WHOLE else [0, size // 2, size - _SAMPLE]
                    length = _WHOLE if size <= _WHOLE else _SAMPLE
                    samples = b"".join(os.pread(file.fileno(), length, start) for start in starts)
            except OSError as error:
                raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
            part = f"{os.path.relpath(path, folder)}\0{size}\0".encode("utf-8", "surrogatepass") + samples
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parameters(folder: str) -> int | None:
    """Count the numbers in a model's safetensors files, from their headers; None if there are none."""
    count = 0
    for path in glob.glob(os.path.join(glob.escape(folder), "**", "*.safetensors"), recursive=True):
        try:
            with open(path, "rb") as file:
                header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 100_000_000)))
            count += sum(math.prod(header[name]["shape"]) for name in header if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return count or None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
