"""Find a picture on your own machine by what is in it: the table of contents. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from imgsearch import startup

if TYPE_CHECKING:
    from imgsearch.client import load_encoder
    from imgsearch.errors import ImgsearchError
    from imgsearch.index.layout import find_index
    from imgsearch.index.reader import ImageIndex
    from imgsearch.indexing.edit import Removed, relocate, remove_paths
    from imgsearch.indexing.options import IndexOptions, IndexResult
    from imgsearch.indexing.roots import WalkOverrides
    from imgsearch.indexing.run import index_pictures
    from imgsearch.media.formats import load_pictures
    from imgsearch.model.embedder import Qwen3VLEmbedder
    from imgsearch.model.known import known_models
    from imgsearch.model.locate import download, find_checkpoint
    from imgsearch.search import query, similar
    from imgsearch.search.encoding import embed_inputs
    from imgsearch.search.examples import read_picture
    from imgsearch.search.hits import SearchOptions
    from imgsearch.spec import checkpoint_for
    from imgsearch.tools.dataset import read_dataset
    from imgsearch.tools.dataset.retrieval import RetrievalDataset
    from imgsearch.tools.evaluation import evaluate
    from imgsearch.tools.evaluation.computed import score_vectors
    from imgsearch.tools.maintenance.compact import compact_index
    from imgsearch.tools.maintenance.model_check import check_model
    from imgsearch.tools.maintenance.status import Status, read_status, skipped_files
    from imgsearch.tools.maintenance.verify import repair_index
    from imgsearch.tools.server.daemon import serve
    from imgsearch.tools.stores.sync import sync_store
    from imgsearch.tools.training import train
    from imgsearch.tools.transfer.importer import import_vectors
    from imgsearch.types import Hit, Input, ModelOptions, Picture, PixelBudget

__version__ = "0.1.0"

startup.set_openmp_waiting()  # before any module of the package can load torch

# Where each public name lives. `import imgsearch` loads none of it: torch takes seconds, a path lookup does not.
_HOME = {
    "Hit": "types",
    "ImageIndex": "index.reader",
    "ImgsearchError": "errors",
    "IndexOptions": "indexing.options",
    "IndexResult": "indexing.options",
    "Input": "types",
    "ModelOptions": "types",
    "Picture": "types",
    "PixelBudget": "types",
    "Qwen3VLEmbedder": "model.embedder",
    "RetrievalDataset": "tools.dataset.retrieval",
    "SearchOptions": "search.hits",
    "Status": "tools.maintenance.status",
    "Removed": "indexing.edit",
    "WalkOverrides": "indexing.roots",
    "check_model": "tools.maintenance.model_check",
    "checkpoint_for": "spec",
    "compact_index": "tools.maintenance.compact",
    "download": "model.locate",
    "evaluate": "tools.evaluation",
    "import_vectors": "tools.transfer.importer",
    "repair_index": "tools.maintenance.verify",
    "serve": "tools.server.daemon",
    "train": "tools.training",
    "embed_inputs": "search.encoding",
    "find_checkpoint": "model.locate",
    "find_index": "index.layout",
    "index_pictures": "indexing.run",
    "known_models": "model.known",
    "load_encoder": "client",
    "load_pictures": "media.formats",
    "query": "search",
    "read_dataset": "tools.dataset",
    "read_picture": "search.examples",
    "read_status": "tools.maintenance.status",
    "relocate": "indexing.edit",
    "score_vectors": "tools.evaluation.computed",
    "remove_paths": "indexing.edit",
    "similar": "search",
    "skipped_files": "tools.maintenance.status",
    "sync_store": "tools.stores.sync",
}

__all__ = [
    "Hit",
    "ImageIndex",
    "ImgsearchError",
    "IndexOptions",
    "IndexResult",
    "Input",
    "ModelOptions",
    "Picture",
    "PixelBudget",
    "Qwen3VLEmbedder",
    "Removed",
    "RetrievalDataset",
    "SearchOptions",
    "Status",
    "WalkOverrides",
    "check_model",
    "checkpoint_for",
    "compact_index",
    "download",
    "embed_inputs",
    "evaluate",
    "find_checkpoint",
    "find_index",
    "import_vectors",
    "index_pictures",
    "known_models",
    "load_encoder",
    "load_pictures",
    "query",
    "read_dataset",
    "read_picture",
    "read_status",
    "relocate",
    "remove_paths",
    "repair_index",
    "score_vectors",
    "serve",
    "similar",
    "skipped_files",
    "sync_store",
    "train",
]


# Names of the version before; they go with the next one.
_FORMER = {"ModelChoice": "ModelOptions", "WalkChoice": "WalkOverrides"}


def __getattr__(name: str) -> Any:
    name = _FORMER.get(name, name)
    if name in _HOME:
        return getattr(importlib.import_module(f"imgsearch.{_HOME[name]}"), name)
    raise AttributeError(f"module 'imgsearch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
