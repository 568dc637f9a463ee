"""Hits as rows on a terminal: with the date on which an image was taken, its size, and what stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING

from imgsearch.cli.terminal.rows import Row, Scale
from imgsearch.text import plural
from imgsearch.types import Hit, Record, Why

if TYPE_CHECKING:
    # It is imported on use: it loads NumPy.
    from imgsearch.index.reader import ImageIndex
    from imgsearch.search.ranking.cut import Background, Cut
    from imgsearch.search.show import Shown

STACKS = {
    "burst": ("in burst", "in burst"),
    "version": ("other version", "other versions"),
    "alike": ("near-duplicate", "near-duplicates"),
}
"""What is said of the images behind a hit, of one and of several, by the reason."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a terminal shows beside hits: when they were ``taken``, by index and content, and the ``scale`` of bars.

    Hits that score less than ``least``, where chance begins, are shown as such. ``folders`` are those of the indexes.
    """

    taken: Mapping[tuple[str, int], datetime] = field(default_factory=dict)
    scale: Scale | None = None
    least: float = -inf
    folders: Mapping[str, str] = field(default_factory=dict)


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
    from imgsearch.index.metadata import moment
    from imgsearch.search.ranking.order import dates_of

    taken: dict[tuple[str, int], datetime] = {}
    for key, number in dates_of(indexes, hits).items():
        try:
            taken[key] = moment(number)
        except OverflowError:  # no calendar has it
            continue
    scores = [hit.score for hit in hits]
    scale = Scale.of(scores, background.floor, background.spread) if background else None
    folders = {name: index.folder for name, index in indexes.items()}
    return Beside(taken, scale, cut.score if cut and cut.judged else -inf, folders)


def notes_of(hit: Hit) -> tuple[str, ...]:
    """Return what there is behind a hit: copies, and the images of its stack."""
    found = [f"+{plural(len(hit.copies), 'copy', 'copies')}"] if hit.copies else []
    for reason, name in STACKS.items():
        if count := sum(other.reason == reason for other in hit.stack or ()):
            found.append(f"+{plural(count, *name)}")
    return tuple(found)


def row_of(hit: Hit, also: Beside) -> Row:
    """Return the row of a hit."""
    page = (f"page {hit.page + 1}",) if hit.page else ()
    details = date(also.taken.get((hit.index, hit.content))), pixels(hit.width, hit.height)
    paths = hit.path, *hit.copies
    image = Record(hit.content, hit.sha256, hit.page, hit.width, hit.height, paths) if hit.sha256 else None
    return Row(
        hit.path,
        hit.score,
        notes=(*page, *notes_of(hit)),
        alert="missing now" if hit.missing else "",
        details=details,
        below=() if hit.why is None else (why(hit.why),),
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


def date(taken: datetime | None) -> str:
    """Return the day on which an image was taken; "" if nobody knows."""
    return f"{taken:%Y-%m-%d}" if taken else ""


def pixels(width: int, height: int) -> str:
    """Return a size in pixels."""
    return f"{width}×{height}"


def why(why: Why) -> str:
    """Return what carried a hit, in words."""
    side = "above" if why.spreads >= 0 else "below"
    chance = f"{abs(why.spreads):.1f} spreads {side} chance ({why.floor:.2f} ± {why.spread:.2f})"
    near = {True: "", False: ", no closer than others by chance", None: ""}[why.stands_out]
    return "; ".join([chance + near, *why.matched])
