"""The files of an index's generations: made, continued, and deleted when nothing names them any more.

The first generation's catalogue, vectors and ANN files lie in the index's folder itself. That of a
rebuild is in generation-0002 and so on, with a manifest of its own until the index's manifest names it.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import closing, suppress

from imgsearch.errors import IndexDamaged, IndexMismatch, IndexMissing, StorageError, rebuild_call
from imgsearch.fs import make_folder, storage_error, sync_folder, unusual
from imgsearch.index import manifest
from imgsearch.index.catalog import Catalog
from imgsearch.index.layout import CATALOGUE, DELIVERIES, FOLDERS, GENERATION
from imgsearch.text import Call, Message
from imgsearch.types import IndexSpec

# What a data folder holds of ours: nothing else is ever removed.
_DATABASE = re.compile(r"catalog\.sqlite(-wal|-shm|-journal)?")
_MANIFEST = re.compile(r"manifest\.json(\.new)?")
_SEGMENT = re.compile(r"(\d{8})\.f16")
_ANN_FILE = re.compile(r"[\d-]+[0-9a-f]*\.faiss(\.new)?")
_COLUMNS = re.compile(r"\d{8}-[0-9a-f]{8}\.columns(\.new)?")

MANIFEST_COPY = "manifest"
"""The key under which a catalogue keeps a copy of its index's manifest."""


def create(folder: str, spec: IndexSpec, data: str) -> None:
    """Make an empty index in ``folder`` whose catalogue and vectors lie in ``data``. Raises StorageError."""
    # The catalogue first: a folder with a manifest is an index, and an index has a catalogue.
    try:
        # Whoever made the folder may have been killed before its name was durable.
        sync_folder(os.path.dirname(data))
    except OSError as error:
        raise storage_error(error, data) from error
    catalog = Catalog(data, write=True, create=True)
    try:
        catalog.put_meta("created", repr(time.time()))
        catalog.put_meta(MANIFEST_COPY, manifest.text(folder, spec, data))
    finally:
        catalog.close()
    manifest.write(folder, spec, data)


def begin(folder: str, spec: IndexSpec, anew: bool = False) -> str:
    """Return the data folder of a new generation of the index in ``folder``; unless ``anew``, an unfinished one."""
    begun = unfinished(folder)
    if begun and not anew and not manifest.differences(begun[0], spec):
        return begun[1]
    current = in_use(folder)
    try:
        numbers = [1, *(int(name.removeprefix(GENERATION)) for name in _names(folder))]
        for made in _generations(folder):
            if made != current:
                _drop(made)
        data = os.path.join(folder, f"{GENERATION}{max(numbers) + 1:04d}")
        make_folder(data)
    except OSError as error:
        raise storage_error(error, folder) from error
    create(data, spec, data)
    return data


def unfinished(folder: str) -> tuple[IndexSpec, str] | None:
    """Return the spec and the data folder of a generation that was begun and not published, or None."""
    current = in_use(folder)
    for name in reversed(_names(folder)):
        data = os.path.join(folder, name)
        if data > (current or ""):
            try:
                return manifest.load(data)
            except (IndexDamaged, IndexMissing, IndexMismatch):
                pass  # killed before it held anything
    return None


def go_on_or_drop(folder: str) -> Message:
    """Say what can be done about an unfinished generation of the index in ``folder``."""
    drop = Call("compact_index", {"everything": True, "folder": folder})
    return Message("continue it with: ", rebuild_call(folder), "; or discard it with: ", drop)


def in_use(folder: str) -> str | None:
    """Return the data folder that the manifest of the index in ``folder`` names, or None if it is damaged."""
    try:
        return manifest.load(folder)[1]
    except (IndexDamaged, IndexMissing, IndexMismatch):
        return None


def drop_older(folder: str, data: str) -> None:
    """Remove the generations of the index in ``folder`` that came before the one in ``data``, and a torn manifest."""
    try:
        beside = os.path.join(folder, manifest.NAME + ".new")
        if os.path.lexists(beside):
            os.unlink(beside)
        if data != folder:
            _drop(folder)
        for made in _generations(folder):
            if made < data:
                _drop(made)
    except OSError:
        pass  # it is out of use; the next writer tries again


def drop_unfinished(folder: str, data: str) -> bool:
    """Remove generations that were begun after the one in ``data`` and not finished; return whether there were any.

    Raises StorageError.
    """
    try:
        newer = [made for made in _generations(folder) if made > data]
        for made in newer:
            _drop(made)
    except OSError as error:
        raise storage_error(error, folder) from error
    return bool(newer)


def clear_away(data: str, segments: set[int], derived: set[str]) -> None:
    """Remove the segments, ANN files and columns in ``data`` that its catalogue does not name."""
    for path in unnamed(data, segments, derived):
        try:
            os.unlink(path)
        except OSError:
            pass  # it costs room and nothing else


def unnamed(data: str, segments: set[int], derived: set[str]) -> list[str]:
    """Return the paths of the segments, ANN files and columns in ``data`` that its catalogue does not name."""
    found = []
    for folder, pattern, named in (
        (os.path.join(data, "vectors"), _SEGMENT, {f"{number:08d}.f16" for number in segments}),
        (os.path.join(data, "faiss"), _ANN_FILE, derived),
        (os.path.join(data, "columns"), _COLUMNS, derived),
    ):
        try:
            names = [] if unusual(folder, folder=True) else sorted(os.listdir(folder))
        except OSError:
            names = []
        found += [
            os.path.join(folder, name) for name in names if pattern.fullmatch(name) and name not in named
        ]
    return found


def manifest_copy(folder: str) -> tuple[str, str] | None:
    """Return the newest copy of a manifest that a catalogue of the index in ``folder`` keeps, and its data folder.

    The copy in a generation's catalogue names that generation from the moment on in which it is published.
    """
    for data in [*(os.path.join(folder, name) for name in reversed(_names(folder))), folder]:
        try:
            with closing(Catalog(data)) as catalog:
                copy = catalog.meta(MANIFEST_COPY)
            if copy and manifest.parse(copy, folder)[1] == data:
                return copy, data
        except (IndexDamaged, IndexMismatch, StorageError):
            pass
    return None


def _names(folder: str) -> list[str]:
    """Return the names in ``folder`` that a generation has or may have, oldest first."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    return sorted(
        entry.name
        for entry in entries
        if re.fullmatch(GENERATION + r"\d{4,}", entry.name) and entry.is_dir(follow_symlinks=False)
    )


def _generations(folder: str) -> list[str]:
    """Return the generation folders in ``folder`` that are ours, oldest first; a person may have one of such a name."""
    return [data for name in _names(folder) if _is_ours(data := os.path.join(folder, name))]


def _is_ours(data: str) -> bool:
    names = set(os.listdir(data))
    # Killed before it had a catalogue it is empty; killed while it was dropped it has one of its folders.
    return not names or not names.isdisjoint((CATALOGUE, DELIVERIES, *FOLDERS))


def _drop(data: str) -> None:
    """Remove what is ours in a data folder, the catalogue first, and what is empty then of a generation's folders."""
    generation = os.path.basename(data).startswith(GENERATION)
    for pattern in (_MANIFEST, _DATABASE) if generation else (_DATABASE,):
        for name in sorted(filter(pattern.fullmatch, os.listdir(data))):
            os.unlink(os.path.join(data, name))
    clear_away(data, set(), set())
    if generation and not unusual(os.path.join(data, DELIVERIES), folder=True):
        shutil.rmtree(os.path.join(data, DELIVERIES), ignore_errors=True)
    for emptied in (*FOLDERS, "") if generation else ():
        with suppress(OSError):  # it holds what is not ours
            os.rmdir(os.path.join(data, emptied))
