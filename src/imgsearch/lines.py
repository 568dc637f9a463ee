"""Lines of text files that anybody may have written: byte order marks, line ends and encodings are dealt with here."""

from __future__ import annotations

import codecs
from typing import Literal


class NotText(ValueError):
    """A file holds something other than lines of UTF-8; the message tells what, without the file's name."""


def is_utf16(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is marked as UTF-16, as Windows' PowerShell and Notepad may write it."""
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def decode_line(
    raw: bytes,
    number: int,
    *,
    end: bytes = b"\r\n",
    errors: Literal["strict", "replace", "surrogateescape"] = "strict",
) -> str:
    """Return line ``number`` (from 1) of a file as text, without a byte order mark, ``end``, or a plain newline.

    ``errors`` is bytes.decode's: with "surrogateescape" names of files are as os.fsdecode gives them.
    Raises NotText for UTF-16 and for NUL bytes, with "strict" UnicodeDecodeError for a line that is not UTF-8.
    """
    if number == 1 and is_utf16(raw):
        raise NotText("it is UTF-16; save it as UTF-8")
    if b"\0" in raw:
        raise NotText("it contains a NUL byte; save it as UTF-8")
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    return raw.removesuffix(end).removesuffix(b"\n").decode("utf-8", errors)
