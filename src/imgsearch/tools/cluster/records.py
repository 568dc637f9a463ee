"""What a worker found out about files, as JSON and back; the embeddings are rows of the same delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np

from imgsearch.errors import PictureError
from imgsearch.indexing.batches import pages_of
from imgsearch.indexing.decode import Decoded, Hashed, Page, Part
from imgsearch.indexing.documents.opened import OpenDocument
from imgsearch.media.documents import Place
from imgsearch.types import Metadata, PixelHash, Prepared, Skipped, SourceFile, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class DeliveredDocument:
    """A document that a worker has read to its end: what a run asks an OpenDocument for."""

    source: SourceFile
    sha256: bytes
    places: tuple[Place, ...]
    note: str
    metadata: Metadata


class Records:
    """Makes a record of each file; ``put`` takes an image that is to be embedded, and returns the number of its row."""

    def __init__(self, put: Callable[[Page], int]) -> None:
        """Begin with no file."""
        self._put = put
        self.files: list[dict[str, Any]] = []
        self._documents: dict[OpenDocument, dict[str, Any]] = {}

    def add(self, found: Decoded | Hashed | Skipped | Part) -> None:
        """Take in a file, or a place of a document."""
        if isinstance(found, Part):
            self._add_part(found)
            return
        record: dict[str, Any] = {"source": asdict(found.source)}
        if isinstance(found, Skipped):
            # One that changed while it was read: what came of it before is of no use.
            for document in [one for one in self._documents if one.source.path == found.source.path]:
                del self._documents[document]
            record |= {"is": "skipped", "reason": found.reason, "detail": found.detail}
        elif isinstance(found, Hashed):
            record |= {"is": "hashed", "sha256": found.sha256.hex(), "known": found.known}
            record |= {"metadata": None if found.metadata is None else _metadata(found.metadata)}
        else:
            record |= {"is": "decoded", "sha256": found.sha256.hex(), "metadata": _metadata(found.metadata)}
            record |= {"paged": found.is_paged, "note": found.note}
            record |= {"pages": [self._page(page) for page in pages_of(found)]}
        self.files.append(record)

    def _add_part(self, part: Part) -> None:
        document = part.document
        record = self._documents.setdefault(
            document,
            {
                "is": "document",
                "source": asdict(document.source),
                "sha256": document.sha256.hex(),
                "places": [list(place) for place in document.places],
                "note": document.note,
                "metadata": _metadata(document.metadata),
                "parts": [],
            },
        )
        failure = part.failure
        record["parts"].append(
            {
                "place": document.places.index(part.place),
                "page": self._page(part.page) if part.page else None,
                "failure": [failure.reason, failure.detail] if failure else None,
                "tiles": [self._page(page) for page in part.tiles],
            }
        )
        if part.is_last:
            self.files.append(self._documents.pop(document))

    def _page(self, page: Page) -> dict[str, Any]:
        return {
            "row": self._put(page),
            "page": page.page,
            "size": [page.width, page.height],
            "hash": [page.hash.bits.hex(), page.hash.crc],
            "note": page.note,
            "kind": page.kind,
            "name": page.name,
            "as_page": page.as_page,
        }


def source_of(record: dict[str, Any]) -> SourceFile:
    """Return the file that a record is of. Raises KeyError, TypeError or ValueError for what is no record."""
    told = record["source"]
    return SourceFile(**{**told, "sidecars": tuple(told["sidecars"])})


def results_of(
    record: dict[str, Any], source: SourceFile, rows: Vectors
) -> Iterator[Decoded | Hashed | Skipped | Part]:
    """Yield what a run takes in of a record, for the file that it is of.

    ``rows`` (n, dim) float32 are those of its delivery. Raises as above.
    """
    if record["is"] == "skipped":
        yield Skipped(source, record["reason"], record["detail"])
        return
    sha256 = bytes.fromhex(record["sha256"])
    metadata = None if record["metadata"] is None else _metadata_of(record["metadata"])
    if record["is"] == "hashed":
        yield Hashed(source, sha256, record["known"], metadata)
        return
    assert metadata is not None
    if record["is"] == "decoded":
        pages = _pages(record["pages"], rows)
        yield Decoded(source, sha256, pages, metadata, record["paged"], record["note"])
        return
    places = tuple(Place(*place) for place in record["places"])
    read = DeliveredDocument(source, sha256, places, record["note"], metadata)
    for part in record["parts"]:
        yield Part(
            cast(OpenDocument, read),
            places[part["place"]],
            _pages([part["page"]], rows)[0] if part["page"] else None,
            PictureError(*part["failure"]) if part["failure"] else None,
            _pages(part["tiles"], rows),
        )


def _pages(pages: Sequence[dict[str, Any]], rows: Vectors) -> tuple[Page, ...]:
    return tuple(
        Page(
            page["page"],
            page["size"][0],
            page["size"][1],
            cast(Prepared, rows[page["row"]]),
            PixelHash(bytes.fromhex(page["hash"][0]), page["hash"][1]),
            page["note"],
            page["kind"],
            page["name"],
            as_page=page["as_page"],
        )
        for page in pages
    )


def _metadata(metadata: Metadata) -> dict[str, Any]:
    told = asdict(metadata)
    return {**told, "taken": metadata.taken.isoformat() if metadata.taken else None}


def _metadata_of(told: dict[str, Any]) -> Metadata:
    taken = datetime.fromisoformat(told["taken"]) if told["taken"] else None
    return Metadata(**{**told, "taken": taken, "keywords": tuple(told["keywords"])})


NO_ROW = np.float32(np.nan)
"""Fills the row of an image for which the model gave no finite embedding."""
