"""What a worker does with a unit: check that it may, decode, embed, and seal the delivery."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

import imgsearch
from imgsearch.client import load_local_encoder
from imgsearch.errors import ImgsearchError, NonFiniteError
from imgsearch.fs import make_folder, storage_error
from imgsearch.indexing.crashes import CRASHED, DecodingNote
from imgsearch.indexing.decode import Decoded, DocumentWork, Hashed, Page, Part, decode_ahead
from imgsearch.media.documents import close_readers
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.model.families import preparation
from imgsearch.spec import checkpoint_for
from imgsearch.tools.cluster import deliveries
from imgsearch.tools.cluster.records import NO_ROW, Records
from imgsearch.tools.cluster.units import Setup, Unit, is_in, readers_here
from imgsearch.types import (
    RGB,
    ImageEncoder,
    Input,
    PixelBudget,
    Prepare,
    Prepared,
    Silent,
    Skipped,
    Vectors,
)

_AHEAD = 4  # images in work at once in a decoding task, which has one core
Found = Decoded | Hashed | Skipped | Part


def refusal(setup: Setup, version: str = imgsearch.__version__) -> str:
    """Return why this machine can't work for a run, or ""."""
    here = f"the worker on {socket.gethostname()}"
    if version != setup.version:
        return (
            f"{here} has imgsearch {version}, not {setup.version}: install the same version on all machines"
        )
    for folder in setup.how:
        if "://" not in folder and not os.path.exists(folder):
            return f"{here} does not see {folder}: it must be there under the same path on all machines"
    if not deliveries.has_mark(setup.folder, setup.run):
        return (
            f"{here} does not see {setup.folder}: the index must be there under the same path on all machines"
        )
    if (readers := readers_here()) != setup.readers:
        extras = ", ".join(sorted({*readers} ^ {*setup.readers}))
        return f"{here} reads other files than the coordinator ({extras}): install the same extras on all machines"
    try:
        _checkpoint(setup)
    except ImgsearchError as error:
        return f"{here} can't use the model: {error}"
    return ""


def _checkpoint(setup: Setup) -> Checkpoint:
    return checkpoint_for(setup.index, setup.spec, setup.model, Silent(), download=False)


def preparer(setup: Setup) -> Prepare:
    """Return what makes images ready for the run's model, without loading it."""
    make, usual = preparation(_checkpoint(setup)), setup.spec.pixels

    def prepare(image: RGB, budget: PixelBudget | None = None, /) -> Prepared:
        return make(image, budget or usual)

    return prepare


def decode(
    setup: Setup, unit: Unit, prepare: Prepare, known: NDArray[np.uint64] | None = None
) -> Generator[Found, None, None]:
    """Yield the files of a unit decoded, in order. A file that has ended the worker twice is skipped.

    Raises StorageError.
    """
    table = known if known is not None else np.empty((0, 4), np.uint64)
    folder = os.path.join(setup.folder, deliveries.NOTES, f"{setup.run}-{unit.number:08d}")
    try:
        make_folder(folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    note = DecodingNote(folder)
    work = DocumentWork(lambda source: setup.how[source.root])
    try:
        culprits = [source for source in unit.sources if note.is_culprit(source)]
        suspects = [one for one in unit.sources if note.is_suspect(one) and one not in culprits]
        others = [one for one in unit.sources if one not in culprits and one not in suspects]
        for source in culprits:
            note.settle(source)
            yield Skipped(source, CRASHED, "it ended a worker twice while it was being decoded")
        for sources, ahead in ((suspects, 1), (others, _AHEAD)):
            ahead_of_us = decode_ahead(
                sources,
                prepare,
                lambda sha256: is_in(table, sha256),
                setup.spec.budgets,
                setup.max_megapixels,
                ahead,
                note.decoding,
                documents=work,
            )
            with closing(ahead_of_us):
                yield from ahead_of_us
    finally:
        note.close()
        close_readers()
        try:
            os.rmdir(folder)
        except OSError:
            pass  # it names files that ended a worker


class Embedder:
    """A model in memory, which embeds units and seals their deliveries."""

    def __init__(self, setup: Setup, encoder: ImageEncoder | None = None) -> None:
        """Load the model, unless it is given."""
        self._setup = setup
        self._encoder = encoder or load_local_encoder(_checkpoint(setup), setup.spec, setup.model, Silent())
        self._waiting: list[tuple[int, Page]] = []
        self._rows: list[Vectors] = []

    def deliver(self, unit: Unit, found: Sequence[Found] | None = None, seconds: float = 0.0) -> str:
        """Embed what was ``found`` in so many seconds, or decode it first; return the delivery's name.

        Raises StorageError, and ModelOutOfMemory if a single image does not fit into memory.
        """
        self._rows, self._waiting = [], []
        self._embedding = 0.0
        began = time.monotonic()
        records = Records(self._put)
        for one in found if found is not None else decode(self._setup, unit, self._encoder.prepare):
            records.add(one)
        self._embed()
        rows = np.array(self._rows, np.float32).reshape(-1, self._setup.spec.dim)
        told = {"decoding": seconds, "embedding": self._embedding, "worker": time.monotonic() - began}
        setup = self._setup
        return deliveries.write(setup.folder, setup.run, unit.number, setup.spec, rows, records.files, told)

    @property
    def _size(self) -> int:
        return self._setup.batch_size or self._encoder.batch_size

    def _put(self, page: Page) -> int:
        self._rows.append(np.full(self._setup.spec.dim, NO_ROW, np.float32))
        self._waiting.append((len(self._rows) - 1, page))
        if sum(page.weight for _, page in self._waiting) >= self._size:
            self._embed()
        return len(self._rows) - 1

    def _embed(self) -> None:
        """Embed what waits: photos, then larger images; the row of one without a finite embedding stays NaN."""
        waiting, self._waiting = self._waiting, []
        for some in (
            [one for one in waiting if one[1].weight <= 1],
            [one for one in waiting if one[1].weight > 1],
        ):
            while some:
                size = max(1, int(self._size / max(page.weight for _, page in some)))
                prompt = self._setup.spec.document_prompt
                began = time.monotonic()
                try:
                    inputs = [Input(image=page.prepared, instruction=prompt) for _, page in some]
                    vectors = self._encoder.embed(inputs, batch_size=size)
                except NonFiniteError as error:
                    some = [one for place, one in enumerate(some) if place not in error.rows]
                    continue
                finally:
                    self._embedding += time.monotonic() - began
                for (row, _), vector in zip(some, vectors, strict=True):
                    self._rows[row] = vector
                break
