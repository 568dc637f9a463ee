"""The scope of a run: which roots it covers, and which parts of them, from the paths asked for and the known roots.

Roots never overlap in what they own: a file that was asked for by itself belongs to the root that stands for it, any
other to the deepest whole root above it. So a path inside a known root refreshes that part of it, a path around
known roots refreshes them with their own options, and each file is walked once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from imgsearch import deep
from imgsearch.addresses import is_remote, names_a_folder
from imgsearch.errors import FolderError, IndexDamaged, UsageError
from imgsearch.files import WalkOptions, check_root, in_order
from imgsearch.files.kinds import extension
from imgsearch.fs import is_at_or_below, is_below
from imgsearch.index.catalog import Catalog
from imgsearch.index.layout import base_of
from imgsearch.index.rows import Root, stored_path
from imgsearch.indexing.documents.opened import candidates
from imgsearch.indexing.places import Samples, devices_now, place_of
from imgsearch.media.documents.contract import chosen
from imgsearch.mounts import UNKNOWN, Drive, Mounts
from imgsearch.names import known_as, owner_of, single_files
from imgsearch.text import Call, Message, Option, display_path, error_line
from imgsearch.types import Reporter


@dataclass(frozen=True, slots=True)
class WalkOverrides:
    """What the user wants of the walk in place of a root's own options; None leaves an option as it is."""

    exclude: tuple[str, ...] | None = None
    include_hidden: bool | None = None
    follow_symlinks: bool | None = None
    include_copies: bool | None = None
    pages: str | None = None
    frames: int | None = None
    pdf_password_file: str | None = None
    raw_too: bool | None = None
    tiles: bool | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for pages that mean nothing, and for less than no frame."""
        if self.pages is not None:
            chosen(self.pages)
        if self.frames is not None and self.frames < 0:
            raise UsageError(Option("frames", self.frames), ": must be 0 or more")
        if self.pdf_password_file:
            object.__setattr__(self, "pdf_password_file", os.path.abspath(self.pdf_password_file))

    def over(self, options: WalkOptions) -> WalkOptions:
        """Return ``options`` with these overrides in their place."""
        return WalkOptions(
            options.exclude if self.exclude is None else self.exclude,
            options.include_hidden if self.include_hidden is None else self.include_hidden,
            options.follow_symlinks if self.follow_symlinks is None else self.follow_symlinks,
            above=options.above,
            anchor=options.anchor if self.exclude is None else "",  # new patterns are the root's own
            include_copies=options.include_copies if self.include_copies is None else self.include_copies,
            pages=options.pages if self.pages is None else self.pages,
            frames=options.frames if self.frames is None else self.frames,
            pdf_password_file=(
                options.pdf_password_file if self.pdf_password_file is None else self.pdf_password_file
            ),
            raw_too=options.raw_too if self.raw_too is None else self.raw_too,
            tiles=options.tiles if self.tiles is None else self.tiles,
        )


NO_OVERRIDES = WalkOverrides()


@dataclass(frozen=True, slots=True)
class PlannedRoot:
    """A root that a run covers, as a whole or in part.

    ``subpaths`` are the parts (relative to the root; "" is all of it). With ``single_files``, names, the root stands
    for these files and not for its folder. ``split_from`` is the known root that owned the folder, or its other
    files, until now. ``drive`` is what the root lies on. ``devices`` and ``inherited`` give by the devices that its
    files, and those of ``split_from``, have in the catalogue those that they have from now on, where that is another
    one. ``moved`` says that the files are known from another drive, with other inodes.
    """

    path: str
    options: WalkOptions
    subpaths: tuple[str, ...] = ("",)
    single_files: tuple[str, ...] = ()
    split_from: Root | None = None
    drive: Drive = UNKNOWN
    devices: Mapping[int, int] = field(default_factory=dict)
    inherited: Mapping[int, int] = field(default_factory=dict)
    moved: bool = False

    def absolute(self, path: str) -> str:
        """Return the absolute path of what is at ``path`` in the root; "" is the root itself."""
        return os.path.join(self.path, path) if path else self.path

    def owned_paths(self) -> set[str]:
        """Return what the root owns: its folder, or its single files."""
        return {os.path.join(self.path, name) for name in self.single_files} or {self.path}

    def stored_options(self) -> dict[str, object]:
        """Return what the catalogue keeps of it; how documents are read only where somebody has chosen it."""
        options, usual = asdict(self.options), asdict(WalkOptions())
        for name in ("pages", "frames", "pdf_password_file", "raw_too", "tiles"):
            if options[name] == usual[name]:
                del options[name]
        return {**options, "only": list(self.single_files)}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run covers: its ``roots``, each path once.

    ``requested`` are the paths that were asked for: as they were given, by the paths that the index knows or will know
    them by. ``elsewhere`` are the folders and single files of known roots that the run leaves alone.
    """

    roots: tuple[PlannedRoot, ...]
    requested: Mapping[str, str]
    elsewhere: frozenset[str]


def resolve_scope(
    paths: Sequence[str],
    roots: Sequence[Root],
    overrides: WalkOverrides | None,
    reporter: Reporter,
    *,
    rebuild: bool = False,
    catalog: Catalog | None = None,
    mounts: Mounts | None = None,
    samples: Samples = lambda root: {},
) -> Scope:
    """Turn the paths asked for, or without any every known root, into the scope of a run.

    ``overrides`` hold for what was asked for, which keeps the rest of its options; a known root that lies in such a
    folder keeps all of its own. A ``rebuild`` covers all of every root, whatever was asked for. ``catalog`` tells which
    paths are known, through links and under other names. Roots that are not there now are left out, and said, as it is
    where another drive is in the place of the one before: ``samples`` gives files to look for on it. FolderError for a
    path that is missing, unreadable, or on a drive that is not mounted now, and if nothing is left.
    """
    overrides = overrides or NO_OVERRIDES
    if not paths and not roots:
        which = Call("index_pictures", {"paths": ["FOLDER"]})
        raise FolderError("no folder was given, and the index has none yet; give one: ", which)
    requested = _requested(paths, roots, overrides, catalog)
    planned = {} if paths else {root.path: _planned(root, overrides) for root in roots}
    _plan_requested(requested, roots, overrides, planned, reporter)
    needed = set(planned) if paths else set()
    _plan_nested(requested, roots, overrides, planned, reporter)
    if rebuild:
        for root in roots:
            planned.setdefault(root.path, _planned(root))
        planned = {path: replace(root, subpaths=root.single_files or ("",)) for path, root in planned.items()}
    present = []
    for wanted in planned.values():
        located, reason = _locate(wanted, roots, mounts or Mounts(), samples, rebuild=rebuild)
        if located:
            present.append(replace(located, subpaths=_outermost(wanted.subpaths)))
        elif wanted.path in needed and is_folder(wanted.path):
            raise FolderError(reason)
        if reason:
            reporter.say(reason)
    if not paths and not present:
        raise FolderError("none of the index's folders is there now; nothing was changed")
    # In the same order in every run: what two roots lead to is the first one's.
    order = {root.path: number for number, root in enumerate(roots)}
    present.sort(key=lambda root: order.get(root.path, len(order)))
    covered = {root.path for root in present}
    others = (root for root in roots if root.path not in covered)
    return Scope(tuple(present), requested, frozenset().union(*map(owned_paths, others)))


def check_portable(scope: Scope, index: str, mounts: Mounts) -> None:
    """Refuse roots that the portable index in the folder ``index`` can't have: UsageError.

    These lie outside of the folder that the index is in, or on another drive than it.
    """
    base = base_of(os.path.abspath(index))
    for root in scope.roots:
        stored_path(root.path, base)
        if root.drive.point != mounts.drive(base).point:
            raise UsageError(
                f"{display_path(root.path)} is on another drive than the index in {display_path(index)}, which would "
                "move without it; use another index for it: ",
                Option("folder", metavar="DIR"),
            )


def is_folder(path: str) -> bool:
    """Whether a path is a folder; of an address the name tells: that of an image or document is an object."""
    if is_remote(path):
        return names_a_folder(path) or extension(path) not in candidates()
    return deep.isdir(path)


def _is_asked_as_folder(path: str, given: str, roots: Sequence[Root]) -> bool:
    """Whether a path asked for is a folder; of an address also by how it was ``given``, or was indexed before."""
    if not is_remote(path):
        return is_folder(path)
    was_one = any(root.path == path and not single_files(root) for root in roots)
    return was_one or is_folder(given)


def _requested(
    paths: Sequence[str], roots: Sequence[Root], overrides: WalkOverrides, catalog: Catalog | None
) -> dict[str, str]:
    """Return the paths asked for by those that the index knows, or will know, them by. Raises FolderError."""
    requested: dict[str, str] = {}
    known = list(roots)
    for path in paths:
        real = check_root(path)
        place = known_as(path, known, catalog).path
        if overrides != NO_OVERRIDES and not is_remote(place) and os.path.realpath(place) != place:
            place = real  # what lies behind a link gets options of its own only as a root, which is no link
        requested[place] = path
        # The next path may be another name of this one.
        if _is_asked_as_folder(place, path, known):
            known.append(Root(0, place, {}, os.sep))
        else:
            known.append(Root(0, os.path.dirname(place), {"only": [os.path.basename(place)]}, os.sep))
    return requested


def with_reread(
    paths: Sequence[str], reread: Sequence[str], roots: Sequence[Root], catalog: Catalog | None
) -> tuple[list[str], tuple[str, ...]]:
    """Return the paths of a run that is to read some again, which it covers too, and these as the index knows them.

    Raises UsageError for one that is neither in a path asked for nor in a known root.
    """
    asked = [known_as(path, roots, catalog).path for path in paths] if reread else []
    covered, names = list(paths), []
    for path in reread:
        name = known_as(path, roots, catalog)
        names.append(name.path)
        if any(is_at_or_below(name.path, one) for one in asked):
            continue
        if not name.known and owner_of(name.path, roots) is None:
            raise UsageError(
                Option("reread", path),
                ": this is not in an indexed folder; to index it: ",
                Call("index_pictures", {"paths": [path]}),
            )
        covered.append(path)
    return covered, tuple(names)


def _plan_requested(
    requested: Mapping[str, str],
    roots: Sequence[Root],
    overrides: WalkOverrides,
    planned: dict[str, PlannedRoot],
    reporter: Reporter,
) -> None:
    """Plan the roots that own the paths asked for."""
    for path in sorted(requested, key=lambda path: (path.count(os.sep), path)):
        if _is_asked_as_folder(path, requested[path], roots):
            _plan_folder(path, roots, overrides, planned)
        else:
            _plan_file(path, roots, overrides, planned)
            if any(root.path == path for root in roots):
                was = f"{display_path(path)} was a folder when it was indexed and is a file now; "
                until = "the folder's images stay indexed until you run: "
                reporter.say(Message(was, until, Call("remove_paths", {"paths": [path]})))


def _plan_nested(
    requested: Mapping[str, str],
    roots: Sequence[Root],
    overrides: WalkOverrides,
    planned: dict[str, PlannedRoot],
    reporter: Reporter,
) -> None:
    """Plan the known roots that lie in a folder asked for: as a whole, with their own options."""
    for root in roots:
        if root.path in requested or not any(
            is_below(root.path, path) and _is_asked_as_folder(path, given, roots)
            for path, given in requested.items()
        ):
            continue
        # As a whole also where parts of it were asked for; single files stay single files.
        own = planned[root.path] = _planned(root)
        if overrides.over(own.options) != own.options:
            keeps = f"{display_path(root.path)} was indexed separately and keeps its own options; "
            walk = Call("IndexOptions", {"walk": Call.of(overrides)})
            change = Call("index_pictures", {"paths": [root.path], "options": walk})
            reporter.say(Message(keeps, "to change them: ", change))


def _plan_folder(
    path: str, roots: Sequence[Root], overrides: WalkOverrides, planned: dict[str, PlannedRoot]
) -> None:
    exact = next((root for root in roots if root.path == path), None)
    owner = owner_of(os.path.dirname(path), roots)
    single = exact if exact is not None and single_files(exact) else None
    if exact is not None and single is None:
        planned[path] = _planned(exact, overrides)
    elif any(is_below(path, root.path) for root in planned.values() if _is_whole(root)):
        if single is not None:  # a folder around it was asked for too
            planned[path] = _planned(single)
    elif owner is None or overrides != NO_OVERRIDES:
        # The folder becomes a root of its own, also where it stood for single files until now.
        options = _inherited(owner) if owner else WalkOptions()
        planned[path] = PlannedRoot(path, overrides.over(options), split_from=owner)
    else:
        _add_part(owner, path, planned)
        if single is not None:
            planned[path] = _planned(single)


def _plan_file(
    path: str, roots: Sequence[Root], overrides: WalkOverrides, planned: dict[str, PlannedRoot]
) -> None:
    if overrides != NO_OVERRIDES:
        given = [Message(Option(name, value)) for name, value in Call.of(overrides).arguments.items()]
        raise UsageError(
            Message.joined(" ", given),
            f" is for folders, and {display_path(path)} is a file; give its folder, or leave that out",
        )
    folder, name = os.path.split(path)
    if any(is_below(path, root.path) for root in planned.values() if root.subpaths == ("",)):
        return
    single = next((root for root in roots if root.path == folder and single_files(root)), None)
    owner = owner_of(folder, roots)
    if owner is not None and (single is None or path not in owned_paths(single)):
        _add_part(owner, path, planned)
        return
    known = _planned(single) if single else PlannedRoot(folder, WalkOptions())
    root = planned.get(folder, replace(known, subpaths=()))
    names = tuple(sorted({*root.single_files, *known.single_files, name}))
    planned[folder] = replace(root, subpaths=(*root.subpaths, name), single_files=names)


def _add_part(owner: Root, path: str, planned: dict[str, PlannedRoot]) -> None:
    """Have the run cover a path inside a known root."""
    root = planned.get(owner.path, replace(_planned(owner), subpaths=()))
    part = os.path.relpath(path, owner.path)
    planned[owner.path] = replace(root, subpaths=(*root.subpaths, part))


def _is_whole(root: PlannedRoot) -> bool:
    return root.subpaths == ("",) and not root.single_files


def _planned(root: Root, overrides: WalkOverrides = NO_OVERRIDES) -> PlannedRoot:
    """Return a known root to be covered as a whole, with overrides over its options. Raises IndexDamaged."""
    stored = dict(root.options)
    stored.pop("only", None)
    names = single_files(root)
    stored["exclude"] = tuple(stored.get("exclude", ()))  # type: ignore[arg-type]
    try:
        options = WalkOptions(**stored)  # type: ignore[arg-type]
    except TypeError as error:
        raise IndexDamaged(
            f"the options of {root.path} can't be read ({error}): the catalogue is damaged, or from a newer "
            "imgsearch. To start again with this folder, remove it and index it again: ",
            Call("remove_paths", {"paths": [root.path]}),
        ) from error
    return PlannedRoot(root.path, overrides.over(options), subpaths=names or ("",), single_files=names)


def _inherited(owner: Root) -> WalkOptions:
    """Return the options of a folder in a known root that is to have options of its own."""
    options = _planned(owner).options
    anchor = (options.anchor or owner.path) if options.exclude else ""
    return replace(options, above=options.above or owner.path, anchor=anchor)


def owned_paths(root: Root) -> set[str]:
    """Return what a known root owns: its folder, or its single files."""
    return _planned(root).owned_paths()


def _outermost(parts: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that lie in none of the others, in walking order."""
    return tuple(
        part
        for part in sorted(set(parts), key=in_order)
        if not any(other == "" or is_below(part, other) for other in parts if other != part)
    )


def _locate(
    planned: PlannedRoot, roots: Sequence[Root], mounts: Mounts, samples: Samples, *, rebuild: bool
) -> tuple[PlannedRoot | None, str]:
    """Return a root with where it lies now, and what is worth telling; no root if its drive or folder is not there."""
    if is_remote(planned.path):
        return planned, ""
    known = next((root for root in roots if root.path == planned.path), None)
    outer = planned.split_from
    places = {root.path: place_of(root, mounts, samples, rebuild=rebuild) for root in (known, outer) if root}
    reasons = [place.reason for place in places.values() if place.reason]
    if any(place.state == "away" for place in places.values()):
        return None, reasons[0]
    try:
        drive = mounts.drive(planned.path)
    except OSError as error:  # it went away this very moment
        return None, f"{display_path(planned.path)} is not there now: {error_line(error)}"
    located = replace(planned, drive=drive, moved=any(place.state == "moved" for place in places.values()))
    if rebuild:
        located = replace(located, split_from=None)
    else:
        located = replace(
            located,
            devices=devices_now(known, places[known.path], drive) if known else {},
            inherited=devices_now(outer, places[outer.path], drive) if outer else {},
        )
    return located, next(iter(reasons), "")
