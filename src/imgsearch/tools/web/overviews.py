"""The overview for the page: found in a thread of its own, and kept in memory until the catalogue has changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgsearch.index import metadata
from imgsearch.index.reader import ImageIndex
from imgsearch.search.overview import Overview, overview_of
from imgsearch.tools.server.resources import Resources
from imgsearch.tools.web.groups import Stamp, stamp_of
from imgsearch.tools.web.tiles import tile_of_record
from imgsearch.types import Input, ModelOptions, QueryEncoder, Silent, Vectors

_AUTO = ModelOptions()


class Overviews:
    """The overview of the index that was asked for last. Safe to use from many threads."""

    def __init__(self, resources: Resources, questions: ThreadPoolExecutor) -> None:
        """Take what the model is had from, and the thread in which it embeds words."""
        self._resources, self._questions = resources, questions
        self._thread = ThreadPoolExecutor(1, "page overview")
        self._turn = threading.Lock()
        self._of: tuple[str, Stamp] | None = None
        self._doing: Future[Overview] | None = None
        self._progress = _Progress()

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def find(self, folder: str, patience: float) -> Overview | None:
        """Return the overview of an index; None while it is being found, after so many seconds.

        Raises what finding it has raised, once; then it is tried again.
        """
        wanted = folder, stamp_of(folder)
        with self._turn:
            if self._doing is None or self._of != wanted:
                self._of, self._progress = wanted, _Progress()
                self._doing = self._thread.submit(self._find, folder, self._progress)
            doing = self._doing
        try:
            return doing.result(patience)
        except TimeoutError:
            return None
        except Exception:
            with self._turn:
                if self._doing is doing:
                    self._doing = None
            raise

    @property
    def progress(self) -> tuple[int, int]:
        """How much of how much is done; 0 of 0 where nobody knows."""
        return self._progress.done, self._progress.total

    def rows(self, folder: str, cluster: int) -> Mapping[int, NDArray[np.bool_]]:
        """Return which images are in a cluster. Raises InputError for one that is no longer there."""
        found = self.find(folder, patience=600.0)
        assert found is not None
        return found.rows(f"{cluster:012x}")

    def _find(self, folder: str, progress: _Progress) -> Overview:
        with ImageIndex(folder) as index:

            def load() -> QueryEncoder:
                return _InTurn(self._resources.encoder(index, _AUTO, None, cache=False), self._questions)

            return overview_of(index, load, progress)


def told(index: ImageIndex, found: Overview) -> list[dict[str, Any]]:
    """Return the clusters as the page's JSON has them; an id is a whole number."""
    contents = [record.id for cluster in found.clusters for record in cluster.images]
    dates = metadata.dates(index.catalog.database, contents)
    return [
        {
            "id": int(cluster.id, 16),
            "name": cluster.name,
            "count": cluster.count,
            "images": [tile_of_record(record, dates.get(record.id)) for record in cluster.images],
        }
        for cluster in found.clusters
    ]


class _InTurn:
    """An encoder that embeds in the thread of queries, some inputs at a time: nobody waits for all of its words."""

    def __init__(self, encoder: QueryEncoder, questions: ThreadPoolExecutor) -> None:
        self._encoder, self._questions = encoder, questions

    def embed(self, inputs: Sequence[Input]) -> Vectors:
        """Return the rows."""
        return self._questions.submit(self._encoder.embed, inputs).result()


class _Progress(Silent):
    """A reporter that counts."""

    def __init__(self) -> None:
        self.done = self.total = 0

    def start(self, total: int, unit: str) -> None:
        """Begin to count."""
        self.done, self.total = 0, total

    def advance(self, n: int = 1, where: str = "") -> None:
        """Count."""
        self.done += n
