"""The coordinator: gives out units, registers deliveries in the index it holds open, and takes up where a run ended."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import imgsearch
from imgsearch.errors import ClusterError, NonFiniteError, UsageError
from imgsearch.files.open import open_regular
from imgsearch.fs import storage_error
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.decode import Decoded, Hashed, Part
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.run import index_pictures
from imgsearch.media.documents import DocumentOptions
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.text import Option, plural
from imgsearch.tools.cluster import deliveries
from imgsearch.tools.cluster.records import results_of, source_of
from imgsearch.tools.cluster.units import Setup, Unit, known_table, readers_here, units_of
from imgsearch.types import (
    MAX_MEGAPIXELS,
    RGB,
    ImageEncoder,
    IndexSpec,
    Input,
    ModelOptions,
    PixelBudget,
    Prepared,
    Reporter,
    Runtime,
    Silent,
    Skipped,
    SourceFile,
    Vectors,
)

_LEG = 4096  # units that are given out in one go: what is known of their files is in memory meanwhile
_UNSEEN = frozenset({"vanished", "unreadable"})  # what a worker says of a file that is not there for it
_TRIES = 3  # a unit that nobody delivers is given out so often


class Pipeline(Protocol):
    """Where units are worked on."""

    def open(self) -> None:
        """Reach the cluster. Raises ClusterError, MissingExtra."""

    def run(self, setup: Setup, units: Sequence[Unit], known: NDArray[np.uint64]) -> Iterator[str]:
        """Yield the names of deliveries as they are sealed, in any order. Raises ClusterError."""

    def close(self) -> None:
        """Let go of the cluster."""


class Delivered:
    """The encoder of a run whose images come with their rows: it gives them back."""

    def __init__(self, dim: int) -> None:
        """Stand for a model of this dimension."""
        self.dim, self.batch_size, self.recomputed = dim, 1, 0
        self.runtime = Runtime("cluster", "float16", "computed by the workers")
        self.batch_reason = "by the workers"

    def expect(self, images: int) -> str:
        """Do nothing for images to come."""
        return ""

    def int8_speedup(self) -> float:
        """Return 1: nothing is computed here."""
        return 1.0

    def prepare(self, image: RGB, budget: PixelBudget | None = None) -> Prepared:
        """Raise: no image is decoded here."""
        raise NotImplementedError

    def embed(
        self, inputs: Sequence[Input], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return the rows that came with the images: (n, dim). Raises NonFiniteError for those without one."""
        rows = np.stack([np.asarray(one.image, np.float32) for one in inputs])
        if bad := np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
            raise NonFiniteError(bad)
        return rows


class ClusterWorkers:
    """The workers of a cluster, as a run sees them (indexing/workers.py)."""

    def __init__(self, pipeline: Pipeline, options: IndexOptions, reporter: Reporter) -> None:
        """Reach nobody yet."""
        self._pipeline, self._options, self._reporter = pipeline, options, reporter
        self._run = secrets.token_hex(8)
        self._registered: list[str] = []
        self._folder = self._unseen = ""
        self._units = 0
        self.seconds: dict[str, float] = {}
        """What the workers needed, by stage, added up."""

    def load(
        self, checkpoint: Checkpoint | None, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
    ) -> ImageEncoder:
        """Reach the cluster."""
        reporter.wait("Connecting to Ray")
        self._pipeline.open()
        return Delivered(spec.dim)

    def results(
        self, writer: IndexWriter, how: Mapping[str, DocumentOptions], to_do: Sequence[SourceFile]
    ) -> Generator[Decoded | Hashed | Skipped | Part, None, None]:
        """Return what deliveries say, once one is there: how long workers take to start says nothing of their pace."""
        self._reporter.wait("Starting the workers")
        results = self._results(writer, how, to_do)
        first = next(results, None)

        def begun() -> Generator[Decoded | Hashed | Skipped | Part, None, None]:
            with closing(results):
                if first is not None:
                    yield first
                    yield from results

        return begun()

    def _results(
        self, writer: IndexWriter, how: Mapping[str, DocumentOptions], to_do: Sequence[SourceFile]
    ) -> Generator[Decoded | Hashed | Skipped | Part, None, None]:
        """Yield the deliveries that are there already, then those of this run."""
        folder = self._folder = deliveries.folder_in(writer.data)
        deliveries.open_folder(folder, self._run)
        self._waiting = {(source.root, source.path): source for source in to_do}
        self._writer, self._how = writer, how
        if not self._options.reread:  # else each file is to be read now
            for name in deliveries.names(folder):
                yield from self._take(os.path.join(folder, name), earlier=True)
        if taken := len(to_do) - len(self._waiting):
            self._reporter.say(f"{plural(taken, 'image')} of an interrupted run were embedded already")
        known = known_table(writer.catalog.contents())
        for _ in range(_TRIES):
            if not self._waiting:
                break
            setup = self._setup(writer, folder)
            units = list(units_of(list(self._waiting.values()), self._units))
            self._units += len(units)
            for first in range(0, len(units), _LEG):
                for name in self._pipeline.run(setup, units[first : first + _LEG], known):
                    yield from self._take(os.path.join(folder, name))
        for name in deliveries.names(folder):  # of units that were done twice, since a machine was lost
            if deliveries.run_of(name) == self._run:
                yield from self._take(os.path.join(folder, name))
        if self._waiting:
            why = f": {self._unseen}" if self._unseen else ""
            raise ClusterError(
                f"{plural(len(self._waiting), 'image')} came back from no worker{why}; "
                "run the same command to continue"
            )
        spent = ", ".join(f"{seconds:.0f} s {stage}" for stage, seconds in self.seconds.items())
        self._reporter.detail(f"the workers, added up: {spent}")

    def committed(self) -> None:
        """Remove the deliveries whose files are all in the index."""
        registered, self._registered = self._registered, []
        for path in registered:
            deliveries.remove(path)

    def close(self) -> None:
        """Remove what only this run needed of the folder of deliveries."""
        if self._folder:
            deliveries.close_folder(self._folder, self._run)

    def _setup(self, writer: IndexWriter, folder: str) -> Setup:
        options, limit = self._options, self._options.max_megapixels or MAX_MEGAPIXELS
        roots = {root for root, _ in self._waiting}
        return Setup(
            version=imgsearch.__version__,
            run=self._run,
            index=writer.folder,
            folder=folder,
            spec=writer.spec,
            model=options.model,
            how={root: how for root, how in self._how.items() if root in roots},
            max_megapixels=limit,
            readers=readers_here(),
            batch_size=options.batch_size,
        )

    def _take(self, path: str, *, earlier: bool = False) -> Iterator[Decoded | Hashed | Skipped | Part]:
        """Yield the files of a delivery that the index does not have; remove it, once they are in, or if it is bad.

        ``earlier``: it is of a run before this one. Raises ClusterError, StorageError.
        """
        if path in self._registered:
            return
        try:
            delivery = deliveries.read(path, self._writer.spec)
            found = []
            for record in delivery.files:
                if source := self._wanted(record, delivery.host, earlier=earlier):
                    found.append((source, list(results_of(record, source, delivery.rows))))
            roots = {source_of(record).root for record in delivery.files}
        except FileNotFoundError as error:
            raise ClusterError(
                f"{path} was written by a worker and is not here: "
                "the index's folder must be the same on all machines"
            ) from error
        except OSError as error:
            raise storage_error(error, path) from error
        except (ValueError, KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
            self._reporter.detail(f"{path} is not used: {error}")
            deliveries.remove(path)
            return
        for stage, seconds in delivery.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        for source, results in found:
            self._waiting.pop((source.root, source.path), None)
            yield from results
        known = {root.path for root in self._writer.catalog.roots()}
        if roots <= self._how.keys() or roots.isdisjoint(known):
            self._registered.append(path)  # else it is for a run over other folders

    def _wanted(self, record: dict[str, Any], host: str, *, earlier: bool) -> SourceFile | None:
        """Return the file that a record is of as the catalogue is to know it; None if it is not waited for."""
        source = source_of(record)
        asked = self._waiting.get((source.root, source.path))
        if asked is None or asked.reading != source.reading:
            return None
        same = (asked.size, asked.mtime_ns) == (source.size, source.mtime_ns)
        if earlier:
            # Since then the file may have been replaced, an error mended, and a content that was known deleted.
            told = (asked.inode, asked.ctime_ns, asked.sidecar_state)
            same = same and told == (source.inode, source.ctime_ns, source.sidecar_state)
            return source if same and record["is"] in ("decoded", "document") else None
        if record["is"] == "skipped" and record["reason"] in _UNSEEN and is_readable(source):
            self._unseen = f"the worker on {host} can't read {os.path.join(source.root, source.path)}"
            return None
        # A file that was replaced meanwhile is registered as the worker saw it, and read again by the next run. The
        # numbers of one that was not are those of this machine: some network file systems have others on each.
        return (
            replace(source, inode=asked.inode, ctime_ns=asked.ctime_ns, device=asked.device)
            if same
            else source
        )


def is_readable(source: SourceFile) -> bool:
    """Whether this machine can open a file; of an object in a bucket nobody knows without reading it."""
    try:
        with open_regular(os.path.join(source.root, source.path)):
            return True
    except OSError:
        return False


def index_on(
    pipeline: Pipeline,
    paths: Sequence[str],
    folder: str,
    options: IndexOptions | None = None,
    reporter: Reporter | None = None,
) -> IndexResult:
    """Bring an index up to date as ``index_pictures`` does, with the work done by a pipeline's workers.

    Raises ClusterError besides.
    """
    options, reporter = options or IndexOptions(), reporter or Silent()
    if options.gentle:
        raise UsageError(Option("gentle", True), ": Ray's workers do the work; leave it out")
    workers = ClusterWorkers(pipeline, options, reporter)
    try:
        # A worker's batches are of the size that was asked for; here every image is taken in as it comes.
        return index_pictures(paths, folder, replace(options, batch_size=None), reporter, workers=workers)
    finally:
        workers.close()
        pipeline.close()
