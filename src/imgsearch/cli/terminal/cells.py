"""How many cells of a terminal a text takes, and how to cut it to fewer.

Where terminals disagree, as on emoji that are joined of several, the larger number counts: a line may end early, but
never runs over. (wcwidth knows all of them, but takes longer to import than a query takes.)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

ELLIPSIS = "…"
_JOINER, _NON_JOINER, _AS_EMOJI = "\u200d", "\u200c", "\ufe0f"


def width(text: str) -> int:
    """Return how many cells a printable text takes."""
    return len(text) if text.isascii() else sum(cells for _, cells in _clusters(text))


def cut(text: str, most: int, last: int = 0) -> str:
    """Return a text in at most ``most`` cells, 1 or more: whole, or with "…" for its middle.

    ``last`` cells of its end are kept where they fit.
    """
    if width(text) <= most:
        return text
    behind = min(max(last, (most - 1) // 2), max(most - 2, 0))
    return _begin(_clusters(text), most - 1 - behind) + ELLIPSIS + _end(text, behind)


def _begin(clusters: Iterator[tuple[str, int]], most: int) -> str:
    taken = ""
    for cluster, cells in clusters:
        most -= cells
        if most < 0:
            break
        taken += cluster
    return taken


def _end(text: str, most: int) -> str:
    kept: list[str] = []
    for cluster, cells in reversed(list(_clusters(text))):
        most -= cells
        if most < 0:
            break
        kept.append(cluster)
    return "".join(reversed(kept))


def _clusters(text: str) -> Iterator[tuple[str, int]]:
    """Yield the characters that are drawn together, and the cells that they take."""
    cluster, cells, joined = "", 0, False
    for char in text:
        own = _cells(char)
        flags = _is_flag(char) and len(cluster) == 1 and _is_flag(cluster)
        if cluster and (own == 0 or joined or flags):
            cluster += char
            cells = max(cells + own, 2 if char == _AS_EMOJI else 0)
        else:
            if cluster:
                yield cluster, cells
            cluster, cells = char, own
        joined = char == _JOINER
    if cluster:
        yield cluster, cells


def _cells(char: str) -> int:
    if char.isascii():
        return 1
    category = unicodedata.category(char)
    if category in ("Mn", "Me") or char in (_JOINER, _NON_JOINER):
        return 0
    # What Unicode did not have when Python was made may be an emoji.
    return 2 if unicodedata.east_asian_width(char) in "WF" or category == "Cn" else 1


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
