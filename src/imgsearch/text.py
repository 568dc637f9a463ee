"""What a person reads, put into words: paths and names made printable, durations, rates, counts."""

from __future__ import annotations

import unicodedata


def format_rate(rate: float) -> str:
    """Put a rate into two or so digits: '0.31', '8.2', '118'."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def format_duration(seconds: float) -> str:
    """Put a duration into words, no finer than it is known: '40 s', '12 min', '3 h 20 min', '5 days'."""
    if seconds < 10:
        return f"{max(0.1, seconds):.1f} s"
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min" if hours < 10 else f"{hours} h"
    return f"{round(hours / 24)} days"


def display_path(path: str) -> str:
    """Return a path as it fits into a line of talk: quoted and escaped where it holds what can't be printed."""
    return path if path.isprintable() else ascii(path)


def error_line(error: Exception) -> str:
    """Return what the system said, without the number and the path that str() of an OSError adds."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: 1 picture, 2,000 pictures."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """Return a path or text as one line that can't move the cursor: control characters and lone bytes escaped."""
    return "".join(char if _harmless(char) else _escaped(char) for char in text)


def _harmless(char: str) -> bool:
    # Not str.isprintable: that is False for spaces that real file names hold, such as U+202F and U+3000.
    return unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") and char not in _BIDI


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


# These reorder what stands around them, so that "gpj.exe" reads as something else.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
