"""The work of one run, under the writer lock: decode, batch, embed, commit as it goes, prune at the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from imgsearch.errors import MissingExtra, ModelOutOfMemory, NonFiniteError, OutOfResources
from imgsearch.files.walk import TILES
from imgsearch.fs import is_at_or_below
from imgsearch.index import image_text, metadata, side_db
from imgsearch.index.ann.builder import AnnBuilder
from imgsearch.index.catalog import Catalog
from imgsearch.index.rows import EMBEDDING_STAYS, TRANSIENT, UNFINISHED, FileState
from imgsearch.index.writer import DELETED_SHARE, Compaction, IndexWriter
from imgsearch.indexing.batches import Batches, pages_of
from imgsearch.indexing.crashes import CRASHED, DecodingNote
from imgsearch.indexing.decode import EMPTY, Decoded, DocumentWork, Hashed, Part, decode_ahead, ignore
from imgsearch.indexing.derived import ocr
from imgsearch.indexing.derived.hashes import hash_missing
from imgsearch.indexing.derived.metadata import make_words, read_missing
from imgsearch.indexing.derived.texts import TextPass, is_wanted
from imgsearch.indexing.derived.thumbs import ThumbMaker
from imgsearch.indexing.documents.opened import OpenDocument, options_of
from imgsearch.indexing.documents.progress import DocumentProgress
from imgsearch.indexing.gentle.pauses import Pauses
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.pace import Pace
from imgsearch.indexing.plan import Plan
from imgsearch.indexing.workers import Workers, command_of
from imgsearch.media.documents import said
from imgsearch.text import Call, Message, display_path, plural
from imgsearch.types import (
    MAX_MEGAPIXELS,
    ImageEncoder,
    Input,
    Metadata,
    PixelHash,
    Prepare,
    Reporter,
    Skipped,
    SourceFile,
    Vectors,
)

# A kill loses at most one batch or this much work. A commit costs two syncs, so fast batches share one.
COMMIT_SECONDS = 5.0
_DROPPED_AT_ONCE = 1000
_REFRESHED_AT_ONCE = 10_000
T = TypeVar("T")


@dataclass(slots=True)
class _Uncommitted:
    """What the next commit takes: new contents, each with ``vectors`` and ``pixels``, and what is known of files."""

    contents: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    pixels: list[PixelHash] = field(default_factory=list)
    kinds: list[tuple[str, str]] = field(default_factory=list)
    files: list[FileState] = field(default_factory=list)
    hashes: set[bytes] = field(default_factory=set)
    pages: set[tuple[bytes, int]] = field(default_factory=set)


class Ingest:
    """One run over a plan, under the writer lock."""

    def __init__(
        self,
        writer: IndexWriter,
        plan: Plan,
        options: IndexOptions,
        reporter: Reporter,
        pauses: Pauses | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Take the open index and the plan to carry out; without ``pauses`` the run neither waits nor stops.

        With ``workers`` files are decoded and embedded there.
        """
        self.workers = workers
        self.command = command_of(workers)
        self.writer, self.plan, self.options, self.reporter = writer, plan, options, reporter
        self.pauses = pauses or Pauses(reporter)
        self.result = IndexResult(
            unchanged=plan.unchanged,
            unchanged_errors=plan.unchanged_errors,
            kept=plan.kept,
            not_read=plan.other_files,
            left_alone=plan.left_alone,
        )
        self.note = DecodingNote(writer.folder)
        self.root_ids: dict[str, int] = {}
        self.batches = Batches()
        self.documents: dict[OpenDocument, DocumentProgress] = {}
        self.finished: set[tuple[bytes, str]] = set()
        """Documents that were read to their end, by sha256 and ``reading``: a copy of one needs no reading."""
        self.told: dict[tuple[bytes, str], str] = {}
        """What is missing of files that were read, by the same: as much is missing of a copy."""
        self.unreadable: dict[bytes, tuple[str, str]] = {}
        """Documents without a page that can be read, and why: a copy is no better."""
        self.how = {root.path: options_of(root.options, options.max_megapixels) for root in plan.roots}
        self.uncommitted = _Uncommitted()
        self.committed_at = time.monotonic()
        self.builder = AnnBuilder(writer.data, writer.spec, reporter)
        limit = options.max_megapixels or MAX_MEGAPIXELS
        self.thumbs = ThumbMaker(writer, limit) if options.thumbs else None

    def carry_out(self, load: Callable[[], ImageEncoder]) -> IndexResult:
        """Embed what is to do, commit as it goes, and prune at the end.

        ``load`` is called when the first picture turns out to be one that the index does not have: files that
        were moved, copied, touched or can't be read need no model.
        """
        try:
            self._put_roots()
            for some in _in_parts(self.plan.to_refresh, _REFRESHED_AT_ONCE):
                self.writer.catalog.refresh_files(some)
            read_missing(self.writer, self.root_ids, self.reporter)
            make_words(self.writer, self.reporter)
            if self.plan.to_do:
                self._embed_all(load)
            self._commit()
            if self.options.reread:
                reread, limit = self.options.reread, self.options.max_megapixels
                hash_missing(self.writer, self.root_ids, reread, limit, self.reporter)
            self._prune()
            walked = self.plan.others_in.items()
            others = {self.root_ids[root]: counts for root, counts in walked if root in self.root_ids}
            self.writer.catalog.put_not_read(others)
            tidy(self.writer, self.builder, self.reporter, before=self.writer.retained_before())
            if self.thumbs:
                self.thumbs.make_missing(self.root_ids, self.reporter)
                self.result.thumbnails = self.thumbs.made
            self._read_texts()
        finally:
            self.note.close()
            self.builder.stop()
        return self.result

    def _read_texts(self) -> None:
        """Read the text in images, if this or an earlier run was asked to."""
        catalog, asked = self.writer.catalog, self.options.ocr
        wanted = is_wanted(self.writer) if asked is None else asked
        if wanted != image_text.is_wanted(catalog.database):
            with catalog.transaction() as db:
                image_text.set_wanted(db, wanted)
        if not wanted:
            return
        if asked is None and not ocr.is_installed():
            missing = MissingExtra("that", "ocr").as_message
            self.reporter.say(Message("the text in images is not read: ", missing))
            return
        limit = self.options.max_megapixels
        reading = TextPass(self.writer, self.root_ids, limit, self.reporter, self.how, self.pauses.check)
        self.result.texts = reading.carry_out(ocr.load_reader).read

    def _put_roots(self) -> None:
        for root in self.plan.roots:
            drive, catalog = root.drive, self.writer.catalog
            id = catalog.put_root(
                root.path, root.stored_options(), drive.point, drive.name, devices=root.devices
            )
            if root.split_from:
                below = os.path.relpath(root.path, root.split_from.path)
                catalog.split_root(root.split_from.id, below, id, root.inherited)
            self.root_ids[root.path] = id

    def _embed_all(self, load: Callable[[], ImageEncoder]) -> None:
        # The decoding threads ask through a connection of their own: the writer's is in transactions.
        catalog, one_at_a_time = Catalog(self.writer.data), threading.Lock()

        def is_known(sha256: bytes) -> bool:
            with one_at_a_time:
                return catalog.locate(sha256) is not None

        def is_complete(sha256: bytes, reading: str) -> bool:
            with one_at_a_time:
                return catalog.is_complete(sha256, reading)

        def pages(sha256: bytes) -> set[int]:
            with one_at_a_time:
                return catalog.page_numbers(sha256)

        work = DocumentWork(lambda source: self.how[source.root], is_complete, pages)
        try:
            done = 0
            if self.workers is None:
                self._sort_out_suspects()
                done = self._take_known(is_known, work)
            if done < len(self.plan.to_do):
                self._commit()
                # In the main thread, where Ctrl-C ends even a long load or download.
                encoder = load()
                self._embed_rest(encoder, is_known, work, done)
        except KeyboardInterrupt as stopped:
            # What has been computed is kept; what has not, the next run does.
            self._commit()
            indexed = self.result.indexed + self.result.reused
            images = f"{indexed:,} of {len(self.plan.to_do):,} images indexed"
            why = f"{str(stopped) or 'interrupted'}: {images}. Run the same command to continue"
            raise type(stopped)(why) from None
        except (ModelOutOfMemory, OutOfResources):
            # Memory that is too small for one image is so for all of them, since the pixel budget is the same: so that
            # ends the run. And file handles or threads that have run out are no property of a file.
            self._commit()
            raise
        finally:
            with one_at_a_time:  # a thread that is not waited for may still ask
                catalog.close()

    def _sort_out_suspects(self) -> None:
        """Skip what ended imgsearch twice, and have first what may have done so once."""
        rest = []
        for source in self.plan.to_do:
            path = os.path.join(source.root, source.path)
            again = self.options.retry or any(is_at_or_below(path, one) for one in self.options.reread)
            if again or not self.note.is_culprit(source):
                rest.append(source)
                continue
            self.result.skipped[CRASHED] += 1
            self._note(source, error=CRASHED, detail="imgsearch ended twice while it was decoding this file")
            retry = Call("IndexOptions", {"reread": [path]})
            self.reporter.say(
                Message(
                    f"skipped: {display_path(path)} (imgsearch ended twice while it was decoding this file); "
                    "to try it again: ",
                    Call("index_pictures", {"folder": self.writer.folder, "options": retry}),
                )
            )
        self._commit()
        self.plan.to_do = sorted(rest, key=lambda source: not self.note.is_suspect(source))

    def _take_known(self, is_known: Callable[[bytes], bool], work: DocumentWork) -> int:
        """Take in the files up to the first whose content the index does not have; return how many that were.

        They need no model: moved, copied, touched, or unreadable.
        """
        files = self._decoded(self.plan.to_do, None, is_known, work, ahead=16)
        self.reporter.start(len(self.plan.to_do), "images")
        done = 0
        try:
            with closing(files):
                for file in files:
                    if isinstance(file, Hashed) and not file.known:
                        break
                    self._take(file, None)
                    done += 1
        finally:
            self.reporter.stop()
        return done

    def _embed_rest(
        self, encoder: ImageEncoder, is_known: Callable[[bytes], bool], work: DocumentWork, done: int
    ) -> None:
        to_do = self.plan.to_do[done:]
        if self.workers is None:
            files = self._decoded(to_do, encoder.prepare, is_known, work, ahead=2 * self._size(encoder) + 2)
        else:
            files = self.workers.results(self.writer, self.how, to_do)
        self.reporter.wait("Preparing the model")
        if why := encoder.expect(len(to_do)):
            self.reporter.detail(why)
        self.reporter.start(len(to_do), "images")
        if moved := side_db.moved(self.writer.folder, self.command, encoder.runtime):
            self.reporter.say(moved)
        reused, began = self.result.reused, time.monotonic() - self.pauses.total
        recomputed = encoder.recomputed
        pace = Pace(self.writer.folder, encoder, self.options, self.reporter, model=self.writer.spec.model)
        try:
            with closing(files):
                asked = time.monotonic()
                done = 0
                for file in files:
                    self.result.waiting += time.monotonic() - asked
                    self._take(file, encoder)
                    done += not isinstance(file, Part) or file.is_last
                    if not self.result.pages:  # who knows how many the other documents have
                        pace.tell(done - len(self.batches), len(to_do), self.result.embedding)
                    asked = time.monotonic()
                self._embed(encoder)
        finally:
            self.reporter.stop()
            self.result.batch = self._size_text(encoder)
            # A rate to guess the next run by: only from a run that was mostly embedding.
            enough = self.result.indexed >= 8 and self.result.indexed > self.result.reused - reused
            worked = time.monotonic() - began - self.pauses.total
            rate = self.result.indexed / max(worked, 1e-9)
            self.result.recomputed = encoder.recomputed - recomputed
            if self.writer.is_there:
                rows = self.result.pages + self.result.indexed
                side_db.record_recomputed(self.writer.folder, self.result.recomputed, rows)
                side_db.record_run(self.writer.folder, self.command, encoder.runtime, rate if enough else 0.0)

    def _decoded(
        self,
        to_do: Sequence[SourceFile],
        prepare: Prepare | None,
        is_known: Callable[[bytes], bool],
        work: DocumentWork,
        ahead: int,
    ) -> Generator[Decoded | Hashed | Skipped | Part, None, None]:
        limit = self.options.max_megapixels or MAX_MEGAPIXELS
        how = prepare, is_known, self.writer.spec.budgets, limit
        if prepare is None:
            yield from decode_ahead(to_do, *how, ahead, documents=work)
            return
        seen = self.thumbs.keep if self.thumbs else ignore
        suspects = [source for source in to_do if self.note.is_suspect(source)]
        yield from decode_ahead(suspects, *how, 1, self.note.decoding, seen, work)
        yield from decode_ahead(to_do[len(suspects) :], *how, ahead, self.note.decoding, seen, work)

    def _size(self, encoder: ImageEncoder) -> int:
        """Return how many pictures make a batch."""
        return self.options.batch_size or encoder.batch_size

    def _size_text(self, encoder: ImageEncoder) -> str:
        """Say how many pictures made a batch at last, and why."""
        reason = "as asked for" if self.options.batch_size else encoder.batch_reason
        return f"{self._size(encoder)} ({reason})"

    def _take(self, file: Decoded | Hashed | Skipped | Part, encoder: ImageEncoder | None) -> None:
        """Take in a file, or a part of one; only what has been decoded needs the encoder."""
        if isinstance(file, Skipped):
            self._skip(file)
        elif isinstance(file, Part):
            assert encoder is not None
            self._take_part(file, encoder)
        elif isinstance(file, Hashed) and not file.known:
            if encoder is not None:
                self._embed(encoder)  # which finishes the document that this is a copy of
            if (file.sha256, file.source.reading) in self.finished:
                self._take_copy(file)
            elif file.sha256 in self.unreadable:
                self._skip(Skipped(file.source, *self.unreadable[file.sha256]))
        elif isinstance(file, Decoded) and encoder is not None and file.is_paged:
            self._take_pages(file, encoder)
        elif isinstance(file, Hashed) or encoder is None or self._has(file.sha256):
            self._take_copy(file)
        elif self.batches.has_content(file.sha256):
            self._embed(encoder)
            self._take(file, encoder)
        else:
            self.batches.add(file)
            self._embed_if_full(encoder)
        if time.monotonic() - self.committed_at >= COMMIT_SECONDS:
            self._commit()
        self.pauses.check(self._commit)

    def _take_copy(self, file: Decoded | Hashed) -> None:
        """Take in a file whose content needs no embedding."""
        self.result.reused += 1
        self.reporter.advance(1, _folder(file.source))
        told = file.metadata or metadata.get(self.writer.catalog.database, file.sha256)
        key = file.sha256, file.source.reading
        own = file.note if isinstance(file, Decoded) else ""
        detail = own or self.told.get(key) or self.writer.catalog.detail_of(*key)
        self._note(file.source, file.sha256, detail=detail, metadata=told)

    def _take_pages(self, file: Decoded, encoder: ImageEncoder) -> None:
        """Take in an image file of which other pages may have been asked for before: those that are new."""
        if self.batches.has_content(file.sha256):
            self._embed(encoder)
        if file.source.reading:  # else all of them are asked for
            asked, root = {page.page for page in file.pages}, self.root_ids[file.source.root]
            self.writer.catalog.keep_pages(file.sha256, asked, file.source.reading, root)
        new = tuple(page for page in file.pages if not self._has_page(file.sha256, page.page))
        if new:
            self.batches.add(replace(file, pages=new))
            self._embed_if_full(encoder)
        else:
            self._take_copy(file)

    def _take_part(self, part: Part, encoder: ImageEncoder) -> None:
        """Take in a page of a document."""
        progress = self.documents.setdefault(part.document, DocumentProgress(part.document))
        sha256 = part.document.sha256
        new = [page for page in pages_of(part) if not self._has_page(sha256, page.page)]
        progress.tiles.update(page.page for page in part.tiles)
        if part.failure:
            progress.failures.append((part.failure.reason, part.failure.detail))
        elif not new:
            progress.known += 1
        else:
            page = part.page if part.page in new else None
            self.batches.add(replace(part, page=page, tiles=tuple(one for one in new if one is not page)))
            progress.waiting += 1
        progress.ended = part.is_last
        self._finish_if_done(progress)
        self._embed_if_full(encoder)

    def _embed_if_full(self, encoder: ImageEncoder) -> None:
        for files in self.batches.ready(self._size(encoder)):
            self._embed_alike(files, encoder)

    def _has_page(self, sha256: bytes, page: int) -> bool:
        """Whether a page of a document is there, or about to be: a copy of it may be in work at the same time."""
        return (
            self.batches.has_place(sha256, page)
            or (sha256, page) in self.uncommitted.pages
            or self.writer.catalog.locate(sha256, page) is not None
        )

    def _tell_progress(self, progress: DocumentProgress) -> None:
        """Tell how far a document is; note, with the first of its pages, that more are to come."""
        document = progress.document
        done = progress.known + progress.embedded + len(progress.failures)
        if len(document.places) > 1:
            where = os.path.join(_folder(document.source), os.path.basename(document.source.path))
            self.reporter.advance(0, f"{where}, page {done:,} of {len(document.places):,}")
        if not progress.begun and not (progress.ended and not progress.waiting):
            progress.begun = True
            more = f"{len(document.places):,} pages, not all of them indexed yet"
            self._note(
                document.source,
                document.sha256,
                detail=f"unfinished: {more}",
                metadata=document.metadata,
                reading=UNFINISHED,
            )

    def _finish_if_done(self, progress: DocumentProgress) -> None:
        """Note what came of a document once none of its pages is to come or waits for the model."""
        if not progress.ended or progress.waiting:
            return
        document = progress.document
        self.documents.pop(document, None)
        done = progress.known + progress.embedded
        if not done:
            why = progress.failures[0] if progress.failures else (EMPTY, "")
            self.unreadable[document.sha256] = why
            self._skip(Skipped(document.source, *why))
            return
        reading = document.source.reading
        if any(reason in TRANSIENT for reason, _ in progress.failures):
            reading = UNFINISHED  # the next run tries again
        else:
            self.finished.add((document.sha256, reading))
        pages = {place.page for place in document.places} | progress.tiles
        root = self.root_ids[document.source.root]
        self.writer.catalog.keep_pages(document.sha256, pages, document.source.reading, root)
        detail = self.told[document.sha256, reading] = progress.missing
        self._note(
            document.source,
            document.sha256,
            detail=detail,
            metadata=document.metadata,
            reading=reading,
        )
        self.result.lost_pages += len(progress.failures)
        if progress.embedded:
            self.result.indexed += 1
        else:
            self.result.reused += 1
        self.reporter.advance(1, _folder(document.source))

    def _has(self, sha256: bytes) -> bool:
        """Whether the index has got a content since its file was decoded ahead, or gets it with the next commit."""
        return sha256 in self.uncommitted.hashes or self.writer.catalog.locate(sha256) is not None

    def _note(
        self,
        source: SourceFile,
        content: bytes | None = None,
        error: str | None = None,
        detail: str = "",
        metadata: Metadata | None = None,
        reading: str | None = None,
    ) -> None:
        """Have the next commit say what was found out about a file; its ``reading``, if not given, is as asked for."""
        self.note.settle(source)
        reading = source.reading if reading is None else reading
        state = FileState(self.root_ids[source.root], source, content, error, detail, metadata, reading)
        self.uncommitted.files.append(state)

    def _skip(self, skipped: Skipped) -> None:
        self.result.skipped[skipped.reason] += 1
        source = skipped.source
        self.reporter.advance(1, _folder(source))
        if skipped.reason in TRANSIENT or skipped.reason.startswith("needs imgsearch-vl"):
            # It may well be readable again tomorrow: what is known of it stays, a vanished file is not recorded.
            row = self.writer.catalog.file(self.root_ids[source.root], source.path)
            if skipped.reason == "vanished":
                return
            if row and row.content:
                known = replace(
                    source,
                    size=row.size,
                    mtime_ns=row.mtime_ns,
                    inode=row.inode,
                    ctime_ns=row.ctime_ns,
                    sidecar_state=row.sidecars,  # else a sidecar that came meanwhile would pass for read
                )
                why = "; ".join(filter(None, (skipped.detail, EMBEDDING_STAYS)))
                told = f"{skipped.reason}: {why}"
                self._note(known, row.content, detail=told, reading=row.reading)
                return
        self._note(source, error=skipped.reason, detail=skipped.detail)

    def _embed(self, encoder: ImageEncoder) -> None:
        """Turn all that waits into vectors."""
        for files in self.batches.ready():
            self._embed_alike(files, encoder)

    def _embed_alike(self, files: list[Decoded | Part], encoder: ImageEncoder) -> None:
        """Turn some of the batch into vectors; an input without a finite one is skipped and the rest done again."""
        while files:
            pages = [(file, page) for file in files for page in pages_of(file)]
            # Files of many pages make batches that are larger than what fits into memory at a time.
            size = max(1, int(self._size(encoder) / max(page.weight for _, page in pages)))
            prompt = self.writer.spec.document_prompt
            began = time.monotonic()
            try:
                inputs = [Input(image=page.prepared, instruction=prompt) for _, page in pages]
                vectors = encoder.embed(inputs, batch_size=size)
            except NonFiniteError as error:
                for file in dict.fromkeys(pages[row][0] for row in error.rows):
                    files.remove(file)
                    self.batches.remove(file)
                    if isinstance(file, Decoded):
                        self._skip(Skipped(file.source, "no finite vector"))
                    else:
                        self._lose(file, "no finite vector")
                continue
            finally:
                self.result.embedding += time.monotonic() - began
            with _uninterrupted():
                self.uncommitted.vectors.append(vectors)
                for file, page in pages:
                    sha256 = file.document.sha256 if isinstance(file, Part) else file.sha256
                    self.uncommitted.contents.append((sha256, page.page, page.width, page.height))
                    self.uncommitted.pixels.append(page.hash)
                    self.uncommitted.kinds.append((page.kind, page.name))
                    self.uncommitted.hashes.add(sha256)
                    self.uncommitted.pages.add((sha256, page.page))
                    self.result.as_pages[page.as_page] += bool(page.as_page)
                for file in files:
                    self.batches.remove(file)
                for file in files:
                    self._embedded(file)
            break

    def _embedded(self, file: Decoded | Part) -> None:
        """Note a file that has been embedded, or a page of one."""
        if isinstance(file, Decoded):
            self.told[file.sha256, file.source.reading] = file.note
            self._note(file.source, file.sha256, detail=file.note, metadata=file.metadata)
            self.result.indexed += 1
            self.reporter.advance(1, _folder(file.source))
            return
        progress = self.documents[file.document]
        progress.waiting -= 1
        progress.embedded += 1
        self.result.pages += bool(
            file.page and file.page.kind
        )  # an image that is read as documents are has none
        if file.page and file.page.note:
            progress.notes.append(f"{said(file.place)}: {file.page.note}")
        self._tell_progress(progress)
        self._finish_if_done(progress)

    def _lose(self, part: Part, reason: str) -> None:
        """Count a page as one that failed after it had been decoded."""
        progress = self.documents[part.document]
        progress.waiting -= 1
        progress.failures.append((reason, said(part.place)))
        self._finish_if_done(progress)

    def _commit(self) -> None:
        """Store what has been embedded and found out since the last commit; Ctrl-C waits until that is done."""
        with _uninterrupted():
            new = self.uncommitted
            if new.contents or new.files:
                none = np.empty((0, self.writer.spec.dim), np.float32)
                vectors = np.concatenate([none, *new.vectors])
                self.writer.commit(new.contents, vectors, new.files, new.pixels, new.kinds)
                self.builder.schedule()
            if self.workers is not None:
                self.workers.committed()
            self.uncommitted = _Uncommitted()
            self.committed_at = time.monotonic()

    def _prune(self) -> None:
        if self.result.reused:  # else nothing has changed what is asked for of a file that is known
            self.writer.catalog.drop_tiles(TILES)
        for some in _in_parts(self.plan.to_prune, _DROPPED_AT_ONCE):
            self.writer.catalog.drop_files(some)
        self.result.pruned = len(self.plan.to_prune)


def _in_parts(items: list[T], most: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most so many, which one transaction takes."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _folder(source: SourceFile) -> str:
    """Return the folder of a file as a person knows it: in its root, or the root's own name."""
    return os.path.dirname(source.path) or os.path.basename(source.root)


def tidy(
    writer: IndexWriter,
    builder: AnnBuilder,
    reporter: Reporter,
    share: float = DELETED_SHARE,
    before: float | None = None,
) -> Compaction:
    """Reclaim the disk space of deleted rows where there are many, and bring the ANN files up to date."""
    done = Compaction()
    if writer.segments_to_compact(share, before):
        builder.join()
        reporter.start(0, "embeddings moved")
        try:
            done = writer.compact(share, before, reporter.advance)
        finally:
            reporter.stop()
        deleted = plural(done.dropped, "deleted image", "deleted images")
        reporter.say(f"reclaimed the disk space of {deleted}")
    builder.finish()
    return done


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the block is done, so that what is kept and what is committed always agree."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
