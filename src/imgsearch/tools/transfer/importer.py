"""Use case: vectors that were computed elsewhere become an index, or go into one, with the names of their pictures."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.errors import DatasetError, FolderError, IndexMismatch, PictureError, UsageError
from imgsearch.files import RAW, kind_of, open_source, source_file
from imgsearch.files.bucket import BucketError, state_of
from imgsearch.files.ignore import is_hidden
from imgsearch.index import layout, manifest
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.catalog import Catalog
from imgsearch.index.manifest import IMPORTED
from imgsearch.index.rows import FileState, Root, is_current
from imgsearch.index.writer import IndexWriter
from imgsearch.media.formats import check_picture
from imgsearch.media.lookahead import look_ahead
from imgsearch.model.locate import fetch_checkpoint
from imgsearch.spec import choose_spec
from imgsearch.text import Call, Message, Option, display_path, format_duration, plural
from imgsearch.tools.transfer import npy
from imgsearch.tools.transfer.parquet import open_table
from imgsearch.tools.transfer.paths import PathResolver
from imgsearch.tools.transfer.source import Named, VectorSource
from imgsearch.tools.transfer.validate import block_rows, check, unit_rows
from imgsearch.types import IndexSpec, ModelOptions, Reporter, Silent, Skipped, SourceFile, Vectors

_MAX_NAMED = 10
_AHEAD = 256  # files that are hashed ahead of their turn
_ABSENT = -1
"""The size noted of a file that was not there: whatever appears in its place is another one, and is read."""


@dataclass(slots=True)
class Imported:
    """What an import did, in files: ``imported`` with a new vector, ``reused`` with one that was there already.

    ``unchanged`` were in the index as they are; ``skipped`` counts files by reason, ``bad`` rows that are no
    vectors or name nothing.
    """

    imported: int = 0
    reused: int = 0
    unchanged: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Return it as the command line prints it as JSON."""
        return {
            "imported": self.imported,
            "reused": self.reused,
            "unchanged": self.unchanged,
            "skipped": dict(self.skipped),
            "bad": self.bad,
            "seconds": round(self.seconds, 3),
        }

    def summary(self) -> str:
        """Say in one line what was done."""
        parts = [f"{self.imported:,} imported"]
        if self.reused:
            parts.append(f"{self.reused:,} already in the index")
        if self.unchanged:
            parts.append(f"{self.unchanged:,} unchanged")
        if self.skipped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.most_common())
            parts.append(f"{self.skipped.total():,} skipped ({reasons})")
        if self.bad:
            parts.append(f"{plural(self.bad, 'bad row')} skipped")
        return f"{'; '.join(parts)}; {format_duration(self.seconds)}"


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a row. ``content`` is its key, None until its bytes have been read."""

    row: int
    named: Named
    root: Root | str
    source: SourceFile
    content: bytes | None = None


class Importer:
    """One import into an index, under the writer lock."""

    def __init__(
        self,
        source: VectorSource,
        bad: Collection[int],
        resolver: PathResolver,
        writer: IndexWriter | Callable[[], IndexWriter],
        *,
        files: bool,
        reporter: Reporter,
    ) -> None:
        """Take the rows but for the ``bad`` ones, and the index, open or made when there is a first picture."""
        self.source, self.bad, self.resolver, self.reporter = source, bad, resolver, reporter
        self.result = Imported(bad=len(bad))
        self._files = files
        self._writer = writer
        self._roots: dict[str, int] = {}
        self._unnamed = 0
        self._invisible = 0
        self._builder: AnnBuilder | None = None

    def carry_out(self) -> Imported:
        """Import block by block, each durable before the next one begins; then make what makes searches fast."""
        self.reporter.start(self.source.rows, "vectors")
        try:
            self._import_all()
            self.reporter.stop()
            self._say_left_out()
            if self._builder:
                self._builder.finish()
        finally:
            self.reporter.stop()
            if self._builder:
                self._builder.stop()
        return self.result

    def _import_all(self) -> None:
        names = self.source.names()
        start = 0
        for block in self.source.blocks(block_rows(self.source)):
            files: list[_File] = []
            for row, named in enumerate(islice(names, len(block.rows))):
                if start + row not in self.bad:
                    files += self._find_files(row, named)
            if self._files:
                with closing(look_ahead(_read, files, _AHEAD)) as read:
                    files = [file for result in read if (file := self._checked(result))]
            if files:
                self._commit(files, unit_rows(block.rows))
            start += len(block.rows)
            self.reporter.advance(len(block.rows))

    def _say_left_out(self) -> None:
        if self._unnamed:
            self.reporter.say(f"and {self._unnamed:,} more that were skipped")
        if self._invisible:
            self.reporter.say(
                Message(
                    f"{self._invisible:,} of the files are hidden or RAW files: '",
                    Call("index_pictures"),
                    "' skips such files and removes them when it updates their folder",
                )
            )

    @property
    def _catalog(self) -> Catalog | None:
        return self._writer.catalog if isinstance(self._writer, IndexWriter) else None

    def _find_files(self, row: int, named: Named) -> list[_File]:
        """Find a row's files on the disk, all but those that the index has as they are."""
        found = []
        for path in named.paths:
            file, _ = self.resolver.file(path)
            state = _state(file)
            if state is not None and stat.S_ISLNK(state.st_mode):
                file = os.path.realpath(file)
                state = _state(file)
            root = self.resolver.root(file) if file else None
            if root is None:
                self._skip(path, "outside of the indexed folders")
            elif state is None and self._files:
                self._skip(path, "not there")
            elif state is not None and not stat.S_ISREG(state.st_mode):
                self._skip(path, "no regular file")
            else:
                source = self._source(file, root, state)
                if self._is_known(root, source):
                    self.result.unchanged += 1
                else:
                    content = None if self._files else named.sha256 or _stand_in_key(file, named.page)
                    found.append(_File(row, named, root, source, content))
        return found

    def _source(self, file: str, root: Root | str, state: os.stat_result | None) -> SourceFile:
        folder = root if isinstance(root, str) else root.path
        path = file[len(folder.rstrip(os.sep)) + 1 :]
        if state is None:
            return SourceFile(folder, path, _ABSENT, 0)
        return source_file(folder, path, state, self.resolver.device(file, folder))

    def _is_known(self, root: Root | str, source: SourceFile) -> bool:
        """Whether the index has a file as it is now, from an earlier import or from a run of the model."""
        id = self._roots.get(source.root) if isinstance(root, str) else root.id
        if id is None or self._catalog is None:
            return False
        row = self._catalog.file(id, source.path)
        return is_current(row, source)[0] and row is not None and row.content is not None

    def _checked(self, file: _File | Skipped) -> _File | None:
        """Return a file that was read, if it is the one that its vector was made of."""
        if isinstance(file, Skipped):
            self._skip(os.path.join(file.source.root, file.source.path), file.reason, file.detail)
            return None
        if file.named.sha256 not in (None, file.content):
            path = os.path.join(file.source.root, file.source.path)
            self._skip(path, "changed since its embedding was exported")
            return None
        return file

    def _commit(self, files: list[_File], vectors: Vectors) -> None:
        """Store the files of one block, and the vectors of those whose contents the index does not have."""
        if not isinstance(self._writer, IndexWriter):
            self._writer = self._writer()
        writer = self._writer
        if self._builder is None:
            self._builder = AnnBuilder(writer.data, writer.spec, self.reporter)
        contents: list[tuple[bytes, int, int, int]] = []
        rows: list[int] = []
        states: list[FileState] = []
        pending: set[tuple[bytes, int]] = set()
        for file in files:
            assert file.content is not None
            options = file.root.options if isinstance(file.root, Root) else self.resolver.options(file.root)
            self._invisible += not _is_visible(file.source.path, bool(options.get("include_hidden")))
            states.append(FileState(self._root_id(file.root, writer), file.source, file.content))
            key = file.content, file.named.page
            if key in pending or writer.catalog.locate(*key):
                self.result.reused += 1
                continue
            pending.add(key)
            contents.append((*key, file.named.width, file.named.height))
            rows.append(file.row)
            self.result.imported += 1
        every = len(rows) == len(vectors)  # and in order, so that nothing has to be copied
        writer.commit(contents, vectors if every else vectors[np.array(rows, np.int64)], states)
        self._builder.schedule()

    def _root_id(self, root: Root | str, writer: IndexWriter) -> int:
        if isinstance(root, Root):
            return root.id
        if root not in self._roots:
            self._roots[root] = writer.catalog.put_root(*self.resolver.new_root(root))
            self.reporter.say(
                Message(
                    f"{display_path(root)} is now an indexed folder: '",
                    Call("index_pictures"),
                    "' keeps it up to date",
                )
            )
        return self._roots[root]

    def _skip(self, path: str, reason: str, detail: str = "") -> None:
        self.result.skipped[reason] += 1
        if self.result.skipped.total() <= _MAX_NAMED:
            self.reporter.say(f"{display_path(path)}: {reason}" + (f" ({detail})" if detail else ""))
        else:
            self._unnamed += 1


def _read(file: _File) -> _File | Skipped:
    """Hash a file's bytes and find out its size in pixels, or say why they can't be had."""
    path = os.path.join(file.source.root, file.source.path)
    try:
        with open_source(path) as opened:
            # What counts is the file as it is read, which may be newer than what was looked at.
            source = source_file(file.source.root, file.source.path, opened.status, file.source.device)
            named = file.named
            if not named.width and not named.page:
                with suppress(PictureError):  # it has an embedding all the same
                    width, height = check_picture(opened.stream, path)
                    named = named._replace(width=width, height=height)
            return replace(file, named=named, source=source, content=opened.sha256)
    except PictureError as error:
        return Skipped(file.source, error.reason, error.detail)


def _is_visible(path: str, include_hidden: bool) -> bool:
    """Whether a walk takes in a file that is known, by its name, which is relative to its root."""
    return kind_of(path) != RAW and not any(is_hidden(name, include_hidden) for name in path.split(os.sep))


def _state(file: str) -> os.stat_result | None:
    try:
        if is_remote(file):
            return state_of(file)
        return deep.stat(file, follow_symlinks=False)
    except (OSError, ValueError, BucketError):
        return None


def _stand_in_key(file: str, page: int) -> bytes:
    """Return the key of a picture whose bytes nobody has looked at; no sha256 of a file is known to be the same."""
    return hashlib.sha256(b"imported:" + os.fsencode(file) + b"\0" + str(page).encode()).digest()


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import: ``files`` says that every picture is opened and hashed, ``skip_bad`` that bad rows are left out.

    ``model`` is the checkpoint that made the vectors, ``root`` the folder that new files belong to.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    root: str | None = None
    files: bool = True
    skip_bad: bool = False


def import_vectors(
    vectors: str,
    paths: str | None,
    folder: str,
    options: ImportOptions | None = None,
    reporter: Reporter | None = None,
) -> Imported:
    """Put vectors and the names of their pictures into the index in ``folder``, which is made if there is none.

    ``vectors`` is a .npy file (n, dim) with ``paths``, a list of as many paths; or a parquet file with the columns
    path and embedding. Everything is looked at first: if a row is bad nothing is written. Relative paths are
    relative to ``options.root``, else to the current folder. New files belong to that root, else to those that an
    export names, else to the deepest folder that holds them, after ``reporter`` has been told and asked. What was
    committed before an interruption stays, and a second run passes over it. A picture that the index has keeps the
    vector that it has.

    Raises DatasetError (bad rows, with the first of them), UsageError, FolderError, IndexMismatch, IndexLocked,
    IndexDamaged, StorageError, CheckpointError, MissingExtra.
    """
    started, options, reporter = time.monotonic(), options or ImportOptions(), reporter or Silent()
    if options.root == "":
        raise FolderError(Option("root"), ": the path is empty")
    source = _open_vectors(vectors, paths)
    with ExitStack() as stack:
        writer = stack.enter_context(IndexWriter(folder)) if manifest.exists(folder) else None
        spec = _spec(source, writer.spec if writer else None, options.model, folder, reporter)
        resolver = PathResolver(writer.catalog.roots() if writer else [], options.root, source.roots)
        faults = check(source, resolver, reporter)
        if faults.rows and not options.skip_bad:
            raise DatasetError(
                Message(f"{display_path(source.path)}: ", faults.text(), "; nothing was imported ("),
                Option("skip_bad", True),
                " skips these)",
            )
        if faults.rows:
            reporter.say(faults.text())
        if writer is None and (warning := layout.advice(folder)):
            reporter.say(warning)
        resolver.choose_new_root(options.files)
        if options.root is None and resolver.new is not None:
            _approve_root(resolver.new, reporter)
        importer = Importer(
            source,
            faults.rows,
            resolver,
            writer or (lambda: stack.enter_context(IndexWriter(folder, spec))),
            files=options.files,
            reporter=reporter,
        )
        result = importer.carry_out()
    result.seconds = time.monotonic() - started
    return result


def _approve_root(folder: str, reporter: Reporter) -> None:
    """Tell, and where that is possible ask, before a folder that nobody named becomes an indexed one."""
    choice = Option("root", metavar="DIR")
    what = f"the images will be indexed as part of {display_path(folder)}, the deepest folder that holds them all ("
    reporter.say(Message(what, choice, " chooses another)"))
    if not reporter.approve("Index this folder from now on?"):
        raise UsageError("nothing was imported; choose the folder to index with ", choice)


def _open_vectors(vectors: str, paths: str | None) -> VectorSource:
    """Look at a file of vectors, which its first bytes tell, and at the list of paths that a .npy file needs.

    Raises FolderError (not there, or no regular file), UsageError, DatasetError, MissingExtra.
    """
    name = display_path(vectors)
    with npy.open_file(vectors) as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith(npy.MAGIC):
            if paths is None:
                raise UsageError(
                    f"{name} has no file names; give the paths, one per line, with ",
                    Option("paths", metavar="FILE"),
                )
            with npy.open_file(paths):
                pass
            array = npy.open_array(vectors, file)
            return npy.ArraySource(array, paths, *npy.about_beside(array))
    if head.startswith(b"PAR1"):
        if paths is not None:
            raise UsageError(
                f"{name} is a Parquet file, which contains the paths itself; omit ", Option("paths")
            )
        return open_table(vectors)
    if head.startswith(b"PK"):
        raise DatasetError(
            f"{name} is an archive (.npz?); save one array: np.save('embeddings.npy', embeddings)"
        )
    raise DatasetError(f"{name} is neither a .npy file nor a Parquet file (pickles are never read)")


def _spec(
    source: VectorSource, have: IndexSpec | None, choice: ModelOptions, folder: str, reporter: Reporter
) -> IndexSpec:
    """Decide what the vectors were made with, say why, and refuse what the index was not made with."""
    want, why = _vectors_spec(source, have, choice, reporter)
    if have is not None and (found := manifest.differences(have, want)):
        raise IndexMismatch(
            f"the embeddings in {display_path(source.path)} do not fit the index in {folder}, which was made with "
            f"{'; '.join(found)}; import them into a separate index with ",
            Option("folder", metavar="DIR"),
        )
    if want.model == IMPORTED:
        reporter.say(
            Message(
                "it is unknown which model made the embeddings: only images can be searched for, not words (give ",
                Option("model", metavar="NAME|DIR"),
                " if you know it)",
            )
        )
    else:
        whose = f"assuming that the embeddings were made by {want.model} ({want.fingerprint[:8]}), "
        reporter.say(Message(whose, why))
    return have or want


def _vectors_spec(
    source: VectorSource, have: IndexSpec | None, choice: ModelOptions, reporter: Reporter
) -> tuple[IndexSpec, str]:
    if source.spec is not None and choice.model is None:
        return source.spec, f"according to {display_path(source.path)}"
    if choice.model is not None:
        base = source.spec or have
        if base is None:
            # Whoever made the embeddings has seen all images alike, most likely.
            alike = replace(choice, dim=source.dim, profile=choice.profile or "photos")
            return choose_spec(alike, reporter)[1], Message("as given with ", Option("model"))
        checkpoint = fetch_checkpoint(choice.model, choice.revision, reporter, force_model=choice.force_model)
        found = checkpoint.fingerprint
        named = replace(base, model=checkpoint.name, fingerprint=found, dim=source.dim)
        if source.spec and (wrong := manifest.differences(source.spec, named)):
            raise IndexMismatch(
                f"the embeddings in {display_path(source.path)} were made with {'; '.join(wrong)}"
            )
        return named, Message("as given with ", Option("model"))
    if have is not None:
        return replace(have, dim=source.dim), "the model of this index, as no other is named"
    return manifest.imported_spec(source.dim), ""
