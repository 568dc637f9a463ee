"""The segments and derived files that searches use, opened once and kept while the catalogue names them."""

from __future__ import annotations

import os
from dataclasses import replace

from imgsearch.index import ann
from imgsearch.index.ann import codes
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import Derived
from imgsearch.index.vectors import Segment
from imgsearch.types import Identity


class Shelf:
    """What one reader has open below a data folder. ``problems`` says by name what can't be used, and why."""

    def __init__(self, data: str, identity: Identity) -> None:
        """Open nothing yet."""
        self.data, self.identity = data, identity
        self.problems: dict[str, str] = {}
        self._segments: dict[int, Segment] = {}
        self._codes: dict[str, codes.Codes] = {}

    def close(self) -> None:
        """Let go of every file."""
        self._segments, self._codes = {}, {}

    def look_wider(self, times: int) -> None:
        """Let searches look into so many times the inverted lists; only of the derived files that are open now."""
        self._codes = {
            name: replace(one, nprobe=min(times * one.nprobe, one.nlist)) for name, one in self._codes.items()
        }

    def segment(self, number: int, rows: int) -> Segment:
        """Return a segment with so many committed rows. Raises IndexDamaged, SegmentMissing if its file is gone."""
        known = self._segments.get(number)
        if known is None or len(known) != rows:
            folder = os.path.join(self.data, "vectors")
            known = Segment(folder, number, rows, self.identity.dim, self.identity.fingerprint)
            self._segments[number] = known
        return known

    def parts(self, catalog: Catalog, fast: bool = True) -> list[ann.Part]:
        """Return every segment that has rows, with its codes if ``fast`` and they can be used.

        In one transaction of ``catalog``, what comes back is of one moment. Raises as ``segment`` does.
        """
        counts = [(number, rows) for number, rows in catalog.segments() if rows]
        segments = [self.segment(number, rows) for number, rows in counts]
        self._segments = {segment.number: segment for segment in segments}
        if not fast or sum(rows for _, rows in counts) < ann.EXACT_ROWS:
            return [ann.Part(segment) for segment in segments]
        derived = catalog.derived()
        current = {one.name for one in derived.values()}
        self._codes = {name: loaded for name, loaded in self._codes.items() if name in current}
        self.problems = {name: why for name, why in self.problems.items() if name in current}
        new = [
            one for one in derived.values() if one.name not in self._codes and one.name not in self.problems
        ]
        ann.side_by_side([lambda one=one: self._load(one) for one in new])  # type: ignore[misc]
        parts = []
        for segment in segments:
            one = derived.get(segment.number)
            fits = one is not None and one.rows <= len(segment)
            parts.append(ann.Part(segment, self._codes.get(one.name) if one and fits else None))
        return parts

    def _load(self, one: Derived) -> None:
        path = os.path.join(self.data, "faiss", one.name)
        try:
            if one.faiss != codes.version():
                raise codes.CodesError(f"{path} was written by FAISS {one.faiss}, this is {codes.version()}")
            self._codes[one.name] = codes.load(path, one.rows, one.nlist, one.nprobe, one.bytes, one.crc)
        except codes.CodesError as error:
            self.problems[one.name] = str(error)
