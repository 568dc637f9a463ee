"""Use case: read every checksum of an index, name what is damaged and what that costs, and repair it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field

from imgsearch import deep
from imgsearch.errors import (
    FolderError,
    ImgsearchError,
    IndexDamaged,
    NothingToIndex,
    StorageError,
    rebuild_hint,
)
from imgsearch.fs import open_own
from imgsearch.index import generations, manifest
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.catalog import Catalog
from imgsearch.index.integrity import (
    Damage,
    Findings,
    LostFile,
    check,
    files_of,
    files_without_content,
    lost_files,
    repair,
)
from imgsearch.index.layout import CATALOGUE
from imgsearch.index.segments import HEADER_BYTES, header_says
from imgsearch.index.thumbs import ThumbStore
from imgsearch.index.writer import IndexWriter, lock_index
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.run import index_pictures
from imgsearch.spec import checkpoint_for
from imgsearch.text import Call, Message, format_bytes, plural
from imgsearch.types import IndexSpec, ModelOptions, Reporter, Silent

_TRIES = 8
# Up to so many pictures are embedded again by their names; for more of them, every folder is walked.
_BY_NAME = 1000


@dataclass(slots=True)
class IntegrityReport:
    """What a check found. ``lost`` holds by damage the pictures that lose their vectors by it.

    ``spec`` is what the index was made with, None if nothing says it any more. ``retained`` counts lost
    vectors that were only kept in case their files come back. ``repairable`` says whether ``repair_index`` can help;
    where it can't, only making the index anew does. ``waiting`` counts the files whose embeddings an earlier repair has
    taken out, and that were not indexed again since. ``seconds`` is how long it took.
    """

    folder: str
    data: str
    spec: IndexSpec | None = None
    damages: list[Damage] = field(default_factory=list)
    lost: dict[Damage, list[LostFile]] = field(default_factory=dict)
    retained: int = 0
    orphans: list[str] = field(default_factory=list)
    vectors: int = 0
    bytes: int = 0
    seconds: float = 0.0
    repairable: bool = True
    waiting: int = 0

    @property
    def lost_paths(self) -> list[str]:
        """The absolute paths of the pictures to embed again."""
        return [file.whole for file in self._lost_files()]

    def _lost_files(self) -> list[LostFile]:
        return [file for files in self.lost.values() for file in files]

    def summary(self) -> Message:
        """Say in one line how much was read, and what came of it."""
        read = f"{plural(self.vectors, 'embedding')} read"
        if self.bytes >= 1e8:  # less is a matter of a moment
            speed = self.bytes / max(self.seconds, 1e-9)
            read += f", {format_bytes(self.bytes)} at {format_bytes(speed)}/s"
        if not self.damages and self.waiting:
            wait = plural(self.waiting, "image has", "images have")
            run = Call("index_pictures", {"folder": self.folder})
            return Message(f"{wait} no embedding since a repair ({read}, all checksums match); run: ", run)
        if not self.damages:
            return Message(f"OK: {read}, all checksums match")
        what_now = (
            Message("repair the index with: ", Call("repair_index", {"folder": self.folder}))
            if self.repairable
            else Message("it can't be repaired; ", rebuild_hint(self.folder))
        )
        damaged, lost = plural(len(self.damages), "problem"), plural(len(self._lost_files()), "image")
        return Message(f"{damaged} found, {lost} to index again ({read}); ", what_now)


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair did: what it found, how many pictures are ``embedded`` again, and which are still ``left``."""

    report: IntegrityReport
    embedded: int = 0
    left: tuple[str, ...] = ()


def verify_index(folder: str, reporter: Reporter | None = None) -> IntegrityReport:
    """Read every checksum of the index in ``folder`` and return what is wrong. Takes no lock, changes nothing.

    What can't be opened to be searched is reported, too. Raises IndexMissing, IndexMismatch (an older or newer
    format), StorageError.
    """
    reporter, folder = reporter or Silent(), os.path.abspath(folder)
    for _ in range(_TRIES):
        stamp = manifest.stamp(folder)
        report = _check(folder, reporter)
        if not report.damages or not _moved_on(report, stamp):
            break
    return report


def repair_index(
    folder: str,
    model: ModelOptions | None = None,
    reporter: Reporter | None = None,
    show: Callable[[IntegrityReport], None] = lambda report: None,
) -> RepairResult:
    """Check the index in ``folder`` under the writer lock, repair what is damaged, and embed again what is lost.

    ``model`` says where the checkpoint lies and on which device it computes; ``show`` is told what was found before
    anything is changed. Pictures that are not there now, or an interrupted run, are left to the next
    call of ``index_pictures``. Raises IndexLocked, StorageError, and what ``index_pictures`` raises.
    """
    reporter, folder = reporter or Silent(), os.path.abspath(folder)
    if not manifest.exists(folder):
        manifest.load(folder)  # raises that there is no index
    with lock_index(folder):
        report = _check(folder, reporter, write=True)
        show(report)
        if not report.repairable:
            return RepairResult(report)
        if report.lost and report.spec and model and model.model:
            # Another model than the vectors' own is refused before anything is changed.
            checkpoint_for(folder, report.spec, model, reporter)
        for damage in report.damages:
            if damage.kind == "refused":
                raise StorageError(
                    f"{damage.path} {damage.what}: nothing was changed; make the file readable and try again"
                )
        _repair(report)
    if not report.damages and not report.orphans and not report.waiting:
        return RepairResult(report)
    with closing(Catalog(report.data)) as catalog:
        lost = lost_files(catalog)
    if lost:
        _embed(folder, lost, model or ModelOptions(), reporter)
    with IndexWriter(folder) as writer:  # which clears away what nothing names
        AnnBuilder(writer.data, writer.spec, reporter).finish()
        left = [file.whole for file in lost_files(writer.catalog)]
    return RepairResult(report, len(lost) - len(left), tuple(left))


def _check(folder: str, reporter: Reporter, write: bool = False) -> IntegrityReport:
    began = time.monotonic()
    report = _manifest(folder)
    try:
        with closing(Catalog(report.data, write=write)) as catalog:
            try:
                found = check(
                    catalog, report.spec, lambda size: reporter.start(size, "bytes"), reporter.advance
                )
            finally:
                reporter.stop()
            _add_findings(report, found, catalog)
            if not any(damage.kind == "catalogue" for damage in found.damages):
                report.waiting = len(lost_files(catalog))
    except IndexDamaged as error:
        path = os.path.join(report.data, CATALOGUE)
        what = "is missing" if not os.path.exists(path) else f"can't be read ({error.__cause__ or error})"
        report.damages.append(Damage("catalogue", path, what))
    for number, damage in enumerate(report.damages):
        if damage.kind == "catalogue":
            report.repairable = False
            cost = f"{damage.what}: its {_stored(report.data):,} embeddings can no longer be matched to their images"
            report.damages[number] = Damage("catalogue", damage.path, cost)
    report.damages += [
        Damage("thumbnail", path, "is damaged; it is made again when it is needed")
        for path in ThumbStore(folder).damaged()
    ]
    report.seconds = time.monotonic() - began
    return report


def _manifest(folder: str) -> IntegrityReport:
    """Find the data folder and the spec; by the copy of the manifest, if that itself is damaged."""
    try:
        spec, data = manifest.load(folder)
        return IntegrityReport(folder, data, spec)
    except IndexDamaged:
        path = os.path.join(folder, manifest.NAME)
        what = "is damaged" if os.path.exists(path) else "is missing"
        copy = generations.manifest_copy(folder)
        if copy:
            spec, data = manifest.parse(copy[0], folder)
            damage = Damage("manifest", path, f"{what}; the catalogue has a copy")
            return IntegrityReport(folder, data, spec, [damage])
        what += ": it is unknown which model made the embeddings"
        return IntegrityReport(folder, folder, None, [Damage("manifest", path, what)], repairable=False)


def _add_findings(report: IntegrityReport, found: Findings, catalog: Catalog) -> None:
    """Put what was found into the report, with the pictures that it costs."""
    report.damages += found.damages
    report.orphans = found.orphans
    report.vectors, report.bytes = found.vectors, found.bytes
    known: set[tuple[int, str]] = set()
    for damage in found.damages:
        files: list[LostFile] = files_without_content(catalog) if damage.kind == "files" else []
        for content in damage.contents:
            having = files_of(catalog, content)
            report.retained += not having
            files += having
        new = [file for file in files if (file.root, file.path) not in known]
        known.update((file.root, file.path) for file in new)
        if new:
            report.lost[damage] = new


def _moved_on(report: IntegrityReport, stamp: tuple[int, int]) -> bool:
    """Whether a writer has meanwhile taken away what seemed damaged: then it must be looked at again."""
    if manifest.stamp(report.folder) != stamp:
        return True
    missing = {damage.segment for damage in report.damages if damage.kind == "missing"}
    ann_files = {os.path.basename(damage.path) for damage in report.damages if damage.kind == "ann"}
    if not missing and not ann_files:
        return False
    with closing(Catalog(report.data)) as catalog:
        numbers = {number for number, _ in catalog.segments()}
        names = {one.name for one in catalog.ann_files().values()}
    return not (missing <= numbers and ann_files <= names)


def _stored(data: str) -> int:
    """Return how many vectors there are by the sizes of the segments' files."""
    total = 0
    folder = os.path.join(data, "vectors")
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        try:
            with os.fdopen(open_own(os.path.join(folder, name)), "rb") as file:
                if header := header_says(file.read(HEADER_BYTES)):
                    total += (os.fstat(file.fileno()).st_size - HEADER_BYTES) // (2 * header[0])
        except OSError:
            pass  # this is only to say about how much there is
    return total


def _repair(report: IntegrityReport) -> None:
    if any(damage.kind == "manifest" for damage in report.damages):
        copy = generations.manifest_copy(report.folder)
        assert copy is not None  # else it would not be repairable
        manifest.put(report.folder, copy[0])
    for damage in report.damages:
        if damage.kind == "thumbnail":
            with suppress(OSError):  # it is gone, or nobody's to delete
                os.unlink(damage.path)
    rest = Findings([damage for damage in report.damages if damage.kind not in ("manifest", "thumbnail")])
    if rest.damages:
        spec = manifest.read(report.folder)
        with closing(Catalog(report.data, write=True)) as catalog:
            repair(catalog, rest, spec)


def _embed(folder: str, lost: Iterable[LostFile], model: ModelOptions, reporter: Reporter) -> None:
    """Embed again what is there now; the rest is for the next run that finds it."""
    present = [file.whole for file in lost if deep.isfile(file.whole) and deep.is_readable(file.whole)]
    if not present:
        return
    paths = present if len(present) <= _BY_NAME else []
    try:
        index_pictures(paths, folder, IndexOptions(model=model, prune=False), reporter)
    except (FolderError, NothingToIndex) as error:
        reporter.say(error.as_message)  # it went away, or a pattern leaves it out by now
    except ImgsearchError:
        reporter.say(
            Message(
                f"removed the damaged parts; to index {len(present):,} again: ",
                Call("index_pictures", {"folder": folder}),
            )
        )
        raise
