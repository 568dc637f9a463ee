"""What the walk leaves out by name: hidden entries, junk, and gitignore patterns with their precedence."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection

from imgsearch import deep
from imgsearch.errors import UsageError
from imgsearch.files.open import open_regular
from imgsearch.files.patterns import MOST_PATTERNS, NoPattern, PatternList, compile_all, parse
from imgsearch.lines import NotText, decode_line
from imgsearch.text import Option, display_path, error_line

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
_SHOWN = 40  # characters of a pattern that is no good

Rules = tuple[tuple[int, PatternList], ...]
"""Pattern lists, the first has the first word; each with the length of the path prefix it does not see."""


class IgnoreFileError(Exception):
    """An ignore file can't be used, so what it would leave out is unknown; the message tells why, without its name."""


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
    """Whether a path (relative to the root) is left out; the first list that has a word on it decides.

    The folders on the way to it were asked before and are not entered if they are out.
    """
    full = f"{path}/" if is_folder else path
    for prefix, patterns in rules:
        verdict = patterns.verdict(full[prefix:])
        if verdict is not None:
            return verdict
    return False


def option_rules(patterns: Collection[str], prefix: int = 0) -> Rules:
    """Compile the patterns of ``exclude``, which do not see ``prefix``; UsageError names one that is no pattern."""
    if len(patterns) > MOST_PATTERNS:
        raise UsageError(
            Option("exclude"), f": {len(patterns):,} patterns, at most {MOST_PATTERNS:,} are allowed"
        )
    compiled = []
    for pattern in patterns:
        if not pattern.strip():
            raise UsageError(Option("exclude"), " needs a pattern, not an empty string")
        try:
            # "#" begins a comment in a file; as an option it can only mean a name such as "#recycle".
            compiled.append(parse(f"\\{pattern}" if pattern.startswith("#") else pattern))
        except NoPattern as error:
            raise UsageError(
                Option("exclude"), f": {_named(pattern)} is not a valid gitignore pattern: {error}"
            ) from error
    return ((prefix, compile_all(compiled)),) if compiled else ()


def file_rules(root: str, folder: str) -> Rules:
    """Compile the ignore file of a folder. Raises IgnoreFileError."""
    path = os.path.join(root, folder, IGNORE_FILE)
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not deep.islink(path):
            return ()
        raise IgnoreFileError(f"it can't be read: {error_line(error)}") from error
    if len(data) > _MAX_BYTES:
        raise IgnoreFileError(f"it is larger than {_MAX_BYTES >> 20} MiB")
    patterns = []
    for number, raw in enumerate(io.BytesIO(data), start=1):
        try:
            line = decode_line(raw, number, errors="surrogateescape")
            if line.strip() and line[0] != "#":
                patterns.append(parse(line))
        except NoPattern as error:
            raise IgnoreFileError(f"line {number}: {_named(line)} is not a valid pattern: {error}") from error
        except NotText as error:
            raise IgnoreFileError(f"line {number}: {error}") from error
        if len(patterns) > MOST_PATTERNS:
            raise IgnoreFileError(f"it has more than {MOST_PATTERNS:,} patterns")
    prefix = len(folder) + 1 if folder else 0
    return ((prefix, compile_all(patterns)),)


def _named(pattern: str) -> str:
    """Return a pattern as a message shows it."""
    return repr(display_path(pattern if len(pattern) <= _SHOWN else f"{pattern[:_SHOWN]}…"))
