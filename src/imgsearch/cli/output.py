"""Results → text, JSON Lines, bare paths; talk and progress on stderr. The one place that prints."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgsearch.cli.spelling import spelled
from imgsearch.errors import StorageError
from imgsearch.text import error_line, format_bytes, format_clock, format_rate, plural, printable
from imgsearch.types import Hit

_LINE_EVERY_SECONDS = 5.0
QUIET, NORMAL, VERBOSE = range(3)


@dataclass(slots=True)
class Settings:
    """How much is said on stderr, and whether questions are answered with yes: --quiet, --verbose, --yes."""

    level: int = NORMAL
    yes: bool = False


settings = Settings()
"""Those of the command that runs; its flags set them before it begins."""


def _write(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise StorageError(f"the answer could not be written to stdout: {error_line(failure)}") from failure


def _talk(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens; the work goes on


def line(text: str) -> None:
    """Write one line of data to stdout."""
    _write(printable(spelled(text)).encode() + b"\n")


def json_line(data: Mapping[str, Any]) -> None:
    """Write one JSON object as a line to stdout. Paths with bytes that are no UTF-8 keep them as surrogates."""
    _write(json.dumps(data).encode() + b"\n")


def hits(found: Sequence[Hit], style: str, question: str | None = None) -> None:
    """Write the hits of one question to stdout.

    ``style``: "text", "json" (JSON Lines, a hit a line), "paths" (a path a line), "nul" (paths, each ended by
    a NUL byte). ``question`` is given where several are answered in one run.
    """
    if style == "json":
        for hit in found:
            data = hit.as_json()
            if question is not None:
                data["query"] = question
            json_line(data)
        return
    if style in ("paths", "nul"):
        end = b"\0" if style == "nul" else b"\n"
        _write(b"".join(os.fsencode(hit.path) + end for hit in found))
        return
    if question is not None:
        line(f"# {question}")
    for hit in found:
        notes = ""
        if hit.copies:
            notes += f"  (+{plural(len(hit.copies), 'copy', 'copies')})"
        if hit.missing:
            notes += "  (missing now)"
        line(f"{hit.score:7.4f}  {hit.path}{notes}")


def error(message: str) -> None:
    """Write an error as one line to stderr."""
    _talk(f"imgsearch: {printable(spelled(message))}")


class ProgressReporter:
    """A reporter on stderr: lines, and a progress bar on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        """Write nothing yet."""
        self._bar: Any = None
        self._total = self._done = 0
        self._unit = ""
        self._began = self._last_line = 0.0

    def say(self, text: str) -> None:
        """Write a line, above the progress bar if there is one; with --quiet nothing."""
        if settings.level == QUIET:
            return
        text = printable(spelled(text))
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            _talk(text)

    def detail(self, text: str) -> None:
        """Write a line with --verbose."""
        if settings.level == VERBOSE:
            self.say(text)

    def wait(self, what: str) -> None:
        """Say what is done until the next line."""

    def approve(self, question: str) -> bool:
        """Ask on a terminal, unless --yes was given; elsewhere the answer is yes."""
        if settings.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return True
        self.stop()
        sys.stderr.write(f"{printable(spelled(question))} [Y/n] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("", "y", "yes")

    def start(self, total: int, unit: str) -> None:
        """Begin a stretch of work of ``total`` units ("pictures" or "bytes"); 0 if nobody knows how many."""
        self.stop()
        self._total, self._done, self._unit = total, 0, unit
        self._began = self._last_line = time.monotonic()
        if settings.level != QUIET and sys.stderr.isatty():
            from tqdm import tqdm

            size = unit == "bytes"
            self._bar = tqdm(
                total=total or None,
                delay=0 if total else 1,  # a walk is mostly over before there is anything to draw
                unit="B" if size else " " + unit,
                unit_scale=size,
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
                smoothing=0.1,
                miniters=1,  # a batch may take seconds: every step is worth drawing
            )

    def advance(self, n: int = 1, where: str = "") -> None:
        """Count ``n`` more units; ``where`` is the folder that they were in."""
        self._done += n
        if self._bar is not None:
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._last_line < _LINE_EVERY_SECONDS or self._done == self._total:
            return
        self._last_line = now
        if not self._total:
            self.say(f"{self._done:,} {self._unit}")
            return
        rate = self._done / max(now - self._began, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        if self._unit == "bytes":
            share = f"{format_bytes(self._done, 0)} of {format_bytes(self._total, 0)}"
            self.say(f"{share}, {format_bytes(rate)}/s, {format_clock(left)} left")
        else:
            self.say(
                f"{self._done:,} of {self._total:,} {self._unit}, {format_rate(rate)}/s, {format_clock(left)} left"
            )

    def stop(self) -> None:
        """End the stretch and take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
