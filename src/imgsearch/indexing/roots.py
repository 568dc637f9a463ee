"""Which roots a run covers, and which parts of them: the paths that were given, held against the known roots.

Roots never overlap in what they own: a file that was given by itself belongs to the root that stands for it, any
other to the deepest whole root above it. So a path inside a known root refreshes that part of it, a path around
known roots refreshes them with their own options, and each file is walked once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from imgsearch.errors import FolderError, IndexDamaged, UsageError
from imgsearch.files import WalkOptions, check_root
from imgsearch.fs import is_below, is_mount, mount_of
from imgsearch.index.rows import Root
from imgsearch.text import Call, Message, Option, display_path
from imgsearch.types import Reporter


@dataclass(frozen=True, slots=True)
class WalkOverrides:
    """What the user chose of the walk; None leaves it as it is."""

    exclude: tuple[str, ...] | None = None
    include_hidden: bool | None = None
    follow_symlinks: bool | None = None

    def over(self, kept: WalkOptions) -> WalkOptions:
        """Return ``kept`` with what was chosen in its place."""
        return WalkOptions(
            kept.exclude if self.exclude is None else self.exclude,
            kept.include_hidden if self.include_hidden is None else self.include_hidden,
            kept.follow_symlinks if self.follow_symlinks is None else self.follow_symlinks,
            above=kept.above,
            anchor=kept.anchor if self.exclude is None else "",  # new patterns are the root's own
        )


NO_OVERRIDES = WalkOverrides()


@dataclass(frozen=True, slots=True)
class Target:
    """A root, or a part of one, that a run covers.

    ``below`` are the parts (paths relative to the root; "" is all of it). ``known`` is the catalogue's root
    of that path, or None; ``split_from`` is the known root that owned the folder, or its other files, until now.
    ``only`` says that the root stands for these single files and not for its folder. ``mount`` is the mount
    point that the root lies on and ``device`` its st_dev, both from when it was chosen.
    """

    path: str
    options: WalkOptions
    below: tuple[str, ...] = ("",)
    known: Root | None = None
    split_from: Root | None = None
    only: tuple[str, ...] = ()
    mount: str = os.sep
    device: int = 0

    def places(self) -> set[str]:
        """Return what the root owns: its folder, or its single files."""
        return {os.path.join(self.path, name) for name in self.only} or {self.path}

    def stored_options(self) -> dict[str, object]:
        """Return what the catalogue keeps of it."""
        return {**asdict(self.options), "only": list(self.only)}


def choose_targets(
    paths: Sequence[str],
    roots: Sequence[Root],
    choice: WalkOverrides | None,
    reporter: Reporter,
    *,
    rebuild: bool = False,
) -> list[Target]:
    """Turn the given paths into targets; without paths, every known root.

    ``choice`` holds for what was given, which keeps the rest of its options; a known root that lies in a given
    folder keeps all of its own. Raises FolderError for a path that is missing, unreadable, or on a drive that
    is not mounted now.
    """
    choice = choice or NO_OVERRIDES
    if not paths:
        if not roots:
            raise FolderError(
                "no folder was given and the index knows none; say which: ",
                Call("index_pictures", {"paths": ["FOLDER"]}),
            )
        targets = present_roots(roots, reporter, choice, rebuild=rebuild)
        if not targets:
            raise FolderError("none of the index's folders is there now; nothing was changed")
        return targets
    chosen: dict[str, Target] = {}
    real = sorted({check_root(path) for path in paths}, key=lambda path: (path.count(os.sep), path))
    for path in real:
        if os.path.isdir(path):
            _choose_folder(path, roots, choice, chosen)
        else:
            _choose_file(path, roots, choice, chosen)
            if any(root.path == path for root in roots):
                was = f"{display_path(path)} was a folder when it was indexed and is a file now; "
                until = "the folder's pictures stay indexed until: "
                reporter.say(Message(was, until, Call("remove_paths", {"paths": [path]})))
    asked = set(chosen)
    for path in filter(os.path.isdir, real):
        for root in roots:
            if is_below(root.path, path) and root.path not in real:
                # It is covered as a whole, also where parts of it were given; single files stay single files.
                known = chosen[root.path] = _known(root)
                if choice.over(known.options) != known.options:
                    keeps = f"{display_path(root.path)} was indexed by itself and keeps its own options; "
                    walk = Call("IndexOptions", {"walk": Call.of(choice)})
                    change = Call("index_pictures", {"paths": [root.path], "options": walk})
                    reporter.say(Message(keeps, "to change them: ", change))
    present = []
    for target in chosen.values():
        found, reason = _found(target, rebuild)
        if found:
            present.append(replace(found, below=_outermost(target.below)))
        elif target.path in asked and os.path.isdir(target.path):
            raise FolderError(reason)
        else:
            reporter.say(reason)
    return present


def present_roots(
    roots: Sequence[Root], reporter: Reporter, choice: WalkOverrides = NO_OVERRIDES, *, rebuild: bool = False
) -> list[Target]:
    """Return the whole of every root that is there now, with ``choice`` over its options; say which are not."""
    targets = []
    for root in roots:
        target, reason = _found(_chosen(root, choice), rebuild)
        if target:
            targets.append(target)
        else:
            reporter.say(reason)
    return targets


def _choose_folder(
    path: str, roots: Sequence[Root], choice: WalkOverrides, chosen: dict[str, Target]
) -> None:
    exact = next((root for root in roots if root.path == path), None)
    owner = owner_of(os.path.dirname(path), roots)
    single = exact if exact is not None and exact.options.get("only") else None
    if exact is not None and single is None:
        chosen[path] = replace(_chosen(exact, choice), below=("",))
        return
    if any(is_below(path, done) for done in chosen if chosen[done].below == ("",) and not chosen[done].only):
        pass  # a folder around it was given too
    elif owner is None and single is None:
        chosen[path] = Target(path, choice.over(WalkOptions()))
    elif owner is None or choice != NO_OVERRIDES:
        # The folder becomes a root of its own, also where it stood for single files until now.
        options = _inherited(owner) if owner else WalkOptions()
        chosen[path] = Target(path, choice.over(options), known=single, split_from=owner)
        return
    else:
        old = chosen.get(owner.path, replace(_known(owner), below=()))
        chosen[owner.path] = replace(old, below=(*old.below, os.path.relpath(path, owner.path)))
    if single is not None:
        chosen[path] = _known(single)


def _choose_file(path: str, roots: Sequence[Root], choice: WalkOverrides, chosen: dict[str, Target]) -> None:
    if choice != NO_OVERRIDES:
        chosen_options = [Message(Option(name, value)) for name, value in Call.of(choice).arguments.items()]
        raise UsageError(
            Message.joined(" ", chosen_options),
            f" is for folders, and {display_path(path)} is a file; give its folder, or leave that out",
        )
    folder, name = os.path.split(path)
    if any(is_below(path, done) for done in chosen if chosen[done].below == ("",)):
        return
    single = next((root for root in roots if root.path == folder and root.options.get("only")), None)
    owner = owner_of(folder, roots)
    if owner is not None and (single is None or path not in places_of(single)):
        old = chosen.get(owner.path, replace(_known(owner), below=()))
        chosen[owner.path] = replace(old, below=(*old.below, os.path.relpath(path, owner.path)))
        return
    known = _known(single) if single else Target(folder, WalkOptions())
    old = chosen.get(folder, replace(known, below=()))
    only = tuple(sorted({*old.only, *known.only, name}))
    chosen[folder] = replace(old, below=(*old.below, name), only=only)


def _known(root: Root) -> Target:
    kept = dict(root.options)
    only = tuple(str(name) for name in kept.pop("only", []))  # type: ignore[attr-defined]
    kept["exclude"] = tuple(kept.get("exclude", ()))  # type: ignore[arg-type]
    try:
        options = WalkOptions(**kept)  # type: ignore[arg-type]
    except TypeError as error:
        raise IndexDamaged(
            f"how {root.path} was indexed is no longer understood ({error}): the catalogue is damaged, or from a "
            "newer imgsearch; begin this folder anew: ",
            Call("remove_paths", {"paths": [root.path]}),
        ) from error
    return Target(root.path, options, below=only or ("",), known=root, only=only)


def _chosen(root: Root, choice: WalkOverrides) -> Target:
    known = _known(root)
    return replace(known, options=choice.over(known.options))


def _inherited(owner: Root) -> WalkOptions:
    """Return the options of a folder in a known root that is to have options of its own."""
    kept = _known(owner).options
    anchor = (kept.anchor or owner.path) if kept.exclude else ""
    return replace(kept, above=kept.above or owner.path, anchor=anchor)


def owner_of(path: str, roots: Sequence[Root]) -> Root | None:
    """Return the deepest known root that is ``path`` or lies above it, and stands for its whole folder."""
    whole = [root for root in roots if not root.options.get("only")]
    above = [root for root in whole if root.path == path or is_below(path, root.path)]
    return max(above, key=lambda root: len(root.path), default=None)


def places_of(root: Root) -> set[str]:
    """Return what a known root owns: its folder, or its single files."""
    return _known(root).places()


def _outermost(parts: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that lie in none of the others."""
    return tuple(
        part
        for part in sorted(set(parts))
        if not any(other == "" or is_below(part, other) for other in parts if other != part)
    )


def _found(target: Target, rebuild: bool) -> tuple[Target | None, str]:
    """Return the target as it lies on the disk now; or, if it does not or its drive is away, the reason."""
    path = display_path(target.path)
    kept = (
        "its pictures leave the index and come back when it is indexed again"
        if rebuild
        else "its pictures stay indexed"
    )
    root = target.known or target.split_from
    try:
        if os.path.isdir(target.path):
            if root is None or is_mount(root.mount):
                mount, device = mount_of(target.path)
                return replace(target, mount=mount, device=device), ""
            away = (
                f"{path} was on a drive of its own, and nothing is mounted at {display_path(root.mount)} now"
            )
            what_now = "mount the drive and index again, or, if it is gone for good: "
            remove = Call("remove_paths", {"paths": [root.path]})
            return None, Message(f"{away}: {kept}; {what_now}", remove)
    except OSError:
        pass  # it went away this very moment
    return None, f"{path} is not there now (a drive that is not mounted?): {kept}"
