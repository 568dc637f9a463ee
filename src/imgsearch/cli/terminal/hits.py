"""Hits as rows on a terminal: with the date on which an image was taken, its size, and what stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from imgsearch import deep
from imgsearch.cli.terminal.rows import Row, Scale
from imgsearch.index.parts import DOCUMENTS, is_part
from imgsearch.place import fragment
from imgsearch.text import plural, printable
from imgsearch.types import Hit, Record, Why

if TYPE_CHECKING:
    # It is imported on use: it loads NumPy.
    from imgsearch.index.reader import ImageIndex
    from imgsearch.index.rows import IndexedFile
    from imgsearch.search.ranking.cut import Background, Cut
    from imgsearch.search.show import Shown

MISSING = "missing now"
STACKS = {
    "burst": ("in burst", "in burst"),
    "version": ("other version", "other versions"),
    "alike": ("near-duplicate", "near-duplicates"),
    "film": ("other frame", "other frames"),
}
"""What is said of the images behind a hit, of one and of several, by the reason."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a terminal shows beside hits: when they were ``taken``, and the ``scale`` of bars.

    The former is by index and content, in the milliseconds of ``index.metadata.moment``. Hits that score less than
    ``least``, where chance begins, are shown as such. ``folders`` are those of the indexes. Scores that say nothing to
    a person are not shown: then hits are not ``scored``.
    """

    taken: Mapping[tuple[str, int], int] = field(default_factory=dict)
    scale: Scale | None = None
    least: float = -inf
    folders: Mapping[str, str] = field(default_factory=dict)
    scored: bool = True


NOTHING = Beside()


def beside(
    indexes: Mapping[str, ImageIndex],
    hits: Sequence[Hit],
    background: Background | None = None,
    cut: Cut | None = None,
) -> Beside:
    """Return what is shown beside hits of some indexes, by the names that hits have for these.

    ``background`` is what chance scores, and ``cut`` where chance begins, where that is known.
    """
    from imgsearch.search.ranking.order import dates_of

    taken = dates_of(indexes, hits)
    scores = [hit.score for hit in hits]
    scale = Scale.of(scores, background.floor, background.spread) if background else None
    folders = {name: index.folder for name, index in indexes.items()}
    return Beside(taken, scale, cut.score if cut and cut.judged else -inf, folders)


def notes_of(hit: Hit) -> tuple[str, ...]:
    """Return what there is to say of a hit: what a reranker gave it, its copies, and the images of its stack."""
    found = [DOCUMENTS] if hit.index and is_part(hit.index) else []
    found += [] if hit.rerank is None else [f"rerank {hit.rerank:.2f}"]
    found += [f"+{plural(len(hit.copies), 'copy', 'copies')}"] if hit.copies else []
    for reason, name in STACKS.items():
        if count := sum(other.reason == reason for other in hit.stack or ()):
            found.append(f"+{plural(count, *name)}")
    return tuple(found)


def row_of(hit: Hit, also: Beside) -> Row:
    """Return the row of a hit."""
    details = date(also.taken.get((hit.index, hit.content))), pixels(hit.width, hit.height)
    paths = hit.path, *hit.copies
    image = Record(hit.content, hit.sha256, hit.page, hit.width, hit.height, paths) if hit.sha256 else None
    return Row(
        hit.path,
        hit.score if also.scored else None,
        where=fragment(hit.kind, hit.page),
        notes=notes_of(hit),
        alert=MISSING if hit.missing else "",
        details=details,
        below=(*([printable(hit.quote.text)] if hit.quote else []), *([why(hit.why)] if hit.why else [])),
        far=hit.score < also.least,
        image=image,
        index=also.folders.get(hit.index, hit.index),
    )


def row_of_known(found: Shown, index: str) -> Row:
    """Return the row of an image of which the ``index`` in a folder has told all it knows."""
    paths = found.path, *found.copies
    known = found.sha256 and found.sizes
    image = Record(0, bytes.fromhex(found.sha256), 0, *found.sizes[0], paths) if known else None
    return Row(found.path, image=image, index=index)


def rows_of_files(index: ImageIndex, files: Sequence[IndexedFile]) -> list[Row]:
    """Return the rows of indexed files, a few hundred at most."""
    from imgsearch.index.metadata import sizes

    known = sizes(index.catalog.database, [file.sha256 for file in files])
    rows = []
    for file in files:
        width, height, taken = known.get(file.sha256, (0, 0, None))
        alert = "" if deep.exists(file.path) else MISSING
        image = Record(0, file.sha256, 0, width, height, (file.path,)) if width else None
        details = date(taken), pixels(width, height)
        rows.append(Row(file.path, alert=alert, details=details, image=image, index=index.folder))
    return rows


def date(taken: int | None) -> str:
    """Return the day on which an image was taken, by its milliseconds; "" if nobody knows."""
    from imgsearch.index.metadata import moment

    if taken is None:
        return ""
    try:
        return f"{moment(taken):%Y-%m-%d}"
    except OverflowError:  # no calendar has it
        return ""


def pixels(width: int, height: int) -> str:
    """Return a size in pixels; "" if nobody knows."""
    return f"{width}×{height}" if width else ""


def why(why: Why) -> str:
    """Return what carried a hit, in words."""
    side = "above" if why.spreads >= 0 else "below"
    chance = f"{abs(why.spreads):.1f} spreads {side} chance ({why.floor:.2f} ± {why.spread:.2f})"
    near = {True: "", False: ", no closer than others by chance", None: ""}[why.stands_out]
    return "; ".join([chance + near, *why.matched])
