"""What a run has to do, before it does any of it: which roots, which files are new, changed, unchanged or gone.

Roots never overlap in what they own: a file belongs to the deepest root above it. So a path inside a known root
refreshes that part of it, a path around known roots refreshes them with their own options, and each file is
walked once.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

from imgsearch.errors import FolderError, IndexDamaged
from imgsearch.files import Walk, WalkOptions, check_root, root_device
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import FileRow, FileState, Root
from imgsearch.types import Reporter, Silent, SourceFile

# These say nothing about the file's bytes, so the next run tries again.
TRANSIENT = frozenset({"unreadable", "vanished", "changed while it was read"})


@dataclass(frozen=True, slots=True)
class Target:
    """A root, or a part of one, that a run covers.

    ``below`` are the parts (paths relative to the root; "" is all of it). ``known`` is the catalogue's root
    of that path, or None; then ``carved`` may be the known root that owned the folder until now.
    ``only`` says that the root stands for these single files and not for its folder.
    """

    path: str
    options: WalkOptions
    below: tuple[str, ...] = ("",)
    known: Root | None = None
    carved: Root | None = None
    only: tuple[str, ...] = ()

    def stored_options(self) -> dict[str, object]:
        """Return what the catalogue keeps of it."""
        return {**asdict(self.options), "only": list(self.only)}

    def lookup(self, catalog: Catalog, path: str) -> FileRow | None:
        """Return what is known of a file of this target."""
        if self.known:
            return catalog.file(self.known.id, path)
        if self.carved:
            return catalog.file(
                self.carved.id, os.path.join(os.path.relpath(self.path, self.carved.path), path)
            )
        return None


@dataclass(slots=True)
class Plan:
    """The outcome of the walk. ``todo`` holds (index into targets, file) in walking order."""

    targets: list[Target]
    todo: list[tuple[int, SourceFile]] = field(default_factory=list)
    touched: list[tuple[int, FileState]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unchanged: int = 0
    unchanged_errors: int = 0
    others: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    unlisted: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> int:
        """Number of files that look like pictures."""
        return len(self.todo) + self.unchanged + self.unchanged_errors


def is_current(
    row: FileRow | None, source: SourceFile, retry: Collection[str] = TRANSIENT
) -> tuple[bool, str]:
    """Say whether what the catalogue knows of a file still holds, and why: the one staleness rule."""
    if row is None:
        return False, "new"
    if (row.size, row.mtime_ns) != (source.size, source.mtime_ns):
        return False, "changed"
    if row.error in retry:
        return False, "to be tried again"
    return True, "same size and time"


def choose_targets(
    paths: Sequence[str], roots: Sequence[Root], options: WalkOptions | None, reporter: Reporter
) -> list[Target]:
    """Turn the given paths into targets; without paths, every known root.

    ``options`` are the walk's options if the user gave any; a known root otherwise keeps its own.
    Raises FolderError for a path that is missing, unreadable, or on a drive that is not mounted now.
    """
    if not paths:
        return _all_roots(roots, reporter)
    chosen: dict[str, Target] = {}
    real = sorted({check_root(path) for path in paths}, key=lambda path: (path.count(os.sep), path))
    for path in real:
        if os.path.isdir(path):
            _choose_folder(path, roots, options, chosen)
        else:
            _choose_file(path, roots, options, chosen)
    asked = set(chosen)
    for path in filter(os.path.isdir, real):
        for root in roots:
            if _inside(root.path, path) and root.path not in real:
                # It is covered as a whole, also where single files or parts of it were known or given.
                chosen[root.path] = replace(_known(root), below=("",), only=())
    present = []
    for target in chosen.values():
        if not os.path.isdir(target.path):
            reporter.say(f"{target.path} is not there now; what is indexed of it stays")
        elif not (reason := _unmounted(target)):
            present.append(replace(target, below=_outermost(target.below)))
        elif target.path in asked:
            raise FolderError(reason)
        else:
            reporter.say(reason)
    return present


def _all_roots(roots: Sequence[Root], reporter: Reporter) -> list[Target]:
    if not roots:
        raise FolderError("no folder was given and the index knows none; say which: imgsearch index FOLDER")
    targets = present_roots(roots, reporter)
    if not targets:
        raise FolderError("none of the index's folders is there now; nothing was changed")
    return targets


def present_roots(roots: Sequence[Root], reporter: Reporter) -> list[Target]:
    """Return the whole of every root that is there now; say which are not."""
    targets = []
    for root in roots:
        target = _known(root)
        if not os.path.isdir(root.path):
            reporter.say(
                f"{root.path} is not there now (a drive that is not mounted?); its pictures stay indexed"
            )
        elif reason := _unmounted(target):
            reporter.say(reason)
        else:
            targets.append(target)
    return targets


def _choose_folder(
    path: str, roots: Sequence[Root], options: WalkOptions | None, chosen: dict[str, Target]
) -> None:
    owner = _owner(path, roots)
    if owner is None or owner.path != path:
        if any(
            _inside(path, done) for done in chosen if chosen[done].below == ("",) and not chosen[done].only
        ):
            return  # a folder around it was given too
        if owner is not None and options is None and not owner.options.get("only"):
            old = chosen.get(owner.path, replace(_known(owner), below=()))
            chosen[owner.path] = replace(old, below=(*old.below, os.path.relpath(path, owner.path)))
            return
        carved = owner if owner is not None and not owner.options.get("only") else None
        chosen[path] = Target(path, options or WalkOptions(), carved=carved)
        return
    known = _known(owner)
    chosen[path] = Target(path, options or known.options, known=owner)


def _choose_file(
    path: str, roots: Sequence[Root], options: WalkOptions | None, chosen: dict[str, Target]
) -> None:
    folder, name = os.path.split(path)
    owner = _owner(path, roots)
    if any(_inside(path, done) for done in chosen if chosen[done].below == ("",)):
        return
    if owner is not None and (owner.path == folder or not owner.options.get("only")):
        known = _known(owner)
        old = chosen.get(owner.path, replace(known, below=()))
        only = tuple(sorted({*old.only, name})) if known.only else ()
        relative = os.path.relpath(path, owner.path)
        chosen[owner.path] = replace(old, below=(*old.below, relative), only=only)
        return
    old = chosen.get(folder, Target(folder, options or WalkOptions(), below=()))
    chosen[folder] = replace(old, below=(*old.below, name), only=(*old.only, name))


def _known(root: Root) -> Target:
    kept = dict(root.options)
    only = tuple(str(name) for name in kept.pop("only", []))  # type: ignore[attr-defined]
    kept["exclude"] = tuple(kept.get("exclude", ()))  # type: ignore[arg-type]
    try:
        options = WalkOptions(**kept)  # type: ignore[arg-type]
    except TypeError as error:
        raise IndexDamaged(
            f"how {root.path} was indexed is no longer understood ({error}): the catalogue is damaged, or from a "
            f"newer imgsearch; begin this folder anew: imgsearch remove {shlex.quote(root.path)}"
        ) from error
    return Target(root.path, options, below=only or ("",), known=root, only=only)


def _owner(path: str, roots: Sequence[Root]) -> Root | None:
    """Return the deepest known root that is ``path`` or lies above it."""
    above = [root for root in roots if root.path == path or _inside(path, root.path)]
    return max(above, key=lambda root: len(root.path), default=None)


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep) and path != folder


def _outermost(parts: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that lie in none of the others."""
    return tuple(
        part
        for part in sorted(set(parts))
        if not any(other == "" or _inside(part, other) for other in parts if other != part)
    )


def _unmounted(target: Target) -> str:
    if target.known and target.known.device and not root_device(target.path):
        return (
            f"{target.path} was on a drive of its own and is an ordinary folder now: mount the drive and index "
            f"again; or, if it is gone for good: imgsearch remove {shlex.quote(target.path)}"
        )
    return ""


def make_plan(
    targets: list[Target],
    roots: Sequence[Root],
    catalog: Catalog | None,
    extensions: Collection[str],
    *,
    prune: bool = True,
    prune_empty: bool = False,
    retry: Collection[str] = TRANSIENT,
    reporter: Reporter | None = None,
) -> Plan:
    """Walk the targets and hold what is there against the catalogue. Reads no file's contents."""
    plan = Plan(targets)
    reporter = reporter or Silent()
    reporter.start(0, "pictures found")
    every_root = {root.path for root in roots} | {target.path for target in targets}
    reached: set[tuple[int, int]] = set()
    for number, target in enumerate(targets):
        # Not only those inside: a link may lead into any other root.
        skip = every_root - {target.path}
        for below in target.below:
            walk = Walk(target.path, target.options, extensions, below=below, skip=skip, seen=reached)
            seen: set[int] = set()
            for source in walk:
                reporter.advance()
                row = target.lookup(catalog, source.path) if catalog else None
                if row:
                    seen.add(row.id)
                _place(plan, number, row, source, retry)
            plan.others += walk.others
            plan.unlisted.update(
                (os.path.join(target.path, folder), reason) for folder, reason in walk.unlisted.items()
            )
            if prune and catalog:
                _find_gone(plan, target, below, walk, seen, catalog, prune_empty)
    reporter.stop()
    return plan


def _place(plan: Plan, number: int, row: FileRow | None, source: SourceFile, retry: Collection[str]) -> None:
    current, _ = is_current(row, source, retry)
    if not current or row is None:
        plan.todo.append((number, source))
        return
    if row.error:
        plan.unchanged_errors += 1
    else:
        plan.unchanged += 1
    if row.device != source.device:
        # Device numbers change with every boot; the next run must compare with today's.
        plan.touched.append((number, FileState(0, source, row.content, row.error, row.detail)))


def _find_gone(
    plan: Plan, target: Target, below: str, walk: Walk, seen: set[int], catalog: Catalog, prune_empty: bool
) -> None:
    if target.known:
        rows, prefix = catalog.files(target.known.id, below), ""
    elif target.carved:
        prefix = os.path.relpath(target.path, target.carved.path)
        rows = catalog.files(target.carved.id, prefix)
    else:
        return
    for row in rows:
        if row.id in seen:
            continue
        path = os.path.relpath(row.path, prefix) if prefix else row.path
        gone, reason = walk.gone(path, row.device, prune_empty)
        if gone:
            plan.gone.append(row.id)
        else:
            plan.kept[reason] += 1
