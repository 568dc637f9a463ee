"""Runs the command line inside the test's own process, so that torch is loaded once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from typer import testing

from imgsearch.cli import app

# The runner makes the program anew for each call, which takes as long as a short command; a process makes it once.
vars(testing)["_get_command"] = cache(testing._get_command)  # type: ignore[attr-defined]  # its own module's import


@dataclass(frozen=True)
class Done:
    """What a command left behind: exit code, stdout as bytes, stderr as text."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.decode().splitlines()

    @property
    def objects(self) -> list[Any]:
        """The JSON objects of stdout, one a line."""
        return [json.loads(line) for line in self.lines]


def imgsearch(*argv: object, stdin: str | bytes | None = None) -> Done:
    """Run one command; an exception that the program does not turn into a line fails the test."""
    result = testing.CliRunner().invoke(
        app, [str(part) for part in argv], input=stdin, catch_exceptions=False
    )
    return Done(result.exit_code, result.stdout_bytes, result.stderr)
