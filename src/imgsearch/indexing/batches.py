"""What has been decoded and waits for the model, in batches: photos, and apart from them what is larger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imgsearch.indexing.decode import Decoded, Page, Part


class Batches:
    """Files, and parts of documents, in the order in which they came.

    Larger images are kept apart: in one batch with photos, these would wait as long as the largest takes.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._photos: dict[Decoded | Part, float] = {}
        self._large: dict[Decoded | Part, float] = {}
        self._contents: set[bytes] = set()
        self._places: set[tuple[bytes, int]] = set()

    def __len__(self) -> int:
        """Return how many files and parts wait."""
        return len(self._photos) + len(self._large)

    def add(self, file: Decoded | Part) -> None:
        """Add a file or part; no other of the same content, or place of it, may be waiting."""
        weights = [page.weight for page in pages_of(file)]
        (self._large if any(weight > 1 for weight in weights) else self._photos)[file] = sum(weights)
        if isinstance(file, Decoded):
            self._contents.add(file.sha256)
        else:
            self._places.add((file.document.sha256, file.place.page))

    def remove(self, file: Decoded | Part) -> None:
        """Take away what has been embedded, or can't be."""
        (self._photos if file in self._photos else self._large).pop(file)
        if isinstance(file, Decoded):
            self._contents.discard(file.sha256)
        else:
            self._places.discard((file.document.sha256, file.place.page))

    def has_content(self, sha256: bytes) -> bool:
        """Whether an image file of this content waits."""
        return sha256 in self._contents

    def has_place(self, sha256: bytes, page: int) -> bool:
        """Whether this page of a document waits."""
        return (sha256, page) in self._places

    def ready(self, weight: float = 0.0) -> Iterator[list[Decoded | Part]]:
        """Yield photos and then larger images, each if there are any and they weigh as much as so many photos."""
        for files in (self._photos, self._large):
            if files and sum(files.values()) >= weight:
                yield list(files)


def pages_of(file: Decoded | Part) -> Sequence[Page]:
    """Return what is to be embedded of a file, or of a part of one."""
    if isinstance(file, Decoded):
        return file.pages
    return (*((file.page,) if file.page else ()), *file.tiles)
