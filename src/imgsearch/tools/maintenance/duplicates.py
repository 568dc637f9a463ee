"""Use case: which files of an index show the same image, and which of them to keep. It deletes nothing.

A group has one image to keep, and every other member was compared with that one, so that no chain of small differences
leads away from it. Files of the same bytes come from the catalogue, the others by their hashes and vectors.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.errors import UsageError
from imgsearch.fs import is_at_or_below
from imgsearch.index import hashes, metadata
from imgsearch.index.hashes import HashedPicture
from imgsearch.index.reader import ImageIndex
from imgsearch.media.pixelhash import ORIENTATIONS, are_near, codes, distances, texture
from imgsearch.names import known_as
from imgsearch.text import Option, display_path
from imgsearch.tools.maintenance.near import near_pairs
from imgsearch.tools.maintenance.status import rows_below
from imgsearch.types import Metadata, Reporter, Silent, path_json

RELATIONS = {
    "copy": "same bytes",
    "pixels": "same pixels",
    "scaled": "another size",
    "resaved": "saved again or edited",
    "rotated": "rotated",
    "mirrored": "mirrored",
    "burst": "same burst",
}
"""What a file is to the one to keep, in words."""
REASONS = {
    "reference": "in a reference folder",
    "pixels": "most pixels",
    "metadata": "most metadata",
    "oldest": "oldest file",
    "bytes": "largest file",
    "name": "first by name",
}
"""Why a file is the one to keep, in words: the first of these in which it is better than the next best."""
_SECOND = 1000
BURST_SECONDS = 2.0
BURST_COSINE = 0.9
_LONGEST = 2000
"""Frames that are compared at a time: of a time lapse there may be any number."""
UPRIGHT_COSINE = 0.8
TURNED_COSINE = 0.5
"""Vectors that are further apart than these show something else, whatever the hashes say; a model does not see the same
in an image that lies on its side."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a group: its absolute ``path``, its size in bytes and pixels, its mtime (ns).

    ``facts`` counts what its metadata tell, ``reference`` is whether it lies in a folder from which nothing goes, and
    ``relation`` is one of RELATIONS, "" for the file to keep.
    """

    path: str
    bytes: int
    mtime_ns: int
    width: int
    height: int
    facts: int
    reference: bool = False
    relation: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        told = path_json(self.path) | {"bytes": self.bytes, "width": self.width, "height": self.height}
        return told | {"reference": self.reference, "relation": self.relation or None}


@dataclass(frozen=True, slots=True)
class Group:
    """Files that show the same: the one to keep, one of REASONS for it, and the others."""

    keep: Member
    reason: str
    others: tuple[Member, ...]

    @property
    def burst(self) -> bool:
        """Whether these are frames of a burst, and not one image."""
        return any(other.relation == "burst" for other in self.others)

    @property
    def removable(self) -> list[Member]:
        """The others that do not lie in a reference folder."""
        return [other for other in self.others if not other.reference]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "kind": "burst" if self.burst else "duplicates",
            "keep": self.keep.as_json(),
            "reason": self.reason,
            "others": [other.as_json() for other in self.others],
            "bytes": sum(other.bytes for other in self.removable),
        }


@dataclass(slots=True)
class Duplicates:
    """What was found: groups, those with the most to gain first, and bursts behind them.

    ``without_hash`` counts the images that could be compared by their bytes alone, ``left_out`` the files that are not
    there or have changed since they were indexed.
    """

    groups: list[Group] = field(default_factory=list)
    without_hash: int = 0
    left_out: int = 0


def find_duplicates(
    folder: str,
    paths: Sequence[str] = (),
    references: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Duplicates:
    """Find the files of the index in ``folder`` that show the same image as another one.

    With ``paths`` only what lies at or below them is compared, and what lies in ``references``, folders whose files are
    never proposed for removal. Opens no image. Raises UsageError for a path that is not indexed, IndexMissing,
    IndexDamaged.
    """
    reporter = reporter or Silent()
    with ImageIndex(os.path.abspath(folder)) as index:
        within = [_known(index, path) for path in paths]
        kept = [_known(index, path, Option("references"), ": ") for path in references]
        search = _Search(index, within, kept)
        found = Duplicates(without_hash=hashes.count_missing(index.catalog.database))
        reporter.start(len(ORIENTATIONS), "orientations compared")
        try:
            groups = [*search.groups(reporter.advance), *search.bursts()]
        finally:
            reporter.stop()
        found.left_out = search.left_out
    found.groups = sorted(
        groups,
        key=lambda group: (group.burst, -sum(other.bytes for other in group.removable), group.keep.path),
    )
    return found


def _known(index: ImageIndex, path: str, *before: str | Option) -> str:
    """Return the absolute path by which the index knows ``path``. Raises UsageError if it does not."""
    name = known_as(path, index.catalog.roots(), index.catalog) if path else None
    if name is None or not name.known:
        raise UsageError(*before, f"not in the index: {display_path(path) or repr(path)}")
    return name.path


def order(member: Member) -> tuple[Any, ...]:
    """Return by what files of one image are sorted, the one to keep first: REASONS, one by one."""
    return (
        not member.reference,
        -member.width * member.height,
        -member.facts,
        member.mtime_ns,
        -member.bytes,
        member.path,
    )


def reason_to_keep(keep: Member, others: Iterable[Member]) -> str:
    """Return the first of REASONS in which a file is better than the best of the others."""
    best, next_best = order(keep), min(map(order, others))
    return next(reason for reason, one, two in zip(REASONS, best, next_best, strict=True) if one != two)


def facts_of(known: Metadata | None) -> int:
    """Return how much the metadata of an image tell: date, place, camera, lens, rating, title, text, keywords."""
    if known is None:
        return 0
    dated = known.taken is not None and known.taken_from != "file"
    told = (known.model, known.lens, known.title, known.description, known.keywords)
    return dated + (known.latitude is not None) + (known.rating is not None) + sum(map(bool, told))


def other_shot(one: HashedPicture, other: HashedPicture) -> bool:
    """Whether two pictures tell that they are two shots, as those of a burst or from a tripod, however alike they are.

    A copy may have lost the fractions of its second; frames of one burst differ by these.
    """
    if one.taken is None or other.taken is None:
        return False
    apart = abs(one.taken - other.taken)
    return apart >= _SECOND or (apart > 0 and one.burst != "" and one.burst == other.burst)


class _Search:
    """One search for duplicates in an open index."""

    def __init__(self, index: ImageIndex, within: Sequence[str], references: Sequence[str]) -> None:
        self.index, self.within, self.references = index, within, references
        self.left_out = 0
        self.pictures = {picture.content: picture for picture in self._pictures()}
        self._kept: set[int] = set()
        self._spare: set[int] = set()
        self._files: dict[bytes, list[Member]] = {}

    def _pictures(self) -> Iterator[HashedPicture]:
        scope = (*self.within, *self.references) if self.within else ()
        allowed = {row.content for path in scope for _, row in rows_below(self.index, path)}
        for picture in hashes.hashed_pictures(self.index.catalog.database):
            if not scope or picture.sha256 in allowed:
                yield picture

    def groups(self, advance: Callable[[int], None]) -> Iterator[Group]:
        """Yield the groups of one image each: the best picture with those that are versions of it, and their copies."""
        near = self._neighbours(advance)
        seen: set[bytes] = set()
        there = {content for content in near if self._members(self.pictures[content])}
        for content in sorted(there, key=self._rank):
            if content in self._spare:
                continue
            others = [
                other
                for other in near[content]
                if other in there and other not in self._spare and other not in self._kept
            ]
            related = self._related(self.pictures[content], [self.pictures[other] for other in others])
            self._spare |= related.keys()
            self._kept.add(content)
            members = {content: "copy"} | related
            seen |= {self.pictures[one].sha256 for one in members}
            yield from self._group(
                (file, relation)
                for one, relation in members.items()
                for file in self._members(self.pictures[one])
            )
        by_hash = {picture.sha256: picture for picture in self.pictures.values()}
        for sha256 in hashes.copied(self.index.catalog.database):
            if sha256 not in seen:
                files = self._members(by_hash[sha256]) if sha256 in by_hash else self._unhashed(sha256)
                yield from self._group((file, "copy") for file in files)

    def bursts(self) -> Iterator[Group]:
        """Yield the groups of frames that one camera took within seconds, or of one burst id, and that look alike."""
        left_over = (
            picture
            for content, picture in self.pictures.items()
            if content not in self._spare and (picture.burst or picture.taken is not None)
        )
        for frames in _sessions(left_over):
            there = (frame.content for frame in frames if self._members(frame))
            ids = sorted(there, key=self._rank)
            vectors = self.index.vectors_of(ids)
            left = list(range(len(ids)))
            while len(left) > 1:
                best, *others = left
                same = self.pictures[ids[best]].burst
                like = {
                    other
                    for other in others
                    if vectors[other] @ vectors[best] >= BURST_COSINE
                    or (same and same == self.pictures[ids[other]].burst)
                }
                left = [other for other in others if other not in like]
                if like:
                    yield from self._group(
                        (file, "burst")
                        for place in (best, *sorted(like))
                        for file in self._members(self.pictures[ids[place]])[:1]
                    )

    def _neighbours(self, advance: Callable[[int], None]) -> Mapping[int, list[int]]:
        """Return by content id the pictures that may be versions of each, by their hashes or checksums."""
        ids = np.array(list(self.pictures), np.int64)
        bits = np.frombuffer(b"".join(one.bits for one in self.pictures.values()), np.uint8)
        near: dict[int, list[int]] = defaultdict(list)
        first, second = near_pairs(bits.reshape(len(ids), hashes.HASH_BYTES), advance)
        for one, two in zip(ids[first].tolist(), ids[second].tolist(), strict=True):
            near[one].append(two)
            near[two].append(one)
        same: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for picture in self.pictures.values():
            same[picture.crc, picture.width, picture.height].append(picture.content)
        for contents in same.values():
            if len(contents) > 1:
                for one in contents:
                    near[one] = [*dict.fromkeys([*near[one], *contents])]
                    near[one].remove(one)
        return near

    def _related(self, keep: HashedPicture, others: Sequence[HashedPicture]) -> dict[int, str]:
        """Return by content id what pictures are to the one to keep; those that are something else are left out."""
        if not others:
            return {}
        own = np.frombuffer(keep.bits, np.uint8)[None]
        bits = np.frombuffer(b"".join(other.bits for other in others), np.uint8).reshape(len(others), -1)
        apart = np.stack([distances(codes(own, number), codes(bits)) for number in range(len(ORIENTATIONS))])
        turned = apart.argmin(axis=0)
        near = are_near(apart.min(axis=0), texture(own), texture(bits))
        vectors = self.index.vectors_of([keep.content, *(other.content for other in others)])
        cosines = vectors[1:] @ vectors[0]
        found: dict[int, str] = {}
        for other, number, is_near, cosine in zip(others, turned, near, cosines, strict=True):
            way = ORIENTATIONS[number]
            least = UPRIGHT_COSINE if way == "upright" else TURNED_COSINE
            same_size = (other.width, other.height) == (keep.width, keep.height)
            if same_size and other.crc == keep.crc:
                found[other.content] = "pixels"
            elif is_near and cosine >= least and not other_shot(keep, other):
                upright = "resaved" if same_size else "scaled"
                found[other.content] = upright if way == "upright" else way.partition(" ")[0]
        return found

    def _group(self, files: Iterable[tuple[Member, str]]) -> Iterator[Group]:
        """Yield the group of some files, each with what it is to the best one; nothing if none of them can go."""
        ordered = sorted(files, key=lambda found: order(found[0]))
        if len(ordered) < 2:
            return
        (keep, _), *rest = ordered
        others = tuple(replace(file, relation=relation) for file, relation in rest)
        group = Group(keep, reason_to_keep(keep, others), others)
        if group.removable:
            yield group

    def _rank(self, content: int) -> tuple[Any, ...]:
        """Return by what pictures are sorted that have a file in scope: that of their best file."""
        return min(map(order, self._members(self.pictures[content])))

    def _members(self, picture: HashedPicture) -> list[Member]:
        return self._files_of(picture.sha256, picture.width, picture.height)

    def _unhashed(self, sha256: bytes) -> list[Member]:
        pages = self.index.catalog.pages(sha256)[:1]
        return [file for page in pages for file in self._files_of(sha256, page.width, page.height)]

    def _files_of(self, sha256: bytes, width: int, height: int) -> list[Member]:
        """Return the files of a content that are in scope and as they were indexed, each by one of its names.

        Of a file with several names, through links or mounts, removing one may remove the file.
        """
        if sha256 in self._files:
            return self._files[sha256]
        database = self.index.catalog.database
        facts = facts_of(metadata.get(database, sha256))
        members: dict[tuple[int, int] | str, Member] = {}
        for file in hashes.files_of(database, sha256):
            scope = (*self.within, *self.references)
            if self.within and not any(is_at_or_below(file.path, path) for path in scope):
                continue
            identity = _identity(file)
            if identity is None:
                self.left_out += 1
                continue
            reference = any(is_at_or_below(file.path, path) for path in self.references)
            member = Member(file.path, file.size, file.mtime_ns, width, height, facts, reference)
            if identity not in members or order(member) < order(members[identity]):
                members[identity] = member
        self._files[sha256] = list(members.values())
        return self._files[sha256]


def _identity(file: hashes.ContentFile) -> tuple[int, int] | str | None:
    """Return what tells a file from every other one; None if it is not there now, or not as it was indexed.

    An object has one name and is as the last list of its bucket had it: to look again takes a network.
    """
    if is_remote(file.path):
        return file.path
    try:
        status = deep.stat(file.path)
    except OSError:
        return None
    if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
        return None
    return status.st_dev, status.st_ino


def _sessions(pictures: Iterable[HashedPicture]) -> Iterator[list[HashedPicture]]:
    """Yield pictures that may be of one burst, two at least: by its id; without one, of one camera within seconds."""
    by_id: dict[str, list[HashedPicture]] = defaultdict(list)
    timed: list[tuple[str, int, int, HashedPicture]] = []
    for picture in pictures:
        if picture.burst:
            by_id[picture.burst].append(picture)
        elif picture.taken is not None:
            timed.append((picture.camera, picture.taken, picture.content, picture))
    yield from (frames for frames in by_id.values() if len(frames) > 1)
    session: list[HashedPicture] = []
    for *_, picture in sorted(timed, key=lambda found: found[:3]):
        if session and not (_follows(session[-1], picture) and len(session) < _LONGEST):
            if len(session) > 1:
                yield session
            session = []
        session.append(picture)
    if len(session) > 1:
        yield session


def _follows(one: HashedPicture, other: HashedPicture) -> bool:
    if one.taken is None or other.taken is None or one.camera != other.camera:
        return False
    return other.taken - one.taken <= BURST_SECONDS * _SECOND
