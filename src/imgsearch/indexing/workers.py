"""What takes the place of decoding and embedding in this process: workers elsewhere, as a run sees them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.decode import Decoded, Hashed, Part
from imgsearch.media.documents import DocumentOptions
from imgsearch.model.checkpoint import Checkpoint
from imgsearch.types import ImageEncoder, IndexSpec, ModelOptions, Reporter, Skipped, SourceFile


class Workers(Protocol):
    """Decode and embed the files of a run; the run itself decides what is done, and commits it."""

    def load(
        self, checkpoint: Checkpoint | None, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
    ) -> ImageEncoder:
        """Reach the workers; the encoder that is returned gives back the rows that come with their images."""

    def results(
        self, writer: IndexWriter, how: Mapping[str, DocumentOptions], to_do: Sequence[SourceFile]
    ) -> Generator[Decoded | Hashed | Skipped | Part, None, None]:
        """Yield what was found out about each file, with rows (dim,) float32 for ``Page.prepared``, in any order.

        ``how`` tells for each root of the run how its documents are read.
        """

    def committed(self) -> None:
        """Take note that all that was yielded before the last one is in the index, and on the disk."""


def command_of(workers: Workers | None) -> str:
    """Return as what a run is remembered: the rate of one with workers says nothing of a plain one."""
    return "index" if workers is None else "index elsewhere"
