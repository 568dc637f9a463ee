"""What groups of images are called: by words that fit one group better than the others, else by folder or date."""

from __future__ import annotations

import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from importlib.resources import files
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from imgsearch.index import side_db
from imgsearch.index.metadata.columns import UNKNOWN
from imgsearch.index.reader import ImageIndex
from imgsearch.search.overview.grouping import Labels
from imgsearch.types import Input, QueryEncoder, Reporter, Vectors

T = TypeVar("T", int, tuple[int, str])
MIXED = "mixed"
_KEPT = "words"
_AT_ONCE = 16
_CHANCE = 0.85
"""How well a word must fit a group, against what the best of as many reaches by chance."""
COLOURS = "Colours"
"""The words by which the demo model names groups, as they are headed: of the others it knows too few."""
_OWN = 0.7
"""What a word must say of its group, of what it says of the group that it fits best."""
_MOSTLY = 0.6
"""The share of a group's images that must be in one folder, or of one time, for it to be named after that."""

Words = Sequence[tuple[str, str]]
"""Names, and the text by which the model knows each."""


def shipped_words(heading: str | None = None) -> list[tuple[str, str]]:
    """Return the names that ship with imgsearch, or only those under a heading."""
    text = files("imgsearch.search.overview").joinpath("words.txt").read_text("utf-8")
    found, under = [], ""
    for line in text.splitlines():
        if line.startswith("#"):
            under = line[1:].strip()
        elif line.strip() and heading in (None, under):
            name, _, more = line.partition(":")
            found.append((name.strip(), more.strip() or name.strip()))
    return found


def word_vectors(
    index: ImageIndex, words: Words, load: Callable[[], QueryEncoder], reporter: Reporter
) -> Vectors:
    """Return the vectors of words (n, dim) float32, unit rows: by the model once, then from beside the index.

    ``load`` gives the model; what it raises is raised.
    """
    spec = index.spec
    told = "\n".join(text for _, text in words).encode()
    key = f"{spec.fingerprint} {spec.dim} {zlib.crc32(spec.query_prompt.encode())} {zlib.crc32(told)}"
    kept = side_db.cached_bytes(index.folder, _KEPT, key)
    if kept is not None and len(kept) == 2 * len(words) * spec.dim:
        return np.frombuffer(kept, "<f2").astype(np.float32).reshape(-1, spec.dim)
    encoder = load()
    reporter.start(len(words), "words")
    try:
        rows = []
        for start in range(0, len(words), _AT_ONCE):
            some = words[start : start + _AT_ONCE]
            inputs = [Input(text=text, instruction=spec.query_prompt) for _, text in some]
            rows.append(encoder.embed(inputs))
            reporter.advance(len(some))
    finally:
        reporter.stop()
    vectors = np.concatenate(rows).astype(np.float32)
    side_db.cache_bytes(index.folder, _KEPT, key, vectors.astype("<f2").tobytes())
    return vectors


def names_by_words(
    directions: Vectors, words: Words, vectors: Vectors, only: Collection[str] | None = None
) -> list[str | None]:
    """Return for each group (k, dim) the word that tells it from the others; None where none does.

    No word is given twice: it goes to the group that it says most of. What counts is not how near a word is, for some
    words are near to every image, but how much nearer than to the other groups. ``only`` some names may be given; the
    others then show what is chance.
    """
    names: list[str | None] = [None] * len(directions)
    if len(directions) < 2 or not len(words):
        return names
    contrast = directions @ vectors.T
    contrast -= contrast.mean(axis=0)
    own = contrast >= np.maximum(_OWN * contrast.max(axis=0), 1e-6)
    # Chance by the better half of the words: those that speak against a group say nothing of how well others fit it.
    contrast -= np.median(contrast, axis=1, keepdims=True)
    better = contrast >= 0
    spread = np.sqrt((contrast**2 * better).sum(axis=1, keepdims=True) / better.sum(axis=1, keepdims=True))
    spread = np.maximum(spread, 1e-6)
    by_chance = math.sqrt(2 * math.log(max(2, len(words)))) * spread
    fits = own & (contrast >= _CHANCE * by_chance)
    free = np.array([only is None or name in only for name, _ in words])
    # Compared by how far a word stands out of all words for the group: a plain group has no strong ones.
    worth = np.where(fits, contrast / spread, -np.inf)
    while True:
        best = np.where(free, worth, -np.inf)
        best[[number for number, name in enumerate(names) if name]] = -np.inf
        number, word = divmod(int(best.argmax()), len(words))
        if not np.isfinite(best[number, word]):
            return names
        names[number], free[word] = words[word][0], False


def names_by_facts(index: ImageIndex, labels: Labels, groups: int) -> list[str]:
    """Return for each group the folder that most of its images are in, the month or year of most, or "mixed"."""
    found = [files for files in index.files((), (), ("folder",)) if len(files.chosen)]
    folders = [Counter[tuple[int, str]]() for _ in range(groups)]
    months = [Counter[int]() for _ in range(groups)]
    sizes = np.zeros(groups, np.int64)
    for files_ in found:
        of = _labels_at(labels, files_.places)
        texts = files_.columns.texts("folder")
        numbers = files_.columns["folder"][files_.chosen]
        month = _months(files_.taken)
        for group in range(groups):
            mine = of == group
            sizes[group] += int(mine.sum())
            for number, count in zip(*np.unique(numbers[mine], return_counts=True), strict=True):
                root, path = texts[number]
                folders[group][int(root), str(path)] += int(count)
            dated = month[mine & (files_.taken != UNKNOWN)]
            for number, count in zip(*np.unique(dated, return_counts=True), strict=True):
                months[group][int(number)] += int(count)
    roots = {root.id: root.path for root in index.catalog.roots()}
    # A folder or time that most of all images share says nothing of a group.
    usual = _MOSTLY * int(sizes.sum())
    every_folder = sum(folders, Counter[tuple[int, str]]())
    every_month = sum(months, Counter[int]())
    names = []
    for group in range(groups):
        enough = _MOSTLY * max(1, int(sizes[group]))
        place, count = _most(folders[group])
        if count >= enough and every_folder[place] < usual:
            folder = os.path.join(roots.get(place[0], ""), place[1]).rstrip(os.sep)
            names.append(os.path.basename(folder) or MIXED)
        else:
            names.append(_time(months[group], enough, every_month, usual) or MIXED)
    return names


def told_apart(names: Sequence[str]) -> list[str]:
    """Return names of which none is another's: the second of the same gets (2) behind it."""
    taken: Counter[str] = Counter()
    found: list[str] = []
    for name in names:
        taken[name] += 1
        own = name if taken[name] == 1 else f"{name} ({taken[name]})"
        while own in found:
            taken[name] += 1
            own = f"{name} ({taken[name]})"
        found.append(own)
    return found


def _labels_at(labels: Labels, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups of images at some places (n, 2), segment and row; -1 for those that are in none."""
    found = np.full(len(places), -1, np.int64)
    for number, of in labels.items():
        here = np.flatnonzero((places[:, 0] == number) & (places[:, 1] < len(of)))
        found[here] = of[places[here, 1]]
    return found


_LEAST, _MOST = -62_135_596_800_000, 253_402_300_800_000
"""The milliseconds since 1970 that a calendar has: the years 1 to 9999."""


def _months(taken: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return dates, in milliseconds since 1970, as months since then."""
    return np.clip(taken, _LEAST, _MOST - 1).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)


_NAMES = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)


def _time(months: Counter[int], enough: float, every: Counter[int], usual: float) -> str:
    """Return the month, or the year, that holds enough images, and does not hold most of all; "" if there is none."""
    month, count = _most(months)
    if count >= enough and every[month] < usual:
        return f"{_NAMES[month % 12]} {month // 12 + 1970}"
    year, count = _most(_years(months))
    return str(year) if count >= enough and _years(every)[year] < usual else ""


def _years(months: Counter[int]) -> Counter[int]:
    years: Counter[int] = Counter()
    for month, count in months.items():
        years[month // 12 + 1970] += count
    return years


def _most(counted: Counter[T]) -> tuple[T, int]:
    """Return what there is most of, and how many; of equals the first, and 0 of nothing."""
    return min(counted.items(), key=lambda item: (-item[1], item[0]), default=(None, 0))  # type: ignore[return-value]
