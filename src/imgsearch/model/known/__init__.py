"""Models whose names are known, on this machine or not; ``imgsearch models`` lists them."""

from __future__ import annotations

from imgsearch.errors import CheckpointError
from imgsearch.model.known.pages import PAGES
from imgsearch.model.known.row import KnownModel
from imgsearch.model.known.small import SMALL
from imgsearch.text import Call

KNOWN: tuple[KnownModel, ...] = (*PAGES, *SMALL)
"""Those of the published comparison on document pages, in its order, then well-known ones beyond it."""


def known_models() -> tuple[KnownModel, ...]:
    """Return all rows."""
    return KNOWN


def known_model(name: str) -> KnownModel | None:
    """Return the row of a name, whatever case it is written in; None if there is none."""
    return next((row for row in KNOWN if row.name.lower() == name.lower()), None)


def refuse_known(name: str) -> None:
    """Raise CheckpointError for a model that is known to need its authors' own code."""
    row = known_model(name)
    if row is not None and row.road == "code":
        raise CheckpointError(
            f"{row.name} needs {row.needs}. Embeddings of it that were computed elsewhere can be scored: ",
            Call("score_vectors"),
        )
