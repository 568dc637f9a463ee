"""What a run has to do, before it does any of it: which files are new, changed, unchanged or gone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from imgsearch.files import NOT_MOUNTED, Walk
from imgsearch.fs import is_at_or_below, is_below, is_mount
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import TRANSIENT, FileRow, FileState, Root, is_current
from imgsearch.indexing.roots import Target, owner_of, places_of
from imgsearch.text import format_rate
from imgsearch.types import PixelBudget, Reporter, Silent, SourceFile


@dataclass(slots=True)
class Plan:
    """The outcome of the walk. ``todo`` holds (index into targets, file) in walking order.

    ``empty`` are the paths, as given, at and below which there is no picture and none was known: what is no
    root yet does not become one for them.
    """

    targets: list[Target]
    todo: list[tuple[int, SourceFile]] = field(default_factory=list)
    touched: list[tuple[int, FileState]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    unchanged: int = 0
    unchanged_errors: int = 0
    others: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    unlisted: dict[str, str] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    @property
    def found(self) -> int:
        """Number of files that look like pictures."""
        return len(self.todo) + self.unchanged + self.unchanged_errors


def make_plan(
    targets: list[Target],
    roots: Sequence[Root],
    catalog: Catalog | None,
    extensions: Collection[str],
    *,
    given: Sequence[str] = (),
    prune: bool = True,
    prune_empty: bool = False,
    retry: Collection[str] = TRANSIENT,
    reporter: Reporter | None = None,
) -> Plan:
    """Walk the targets and hold what is there against the catalogue. Reads no file's contents.

    ``given`` are the paths that the targets were chosen for.
    """
    plan = Plan(targets)
    reporter = reporter or Silent()
    reporter.start(0, "pictures found")
    covered = {target.path for target in targets}
    owned = {place for target in targets for place in target.places()}
    owned |= {place for root in roots if root.path not in covered for place in places_of(root)}
    reached: set[tuple[int, int]] = set()
    non_empty = _NonEmpty(given)
    for number, target in enumerate(targets):
        # Not only those inside: a link may lead into any other root.
        skip = owned - target.places()
        for below in target.below:
            walk = Walk(target.path, target.options, extensions, below=below, skip=skip, seen=reached)
            seen: set[int] = set()
            was: dict[int, set[int]] = {}
            for source in walk:
                reporter.advance()
                non_empty.add(os.path.join(target.path, source.path))
                row = _lookup(catalog, target, source.path) if catalog else None
                if row:
                    seen.add(row.id)
                    was.setdefault(source.device, set()).add(row.device)
                _place(plan, number, row, source, retry)
            plan.others += walk.others
            plan.unlisted.update(
                (os.path.join(target.path, folder), reason) for folder, reason in walk.unlisted.items()
            )
            if prune and catalog:
                _find_gone(plan, target, below, walk, seen, was, catalog, prune_empty)
    _leave_out_empty(plan, non_empty, roots, catalog)
    reporter.stop()
    return plan


class _NonEmpty:
    """Which folders, and which of the given paths, hold a picture."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = {os.path.realpath(path): path for path in given}
        self.paths: set[str] = set()

    def add(self, path: str) -> None:
        """Take note of a picture."""
        if path in self.given:
            self.paths.add(path)
        folder = os.path.dirname(path)
        while folder not in self.paths:
            self.paths.add(folder)
            folder = os.path.dirname(folder)


def _leave_out_empty(
    plan: Plan, non_empty: _NonEmpty, roots: Sequence[Root], catalog: Catalog | None
) -> None:
    """Name the given paths that hold nothing, and let none of them become a root."""
    empty = {
        path: name
        for path, name in non_empty.given.items()
        if path not in non_empty.paths and not (catalog and _known_below(path, roots, catalog))
    }
    plan.empty = list(empty.values())
    numbers: dict[int, int] = {}
    targets: list[Target] = []
    for number, target in enumerate(plan.targets):
        kept = tuple(name for name in target.only if os.path.join(target.path, name) not in empty)
        if not target.known and (target.path in empty or (target.only and not kept)):
            continue
        numbers[number] = len(targets)
        targets.append(replace(target, only=kept or target.only))
    plan.targets = targets
    plan.todo = [(numbers[number], source) for number, source in plan.todo]
    plan.touched = [(numbers[number], state) for number, state in plan.touched]


def _known_below(path: str, roots: Sequence[Root], catalog: Catalog) -> bool:
    """Whether the catalogue has a file at or below a path."""
    if not os.path.isdir(path):
        # A root of that path was a folder; the file is its parent's.
        roots = [root for root in roots if not is_at_or_below(root.path, path)]
    owner = owner_of(path, roots)
    within = [(root.id, "") for root in roots if is_below(root.path, path)]
    if owner:
        within.append((owner.id, "" if owner.path == path else os.path.relpath(path, owner.path)))
    return any(next(catalog.files(root, below), None) for root, below in within)


def _lookup(catalog: Catalog, target: Target, path: str) -> FileRow | None:
    """Return what is known of a file of a target."""
    if target.known and (row := catalog.file(target.known.id, path)):
        return row
    if target.split_from:
        within = os.path.relpath(target.path, target.split_from.path)
        return catalog.file(target.split_from.id, os.path.join(within, path))
    return None


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


def _rows_of(target: Target, below: str, catalog: Catalog) -> Iterator[tuple[FileRow, str, int]]:
    """Yield the catalogued files of a target's part, each with its path and device as the target's own."""
    if target.known:
        for row in catalog.files(target.known.id, below):
            yield row, row.path, row.device
    if target.split_from:
        prefix = os.path.relpath(target.path, target.split_from.path)
        for row in catalog.files(target.split_from.id, prefix):
            # The device as Catalog.split_root will have it.
            yield row, os.path.relpath(row.path, prefix), 0 if row.device == target.device else row.device


def _find_gone(
    plan: Plan,
    target: Target,
    below: str,
    walk: Walk,
    seen: set[int],
    was: dict[int, set[int]],
    catalog: Catalog,
    prune_empty: bool,
) -> None:
    mounted = is_mount(target.mount)  # still, after the walk
    for row, path, device in _rows_of(target, below, catalog):
        if row.id in seen:
            continue
        gone, reason = walk.gone(path, device, prune_empty, was) if mounted else (False, NOT_MOUNTED)
        if gone:
            plan.gone.append(row.id)
        else:
            plan.kept[reason] += 1


def estimate_seconds(
    pictures: int, parameters: int, budget: PixelBudget, device: str, last_rate: float = 0.0
) -> tuple[float, str]:
    """Guess the seconds to embed ``pictures``, and say from what.

    ``last_rate`` is the last run's pictures a second (0: none known); without it, two operations a parameter
    and token over what such a device usually reaches.
    """
    if last_rate > 0:
        return pictures / last_rate, f"at the last run's {format_rate(last_rate)} pictures a second"
    tokens = budget.max_pixels / 1024 + _PROMPT_TOKENS
    teraflops = 2e-12 * parameters * tokens
    return pictures * teraflops / _TERAFLOPS.get(device, _TERAFLOPS["cpu"]), f"a first guess for {device}"


# Teraflops a second that a forward pass reaches, order of magnitude, for a first guess before any run.
_TERAFLOPS = {"cpu": 0.25, "mps": 4.0, "cuda": 80.0}


_PROMPT_TOKENS = 25
