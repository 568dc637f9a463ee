"""How far a document is that is read page by page, and what is missing of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgsearch.indexing.documents.opened import OpenDocument

_NOTES = 5
"""So many of what is missing of a document are told."""


@dataclass(slots=True)
class DocumentProgress:
    """Pages that wait for the model, that were known, that were embedded, and that failed, as (reason, detail).

    ``begun`` says that the catalogue knows, or gets to know, that it is not finished.
    """

    document: OpenDocument
    waiting: int = 0
    known: int = 0
    embedded: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tiles: set[int] = field(default_factory=set)
    ended: bool = False
    begun: bool = False

    @property
    def missing(self) -> str:
        """Say what is missing of the document; "" if nothing."""
        notes = [self.document.note, *self.notes]
        notes += [f"{reason}: {detail}" if detail else reason for reason, detail in self.failures]
        notes = list(filter(None, notes))
        more = f"{len(notes) - _NOTES:,} more of the kind" if len(notes) > _NOTES else ""
        return "; ".join(filter(None, [*notes[:_NOTES], more]))
