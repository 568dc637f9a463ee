"""The walk of a bucket: which objects there are below a prefix, and which of those that are missing may be pruned."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from imgsearch.files.bucket import BucketError, listed, state_of
from imgsearch.files.identity import source_file
from imgsearch.files.ignore import excluded, is_hidden, is_junk
from imgsearch.files.kinds import extension, kind_of
from imgsearch.files.walk import EMPTY_FOLDER, Walk
from imgsearch.types import SourceFile


class BucketWalk(Walk):
    """A ``Walk`` whose root is an address: what lies in a bucket has no links, no drives and no ignore files.

    Hidden names and ``exclude`` count as in folders. A list that broke off, or could not be had, prunes nothing.
    """

    _found = 0

    def round(self) -> Iterator[SourceFile]:
        """Walk to the end: yield the objects in the bucket's order."""
        folders: dict[str, bool] = {"": True}
        try:
            for path, status in self._objects():
                if not path:
                    continue  # the object that stands for an empty folder
                self._found += 1
                if extension(path) not in self._extensions:
                    self.other_files[kind_of(path)] += 1
                elif self._is_open(os.path.dirname(path), folders) and self._is_wanted(path, False):
                    reading = self.options.reading(path)
                    yield source_file(self.root, path, status, 0, (), 0, reading=reading)
        except BucketError as error:
            self.left_alone[""] = f"it can't be listed: {error}"
        self.complete = True

    def _objects(self) -> Iterator[tuple[str, os.stat_result]]:
        if self._single:
            try:
                yield self._subpath, state_of(f"{self.root}/{self._subpath}")
            except BucketError as error:
                if not error.is_missing:
                    raise
                # A server without this bucket says the same, in an answer without words: only a list tells them apart.
                next(iter(listed(self.root)), None)
            return
        if self._subpath and extension(self._subpath) in self._extensions:
            try:
                yield self._subpath, state_of(f"{self.root}/{self._subpath}")
            except BucketError as error:
                if not error.is_missing:
                    raise
        prefix = f"{self._subpath}/" if self._subpath else ""
        for path, status in listed(f"{self.root}/{self._subpath}".rstrip("/")):
            yield prefix + path, status

    def _is_open(self, folder: str, known: dict[str, bool]) -> bool:
        """Whether a folder of keys, and each one above it, is walked."""
        if folder not in known:
            above = self._is_open(os.path.dirname(folder), known)
            known[folder] = above and self._is_wanted(folder, True)
        return known[folder]

    def _is_wanted(self, path: str, is_folder: bool) -> bool:
        full, name = f"{self.root}/{path}", os.path.basename(path)
        if is_hidden(name, self.options.include_hidden) or (is_folder and is_junk(full)):
            return False
        if full in self._skip:  # a root of its own
            return False
        return not excluded(path, is_folder, self._exclude)

    def is_gone(
        self, path: str, device: int, prune_empty: bool = False, same: Collection[tuple[int, int]] = ()
    ) -> tuple[bool, str]:
        """Say whether an object that was not listed may be pruned, and why or why not."""
        if not self.complete or self.left_alone:
            return False, next(iter(self.left_alone.values()), "not all of it was listed")
        if not self._found and not self._single and not prune_empty:
            return False, EMPTY_FOLDER
        return True, "deleted"

    def device_now(self, path: str) -> int | None:
        """Return 0: a bucket is a drive of its own."""
        return 0
