"""What can go wrong, in the user's words: ImgsearchError and its tree.

Every message is one line that says what happened, to which file, and what to do next; the options and calls that
it names are data. The command line spells them its own way, prints the line and exits with ``exit_code``; any other
exception is a bug of ours and shows its traceback.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from imgsearch.text import Call, Message, Option, plural


class ImgsearchError(Exception):
    """Base of everything that a user can cause or fix.

    ``str`` gives the message in Python's words: ``UsageError(Option("dim", 0), ": too short")`` says
    ``dim=0: too short``.
    """

    exit_code = 2

    def __init__(self, *parts: str | Option | Call) -> None:
        """Make the message of text, options, calls and other messages, with nothing between them."""
        super().__init__(Message(*parts))

    @property
    def as_message(self) -> Message:
        """The message with its options and calls as data.

        Not called ``message``: torch takes a class that has this name for one that is made with ``message=…``, when it
        hands on the error of a process that reads pictures for it.
        """
        return Message(*self.args)

    @property
    def option(self) -> str | None:
        """The name of the option that the message names first, as Python has it."""
        return next((part.name for part in self.as_message.parts if isinstance(part, Option)), None)

    @property
    def next(self) -> Call | None:
        """The call that the message names first: what to do next."""
        return next((part for part in self.as_message.parts if isinstance(part, Call)), None)


class UsageError(ImgsearchError):
    """The call contradicts itself, or a value is out of range."""


class FolderError(ImgsearchError):
    """A path that was given does not exist or can't be read."""


class NothingToIndex(ImgsearchError):
    """The paths that were given contain no image."""

    exit_code = 1


class InputError(ImgsearchError):
    """A text or a picture that the model can't take: empty, too long, or of a wrong shape."""


class PictureError(ImgsearchError):
    """One file that is no usable picture. ``reason`` is the short class by which skipped files are counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep the reason (a few words, the same for all files of its kind) and what is special to this file."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class NonFiniteError(ImgsearchError):
    """The model gave NaN or infinity for some inputs, also in float32. ``rows`` are their places in the call."""

    def __init__(self, rows: list[int]) -> None:
        """Keep the indices of the inputs whose rows are not finite."""
        super().__init__(
            f"the model returned NaN or infinity for {plural(len(rows), 'input')}, even in float32; "
            "its files may be damaged: check them with '",
            Call("download"),
            "'",
        )
        self.rows = rows


class ModelOutOfMemory(ImgsearchError):
    """The model's weights, or the pass of a single input, need more memory than the device has."""


class DatasetError(ImgsearchError):
    """A dataset that can't be used as it is; the message names the file, the line or row, and the column."""


class StoreError(ImgsearchError):
    """A store in another engine that does not answer, refuses what it is asked, or holds something else."""


class ClusterError(ImgsearchError):
    """A Ray cluster that does not answer, or a worker that can't do what this run wants of it."""


class MissingExtra(ImgsearchError):
    """An optional library is not installed; ``extra`` is the extra that brings it."""

    def __init__(self, what: str | Call, extra: str) -> None:
        """Say what needs the extra: ``MissingExtra(Call("train"), "train")``."""
        from imgsearch.installation import how_to_add  # on use: it reads what is installed

        super().__init__(what, f" needs packages that are not installed; {how_to_add(extra)}")
        self.extra = extra


class TrainingError(ImgsearchError):
    """A training run that can't go on; the message says which setting to change."""


class TrainingStopped(ImgsearchError):
    """A training run that was interrupted; the message says how to go on with it."""

    exit_code = 130


class CheckpointError(ImgsearchError):
    """A model folder that is missing, incomplete, or not of the Qwen3-VL embedding family."""


class DownloadError(ImgsearchError):
    """The model could not be downloaded: offline, not found, refused, damaged, or no disk space for it."""


class IndexMissing(ImgsearchError):
    """There is no index where one was looked for."""


class IndexDamaged(ImgsearchError):
    """A file of the index can't be trusted; the message names it, what is lost, and how to rebuild."""


class IndexMismatch(ImgsearchError):
    """The index was made with another model, dimension, prompt or pixel budget, or by a newer version."""


class IndexLocked(ImgsearchError):
    """Another process is writing to the index."""


class ServerRunning(ImgsearchError):
    """A server of this user runs already."""


class StorageError(ImgsearchError):
    """The disk refused a write: full, read-only, or failing. The index is as it was at the last commit."""


class OutOfResources(ImgsearchError):
    """The system gives this process no more file handles, threads or memory; nothing is wrong with any file."""


# As the system's linker, torch and its oneDNN say it.
_OUT_OF_MEMORY = ("failed to map segment", "can't allocate memory", "could not create a primitive")


_LOST = re.compile(r"field '\w+' is required for \w+|.*error return without exception set")
"""What CPython says where it loses a MemoryError: a module that it compiles lacks a node, a path can't be converted."""


def exhausted(error: BaseException) -> OutOfResources | None:
    """Return the error to raise instead of one that means that a resource has run out; None for any other."""
    number, text = getattr(error, "errno", None), str(error)
    if number is None and isinstance(error, ImportError | OSError):  # of a shared library: it has only words
        known = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        number = next((number for number in known if os.strerror(number) in text), None)
    if any(words in text for words in _OUT_OF_MEMORY) and isinstance(
        error, ImportError | OSError | RuntimeError
    ):
        number = errno.ENOMEM
    if isinstance(error, ValueError | SystemError) and _LOST.fullmatch(text):
        number = errno.ENOMEM
    if number == errno.EMFILE:
        return OutOfResources(
            "too many open files: raise the limit (ulimit -n) and run the same command again"
        )
    if number == errno.ENFILE:
        return OutOfResources("the system has no file handles left: close other programs and try again")
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return OutOfResources(
            "out of memory: close other programs, or raise the limit (ulimit -v), and try again"
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return OutOfResources(
            "no thread could be started: close other programs, or raise the limit (ulimit -u), and try again"
        )
    return None


def rebuild_call(index: str, *, paths: Sequence[str] = (), model: str | None = None) -> Call:
    """Return the call that rebuilds the index in ``index``, of ``paths`` if they are given, with ``model``."""
    named = {"paths": list(paths)} if paths else {}
    other = {"model": Call("ModelOptions", {"model": model})} if model else {}
    options = Call("IndexOptions", {**other, "rebuild": True})
    return Call("index_pictures", {**named, "options": options, "folder": index})


def rebuild_hint(index: str) -> Message:
    """Tell how to rebuild the index in ``index``; ends the message of every IndexDamaged."""
    again = rebuild_call(index, paths=["FOLDER"])
    return Message("your images are untouched; index them again with: ", again)


def repair_hint(index: str) -> Message:
    """Tell how to repair single damaged embeddings of the index in ``index``."""
    return Message(
        "your images are untouched; repair the index with: ",
        Call("repair_index", {"folder": index}),
    )
