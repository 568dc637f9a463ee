"""What the walk leaves out by name: hidden entries, junk, and gitignore patterns with their precedence."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection, Iterable

from pathspec import GitIgnoreSpec

from imgsearch.errors import UsageError
from imgsearch.files.open import open_regular
from imgsearch.lines import NotText, decode_line
from imgsearch.text import Message, Option, display_path, error_line

IGNORE_FILE = ".imgsearchignore"
"""In any folder: gitignore patterns, relative to that folder."""

# Never anybody's photographs, also with ``include_hidden``; matched against the end of an absolute path.
_JUNK = re.compile(
    r"""/(?: \.git | \.hg | \.svn | \.cache | \.thumbnails | \.imgsearch | __pycache__ | node_modules | \.dtrash
      | \.trash[^/]* | trash-\d+ | share/trash | \$recycle\.bin | \#recycle | lost\+found
      | system\ volume\ information | \.spotlight-v100 | \.fseventsd )\Z""",
    re.IGNORECASE | re.VERBOSE,
)
# What is an index's own in the folder it is kept in.
_INDEX_OWN = re.compile(
    r"""( manifest\.json(\.new)? | (catalog|queries)\.sqlite.* | writer\.lock | vectors | faiss | thumbs
      | generation-\d{4,} )""",
    re.VERBOSE | re.DOTALL,
)
_MAX_BYTES = 1 << 20  # of an ignore file; what is larger is something else under its name

_Patterns = tuple[
    tuple[re.Pattern[str], bool], ...
]  # the last line first; True leaves out, False ("!") takes in

Rules = tuple[tuple[int, _Patterns], ...]
"""Pattern lists, the first has the first word; each with the length of the path prefix it does not see."""


def is_junk(folder: str) -> bool:
    """Whether a folder, by its absolute path, is trash, a cache, or some program's own."""
    return _JUNK.search(folder) is not None


def index_own(names: Collection[str]) -> list[str]:
    """Return which of a folder's entries are an index's own: nobody's pictures, and they fill no folder.

    An index may be kept in a folder of pictures. It has a manifest there and a catalogue or, once it was
    rebuilt, its writer's lock and the folder of a later generation, which holds the catalogue.
    """
    if "manifest.json" not in names:
        return []
    own = [name for name in names if _INDEX_OWN.fullmatch(name)]
    rebuilt = "writer.lock" in own and any(name.startswith("generation-") for name in own)
    return own if "catalog.sqlite" in own or rebuilt else []


def is_hidden(name: str, include_hidden: bool) -> bool:
    """Whether an entry is hidden. "._x.jpg" always is: the resource fork that macOS writes beside x.jpg."""
    return name.startswith("._") or (name.startswith(".") and not include_hidden)


def excluded(path: str, is_folder: bool, rules: Rules) -> bool:
    """Whether a path (relative to the root) is left out; the first list that has a word on it decides."""
    # A pattern's "." and "$" stop at a newline, a name does not; NUL, which no name holds, stands in.
    plain = path.replace("\n", "\0") + ("/" if is_folder else "")
    for prefix, patterns in rules:
        relative = plain[prefix:]
        for pattern, verdict in patterns:
            if pattern.search(relative):
                return verdict
    return False


def option_rules(patterns: Iterable[str], prefix: int = 0) -> Rules:
    """Compile the patterns of ``exclude``, which do not see ``prefix``; UsageError names one that is no pattern."""
    lines = []
    for pattern in patterns:
        # "#" begins a comment in a file; as an option it can only mean a name such as "#recycle".
        lines.append((Message(Option("exclude")), f"\\{pattern}" if pattern.startswith("#") else pattern))
        if not pattern.strip():
            raise UsageError(Option("exclude"), " needs a pattern, not an empty string")
    return ((prefix, _compile(lines)),) if lines else ()


def file_rules(root: str, folder: str) -> Rules:
    """Compile the ignore file of a folder; UsageError names the file, and the line that is no pattern."""
    path = os.path.join(root, folder, IGNORE_FILE)
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(f"{display_path(path)} can't be read: {error_line(error)}") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{display_path(path)} is over {_MAX_BYTES >> 20} MiB: too large for an ignore file")
    lines = []
    for number, raw in enumerate(io.BytesIO(data), start=1):
        where = f"{display_path(path)}, line {number}"
        try:
            lines.append((where, decode_line(raw, number, errors="surrogateescape")))
        except NotText as error:
            raise UsageError(f"{where}: {error}") from error
    prefix = len(folder) + 1 if folder else 0
    return ((prefix, _compile((at, line) for at, line in lines if line.strip() and line[0] != "#")),)


def _compile(lines: Iterable[tuple[str, str]]) -> _Patterns:
    """Compile (where it stands, pattern) pairs; git drops what is no pattern in silence, a person is told."""
    patterns = []
    for where, line in lines:
        try:
            [pattern] = GitIgnoreSpec.from_lines([line]).patterns
        except (ValueError, re.error):
            pattern = None
        if pattern is None or pattern.regex is None or pattern.include is None:
            raise UsageError(where, f": {display_path(line)!r} is not a valid gitignore pattern")
        # pathspec lets a path match by the folders above it. Here each folder on the way was asked before and
        # is not entered if it is out, so, as in git, a pattern has to match the path itself: a folder's slash
        # only at the end, and "x/**" not x but what is in it.
        text = pattern.regex.pattern.replace("(?P<ps_d>/)", r"(?P<ps_d>/\Z)")
        patterns.append((re.compile(f"{text}." if text.endswith("/") else text), pattern.include))
    return tuple(reversed(patterns))
