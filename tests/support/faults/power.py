"""A disk that loses power: a trace of what was written to it, replayed into the states that it may be found in.

What may happen to what was not synced, as strict a reading of POSIX as SQLite's own assumptions:

- A sync of a file makes its bytes and its size durable, and nothing else: not the name that it has.
- A sync of a folder makes its entries durable: files made, renamed and removed in it. A folder's own name is an
  entry of the folder above.
- Every write, every change of size and every entry that was not synced is kept or lost, each by itself, whatever
  came before or after it. A write may also be torn: some of its sectors of 512 bytes, or its beginning up to any
  byte. Where it made the file longer, the file may have its new size and zeros or anything else in the new part.
- A rename happens or does not, never half of it.

A later write that arrived while an earlier one did not is one of these states, so reordering needs no case of its
own: a disk that is found later shows only which of them arrived.

Not modelled: a sync that fails and whose data the system then forgets, as Linux may, so that a later sync succeeds
without it. SQLite itself does not survive a power cut after that.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_RECORD = struct.Struct("<IIIIQqQ")
MARK, CREATE, MKDIR, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, LINK = range(9)
SECTOR = 512


@dataclass(frozen=True)
class Event:
    """One record of the trace. ``other`` is the new name of a rename or link."""

    op: int
    path: str
    other: str
    is_folder: bool
    ino: int
    offset: int
    data: bytes


def read_trace(path: Path) -> list[Event]:
    """Return what the shim recorded, in order."""
    raw, at, events = path.read_bytes(), 0, []
    while at < len(raw):
        op, path_length, other_length, is_folder, ino, offset, length = _RECORD.unpack_from(raw, at)
        at += _RECORD.size
        parts = []
        for size in (path_length, other_length, length):
            parts.append(raw[at : at + size])
            at += size
        name, other = os.fsdecode(parts[0]), os.fsdecode(parts[1])
        events.append(Event(op, name, other, bool(is_folder), ino, offset, parts[2]))
    return events


@dataclass
class Change:
    """Something that is not durable yet: bytes at an offset, a size (``data`` is None), or entries of a folder."""

    offset: int = 0
    data: bytes | None = None
    entries: dict[str, Node | None] = field(default_factory=dict)


@dataclass(eq=False)
class Node:
    """A file or a folder: what is durable of it, and what was changed since, in order."""

    is_folder: bool = False
    durable: bytearray = field(default_factory=bytearray)
    entries: dict[str, Node] = field(default_factory=dict)
    live: dict[str, Node] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        """Make everything durable."""
        for change in self.pending:
            if self.is_folder:
                _enter(self.entries, change.entries)
            else:
                _write(self.durable, change.offset, change.data)
        self.pending.clear()


class Disk:
    """What lies below a folder that was empty when the trace began, durable or not."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.top = Node(is_folder=True)
        self._inodes: dict[int, Node] = {}

    def apply(self, event: Event) -> None:
        """Let one recorded change happen."""
        if event.op in (CREATE, MKDIR):
            node = self._inodes[event.ino] = Node(is_folder=event.op == MKDIR)
            self._change(event.path, node)
        elif event.op == WRITE:
            self._inodes[event.ino].pending.append(Change(event.offset, event.data))
        elif event.op == TRUNCATE:
            self._inodes[event.ino].pending.append(Change(event.offset))
        elif event.op == SYNC:
            (self.top if event.path == self.root else self._inodes[event.ino]).sync()
        elif event.op == UNLINK:
            self._change(event.path, None)
        elif event.op in (RENAME, LINK):
            folder, name = self._folder(event.path)
            above, other = self._folder(event.other)
            assert above is folder, "an entry that moves between folders"
            entries: dict[str, Node | None] = {other: folder.live[name]}
            if event.op == RENAME:
                entries[name] = None
            _enter(folder.live, entries)
            folder.pending.append(Change(entries=entries))

    def _folder(self, path: str) -> tuple[Node, str]:
        *above, name = os.path.relpath(path, self.root).split(os.sep)
        node = self.top
        for part in above:
            node = node.live[part]
        return node, name

    def _change(self, path: str, node: Node | None) -> None:
        folder, name = self._folder(path)
        _enter(folder.live, {name: node})
        folder.pending.append(Change(entries={name: node}))

    def files(self, draw: random.Random | None = None) -> Iterator[tuple[str, bytes | None]]:
        """Yield the path and the bytes of every file, and None for every folder, as found after a power cut.

        Without ``draw``, everything is kept.
        """
        # Sometimes everything arrives, sometimes nothing; and some files fare differently from the rest.
        luck = draw.choice([0.0, 0.1, 0.5, 0.9, 1.0]) if draw else 1.0
        yield from self._below(self.top, self.root, draw, luck)

    def _below(
        self, folder: Node, path: str, draw: random.Random | None, luck: float
    ) -> Iterator[tuple[str, bytes | None]]:
        entries = dict(folder.entries)
        mine = _luck(draw, luck)
        for change in folder.pending:
            if draw is None or draw.random() < mine:
                _enter(entries, change.entries)
        for name, node in sorted(entries.items()):
            below = os.path.join(path, name)
            if node.is_folder:
                yield below, None
                yield from self._below(node, below, draw, luck)
            else:
                yield below, _found(node, draw, _luck(draw, luck))


def _luck(draw: random.Random | None, luck: float) -> float:
    return draw.choice([0.0, 0.5, 1.0]) if draw and draw.random() < 0.3 else luck


def _enter(entries: dict[str, Node], changes: dict[str, Node | None]) -> None:
    for name, node in changes.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _write(data: bytearray, offset: int, new: bytes | None) -> None:
    """Write bytes, or, if there are none, set the size."""
    end = offset + len(new or b"")
    if new is None:
        del data[end:]
    data.extend(bytes(max(0, end - len(data))))
    if new:
        data[offset:end] = new


def _found(node: Node, draw: random.Random | None, luck: float) -> bytes:
    """Return the bytes that a file has after a power cut."""
    data, sure = bytearray(node.durable), len(node.durable)
    for change in node.pending:
        if draw is None or draw.random() < luck:
            _write(data, change.offset, change.data)
        elif change.data:
            _tear(data, change.offset, change.data, sure, draw)
    return bytes(data)


def _tear(data: bytearray, offset: int, new: bytes, sure: int, draw: random.Random) -> None:
    """Let a write that was not kept as a whole leave something, or nothing. ``sure`` is the file's durable size."""
    fate = draw.choices(["lost", "sectors", "cut", "size"], [6, 2, 2, 1])[0]
    end = offset + len(new)
    if fate == "sectors":
        for start in range(offset - offset % SECTOR, end, SECTOR):
            if draw.random() < 0.5:
                first, last = max(start, offset), min(start + SECTOR, end)
                _write(data, first, new[first - offset : last - offset])
    elif fate == "cut":
        _write(data, offset, new[: draw.randrange(len(new) + 1)])
    elif fate == "size" and end > max(sure, len(data)):
        first = max(sure, len(data), offset)
        grown = end - first
        _write(data, first, bytes(grown) if draw.random() < 0.5 else draw.randbytes(grown))
