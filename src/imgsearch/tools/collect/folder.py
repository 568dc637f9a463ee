"""Results copied or linked into a folder, beside what is in it, with a list of them (CSV).

No file of the folder is ever replaced: what has a name that is taken gets another, as in `lake (2).jpg`, and an image
that is there already, with the very same bytes, is left as it is. So a run that was interrupted can be repeated, and
two may run at once.
"""

from __future__ import annotations

import base64
import csv
import errno
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import BinaryIO, cast

from imgsearch import deep
from imgsearch.addresses import is_remote
from imgsearch.errors import FolderError, ImgsearchError, PictureError
from imgsearch.files.open import open_regular, open_source
from imgsearch.fs import is_at_or_below, put_beside_others
from imgsearch.text import display_path, error_line
from imgsearch.tools.collect import Result, partial
from imgsearch.types import Reporter, Silent, is_utf8

MANIFEST = "imgsearch-results.csv"
"""The name of the list, which has a line for each result: rank, score, source and target."""
_MOST_BYTES = 255  # of a file's name
_CHUNK = 1 << 20
# The folder takes no more, whatever the file; other errors are of one file and its name.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FATAL = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


@dataclass(slots=True)
class Collected:
    """What is in ``folder`` now, and what is not.

    ``targets`` has the file or link in the folder of each path that is there: ``made`` of them are new, of these
    ``renamed`` under another name than the image's own. ``failed`` has the reason for each path that could not be read.
    ``stopped`` is why nothing more could be written, "" if nothing stopped it. ``manifest`` is the list, "" if it could
    not be written.
    """

    folder: str
    targets: dict[str, str] = field(default_factory=dict)
    made: int = 0
    renamed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    manifest: str = ""

    def _note(self, source: str, target: str, *, new: bool) -> None:
        self.targets[source] = target
        self.made += new
        self.renamed += new and os.path.basename(target) != os.path.basename(source)


class _Unreadable(Exception):
    """An image that can't be collected; the message is why."""


def copy_to(folder: str, results: Sequence[Result], reporter: Reporter | None = None) -> Collected:
    """Copy the files of results into a folder, which is made if it is missing; their times stay.

    Raises FolderError if there can be no such folder. What goes wrong later is told by the result.
    """
    return _collect(folder, results, _copy, reporter)


def link_to(folder: str, results: Sequence[Result], reporter: Reporter | None = None) -> Collected:
    """Make symbolic links to the files of results, by their absolute paths; as ``copy_to``.

    Raises FolderError also if the file system there has no symbolic links.
    """
    return _collect(folder, results, _link, reporter)


def indexed_folder(folder: str, results: Sequence[Result]) -> str | None:
    """Return the indexed folder of the results' indexes that holds ``folder``, if any does."""
    from imgsearch.index.reader import ImageIndex

    real = os.path.realpath(folder)
    for index in dict.fromkeys(result.index for result in results if result.index):
        with suppress(ImgsearchError), ImageIndex(index) as opened:
            for root in opened.catalog.roots():
                if is_at_or_below(real, root.path):
                    return root.path
    return None


def _collect(
    folder: str,
    results: Sequence[Result],
    put: Callable[[str, str], tuple[str, bool]],
    reporter: Reporter | None,
) -> Collected:
    folder, reporter = os.path.abspath(folder), reporter or Silent()
    _make(folder)
    done = Collected(folder)
    reporter.start(len(results), "images")
    try:
        for result in results:
            if result.path not in done.targets and result.path not in done.failed:
                try:
                    target, new = put(result.path, folder)
                    done._note(result.path, target, new=new)
                except _Unreadable as error:
                    done.failed[result.path] = str(error)
                except OSError as error:
                    if error.errno in _FATAL:
                        done.stopped = "the disk is full" if error.errno in _FULL else error_line(error)
                        break
                    done.failed[result.path] = f"the folder takes no such file: {error_line(error)}"
            reporter.advance()
    finally:  # also after Ctrl-C: what is there is listed
        reporter.stop()
        if done.targets:
            with suppress(OSError):
                done.manifest = _write_manifest(folder, results, done.targets)
    return done


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise FolderError(f"{display_path(folder)} is not a folder; name another one") from error
    except OSError as error:
        raise FolderError(
            f"the folder {display_path(folder)} could not be made: {error_line(error)}"
        ) from error


def _copy(source: str, folder: str) -> tuple[str, bool]:
    """Copy a file into a folder; return its path there, and whether it is new. Raises _Unreadable; OSError if full."""
    with _opened(source) as (file, state):
        for name in _names(os.path.basename(source)):
            target = os.path.join(folder, name)
            if not os.path.lexists(target):
                break
            if _is_copy(file, state, target):
                return target, False
        # As the umask allows, which create_own applies; nobody needs to run an image.
        mode = 0o666 if is_remote(source) else stat.S_IMODE(state.st_mode) & 0o666 | 0o400
        with partial(folder, mode) as (beside, out):
            file.seek(0)
            while data := _read(file):
                out.write(data)
            out.flush()
            with suppress(OSError):  # some network shares
                os.utime(out.fileno(), ns=(state.st_atime_ns or state.st_mtime_ns, state.st_mtime_ns))
            os.fsync(out.fileno())  # some file systems tell only now that they are full
            return _place(beside, folder, os.path.basename(source)), True


@contextmanager
def _opened(source: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a file or an object of a bucket, and tell its state. Raises _Unreadable."""
    if not is_remote(source):
        try:
            file = open_regular(source)
        except (OSError, ValueError) as error:
            raise _Unreadable(_why(error)) from error
        with file:
            yield cast("BinaryIO", file), os.fstat(file.fileno())
        return
    try:
        with open_source(source) as opened:
            yield opened.stream, opened.status
    except PictureError as error:
        raise _Unreadable("not there now" if error.reason == "vanished" else str(error)) from error


def _link(source: str, folder: str) -> tuple[str, bool]:
    """Make a link to a file in a folder; return as ``_copy`` does. Raises also FolderError."""
    if is_remote(source):
        raise _Unreadable("it is in a bucket, where no link leads to; copy it instead")
    if not deep.exists(source):
        raise _Unreadable("not there now")
    for name in _names(os.path.basename(source)):
        target = os.path.join(folder, name)
        try:
            os.symlink(source, target)
        except FileExistsError:
            if os.path.islink(target) and os.readlink(target) == source:
                return target, False
            continue
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                where = f"{display_path(folder)} is on a file system without symbolic links"
                raise FolderError(f"{where}; copy the images there instead") from error
            raise
        return target, True
    raise AssertionError("there is no end of names")


def _place(beside: str, folder: str, name: str) -> str:
    """Give a complete file its name in a folder, or the first that is free; return its path."""
    for free in _names(name):
        target = os.path.join(folder, free)
        with suppress(FileExistsError):
            put_beside_others(beside, target)
            return target
    raise AssertionError("there is no end of names")


def _names(name: str) -> Iterator[str]:
    """Yield a file's name, then the same with a number: lake.jpg, lake (2).jpg; none has more than 255 bytes."""
    yield name
    stem, extension = os.path.splitext(name)
    for number in count(2):
        end = f" ({number}){extension}"
        while len(os.fsencode(stem + end)) > _MOST_BYTES and stem:
            stem = stem[:-1]
        yield stem + end


def _is_copy(file: BinaryIO, state: os.stat_result, target: str) -> bool:
    """Whether there is a file at ``target`` that holds the same bytes, or is the very same file."""
    try:
        with open_regular(target) as other:
            there = os.fstat(other.fileno())
            if os.path.samestat(there, state):
                return True
            if there.st_size != state.st_size:
                return False
            file.seek(0)
            while data := _read(file):
                if other.read(len(data)) != data:
                    return False
            return True
    except OSError:
        return False


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(_CHUNK)
    except OSError as error:
        raise _Unreadable(_why(error)) from error


def _why(error: Exception) -> str:
    return "not there now" if isinstance(error, FileNotFoundError | NotADirectoryError) else error_line(error)


def _write_manifest(folder: str, results: Sequence[Result], targets: dict[str, str]) -> str:
    """Write the list of results beside earlier ones, or leave one that says the same; return its path."""
    data = _manifest(results, targets).encode()
    for name in _names(MANIFEST):
        target = os.path.join(folder, name)
        if not os.path.lexists(target):
            break
        with suppress(OSError), open_regular(target) as there:
            if there.read(len(data) + 1) == data:
                return target
    with partial(folder) as (beside, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return _place(beside, folder, MANIFEST)


def _manifest(results: Sequence[Result], targets: dict[str, str]) -> str:
    """Return the list as CSV. Where a path is not UTF-8 there are two more columns, with the bytes in base64.

    Both paths are absolute: a cell that begins with a slash is no formula to any spreadsheet.
    """
    rows = [(result, targets[result.path]) for result in results if result.path in targets]
    odd = not all(is_utf8(path) for result, target in rows for path in (result.path, target))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rank", "score", "source", "target", *(["source_b64", "target_b64"] if odd else [])])
    for result, target in rows:
        paths = [os.fsencode(path) for path in (result.path, target)]
        score = "" if result.score is None else f"{result.score:.4f}"
        shown = [path.decode(errors="backslashreplace") for path in paths]
        exact = [base64.b64encode(path).decode() for path in paths] if odd else []
        writer.writerow([result.rank, score, *shown, *exact])
    return out.getvalue()
