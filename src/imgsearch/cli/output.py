"""Results → text, JSON Lines, bare paths; talk and progress on stderr. The one place that prints."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from imgsearch.cli.spelling import spelled
from imgsearch.cli.terminal import hits as drawn
from imgsearch.cli.terminal.look import Look, When
from imgsearch.cli.terminal.look import look as look_of
from imgsearch.cli.terminal.rows import Row, Scale, Table
from imgsearch.errors import StorageError
from imgsearch.place import fragment
from imgsearch.text import (
    Call,
    Message,
    error_line,
    format_bytes,
    format_duration,
    format_rate,
    printable,
    shell_quoted,
)
from imgsearch.types import Hit

if TYPE_CHECKING:
    # It is imported on use: it draws.
    from imgsearch.cli.terminal.preview.start import Preview

_LINE_EVERY_SECONDS = 5.0
_DRAWN_EVERY_SECONDS = 0.1  # as often as tqdm draws
QUIET, NORMAL, VERBOSE = range(3)
_MOST_NOTED = 1_000


@dataclass(slots=True)
class Settings:
    """How much is said on stderr, whether questions are answered with yes, and whether stdout is in colours.

    These are --quiet and --verbose, --yes, --color. With --open, ``to_open`` has the paths of the first images that
    were printed; else it is None. ``preview`` shows images, None where
    none was asked for.
    """

    level: int = NORMAL
    yes: bool = False
    color: When = "auto"
    to_open: list[str] | None = None
    preview: Preview | None = None


settings = Settings()
"""Those of the command that runs; its flags set them before it begins."""


def printed(images: Iterable[str]) -> None:
    """Note the paths of images that are printed: --open opens the first of them."""
    if settings.to_open is not None:
        settings.to_open += islice(images, max(0, _MOST_NOTED - len(settings.to_open)))


def can_ask() -> bool:
    """Return whether there is somebody who can see a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def for_person(style: str) -> bool:
    """Return whether somebody reads an answer of this style, which has to be short, and not a program.

    With --color always, and with a preview, stdout leads to a person also where it is no terminal, as to a pager.
    """
    person = sys.stdout.isatty() or settings.color == "always" or settings.preview is not None
    return style == "text" and person


def look() -> Look:
    """Return what may be drawn on stdout."""
    return look_of(settings.color)


def draws() -> bool:
    """Return whether progress is drawn: somebody watches."""
    return _can_draw()


def _can_draw() -> bool:
    return settings.level != QUIET and sys.stderr.isatty()


_waiting_for = ""
"""The line without an end that stands on the terminal; the next output takes its place."""


def _room(_: object = None) -> tuple[int, int]:
    """Return the terminal's columns and lines; beside what is drawn there must be room for the echo of a Ctrl-C."""
    columns, lines = shutil.get_terminal_size()
    return max(1, columns - len("^C")), lines


def _wait_for(line: str) -> None:
    global _waiting_for  # there is one terminal, whoever writes to it
    stop_waiting()
    _waiting_for = line[: _room()[0] - 1]
    _draw(_waiting_for)


def stop_waiting() -> None:
    """Take away what is waited for, if a line of that is on the terminal."""
    global _waiting_for
    if _waiting_for:
        # Spaces clear every terminal; a Ctrl-C may have left its two characters.
        _draw(f"\r{' ' * (len(_waiting_for) + len('^C'))}\r")
        _waiting_for = ""


def _draw(text: str) -> None:
    with suppress(OSError):  # if nobody listens, the work continues
        sys.stderr.write(text)
        sys.stderr.flush()


def _write(data: Iterable[bytes]) -> None:
    stop_waiting()
    try:
        sys.stdout.flush()
        sys.stdout.buffer.writelines(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise not_written(failure) from failure


def not_written(failure: OSError) -> StorageError:
    """Return the error of an answer that stdout could not take."""
    return StorageError(f"the answer could not be written to stdout: {error_line(failure)}")


def _talk(text: str) -> None:
    stop_waiting()
    _draw(text + "\n")


def _fitted(text: str) -> str:
    """Return a message in the command line's words; on a terminal no word and no command is split between lines.

    A command stays whole so that it can be copied: one that is wider than the terminal is left for that to wrap.
    """
    parts = text.parts if isinstance(text, Message) else (text,)
    words = [(printable(spelled(Message(part))), isinstance(part, Call)) for part in parts]
    line = "".join(word.replace(" ", _NO_BREAK) if command else word for word, command in words)
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns
        line = "\n".join(textwrap.wrap(line, columns, break_long_words=False, break_on_hyphens=False))
    return line.replace(_NO_BREAK, " ")


_NO_BREAK = "\0"  # printable leaves none in a text


def line(text: str) -> None:
    """Write one line of data to stdout."""
    _write([printable(spelled(text)).encode() + b"\n"])


def document(text: str) -> None:
    """Write the contents of a text file to stdout, as they are."""
    _write([text.encode()])


def json_line(data: Mapping[str, Any]) -> None:
    """Write one JSON object as a line to stdout."""
    _write([json.dumps(data).encode() + b"\n"])


def paths(found: Iterable[str], *, nul: bool) -> None:
    """Write bare paths to stdout, one per line; with ``nul`` each is ended by a NUL byte instead.

    They are the very bytes of the names, but for lines on a terminal, where control characters would act.
    """
    if sys.stdout.isatty() and not nul:
        _write(f"{shell_quoted(path)}\n".encode() for path in found)
        return
    end = b"\0" if nul else b"\n"
    _write(os.fsencode(path) + end for path in found)


def hits(
    found: Sequence[Hit],
    style: str,
    question: str | None = None,
    read: Mapping[str, object] | None = None,
    first: int = 1,
    beside: drawn.Beside = drawn.NOTHING,
) -> None:
    """Write the hits of one question to stdout, numbered from ``first`` for a person.

    ``style``: "text", "json" (JSON Lines, a hit a line), "paths" (a path a line), "nul" (paths, each ended by
    a NUL byte). ``question`` is given where several are answered in one run, ``read`` where filters were
    read out of it, ``beside`` is what a person is shown besides.
    """
    printed(hit.path for hit in found)
    if style == "json":
        for hit in found:
            data = hit.as_json()
            if question is not None:
                data["query"] = question
            if read is not None:
                data["read"] = dict(read)
            json_line(data)
        return
    if style in ("paths", "nul"):
        paths((hit.path for hit in found), nul=style == "nul")
        return
    if for_person(style):
        heading(question)
        rows([drawn.row_of(hit, beside) for hit in found], first, beside.scale)
        return
    if question is not None:
        line(f"# {question}")
    for hit in found:
        notes = [*drawn.notes_of(hit), *([drawn.MISSING] if hit.missing else [])]
        path = hit.path + fragment(hit.kind, hit.page)
        line(f"{hit.score:7.4f}  {path}{''.join(f'  ({note})' for note in notes)}")
        if hit.why is not None:
            line(f"         {drawn.why(hit.why)}")


def heading(question: str | None) -> None:
    """Write above the hits which of several questions they answer, for a person."""
    if question is not None:
        _write([look().styled(f"# {printable(question)}", "bold").encode() + b"\n"])


def rows(found: Sequence[Row], first: int = 1, scale: Scale | None = None) -> None:
    """Write rows for a person, numbered from ``first``; scores have bars if there is a ``scale``."""
    groups([found], first, scale)


def groups(found: Sequence[Sequence[Row]], first: int = 1, scale: Scale | None = None) -> None:
    """Write groups of rows, with an empty line between them, as ``rows`` does; numbers go on from group to group.

    With a preview, images take the place of rows; what is told of each in further lines follows.
    """
    every = [row for group in found for row in group]
    table = Table(every, look(), first + len(every) - 1, scale)
    starts = accumulate(map(len, found), initial=first)
    for group, start in zip(found, starts, strict=False):
        if start > first and settings.preview is None:  # images have one below them
            line("")
        if settings.preview is not None and group:
            _write_images(settings.preview.drawn(group, start, look()))
            if not any(row.below for row in group):
                continue
        _write(f"{one}\n".encode() for at, row in enumerate(group, start) for one in table.lines(row, at))


def image(row: Row) -> None:
    """Draw one image, where a preview was asked for."""
    if settings.preview is not None:
        _write_images(settings.preview.drawn_alone(row, look()))


def _write_images(drawn: Iterable[str]) -> None:
    """Write images as they are ready; one that Ctrl-C cuts off is ended, or the terminal would wait for its rest."""
    try:
        for text in drawn:
            _write([text.encode()])
    except KeyboardInterrupt:
        with suppress(OSError, StorageError):
            _write([b"\x1b\\\x1b[m\n"])
        raise


def error(message: str) -> None:
    """Write an error as one line to stderr."""
    _talk(_fitted(Message("imgsearch: ", message)))


class ProgressReporter:
    """A reporter on stderr: lines; on a terminal a progress bar and what is waited for, else a line now and then."""

    def __init__(self) -> None:
        """Write nothing yet."""
        self._bar: Any = None
        self._total = self._done = 0
        self._unit = ""
        self._began = self._last_line = self._last_drawn = 0.0

    def say(self, text: str) -> None:
        """Write a line, above the progress bar if there is one; with --quiet nothing."""
        if settings.level == QUIET:
            return
        if self._bar is not None:
            self._bar.write(_fitted(text), file=sys.stderr)
        else:
            _talk(_fitted(text))

    def detail(self, text: str) -> None:
        """Write a line with --verbose."""
        if settings.level == VERBOSE:
            self.say(text)

    def wait(self, what: str) -> None:
        """Show on a terminal what is done, until the next output or stretch of work takes its place."""
        if self._bar is None and _can_draw():
            _wait_for(f"{printable(spelled(what))}…")

    def approve(self, question: str) -> bool:
        """Ask on a terminal, unless --yes was given; elsewhere the answer is yes."""
        if settings.yes or not can_ask():
            return True
        self.stop()
        sys.stderr.write(f"{printable(spelled(question))} [Y/n] ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer:  # Ctrl-D leaves the cursor on the line
            _draw("\n")
        return answer.strip().lower() in ("", "y", "yes") and answer != ""

    def start(self, total: int, unit: str) -> None:
        """Begin a stretch of work of ``total`` units ("images" or "bytes"); 0 if nobody knows how many."""
        self.stop()
        self._total, self._done, self._unit = total, 0, unit
        self._began = self._last_line = time.monotonic()
        self._last_drawn = 0.0
        if _can_draw():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total or None,
                desc=self._counted(None),
                bar_format="{percentage:3.0f}% {bar:24} {desc}" if total else "{desc}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
                smoothing=0.1,
                miniters=1,  # a batch may take seconds: every step is worth drawing
            )
            self._bar.dynamic_ncols = _room

    def advance(self, n: int = 1, where: str = "") -> None:
        """Count ``n`` more units; ``where`` is the folder that they were in."""
        self._done += n
        now = time.monotonic()
        if self._bar is not None:
            if now - self._last_drawn >= _DRAWN_EVERY_SECONDS or self._done == self._total:
                # Not at every file of a scan: putting it into words takes longer than finding the file.
                self._last_drawn = now
                described = f"{self._counted(self._bar.format_dict['rate'])}  {printable(where)}"
                self._bar.set_description_str(described.rstrip(), refresh=False)
            self._bar.update(n)
            return
        if now - self._last_line >= _LINE_EVERY_SECONDS and self._done != self._total:
            self._last_line = now
            self.say(self._counted(None))

    def stop(self) -> None:
        """End the stretch or the wait, and take what is drawn away."""
        stop_waiting()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _counted(self, rate: float | None) -> str:
        """Tell how much is done, how fast, and how much longer it takes; at the average rate if none is given."""
        size = self._unit == "bytes"
        if not self._total:
            return format_bytes(self._done, 0) if size else f"{self._done:,} {self._unit}"
        parts = [f"{self._done:,} of {self._total:,} {self._unit}"]
        if size:
            parts = [f"{format_bytes(self._done, 0)} of {format_bytes(self._total, 0)}"]
        if self._done > 0:
            rate = rate or self._done / max(time.monotonic() - self._began, 1e-9)
            parts.append(f"{format_bytes(rate) if size else format_rate(rate)}/s")
            parts.append(f"{format_duration((self._total - self._done) / rate)} left")
        return ", ".join(parts)
