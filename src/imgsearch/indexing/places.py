"""Whether a root's files are where they were: on the drive that they were on, or on another one in its place.

An empty mount point, or another stick in the same socket, is no deletion of ten thousand images. So it is the drive
that counts, not its path; and where that is another one, or nothing tells, what lies on it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.files.open import open_regular
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import FileRow, Root
from imgsearch.mounts import UNKNOWN, Drive, Mounts, number_of
from imgsearch.text import Call, Message, display_path

_SAMPLE = 100  # of a drive's files are looked for
_HASHED = 5  # of these, the smallest, are read
_FORMER = 1 << 62
FORMER_BELOW = -_FORMER
"""Numbers below stand for drives that a root was on before."""

Samples = Callable[[Root], Mapping[int, Sequence[FileRow]]]
"""Returns some images of a root by their device: 0 for those on its own drive, and of drives that it was on before."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a root lies now, as far as its files are concerned.

    "same": on the drive that they were on. "moved": on another one, with the same files. "other": on another one,
    without. "away": there is no folder, or only the one that the drive was mounted at. ``drive`` is the one that is
    there; ``reason`` is worth telling, unless it is "same". ``device`` is the one that files which have moved have in
    the catalogue, if those are the files of a drive before the last.
    """

    state: Literal["same", "moved", "other", "away"]
    drive: Drive | None = None
    reason: str = ""
    device: int = 0


def samples_of(root: Root, catalog: Catalog) -> dict[int, list[FileRow]]:
    """Return `Samples` of a root from its catalogue."""
    devices = [0, *(device for device in catalog.devices(root.id) if device < FORMER_BELOW)]
    return {device: catalog.sample(root.id, _SAMPLE, device=device)[0] for device in devices}


def place_of(root: Root, mounts: Mounts, samples: Samples, *, rebuild: bool = False) -> Place:
    """Find out whether a known root's files are where they were.

    ``rebuild`` says that what is not there will not be in the index: it changes nothing but the words.
    """
    if is_remote(root.path):
        return Place("same", UNKNOWN)  # the walk finds out
    path = display_path(root.path)
    removed = "removed from the index until you index it again"
    consequence = f"its images are {removed}" if rebuild else "its images stay indexed"
    try:
        drive = mounts.drive(root.path) if deep.isdir(root.path) else None
    except OSError:  # it went away this very moment
        drive = None
    if drive is None:
        return Place("away", reason=f"{path} is not there now (a drive that is not mounted?): {consequence}")
    if root.base:
        return _beside_its_index(root, drive, mounts, consequence)
    at_same_point = drive.point == root.mount
    named = bool(drive.name and root.drive)
    if (named and drive.name == root.drive) or (at_same_point and not named and drive.point == os.sep):
        return Place("same", drive)
    known = samples(root)
    rows = known.get(0, ())
    if at_same_point and not named and (not rows or any(_is_there(row, root.path) for row in rows)):
        return Place("same", drive)
    for device, rows in known.items():
        there = [row for row in rows if _is_there(row, root.path)]
        if there and 2 * len(there) >= len(rows) and _same_bytes(there, root.path):
            found = f"{len(there):,} of {len(rows):,} files checked are there"
            return Place("moved", drive, f"{path} is on another drive than before; {found}", device)
    accept = Call("relocate", {"old": root.path, "new": root.path})
    if at_same_point or mounts.is_point(root.mount):
        other = f"another drive is mounted at {display_path(drive.point)} now"
        stay = f"images of the one before {'are ' + removed if rebuild else 'stay indexed'}"
        return Place("other", drive, Message(f"{other}: {stay}; if that one will not come back: ", accept))
    away = f"{path} was on a drive of its own, and nothing is mounted at {display_path(root.mount)} now"
    what_now = "mount the drive and index again, or, if this folder has taken its place: "
    return Place("away", drive, Message(f"{away}: {consequence}; {what_now}", accept))


def _beside_its_index(root: Root, drive: Drive, mounts: Mounts, consequence: str) -> Place:
    """Find out where the files of a portable index are: on its own drive, wherever that is mounted."""
    try:
        home = mounts.drive(root.base).point
    except OSError:
        home = ""
    if drive.point != home:
        other = f"{display_path(root.path)} is on another drive than its index now, mounted at"
        return Place("away", drive, f"{other} {display_path(drive.point)}: {consequence}")
    return Place("same" if drive.name == root.drive else "moved", drive)


def devices_now(root: Root, place: Place, own: Drive) -> dict[int, int]:
    """Return by the devices that files of a known root have in the catalogue those that they have from now on.

    ``place`` is the root's, and ``own`` the drive of the root that has the files from now on, itself or one inside of
    it; devices that stay as they are are left out. Files of another drive, for which there is one in its place, are
    given a number that stands for it, until it is back.
    """
    here = place.drive or own
    devices = {}
    if place.state == "other" or place.device:
        devices[0] = former(root.drive)
    elif here.number != own.number:
        devices[0] = here.number
    if here.number != own.number:
        devices[own.number] = 0
    else:
        back = {former(here.name)} if here.name and place.state != "same" else set()
        devices.update(dict.fromkeys({place.device, *back} - {0}, 0))
    return devices


def former(name: str) -> int:
    """Return the number of a drive that a root was on before, below all of those that are mounted inside of a root."""
    return number_of(name) - _FORMER


def _is_there(row: FileRow, folder: str) -> bool:
    """Whether there is a file of that name and size. Its time may be another: a copy's often is."""
    try:
        state = deep.stat(os.path.join(folder, row.path))
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size == row.size


def _same_bytes(rows: Sequence[FileRow], folder: str) -> bool:
    """Whether the smallest few files hold what they did when they were indexed."""
    for row in sorted(rows, key=lambda row: row.size)[:_HASHED]:
        try:
            with open_regular(os.path.join(folder, row.path)) as file:
                digest = hashlib.file_digest(file, "sha256").digest()
        except (OSError, ValueError):
            return False
        if digest != row.content:
            return False
    return True
