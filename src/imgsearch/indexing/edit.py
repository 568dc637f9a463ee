"""Use cases that change what an index knows without reading a picture: remove paths, relocate folders."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.errors import FolderError, UsageError
from imgsearch.files import check_root, source_file
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index.catalog import Catalog
from imgsearch.index.parts import searched
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import CHANGED, UNCHANGED, FileRow, Root, is_current
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.places import FORMER_BELOW, place_of, samples_of
from imgsearch.mounts import Drive, Mounts
from imgsearch.names import known_as, owner_of, single_files
from imgsearch.text import Call, Message, Option, display_path
from imgsearch.types import Reporter, Silent

_LOOKED_AT = 100
_ASK_ABOVE = 20
_MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Relocated:
    """What has moved: ``roots`` with ``files`` known files.

    ``looked_at`` of these were looked for in the new folder, ``there`` were found, ``changed`` of those with
    another size or time.
    """

    roots: int
    files: int
    looked_at: int
    there: int
    changed: int


def relocate(
    old: str, new: str, folder: str, *, force: bool = False, reporter: Reporter | None = None
) -> Relocated:
    """Have the index in ``folder`` know the folder ``old``, or every one inside it, as ``new`` from now on.

    No picture is read: some of the known files are looked for in the new folder, and if none is there nothing is
    changed, unless ``force``. All of the folders move in one transaction. Where both are the same folder, the drive
    that it is on now takes the place of those before, whose images count as deleted from then on where they are not
    there. Raises UsageError, FolderError, IndexMissing, IndexLocked,
    IndexDamaged, StorageError.
    """
    reporter = reporter or Silent()
    target = check_root(new)
    if is_remote(target):
        raise FolderError(
            f"{display_path(new)} is in a bucket, where no folder moves to; index it, then remove the former one"
        )
    if not deep.isdir(target):
        raise FolderError(f"{display_path(new)} is a file; relocate takes the new place of a folder")
    with IndexWriter(folder) as writer:
        known = writer.catalog.roots()
        source = _source(old, known, writer.catalog, folder)
        moving = [root for root in known if is_at_or_below(root.path, source)]
        stays = source == target
        if stays and not any(_left(root, writer.catalog) for root in moving):
            raise UsageError(
                f"{display_path(old)} and {display_path(new)} are the same folder, on the same drive"
            )
        moved = [_moved(root, source, target, reporter) for root in moving]
        _check_room(moved, [root for root in known if root not in moving], writer.folder)
        result, copied = _look(moving, moved, writer.catalog)
        outcome = f"{result.there:,} of {result.looked_at:,} files checked are there"
        if result.looked_at and not result.there and not force:
            what = f"{display_path(target)} does not seem to be the former {display_path(source)}"
            what = "the drive that is there now does not seem to be the one before" if stays else what
            raise FolderError(
                f"{outcome}: {what}; nothing was changed (", Option("force", True), " if it is)"
            )
        writer.catalog.move_roots(moved, copied=copied, forget=FORMER_BELOW if stays else None)
    for before, after in zip(moving, moved, strict=True):
        now = "accepted as it is" if before.path == after.path else display_path(after.path)
        reporter.say(f"{display_path(before.path)} is now {now}")
    if result.changed:
        changed = f", {result.changed:,} of them with another size or time"
        outcome = Message(outcome, changed, ": the next '", Call("index_pictures"), "' reads those again")
    if result.looked_at:
        reporter.say(outcome)
    return result


def _source(old: str, known: Sequence[Root], catalog: Catalog, folder: str) -> str:
    """Return the absolute path that is meant by ``old``, as the index knows it."""
    if not old:
        raise FolderError("the path is empty")
    path = known_as(old, known, catalog).path
    if any(is_at_or_below(root.path, path) for root in known):
        return path
    around = owner_of(path, known) or next((root for root in known if is_below(path, root.path)), None)
    if around is not None:
        raise UsageError(
            f"{display_path(old)} is inside the indexed folder {display_path(around.path)}; files that moved "
            "within it need no relocate: '",
            Call("index_pictures", {"folder": os.path.abspath(folder)}),
            "' finds them automatically, without the model",
        )
    names = ", ".join(display_path(root.path) for root in known[:10]) + (", …" if len(known) > 10 else "")
    raise UsageError(f"{display_path(old)} is not an indexed folder; these are: {names or 'none'}")


def _moved(root: Root, source: str, target: str, reporter: Reporter) -> Root:
    """Return a root with its new path, and with those of the folders that its options name."""
    path = _at(root.path, source, target)
    options = dict(root.options)
    for name in ("above", "anchor"):
        folder = str(options.get(name) or "")
        if not folder:
            continue
        moved = _at(folder, source, target)
        if is_below(path, moved):
            options[name] = moved
        else:
            # The folder whose rules held here is not above it any more.
            options[name] = ""
            what = Message("its ", Option("exclude"), " patterns, relative to that folder")
            if name == "above":
                what = Message("the ignore files above it")
            lost = (
                f"{display_path(path)} is no longer inside {display_path(folder)}, so these no longer apply: "
            )
            reporter.say(Message(lost, what))
    drive = _drive(path)
    return replace(root, path=path, options=options, mount=drive.point, drive=drive.name)


def _at(path: str, source: str, target: str) -> str:
    """Return where ``path`` is after ``source`` has become ``target``; what lies elsewhere stays."""
    if path == source:
        return target
    return os.path.join(target, os.path.relpath(path, source)) if is_below(path, source) else path


def _left(root: Root, catalog: Catalog) -> dict[int, list[FileRow]]:
    """Return some files of a root, by device, that it has on drives other than the one that it is on now."""
    samples = samples_of(root, catalog)
    if place_of(root, Mounts(), lambda root: samples).state == "same":
        del samples[0]
    return samples


def _drive(path: str) -> Drive:
    """Return the drive of a path, or of the nearest folder above it that is there."""
    while not deep.exists(path):
        path = os.path.dirname(path)
    return Mounts().drive(path)


def _check_room(moved: Sequence[Root], staying: Sequence[Root], folder: str) -> None:
    """Refuse a folder that is, holds, or lies in one of the index that stays where it is: UsageError."""
    for root in moved:
        here = display_path(root.path)
        around = owner_of(root.path, staying)
        other = next((one for one in staying if is_at_or_below(one.path, root.path)), around)
        if other is None:
            continue
        how = "is a folder of this index already"
        if other.path != root.path:
            relation = "lies in" if other is around else "holds"
            how = f"{relation} {display_path(other.path)}, which this index knows already"
        raise UsageError(
            f"{here} {how}; to remove that one from the index first: ",
            Call("remove_paths", {"paths": [other.path], "folder": folder}),
        )


def _look(moving: Sequence[Root], moved: Sequence[Root], catalog: Catalog) -> tuple[Relocated, bool]:
    """Look for some of the known files in their new folders; tell also whether those there are copies of them."""
    files = 0
    found: Counter[str] = Counter()
    share = max(1, _LOOKED_AT // len(moving))
    for before, after in zip(moving, moved, strict=True):
        rows, count = catalog.sample(before.id, share)
        if before.path == after.path:
            rows = list(chain.from_iterable(_left(before, catalog).values()))
        files += count
        found.update(_look_at(row, after.path) for row in rows)
    there = found.total() - found[_MISSING]
    # Of copies every one has an inode and a change time of its own.
    copied = not found[UNCHANGED]
    return Relocated(len(moving), files, found.total(), there, found[CHANGED]), copied


def _look_at(row: FileRow, folder: str) -> str:
    """Tell how a known file is in its root's new folder, as `is_current` does; or that it is missing."""
    try:
        status = deep.stat(os.path.join(folder, row.path))
        if not stat.S_ISREG(status.st_mode):
            return _MISSING
        source = source_file(folder, row.path, status, row.device)
    except (OSError, ValueError):
        return _MISSING
    return is_current(row, source, retry=())[1]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed: ``files``, indexed or skipped, and ``roots``, folders that are no longer indexed.

    It is false where nothing was.
    """

    files: int = 0
    roots: int = 0

    def __bool__(self) -> bool:
        """Whether anything was removed."""
        return bool(self.files or self.roots)

    def __add__(self, other: Removed) -> Removed:
        """Return both together."""
        return Removed(self.files + other.files, self.roots + other.roots)


def remove_paths(
    paths: Sequence[str], folder: str, reporter: Reporter | None = None, *, dry_run: bool = False
) -> Removed:
    """Remove everything at or below ``paths`` from the index in ``folder`` and its part; return how much that was.

    The embeddings are kept for 30 days, as of deleted files: indexing the paths again restores them without the
    model. A root that lies in a path is removed too; a part of a root comes back with its next refresh, which
    ``reporter`` is told, as it is of a path that the index does not know; and it is asked for more than 20 files. With
    ``dry_run`` nothing is removed. Paths need not exist; a link is itself if the index knows it by that name, else what
    it leads to. Raises IndexMissing, IndexLocked, IndexDamaged, StorageError.
    """
    reporter = reporter or Silent()
    found, known_by, missing = Removed(), dict[str, list[str]](), dict.fromkeys(paths)
    for part in searched(folder):
        with ImageIndex(part) as index:
            names = {path: _known(path, index.catalog) for path in paths}
            missing = {path: None for path in missing if not names[path]}
            known = list(dict.fromkeys(filter(None, names.values())))
            known = [path for path in known if not any(is_below(path, other) for other in known)]
            counts = [_remove(path, index.catalog, Silent(), dry_run=True) for path in known]
            found = sum(counts, start=found)
            if any(counts):
                known_by[part] = known
    for path in missing:
        reporter.say(f"not in the index: {display_path(path) or repr(path)}")
    if dry_run or not found:
        return found
    if found.files > _ASK_ABOVE and not reporter.approve(f"Remove {found.files:,} images from the index?"):
        return Removed()
    removed = Removed()
    for part, known in known_by.items():
        with IndexWriter(part) as writer:
            removed = sum((_remove(path, writer.catalog, reporter) for path in known), start=removed)
    return removed


def _known(path: str, catalog: Catalog) -> str:
    """Return the absolute path by which the index knows ``path``; "" if it does not."""
    place = known_as(path, catalog.roots(), catalog) if path else None
    return place.path if place and place.known else ""


def _remove(path: str, catalog: Catalog, reporter: Reporter, *, dry_run: bool = False) -> Removed:
    removed = Removed()
    for root in catalog.roots():
        names = single_files(root)
        if is_at_or_below(root.path, path):
            removed += _drop_root(catalog, root, reporter, dry_run)
        elif is_below(path, root.path):
            rest = [name for name in names if os.path.join(root.path, name) != path]
            if names and not rest:
                removed += _drop_root(catalog, root, reporter, dry_run)
                continue
            dropped = _drop(catalog, root, os.path.relpath(path, root.path), dry_run)
            if len(rest) < len(names):
                dropped = max(dropped, 1)  # also a name whose file is no longer there
                if not dry_run:
                    catalog.put_root(root.path, {**root.options, "only": rest}, root.mount, root.drive)
            removed += Removed(dropped)
    owner = owner_of(path, catalog.roots())
    if removed and owner and (is_remote(path) or deep.lexists(path)):
        comes_back = f"{display_path(path)} comes back when {display_path(owner.path)} is indexed again, "
        reporter.say(
            Message(
                comes_back,
                "unless it is excluded with ",
                Option("exclude"),
                "" if is_remote(path) else " or in a .imgsearchignore file",
            )
        )
    return removed


def _drop(catalog: Catalog, root: Root, below: str, dry_run: bool) -> int:
    ids = [row.id for row in catalog.files(root.id, below)]
    if not dry_run:
        catalog.drop_files(ids)
    return len(ids)


def _drop_root(catalog: Catalog, root: Root, reporter: Reporter, dry_run: bool) -> Removed:
    files = _drop(catalog, root, "", dry_run)
    if not dry_run:
        catalog.drop_root(root.id)
    if names := single_files(root):
        return Removed(max(files, len(names)))
    if not dry_run:
        reporter.say(f"{display_path(root.path)} is no longer indexed")
    return Removed(files, 1)
