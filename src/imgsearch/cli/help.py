"""Help screens: what a command is for, how it is called, examples, and its options in groups.

All of it comes from the commands themselves. A command's docstring gives the summary (its first line), the examples
(the paragraph that begins with "Examples:") and notes; ``rich_help_panel`` gives the group of a command or an option.
Options in the group ``ADVANCED`` are only named, unless they are few or ``--help-all`` was given, and beside them those
of ``FILTERS`` are only counted. The default of an
option is told in one form; ``show_default`` holds it where it is not the value itself.
"""

from __future__ import annotations

import inspect
import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import typer.main
from typer.core import TyperArgument, TyperGroup, TyperOption

from imgsearch.cli.door import ALIASES
from imgsearch.cli.terminal.look import takes_colour

if TYPE_CHECKING:
    from typer._click import Context

SEARCH, LIBRARY, UPKEEP, EXPERTS = "Search", "Library", "Upkeep", "Experts"
GROUPS = (SEARCH, LIBRARY, UPKEEP, EXPERTS)
"""The groups of commands, in the order in which they are shown."""
ARGUMENTS, OPTIONS, MODEL = "Arguments", "Options", "Model"
OUTPUT, FILTERS, ADVANCED = "Output", "Filters", "Advanced"
"""Groups of options that several commands have. The first two are shown first, the last three last."""

_LEAST_COLUMNS, _MOST_COLUMNS = 50, 100  # longer lines are hard to read, on however wide a terminal
_FEW = 4
_NAME_COLUMNS = 26
_NOT_OURS = {
    "help": "Show this help",
    "install_completion": "Set up Tab completion in your shell",
    "show_completion": "Print what --install-completion sets up",
}
"""Options that Typer adds → what they are for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list: an option, an argument, a command or a variable, and what it is for.

    ``name`` is short enough for a screen; ``full`` has all spellings of an option.
    """

    name: str
    text: str
    full: str = ""


COMMON = {
    "Environment": [
        Entry("IMGSEARCH_INDEX", "Folder of the index, unless --index is given"),
        Entry("IMGSEARCH_MODEL_DIR", "Folder of the model, unless --model is given"),
        Entry("IMGSEARCH_SERVER", "off: ignore a running 'imgsearch serve'"),
        Entry("IMGSEARCH_RUNTIME_DIR", "Folder for the socket of 'imgsearch serve'"),
        Entry(
            "HF_ENDPOINT, HF_TOKEN",
            "Where to download models instead of https://huggingface.co; your access token there",
        ),
        Entry("NO_COLOR", "Any value: no bold headings, no colours"),
    ],
    "Files": [
        Entry(
            "~/.local/share/imgsearch",
            "Index and downloaded models (macOS: ~/Library/Application Support/imgsearch)",
        ),
        Entry("~/.cache/imgsearch", "What can be computed again (macOS: ~/Library/Caches/imgsearch)"),
        Entry(
            "~/.config/imgsearch/config.toml",
            "Defaults of options, and saved queries (see: imgsearch help config; macOS: as the first)",
        ),
        Entry(".imgsearchignore", "In an indexed folder: files and folders to skip, as in .gitignore"),
    ],
    "Exit codes": [
        Entry("0", "Done, or something found"),
        Entry("1", "Nothing found, or something needs attention"),
        Entry("2", "An error, told in one line on stderr"),
        Entry("130", "Interrupted with Ctrl-C"),
    ],
}
"""What is the same for all commands."""


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to tell of one command, in the order in which it is told."""

    name: str
    summary: str
    usage: str = ""
    aliases: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    groups: Mapping[str, list[Entry]] = field(default_factory=dict)
    closing: tuple[str, ...] = ()


def program(app: typer.Typer) -> Context:
    """Return the context of a program, from which ``contexts`` makes those of its commands."""
    command = typer.main.get_command(app)
    return typer.Context(command, info_name=app.info.name, **command.context_settings)


def page(ctx: Context) -> Page:
    """Return all that there is to tell of the command that a context is of."""
    command = ctx.command
    summary, examples, notes = _told(command.help or "")
    program = isinstance(command, TyperGroup)
    groups: dict[str, list[Entry]] = {name: [] for name in (*(GROUPS if program else ()), ARGUMENTS, OPTIONS)}
    if isinstance(command, TyperGroup):
        listed: list[tuple[str, str | None, str]] = cast(Any, command.commands).listed()
        for name, group, text in sorted(listed, key=lambda one: _rank(one[1])):
            groups[group or EXPERTS].append(Entry(name, _told(text)[0].rstrip(".")))
    given = [parameter for parameter in command.get_params(ctx) if not getattr(parameter, "hidden", False)]
    arguments = [parameter for parameter in given if isinstance(parameter, TyperArgument)]
    groups[ARGUMENTS] = [Entry(_metavar(one), _text(one)) for one in arguments if one.help]
    for option in given:
        if isinstance(option, TyperOption) and "--help-all" not in option.opts:  # named where it is of use
            groups.setdefault(_group(option, ctx), []).append(_entry(option))
    last = {name: groups.pop(name, []) for name in (OUTPUT, FILTERS, ADVANCED)}
    return Page(
        ctx.command_path,
        summary,
        " ".join([ctx.command_path, *_usage(command, arguments)]),
        tuple(f"imgsearch {alias}" for alias, name in ALIASES.items() if ctx.parent and name == command.name),
        examples,
        notes,
        {name: entries for name, entries in (groups | last).items() if entries},
        tuple(_paragraphs(command.epilog or "")),
    )


def contexts(ctx: Context) -> Iterator[Context]:
    """Yield a context for each command of a program that is not hidden, in the order of the groups."""
    program = ctx.command
    assert isinstance(program, TyperGroup)
    shown = [(name, command) for name, command in program.commands.items() if not command.hidden]
    for name, command in sorted(shown, key=lambda item: _rank(getattr(item[1], "rich_help_panel", None))):
        yield typer.Context(command, info_name=name, parent=ctx)


def advanced(ctx: Context) -> Page:
    """Return the page of what the screens of a program's commands leave out: rare options, variables, files, codes."""
    users: dict[Entry, list[str]] = {}
    for below in contexts(ctx):
        groups = page(below).groups
        for entry in (*groups.get(FILTERS, ()), *groups.get(ADVANCED, ())):
            users.setdefault(entry, []).append(str(below.info_name))
    found: dict[str, list[Entry]] = {"Several commands": []}
    for entry, names in users.items():
        if len(names) > 1:
            found["Several commands"].append(Entry(entry.name, f"{entry.text} [{', '.join(names)}]"))
        else:
            found.setdefault(f"{ctx.command_path} {names[0]}", []).append(entry)
    name, summary = f"{ctx.command_path} help advanced", "Rarely used options, and what all commands share."
    return Page(name, summary, groups=found | COMMON)


def text(ctx: Context, *, everything: bool = False) -> str:
    """Return the help of a command for this terminal; ``typer.echo`` leaves out what is no text where it is none."""
    width = max(min(shutil.get_terminal_size().columns, _MOST_COLUMNS), _LEAST_COLUMNS) - 2
    whole = everything and isinstance(ctx.command, TyperGroup)
    return screen(advanced(ctx) if whole else page(ctx), width, everything=everything, bold=True)


def screen(page: Page, width: int, *, everything: bool = False, bold: bool = False) -> str:
    """Return a page as plain text of at most ``width`` columns; with ``everything``, rare options described.

    ``bold`` sets headings in bold where the environment does not forbid it.
    """
    style = _bold if bold and _may_style() else str
    groups = dict(page.groups)
    rare = [*groups.get(FILTERS, ()), *groups.get(ADVANCED, ())]
    named = [] if everything or len(rare) <= _FEW else groups.pop(ADVANCED)
    filters = groups.pop(FILTERS, []) if named else []
    shown = [entry.name for entries in groups.values() for entry in entries]
    column = min(max(map(len, shown), default=0), _NAME_COLUMNS) + 2
    parts = [_filled(page.summary, width)]
    if page.usage:
        lines = [_filled(page.usage, width, first=f"{style('Usage:')} ", rest=" " * 7)]
        lines += [f"{style('Also:')}  {', '.join(page.aliases)}"] if page.aliases else []
        parts.append("\n".join(lines))
    if page.examples:
        parts.append("\n".join([style("Examples:"), *("  " + line for line in page.examples)]))
    parts += [_filled(note, width) for note in page.notes]
    for name, entries in groups.items():
        parts.append("\n".join([style(f"{name}:"), *_table(entries, column, width)]))
    if named:
        heading = f"{style(ADVANCED)} (see: {page.name} --help-all):"
        names = [entry.name.split(" ")[0].rstrip(",") for entry in (*filters, *named)]  # without values
        names[: len(filters)] = [f"{len(filters)} filters"] if filters else []
        parts.append(f"{heading}\n{_filled(' '.join(names), width, '  ', '  ')}")
    parts += [_filled(paragraph, width) for paragraph in page.closing]
    return "\n\n".join(parts) + "\n"


def show_all(ctx: typer.Context, wanted: bool) -> None:
    """Print all options of a command, or what the commands of a program leave out, and end: what --help-all does."""
    if wanted:
        typer.echo(text(ctx, everything=True), nl=False)
        raise typer.Exit


def _told(docstring: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the summary, the examples and the notes that a docstring holds."""
    examples: tuple[str, ...] = ()
    notes = []
    summary, *others = inspect.cleandoc(docstring).split("\n\n")
    for paragraph in others:
        if paragraph.startswith("Examples:\n"):
            examples = tuple(line.strip() for line in paragraph.splitlines()[1:])
        else:
            notes.append(" ".join(paragraph.split()))
    return " ".join(summary.split()), examples, tuple(notes)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph:
            yield " ".join(paragraph.split())


def _rank(group: str | None) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _group(option: TyperOption, ctx: Context) -> str:
    if set(option.opts) & set(ctx.help_option_names):
        return OPTIONS if isinstance(ctx.command, TyperGroup) else OUTPUT
    return option.rich_help_panel or OPTIONS


def _usage(command: Any, arguments: Iterable[TyperArgument]) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        yield "COMMAND …"
        return
    yield "[OPTIONS]"
    for argument in arguments:
        name = _metavar(argument)
        yield name if argument.required else f"[{name}]"


def _metavar(argument: TyperArgument) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.nargs == 1 else f"{name}..."


def _entry(option: TyperOption) -> Entry:
    negated = [f"--[no-]{name[2:]}" for name in option.opts if f"--no-{name[2:]}" in option.secondary_opts]
    names = negated or sorted(option.opts, key=lambda name: name.startswith("--"))
    short = [name for name in names if not name.startswith("--")]
    long = [name for name in names if name.startswith("--")]
    value = "" if option.is_flag or option.count else f" {option.metavar}"
    shown, full = ", ".join([*short[:1], *long[:1]]), ", ".join([*short, *long])
    if value.startswith(" [="):  # it may stand without
        return Entry(shown, _text(option), full + value.lstrip())
    return Entry(shown + value, _text(option), full + value)


def _text(parameter: TyperArgument | TyperOption) -> str:
    """Return what a parameter is for, and in brackets whether it is required or repeatable and what is its default."""
    notes = []
    if isinstance(parameter, TyperOption):
        notes += ["required"] if parameter.required else []
        notes += ["repeatable"] if parameter.multiple else []
    default = parameter.show_default if isinstance(parameter.show_default, str) else _value(parameter)
    notes += [f"default: {default}"] if default else []
    told = _NOT_OURS.get(str(parameter.name)) or parameter.help or ""
    return told + (f" ({'; '.join(notes)})" if notes else "")


def _value(parameter: TyperArgument | TyperOption) -> str:
    default = parameter.default
    if not parameter.show_default or default is None or isinstance(default, bool | list | tuple):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def _table(entries: Iterable[Entry], column: int, width: int) -> Iterator[str]:
    """Yield the lines of a list in two columns; a name that is too long has a line of its own."""
    for entry in entries:
        lines = textwrap.wrap(entry.text, width - column - 2, break_on_hyphens=False)
        if len(entry.name) > column - 2:
            yield f"  {entry.name}"
            first = ""
        else:
            first = entry.name
        for line in lines or [""]:
            yield f"  {first:<{column}}{line}".rstrip()
            first = ""


def _filled(text: str, width: int, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _may_style() -> bool:
    return takes_colour("auto", os.environ, terminal=True)  # for a pipe, Typer takes styles out


def _bold(text: str) -> str:
    return typer.style(text, bold=True)
