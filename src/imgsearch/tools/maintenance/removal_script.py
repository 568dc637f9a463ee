"""The shell script of a search for duplicates: for a person to read, with every rm commented out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence

from imgsearch.addresses import is_remote
from imgsearch.errors import UsageError
from imgsearch.fs import storage_error
from imgsearch.text import Option, display_path, format_bytes, plural, printable
from imgsearch.tools.maintenance.duplicates import REASONS, RELATIONS, Group, Member
from imgsearch.types import is_utf8


def check_script(script: str) -> None:
    """Raise UsageError where a script can't be written: something is there already, or the folder is not."""
    if os.path.lexists(script):
        raise UsageError(Option("script"), f": {display_path(script)} is there already; name a new file")
    folder = os.path.dirname(os.path.abspath(script))
    if not os.path.isdir(folder):
        raise UsageError(Option("script"), f": the folder {display_path(folder)} does not exist")


def write_script(script: str, groups: Sequence[Group]) -> None:
    """Write a script that deletes nothing until somebody takes comment signs away, to a new file of mode 0600.

    Raises UsageError as ``check_script`` does, and StorageError.
    """
    check_script(script)
    try:
        descriptor = os.open(
            script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in _lines(groups))
    except OSError as error:
        raise storage_error(error, script) from error


def shell_word(path: str) -> str:
    """Return a path as one word of bash on one line: a comment would end at a line break in a name."""
    if is_utf8(path) and printable(path) == path:
        return shlex.quote(path)
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\{byte:03o}"
        for byte in os.fsencode(path)
    )
    return f"$'{''.join(plain)}'"


def _lines(groups: Sequence[Group]) -> Iterator[str]:
    files = [file for group in groups for file in group.removable]
    size = format_bytes(sum(file.bytes for file in files))
    yield "#!/usr/bin/env bash"
    could = f"{plural(len(files), 'file')} ({size}) could go"
    yield f"# {plural(len(groups), 'group')} of images that show the same; {could}."
    yield "# This script deletes nothing as it is. Read it, take the '# ' away before each rm that you want, and run it"
    yield "# with bash. A file may have changed since it was written."
    for number, group in enumerate(groups, start=1):
        yield ""
        yield f"# {number}. keep {shell_word(group.keep.path)}  # {REASONS[group.reason]}, {_size(group.keep)}"
        for other in group.others:
            what = f"{RELATIONS[other.relation]}, {_size(other)}"
            if other.reference:
                yield f"# in a reference folder: {shell_word(other.path)}  # {what}"
            else:
                remove = "aws s3 rm" if is_remote(other.path) else "rm --"
                yield f"# {remove} {shell_word(other.path)}  # {what}"


def _size(file: Member) -> str:
    return f"{file.width}x{file.height}, {format_bytes(file.bytes)}"
