"""The commands that keep what a user prefers: save (queries) and config (defaults of options)."""

from __future__ import annotations

import json as encoding
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from imgsearch.addresses import absolute
from imgsearch.cli import completion, door, output, saved
from imgsearch.cli import config as file
from imgsearch.cli import options as common
from imgsearch.cli.help import SEARCH, UPKEEP
from imgsearch.cli.parsing import PlainCommand, parsed
from imgsearch.cli.saved import SaveCommand
from imgsearch.errors import UsageError
from imgsearch.text import display_path

_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(cls=SaveCommand, rich_help_panel=SEARCH)(common.handled(save))
    app.command("config", cls=PlainCommand, rich_help_panel=UPKEEP)(common.handled(configure))


def save(
    ctx: typer.Context,
    saved_as: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="What to call the query; without: list them all",
            autocompletion=completion.saved_names,
        ),
    ] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", help="What to search for")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the saved query NAME")] = False,
) -> int:
    """Save a query and its filters under a name.

    Examples:
      imgsearch save receipts a receipt or invoice --in ~/Pictures
      imgsearch query @receipts      # more words and filters may follow
      imgsearch save                 # list the saved queries
      imgsearch save --delete receipts
    """
    reporter = output.ProgressReporter()
    name = saved_as and saved_as.removeprefix("@")
    typed: dict[Any, Any] = ctx.obj
    if delete:
        if name is None or words or typed:
            raise UsageError(
                "--delete takes the name of one saved query, as in: imgsearch save --delete boats"
            )
        _delete(name)
        reporter.say(f"@{name} is deleted")
        return 0
    if name is None:
        if typed:
            raise UsageError("the name is missing, as in: imgsearch save boats a boat --after 2024")
        _list()
        return 0
    if not saved.NAME.fullmatch(name):
        raise UsageError(f"{name}: a name is one word of letters, digits, - and _, and begins with a letter")
    if not words and not any(option.name == "image" for option in typed):
        raise UsageError(f"the words are missing, as in: imgsearch save {name} a receipt or invoice")
    new, before = _checked(words or [], typed), saved.all_saved().get(name)
    file.change((file.SAVED, name), new)
    reporter.say(
        f"saved; to use it: imgsearch query @{name}"
        + (f" (before: {saved.spelled(before)})" if before else "")
    )
    return 0


def _checked(words: list[str], typed: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a query as it is saved, its paths absolute. Raises UsageError and InputError for one that can't work."""
    from imgsearch.search.language.filtering import NAMES, filters_of
    from imgsearch.search.language.question import is_combined, parse_question

    given = {str(option.name): value for option, value in typed.items()}
    for word in " ".join([*words, given.get("image") or ""]).split():
        if door.is_address(word):
            raise UsageError(f"{word}: {file.ADDRESS}")
    filters_of(**{name: value for name, value in given.items() if name in NAMES})
    if not given.get("literal"):
        if is_combined(words):
            parse_question(words)
        else:
            door.check_words(words)
    words = [absolute(word) if os.path.isfile(os.path.expanduser(word)) else word for word in words]
    # One text is easier to read in the file; words apart keep a path apart.
    apart = any(map(os.path.isabs, words)) and len(words) > 1
    found: dict[str, Any] = {file.QUERY: words if apart else " ".join(words)} if words else {}
    for option, value in typed.items():
        if option.name == "image":
            value = absolute(value)
        elif option.name == "below":
            value = [absolute(folder) for folder in value]
        elif value == sys.maxsize:
            value = "all"  # as it was typed
        found[file.names_of(option)[0]] = value
    return found


def _delete(name: str) -> None:
    if name in file.saved_queries():
        file.change((file.SAVED, name), None)
    elif name in saved.SHIPPED:
        raise UsageError(f"@{name} comes with imgsearch and can't be deleted; save your own under its name")
    else:
        near = door.nearest(name, saved.all_saved())
        hint = f"did you mean {near}?" if near else "they are listed by: imgsearch save"
        raise UsageError(f"there is no saved query '{name}'; {hint}")


def _list() -> None:
    known, own = saved.all_saved(), file.saved_queries()
    width = max(map(len, known))
    for name, one in known.items():
        note = "" if name in own else "  (comes with imgsearch)"
        output.line(f"@{name:<{width}}  {saved.spelled(one)}{note}")


def configure(
    ctx: typer.Context,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY", help="query.limit, or query for all of its options; all.device: of all commands"
        ),
    ] = None,
    value: Annotated[
        list[str] | None, typer.Argument(metavar="VALUE", help="The new value; without: show the present one")
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Remove KEY from the file")] = False,
    path: Annotated[bool, typer.Option("--path", help="Print where the config file is")] = False,
    json: common.Json = False,
) -> int:
    """Show or set the defaults of options.

    Examples:
      imgsearch config               # every value and where it comes from
      imgsearch config query.limit 20
      imgsearch config all.device cpu
      imgsearch config --unset query.limit
    """
    assert ctx.parent is not None
    program: Any = ctx.parent.command
    if path:
        output.paths([file.config_path()], nul=False)
        return 0
    if unset:
        if key is None or value:
            raise UsageError("--unset takes one KEY, as in: imgsearch config --unset query.limit")
        _unset(program, key)
        return 0
    if key is not None and value:
        _set(program, key, value)
        return 0
    tables = file.read()
    wrong = {problem.key: file.explained(problem) for problem in file.problems(program, tables)}
    sound = {
        table: {name: one for name, one in values.items() if f"{table}.{name}" not in wrong}
        for table, values in tables.items()
        if isinstance(values, dict) and table not in wrong
    }
    for name, shown, source in _shown(program, sound, key):
        if json:
            output.json_line({"key": name, "value": shown, "source": source})
        elif shown is None:
            output.line(f"{name}  (not set)")
        else:
            output.line(f"{name} = {encoding.dumps(shown, ensure_ascii=False)}  ({source})")
    for problem in wrong.values():
        output.error(problem)
    return 2 if wrong else 0


def _shown(program: Any, tables: file.Tables, key: str | None) -> Iterator[tuple[str, Any, str]]:
    """Yield (key, value, source) of all options, or of those that a key names. Raises UsageError for an unknown key."""
    table, _, name = (key or "").partition(".")
    if table and table != file.ALL:
        _command(program, table)
    if name:
        wanted = str(_option(program, table, name).name)
    for command in program.commands.values():
        if table not in ("", file.ALL, command.name):
            continue
        by_file = file.set_for(command, tables)
        for option in dict.fromkeys(file.options_of(command).values()):
            if name and option.name != wanted:
                continue
            shown = f"{command.name}.{file.names_of(option)[0]}"
            variable = file.ENVIRONMENT.get(str(option.name), "")
            if os.environ.get(variable):
                yield shown, os.environ[variable], f"environment, {variable}"
            elif str(option.name) in by_file:
                yield shown, by_file[str(option.name)][1], "file"
            elif table != file.ALL or name:
                yield shown, option.default, "default"


def _set(program: Any, key: str, words: list[str]) -> None:
    table, name = _split(key)
    option = _option(program, table, name)
    value: Any = words
    if option.is_flag:
        value = _SWITCH.get(words[0].lower()) if len(words) == 1 else None
        if value is None:
            raise UsageError(f"{key}: give true or false")
    elif not option.multiple:
        if len(words) > 1:
            raise UsageError(f"{key}: give one value, in quotes if it has spaces")
        read = _read(key, option, words[0])
        # What reads as a number, but was not typed as one, is a word such as "all".
        value = read if isinstance(read, int | float) and str(read) == words[0] else words[0]
    else:
        _read(key, option, words)
    file.change((table, _in_file(option, table) or name), value)


def _read(key: str, option: Any, value: Any) -> Any:
    try:
        return parsed(option, value)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from error


def _unset(program: Any, key: str) -> None:
    if key.startswith(f"{file.SAVED}."):
        raise UsageError(f"{key}: to delete a saved query: imgsearch save --delete NAME")
    table, _, name = key.partition(".")
    tables = file.read()
    values = tables.get(table, {})
    if not name and table in tables:  # a whole table that is of no use
        file.change((table,), None)
        return
    if isinstance(values, dict) and name in values:
        file.change((table, name), None)
        return
    known = _in_file(_option(program, *_split(key)), table)
    if known is None:
        raise UsageError(f"{key} is not set in {display_path(file.config_path())}")
    file.change((table, known), None)


def _in_file(option: Any, table: str) -> str | None:
    """Return by which of its names an option is set in a table of the file; None if it is not."""
    values = file.read().get(table, {})
    return next((name for name in file.names_of(option) if isinstance(values, dict) and name in values), None)


def _split(key: str) -> tuple[str, str]:
    table, _, name = key.partition(".")
    if not (table and name):
        raise UsageError(f"{key}: a key is a command and an option of it, as in query.limit")
    return table, name


def _command(program: Any, name: str) -> Any:
    if name not in program.commands:
        near = door.ALIASES.get(name) or door.nearest(name, [*program.commands, file.ALL])
        hint = f"did you mean {near}?" if near else "see: imgsearch help"
        raise UsageError(f"there is no command '{name}'; {hint}")
    return program.commands[name]


def _option(program: Any, table: str, name: str) -> Any:
    """Return an option by its table, a command or "all", and its name there. Raises UsageError."""
    commands = program.commands.values() if table == file.ALL else [_command(program, table)]
    found = {key: option for command in commands for key, option in file.options_of(command).items()}
    if name not in found:
        near = door.nearest(name, found)
        hint = f"did you mean {table}.{near}?" if near else f"see: imgsearch config {table}"
        raise UsageError(f"{table}.{name}: there is no such option; {hint}")
    return found[name]
