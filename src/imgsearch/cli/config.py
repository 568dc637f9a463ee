"""The user's config file: defaults for the options of commands, and saved queries.

    [all]                    # for every command that has the option
    device = "cpu"
    [query]
    limit = 20
    [saved.receipts]
    query = "a receipt or invoice"
    after = "2024"

An option is called as on the command line, without dashes before it. Typer gets what the file sets as its default map,
so the command line wins; a variable of the environment wins too. The file counts only if no other user can write it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import TYPE_CHECKING, Any

from imgsearch.cli.door import ALIASES, is_address, nearest
from imgsearch.errors import UsageError
from imgsearch.text import display_path, error_line

if TYPE_CHECKING:
    from typer._click import Context
    from typer.core import TyperGroup, TyperOption

ALL, SAVED = "all", "saved"
"""The tables that are not named after a command."""
QUERY = "query"
"""The key of a saved query's words."""
ENVIRONMENT = {"index": "IMGSEARCH_INDEX", "model": "IMGSEARCH_MODEL_DIR"}
"""Option → the variable that wins over the file."""
_NOT_SET = {"allow_private", "help", "help_all", "less", "more", "open_printed"}
"""Options that mean one call."""
ADDRESS = "an address is fetched only when it is typed; save the image and give its path"
"""Why no address stands in the file."""
_MOST_BYTES = 1_000_000
_MOST_SHOWN = 40  # characters of a value in an error

Tables = Mapping[str, Any]


def config_path() -> str:
    """Return where the config file is, whether or not there is one."""
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("imgsearch", appauthor=False), "config.toml")


def read() -> Tables:
    """Return what the file holds, unchecked; nothing where there is none.

    Raises UsageError for a file that can't be read, is not TOML, or may be another user's.
    """
    path = config_path()
    try:
        # Not open_own: people keep such files elsewhere and link them. A pipe must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"{display_path(path)} can't be read: {error_line(error)}") from error
    import tomllib

    if why := _mistrusted(os.fstat(descriptor)):
        os.close(descriptor)
        raise UsageError(f"{display_path(path)} {why}")
    with open(descriptor, "rb") as file:
        try:
            data = file.read(_MOST_BYTES + 1)
            if len(data) > _MOST_BYTES:
                raise UsageError(f"{display_path(path)} is larger than 1 MB, which is not a config file")
            return tomllib.loads(data.decode())
        except OSError as error:
            raise UsageError(f"{display_path(path)} can't be read: {error_line(error)}") from error
        except (
            ValueError,
            RecursionError,
        ) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            raise UsageError(
                f"{display_path(path)} is not valid TOML: {error_line(error)}; correct it in an editor"
            ) from error


def _mistrusted(found: os.stat_result) -> str:
    """Say why a file is not used; "" if it is. As ssh does it, but for the group, which may be the user's own."""
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    ours = {os.geteuid(), 0}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        ours.add(int(os.environ["SUDO_UID"]))
    if found.st_uid not in ours:
        return "belongs to another user, so it is not used; own it, or delete it"
    if found.st_mode & stat.S_IWOTH:
        return "can be written by every user, so it is not used; to use it: chmod o-w"
    return ""


def options_of(command: Any) -> dict[str, TyperOption]:
    """Return the options of a command that can be set, by each of their names; the one to show comes first."""
    found: dict[str, TyperOption] = {}
    for option in command.params:
        if option.param_type_name == "option" and option.name not in _NOT_SET:
            found |= dict.fromkeys(names_of(option), option)
    return found


def names_of(option: TyperOption) -> list[str]:
    """Return what an option may be called in the file, the name to show first."""
    long = [name[2:] for name in option.opts if name.startswith("--")]
    short = [name[1:] for name in option.opts if not name.startswith("--")]
    return [*(long or [str(option.name)]), *short]


@dataclass(frozen=True, slots=True)
class Problem:
    """A ``key`` of the file that can't be used, and why."""

    key: str
    why: str


def problems(program: TyperGroup, tables: Tables) -> Iterator[Problem]:
    """Yield what is wrong in the file, in its order."""
    commands = program.commands
    known = [*commands, ALL, SAVED]
    for table, values in tables.items():
        if not isinstance(values, dict):
            yield Problem(table, f"belongs in a table: [{ALL}], or that of a command")
        elif table == SAVED:
            for name, query in values.items():
                yield from _in_saved(f"{SAVED}.{name}", query, options_of(commands[QUERY]))
        elif table == ALL:
            everywhere = {
                name: option for one in commands.values() for name, option in options_of(one).items()
            }
            yield from _in_table(table, values, everywhere)
        elif table in commands:
            yield from _in_table(table, values, options_of(commands[table]))
        else:
            near = ALIASES.get(table) or nearest(table, known)
            yield Problem(table, "there is no such command" + (f"; did you mean {near}?" if near else ""))


def _in_table(table: str, values: Tables, options: Mapping[str, TyperOption]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for key, value in values.items():
        option = options.get(key)
        if option is None:
            near = nearest(key, options)
            yield Problem(
                f"{table}.{key}", "there is no such option" + (f"; did you mean {near}?" if near else "")
            )
        elif first := seen.get(str(option.name)):
            yield Problem(f"{table}.{key}", f"is the same option as {first}; keep one of them")
        elif why := _unfit(option, value):
            yield Problem(f"{table}.{key}", why)
        else:
            seen[str(option.name)] = key


def _in_saved(table: str, query: Any, options: Mapping[str, TyperOption]) -> Iterator[Problem]:
    if not isinstance(query, dict):
        yield Problem(table, f"a saved query is a table with the key {QUERY}")
        return
    words = query.get(QUERY, "")
    if not isinstance(words, str) and not (
        isinstance(words, list) and all(isinstance(w, str) for w in words)
    ):
        yield Problem(f"{table}.{QUERY}", f"{_shown(words)} is not text")
    elif any(map(is_address, " ".join([words] if isinstance(words, str) else words).split())):
        yield Problem(f"{table}.{QUERY}", ADDRESS)
    yield from _in_table(table, {key: value for key, value in query.items() if key != QUERY}, options)


def _unfit(option: TyperOption, value: Any) -> str:
    """Say why an option can't have a value; "" if it can."""
    from imgsearch.cli.parsing import parsed

    try:
        parsed(option, as_typed(option, value))
    except (UsageError, ValueError) as error:
        return str(error)
    return ""


def as_typed(option: TyperOption, value: Any) -> Any:
    """Return a value of the file as it would be typed, for the parser to read. Raises ValueError that says why not."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise ValueError(f"{_shown(value)} is not true or false")
        return value
    if isinstance(value, bool) and str(option.metavar).startswith("[="):
        return "auto" if value else "off"
    if option.multiple:
        return [_one(item) for item in (value if isinstance(value, list) else [value])]
    if option.name == "image" and is_address(str(value)):
        raise ValueError(ADDRESS)
    return _one(value)


def _one(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | date | time):
        raise ValueError(f"{_shown(value)} is not a value of this option")
    return str(value)


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    text = text or (ascii(value) if isinstance(value, str) else str(value))
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"


def defaults(ctx: Context) -> dict[str, Any]:
    """Return what the file sets for the command of a context: value by the option's name in Python.

    Raises UsageError for the first thing in the file that can't be used, wherever it is.
    """
    tables = read()
    if not tables or ctx.parent is None:
        return {}
    program: Any = ctx.parent.command
    for problem in problems(program, tables):
        raise UsageError(explained(problem))
    return {
        name: as_typed(option, value)
        for name, (option, value) in set_for(ctx.command, tables).items()
        if not os.environ.get(ENVIRONMENT.get(name, ""))
    }


def set_for(command: Any, tables: Tables) -> dict[str, tuple[TyperOption, Any]]:
    """Return what the tables set for a command, by the option's name in Python: the option and its value there."""
    options = options_of(command)
    found: dict[str, tuple[TyperOption, Any]] = {}
    for table in (ALL, str(command.name)):
        for key, value in tables.get(table, {}).items():
            if (option := options.get(key)) is not None:
                found[str(option.name)] = option, value
    return found


def explained(problem: Problem) -> str:
    """Return a problem as a line that shows the file, the key and how to be rid of it."""
    remove = f"to remove it: imgsearch config --unset {problem.key}"
    return f"{display_path(config_path())}: {problem.key}: {problem.why}; {remove}"


def saved_queries() -> Tables:
    """Return the saved queries of the file by name, as they are there. Raises as ``read`` does."""
    found = read().get(SAVED, {})
    return found if isinstance(found, dict) else {}


def change(keys: tuple[str, ...], value: Any) -> None:
    """Set what ``keys`` lead to, a table and a name in it; None removes it. The rest, comments too, stays as it is.

    Raises UsageError where the file can't be read, written, or has something else in a table's place.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from imgsearch.fs import atomic_write, make_folder

    read()  # what can't be trusted or read is not written either
    path = os.path.realpath(config_path())
    try:
        text, mode = "", 0o600
        if os.path.exists(path):
            with open(path, encoding="utf-8", newline="") as file:
                text, mode = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        document = tomlkit.parse(text)
        _change(document, keys, value)
        make_folder(os.path.dirname(path))
        with atomic_write(path, beside=f"{path}.{os.getpid()}", mode=mode) as new:
            os.fchmod(new.fileno(), mode)
            new.write(tomlkit.dumps(document).encode())
    except (OSError, TOMLKitError) as error:
        raise UsageError(f"{display_path(path)} can't be changed: {error_line(error)}") from error


def _change(table: Any, keys: tuple[str, ...], value: Any) -> None:
    import tomlkit

    first, *rest = keys
    if not rest:
        if value is None:
            table.pop(first, None)
        else:
            table[first] = value
        return
    if not isinstance(table.get(first), dict):
        if value is None:
            return
        if first in table:
            raise UsageError(
                f"{display_path(config_path())}: {first} is not a table; correct it in an editor"
            )
        # A table of tables alone needs no heading of its own.
        table[first] = tomlkit.table(is_super_table=isinstance(value, dict))
    _change(table[first], tuple(rest), value)
    if value is None and not table[first]:
        table.pop(first)
