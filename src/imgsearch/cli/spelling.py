"""How a shell spells what the library names: options become flags, calls become commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from imgsearch.errors import UsageError
from imgsearch.index.layout import find_index
from imgsearch.text import Call, Message, Option
from imgsearch.types import DETAIL, PixelBudget

COMMANDS = {
    "check_model": "doctor --model",
    "compact_index": "compact",
    "download": "download",
    "evaluate": "eval",
    "import_vectors": "import",
    "index_pictures": "index",
    "indexed_files": "list",
    "known_models": "models",
    "query": "query",
    "relocate": "relocate",
    "remove_paths": "remove",
    "repair_index": "verify --repair",
    "score_vectors": "eval --vectors",
    "serve": "serve",
    "similar": "similar",
    "sync_store": "store sync",
    "skipped_files": "status --errors",
    "train": "train",
}
"""Function → the command that calls it."""
FLAGS = {
    "below": "--in",
    "drain_seconds": "--drain",
    "everything": "--all",
    "folder": "--index",
    "hosts": "--allow-host",
    "image_text": "--text",
    "learning_rate": "--lr",
    "n": "--limit",
    "pixels": "--max-pixels",
    "references": "--reference",
}
"""Option → its flag, where that is not --its-name."""
MINUTES = {"every_seconds": "--every", "idle_seconds": "--unload-after"}
"""Option in seconds → its flag, which takes minutes."""
PLAIN = {
    "download": ("name",),
    "index_pictures": ("paths",),
    "query": ("questions",),
    "relocate": ("old", "new"),
    "remove_paths": ("paths",),
    "similar": ("path",),
    "sync_store": ("address",),
}
"""Function → the arguments that its command takes without a flag, in their order."""


def spelled(text: str) -> str:
    """Return a line of the library in the words of the command line."""
    if not isinstance(text, Message):
        return text
    return "".join(_spelled(part) for part in text.parts)


def _spelled(part: str | Option | Call) -> str:
    if isinstance(part, Call):
        return command(part)
    if isinstance(part, Option):
        if part.metavar:
            return f"{flag(part.name)} {'N' if part.name == 'pixels' else part.metavar}"
        return flag(part.name) if part.value is None else " ".join(_flags(part.name, part.value))
    return part


def command(call: Call) -> str:
    """Return the command that does the same as a call, quoted for a shell; the call itself if there is none."""
    if call.function not in COMMANDS:
        return str(call)
    words = ["imgsearch", COMMANDS[call.function]]
    for name, value in call.arguments.items():
        if name in PLAIN.get(call.function, ()):
            words += [shlex.quote(word) for word in ([value] if isinstance(value, str) else value)]
        elif name != "folder" or not _found_by_itself(value):
            words += _flags(name, value)
    return " ".join(words)


def flag(name: str) -> str:
    """Return the flag of an option."""
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def _flags(name: str, value: Any) -> Iterator[str]:
    """Yield the words that give an option its value; those of options within it for a group of options."""
    if isinstance(value, Call) and value.function == "PixelBudget":
        yield from _flags(name, PixelBudget(**value.arguments))
    elif isinstance(value, Call):
        for inner, given in value.arguments.items():
            yield from _flags(inner, given)
    elif isinstance(value, PixelBudget):
        named = next((detail for detail, pixels in DETAIL.items() if pixels == value.max_pixels), None)
        yield f"--detail {named}" if named else f"--max-pixels {value.max_pixels}"
    elif name == "pixels":
        yield f"--detail {value}"
    elif name in MINUTES:
        yield f"{MINUTES[name]} {value / 60:g}"
    elif isinstance(value, bool):
        yield flag(name) if value else flag(f"no_{name}")
    elif isinstance(value, tuple | list):
        # An empty one takes back what was given before.
        for item in value or ("",):
            yield from _flags(name, item)
    elif isinstance(value, float):
        yield f"{flag(name)} {value:g}"
    else:
        yield f"{flag(name)} {shlex.quote(str(value))}"


def index_flag(folder: str) -> str:
    """Return the flag, with a space before it, that a command needs to find the index in ``folder``.

    ``folder`` is absolute; the flag is "" where the index is found without.
    """
    return "" if _found_by_itself(folder) else f" --index {shlex.quote(folder)}"


def _found_by_itself(folder: str) -> bool:
    try:
        return find_index() == folder
    except (OSError, UsageError):  # the folder that we are in is gone; or what is found is another user's
        return False
