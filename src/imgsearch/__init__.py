"""Find a picture on your own machine by what is in it: the table of contents. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgsearch.dataset import RetrievalDataset, read_dataset
    from imgsearch.embed import embed_inputs
    from imgsearch.encoders import load_encoder
    from imgsearch.errors import ImgsearchError
    from imgsearch.identity import ModelChoice, checkpoint_for, download
    from imgsearch.index.image_index import ImageIndex
    from imgsearch.index.location import find_index
    from imgsearch.indexer import index_pictures
    from imgsearch.job import IndexOptions, IndexResult
    from imgsearch.media import load_pictures
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.weights import find_checkpoint
    from imgsearch.remove import Removed, remove_paths
    from imgsearch.search import SearchOptions, query, read_picture, similar
    from imgsearch.status import Status, read_status, skipped_files
    from imgsearch.targets import WalkChoice
    from imgsearch.types import Hit, Input, Picture, PixelBudget

# Where each public name lives. `import imgsearch` loads none of it: torch takes seconds, a path lookup does not.
_HOME = {
    "Hit": "types",
    "ImageIndex": "index.image_index",
    "ImgsearchError": "errors",
    "IndexOptions": "job",
    "IndexResult": "job",
    "Input": "types",
    "ModelChoice": "identity",
    "Picture": "types",
    "PixelBudget": "types",
    "Qwen3VLEmbedder": "model.embedder",
    "RetrievalDataset": "dataset",
    "SearchOptions": "search",
    "Status": "status",
    "Removed": "remove",
    "WalkChoice": "targets",
    "checkpoint_for": "identity",
    "download": "identity",
    "embed_inputs": "embed",
    "find_checkpoint": "model.weights",
    "find_index": "index.location",
    "index_pictures": "indexer",
    "load_encoder": "encoders",
    "load_pictures": "media",
    "query": "search",
    "read_dataset": "dataset",
    "read_picture": "search",
    "read_status": "status",
    "remove_paths": "remove",
    "similar": "search",
    "skipped_files": "status",
}

__all__ = [
    "Hit",
    "ImageIndex",
    "ImgsearchError",
    "IndexOptions",
    "IndexResult",
    "Input",
    "ModelChoice",
    "Picture",
    "PixelBudget",
    "Qwen3VLEmbedder",
    "Removed",
    "RetrievalDataset",
    "SearchOptions",
    "Status",
    "WalkChoice",
    "checkpoint_for",
    "download",
    "embed_inputs",
    "find_checkpoint",
    "find_index",
    "index_pictures",
    "load_encoder",
    "load_pictures",
    "query",
    "read_dataset",
    "read_picture",
    "read_status",
    "remove_paths",
    "similar",
    "skipped_files",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"imgsearch.{_HOME[name]}"), name)
    raise AttributeError(f"module 'imgsearch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
