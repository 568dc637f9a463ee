"""Stacks: of hits that show the same, the best stands for all, each of the others behind it with its reason."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from imgsearch.index import hashes
from imgsearch.index.hashes import Shot
from imgsearch.index.reader import ImageIndex
from imgsearch.media.pixelhash import near_pairs
from imgsearch.types import Hit, Stacked, Vectors

MOST = 1000
"""So many hits are looked at, at most, for one answer."""
_SPARE = 64
"""So many more hits than asked for are looked at first: a page of hits should be there at once."""
_HASHED = 256
"""The first so many are compared by their pixels, each with each."""
BURST_SECONDS = 2.0
"""Between two frames of a burst that no capture id tells of."""
SAME_SECONDS = 2.0
"""Between what the files of one shot say of their time: some formats have no fractions of a second."""
BURST_COSINE = 0.9
_EDITED = re.compile(r"(?i)[ _-](?:edited|edit|bearbeitet|modifié|editado)$|(?:[ _-]?\(\d\)|~\d)$")
_EDITED_BY_APPLE = re.compile(r"(?i)^(img_)e(\d+)$")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hit with what is known of its shot.

    ``place`` is its place among the hits, ``cosine`` gives the cosine of its vector with that of another place, and
    ``near`` are the places before it with nearly the same pixels. Hits of one ``session`` followed each other within
    seconds; None is unknown. ``stems`` are its files' folders and names, as ``stem_of`` makes them, if another of the
    hits may be the same shot by its time.
    """

    place: int
    hit: Hit
    shot: Shot
    cosine: Callable[[int], float]
    near: frozenset[int]
    session: int | None
    stems: frozenset[tuple[str, str]]


@dataclass(slots=True)
class Stack:
    """The best hit of a stack, and those behind it with their reasons."""

    best: Candidate
    others: list[tuple[Candidate, str]] = field(default_factory=list)

    def as_hit(self, rank: int) -> Hit:
        """Return the best hit with the others behind it."""
        behind = []
        for other, reason in self.others:
            behind.append(_behind(other.hit, reason))
        return replace(self.best.hit, rank=rank, stack=tuple(behind))


def by_capture_id(stack: Stack, new: Candidate) -> str:
    """Of one burst are images whose camera says so."""
    burst = new.shot.burst
    return "burst" if burst and burst == stack.best.shot.burst else ""


def by_name_and_time(stack: Stack, new: Candidate) -> str:
    """One shot are files of one folder and one name, but for the ending, that were taken at the same time."""
    if _is_one_file(stack, new):
        return ""  # pages of a document are no versions of each other
    same = _apart(stack.best, new) <= SAME_SECONDS and bool(stack.best.stems & new.stems)
    return "version" if same else ""


def by_pixels(stack: Stack, new: Candidate) -> str:
    """Alike are images of nearly the same pixels, also scaled, saved again, rotated or mirrored."""
    return "alike" if stack.best.place in new.near else ""


def by_time_and_look(stack: Stack, new: Candidate) -> str:
    """Of one burst are images that one camera took within seconds of each other, and that look alike.

    The look is compared with that of the best one, so that no chain leads away from it. The same pixels at the same
    moment are a copy.
    """
    best = stack.best
    if _is_one_file(stack, new):
        return ""
    in_time = new.session is not None and new.session == best.session
    copy = new.shot.taken == best.shot.taken and best.place in new.near
    return "burst" if in_time and not copy and new.cosine(best.place) >= BURST_COSINE else ""


def by_film(stack: Stack, new: Candidate) -> str:
    """Of one film are its frames: what is found is the film, at its best moment."""
    return "film" if new.hit.kind == "frame" and new.hit.sha256 == stack.best.hit.sha256 else ""


RULES = (by_film, by_capture_id, by_name_and_time, by_time_and_look, by_pixels)
"""Each returns one of types.STACKED_BY, or "" where it does not hold; the first that does counts."""


def _is_one_file(stack: Stack, new: Candidate) -> bool:
    """Whether both are of one document."""
    return bool(new.hit.kind) and new.hit.sha256 == stack.best.hit.sha256


def _behind(hit: Hit, reason: str) -> Stacked:
    """Return a hit that stands behind another one."""
    shape = (hit.width, hit.height)
    return Stacked(hit.path, hit.page, hit.score, reason, *shape, hit.content, hit.sha256, hit.kind, hit.name)


def _apart(one: Candidate, other: Candidate) -> float:
    """Return the seconds between two images, infinite where either does not tell its time."""
    if one.shot.taken is None or other.shot.taken is None:
        return float("inf")
    return abs(one.shot.taken - other.shot.taken) / 1000


def stem_of(name: str) -> str:
    """Return a file's name without its ending, and without what programs add to the name of an edited copy."""
    stem = os.path.splitext(name)[0].casefold()
    return _EDITED.sub("", _EDITED_BY_APPLE.sub(r"\1\2", stem))


Find = Callable[[int, int], list[Hit]]
"""Returns so many hits, best first; so many of them, the last ones, may be others than the very nearest."""


def find_stacked(index: ImageIndex, find: Find, n: int) -> list[Hit]:
    """Return the best hits of ``n`` stacks, if there are so many, each with the others behind it.

    ``find`` is asked for more hits as long as they make too few stacks, up to MOST.
    """
    wanted = max(n, min(n + _SPARE, MOST))
    while True:
        hits = find(wanted, wanted - n)
        stacks = stacked(index, hits, n)
        if len(stacks) >= n or len(hits) < wanted or wanted >= MOST:
            return stacks
        wanted = min(4 * wanted, MOST)


def one_hit_a_film(find: Find, n: int) -> list[Hit]:
    """Return the best ``n`` hits with one of each film, its other frames behind it."""
    wanted = n
    while True:
        hits = find(wanted, 0)
        films: dict[bytes, list[Hit]] = {}
        kept = []
        for hit in hits:
            frames = films.setdefault(hit.sha256, []) if hit.kind == "frame" else []
            frames.append(hit)
            if len(frames) == 1:
                kept.append(hit)
        if len(kept) == len(hits):
            return hits
        if len(kept) >= n or len(hits) < wanted or wanted >= MOST:
            break
        wanted = min(4 * wanted, MOST)
    found = []
    for rank, hit in enumerate(kept[:n], start=1):
        others = films[hit.sha256][1:] if hit.kind == "frame" else []
        behind = tuple(_behind(one, "film") for one in others)
        found.append(replace(hit, rank=rank, stack=behind or hit.stack))
    return found


def stacked(index: ImageIndex, hits: Sequence[Hit], n: int) -> list[Hit]:
    """Return the best hits of the first ``n`` stacks, of hits in the order of their rank, ranked again."""
    stacks: list[Stack] = []
    sharing: dict[object, list[int]] = {}  # the numbers of the stacks whose best has it
    for candidate in _candidates(index, hits):
        own = _shared(candidate)
        met = {number for one in (*own, *candidate.near) for number in sharing.get(one, ())}
        for stack in map(stacks.__getitem__, sorted(met)):
            if reason := next(filter(None, (rule(stack, candidate) for rule in RULES)), ""):
                stack.others.append((candidate, reason))
                break
        else:
            if len(stacks) < n:
                for one in (*own, candidate.place):
                    sharing.setdefault(one, []).append(len(stacks))
                stacks.append(Stack(candidate))
    return [stack.as_hit(rank) for rank, stack in enumerate(stacks, start=1)]


def _shared(candidate: Candidate) -> list[object]:
    """Return what one of which an image shares with all of its stack, besides nearly the same pixels.

    So that rules are tried on few pairs: all pairs of some hundred hits take longer than the search.
    """
    shared: list[object] = list(candidate.stems)
    shared += [("film", candidate.hit.sha256)] if candidate.hit.kind == "frame" else []
    shared += [("burst", candidate.shot.burst)] if candidate.shot.burst else []
    shared += [("session", candidate.session)] if candidate.session is not None else []
    return shared


def _candidates(index: ImageIndex, hits: Sequence[Hit]) -> list[Candidate]:
    shots = hashes.shots(index.catalog.database, [hit.content for hit in hits])
    unknown = Shot(b"", 0, None, "", "", b"")
    known = [shots.get(hit.content, unknown) for hit in hits]
    near, sessions, timed = _near(known), _sessions(known), _at_one_time(known)
    look = _Looks(index, known)
    return [
        Candidate(
            place=place,
            hit=hit,
            shot=shot,
            cosine=look.cosine_with(place),
            near=near.get(place, frozenset()),
            session=sessions.get(place),
            stems=_stems(hit) if place in timed else frozenset(),
        )
        for place, (hit, shot) in enumerate(zip(hits, known, strict=True))
    ]


def _stems(hit: Hit) -> frozenset[tuple[str, str]]:
    split = (os.path.split(path) for path in (hit.path, *hit.copies))
    return frozenset((folder, stem_of(name)) for folder, name in split)


def _near(shots: Sequence[Shot]) -> Mapping[int, frozenset[int]]:
    """Return by place the earlier places of images with nearly the same pixels."""
    places = [place for place, shot in enumerate(shots[:_HASHED]) if shot.bits]
    bits = np.frombuffer(b"".join(shots[place].bits for place in places), np.uint8)
    found: dict[int, frozenset[int]] = {}
    for earlier, later in near_pairs(bits.reshape(len(places), hashes.HASH_BYTES)):
        found[places[later]] = found.get(places[later], frozenset()) | {places[earlier]}
    return found


def _at_one_time(shots: Sequence[Shot]) -> set[int]:
    """Return the places of images that were taken at the same time as others, as ``by_name_and_time`` has it."""
    timed = sorted((shot.taken, place) for place, shot in enumerate(shots) if shot.taken is not None)
    found: set[int] = set()
    for (before, one), (after, other) in pairwise(timed):
        if after - before <= SAME_SECONDS * 1000:
            found |= {one, other}
    return found


def _sessions(shots: Sequence[Shot]) -> Mapping[int, int]:
    """Return by place which images followed each other: those with the same number, of one camera, within seconds."""
    timed = sorted(
        (shot.camera, shot.taken, place) for place, shot in enumerate(shots) if shot.taken is not None
    )
    sessions: dict[int, int] = {}
    number = 0
    for before, (camera, taken, place) in zip([("", 0, 0), *timed], timed, strict=False):
        if before[0] != camera or taken - before[1] > BURST_SECONDS * 1000:
            number += 1
        sessions[place] = number
    return sessions


class _Looks:
    """The vectors of some images, read when they are asked for."""

    def __init__(self, index: ImageIndex, shots: Sequence[Shot]) -> None:
        self._index, self._shots = index, shots
        self._vectors: dict[int, Vectors | None] = {}

    def cosine_with(self, place: int) -> Callable[[int], float]:
        """Return what gives the cosine of one image with that in another place; -1 where a vector is gone."""

        def cosine(other: int) -> float:
            one, two = self._vector(place), self._vector(other)
            return -1.0 if one is None or two is None else float(one[0] @ two[0])

        return cosine

    def _vector(self, place: int) -> Vectors | None:
        if place not in self._vectors:
            shot = self._shots[place]
            self._vectors[place] = self._index.vector(shot.sha256, shot.page)
        return self._vectors[place]
