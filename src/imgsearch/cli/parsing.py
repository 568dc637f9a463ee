"""The classes of the program and its commands: what can't be parsed becomes one line, with the way to a valid call.

The only module that knows what Typer keeps to itself, its errors.
"""

from __future__ import annotations

import errno
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer
from typer._click import exceptions as click
from typer._click.core import ParameterSource
from typer._click.globals import get_current_context
from typer._click.shell_completion import CompletionItem
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo

from imgsearch.cli import completion, config, door, help, output
from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.text import Message, Option, display_path

SYNONYMS = {
    "--count": "--limit",
    "--dir": "--in",
    "--folder": "--in",
    "--force": "--yes",
    "--max": "--limit",
    "--max-results": "--limit",
    "--n": "--limit",
    "--null": "-0",
    "--number": "--limit",
    "--path": "--in",
    "--print0": "-0",
    "--silent": "--quiet",
    "--threshold": "--min-score",
    "--top-k": "--limit",
}
"""Flags of other programs → ours that do the same."""


class Command(TyperCommand):
    """A command that refuses what it has no use for."""

    allow_extra_args = True  # refused here, where they are known one by one
    takes_defaults = True
    """Whether the config file sets the defaults of its options."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the command's help screen."""
        formatter.write(help.text(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command's name. Raises UsageError, or an error of Typer's, which Group explains."""
        failure = None
        if self.takes_defaults and not ctx.resilient_parsing:
            try:
                ctx.default_map = config.defaults(ctx)
            except UsageError as error:
                failure = error
        rest = self.parse_words(ctx, args)
        if failure:  # not before: --help has been answered by now
            raise failure
        return rest

    def parse_words(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse words with the defaults of the context. Raises as ``parse_args`` does."""
        try:
            rest = super().parse_args(ctx, _with_values(self.params, args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # the parser does not always tell which command's words it parsed
            raise
        if rest and not ctx.resilient_parsing:
            takes = next((p for p in self.params if p.param_type_name == "argument"), None)
            only = f"takes one {takes.metavar or takes.name}" if takes else "takes no arguments"
            raise UsageError(
                f"unexpected argument '{rest[0]}': imgsearch {self.name} {only}; {see(self.name)}"
            )
        return rest


OPTIONAL = "auto"
"""The value of an option that may stand without one: its metavar begins with ``[=``, and a value needs the ``=``."""


def takes_optional(option: Any) -> bool:
    """Return whether an option may stand without a value."""
    return str(option.metavar).startswith("[=")


def _with_values(params: Iterable[Any], args: Sequence[str]) -> list[str]:
    """Return the words with a value for each option that stands without the one that it may have.

    (The parser that Typer brings takes the next word for it.)
    """
    params = [param for param in params if param.param_type_name == "option"]
    optional = {name: option.opts[-1] for option in params if takes_optional(option) for name in option.opts}
    flags = {name[1:] for option in params if option.is_flag for name in option.opts if name[:2] != "--"}
    if not optional:
        return list(args)
    end = args.index("--") if "--" in args else len(args)
    found: list[str] = []
    for word in args[:end]:
        last = f"-{word[-1:]}"  # of several short ones in one word: -qp
        if word in optional:
            found.append(f"{optional[word]}={OPTIONAL}")
        elif word[:1] == "-" and word[:2] != "--" and last in optional and flags.issuperset(word[1:-1]):
            found += [word[:-1], f"{optional[last]}={OPTIONAL}"]
        else:
            found.append(word)
    return [*found, *args[end:]]


class PlainCommand(Command):
    """A command that works whatever the config file holds, so that it can be corrected."""

    takes_defaults = False


class Commands(Mapping[str, Any]):
    """The program's commands by name. Each is made of its function's signature when it is first asked for.

    To make all of them takes a quarter of a start; a run needs one.
    """

    def __init__(self, app: typer.Typer) -> None:
        """Take over the commands that were registered with ``app``."""
        self._infos = {_name_of(info): info for info in app.registered_commands}
        self._markup = app.rich_markup_mode
        self._made: dict[str, Any] = {}
        app.registered_commands = []

    def __getitem__(self, name: str) -> Any:
        """Return a command. Raises KeyError."""
        if name not in self._made:
            self._made[name] = get_command_from_info(
                self._infos[name], pretty_exceptions_short=False, rich_markup_mode=self._markup
            )
        return self._made[name]

    def listed(self) -> list[tuple[str, str | None, str]]:
        """Name those that are not hidden, with their group and help; none is made for that."""
        return [
            (name, info.rich_help_panel, info.help or inspect.getdoc(info.callback) or "")
            for name, info in self._infos.items()
            if not info.hidden
        ]

    def __contains__(self, name: object) -> bool:
        """Return whether there is such a command."""
        return name in self._infos

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._infos)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._infos)


def _name_of(info: CommandInfo) -> str:
    assert info.callback
    return info.name or get_command_name(info.callback.__name__)


class Group(TyperGroup):
    """The program: runs one command and turns what goes wrong before it begins into one line and exit code 2."""

    known: Mapping[str, Any] = {}
    """The program's commands, which Typer would make all at once."""

    def __init__(self, **given: Any) -> None:
        """Make the program as Typer does, but for its commands."""
        super().__init__(**{**given, "commands": self.known})

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the program's help screen."""
        formatter.write(help.text(ctx))

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> None:  # type: ignore[override]
        """Run the command that ``args`` (default: those of the process) ask for, and exit."""
        argv = sys.argv[1:] if args is None else args
        typed, names = tuple(argv), self.commands.keys()
        try:
            entry = door.enter(typed, names, {*self.flags()})
            if entry.offer and not _agreed(entry):
                sys.exit(1)
            code = super().main(entry.argv, "imgsearch", **{**extra, "standalone_mode": False})
        except click.NoArgsIsHelpError as nothing:
            if nothing.message:
                typer.echo(nothing.message)
            code = nothing.exit_code
        except click.ClickException as error:
            output.error(explained(error) + door.or_words(typed, names))
            code = 2
        except UsageError as error:
            output.error(Message(error.as_message, door.or_words(typed, names)))
            code = 2
        except ImgsearchError as error:
            output.error(error.as_message)
            code = error.exit_code
        except OSError as error:
            if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            # Help, which typer writes; what a command writes is dealt with where it is written.
            output.error(output.not_written(error).as_message)
            code = 2
        sys.exit(code)

    def flags(self) -> Iterator[str]:
        """Yield the program's own flags."""
        yield from self.context_settings.get("help_option_names", ())
        for param in self.params:
            yield from param.opts

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """Return the commands that a word may become, or the saved queries."""
        found = completion.first_words([*ctx._protected_args, *ctx.args], incomplete)
        return [*map(CompletionItem, found)] or super().shell_complete(ctx, incomplete)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a name, which may be another program's."""
        return super().get_command(ctx, door.ALIASES.get(cmd_name, cmd_name))


def _agreed(entry: door.Entry) -> bool:
    """Ask the user whether the offer is what was meant. Raises UsageError where nobody can be asked."""
    if {"-y", "--yes"} & {*entry.argv}:
        return True
    if not output.can_ask():
        raise UsageError(entry.otherwise)
    return output.ProgressReporter().approve(entry.offer)


def explained(error: click.ClickException) -> str:
    """Return a parser's error as a line that says what to type instead."""
    context = getattr(error, "ctx", None)
    name = context.command.name if context and context.parent else None
    match error:
        case click.NoSuchOption():
            return _unknown_option(error.option_name, context, name)
        case click.MissingParameter(param=param) if param is not None:
            what = _named(param)
            return f"{what} is missing; {see(name)}"
        case click.BadParameter(param=param) if param is not None:
            return _bad_value(_named(param), error)
        case click.BadOptionUsage() if "requires" in error.message:
            return f"{error.option_name} needs a value; {see(name)}"
        case click.BadOptionUsage():
            return f"{error.option_name} takes no value; {see(name)}"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; {see(name)}"


def see(name: str | None) -> str:
    """Return where to read about a command; None: about the program."""
    return f"see: imgsearch help {name}" if name else "see: imgsearch help"


def _unknown_option(flag: str, context: Any, name: str | None) -> str:
    if name == "query" and not flag[1:2].isalpha() and flag[:2] != "--":
        return "a query starts with what to find; take away behind it: imgsearch query horse - saddle"
    known = {
        opt for param in context.command.get_params(context) for opt in (*param.opts, *param.secondary_opts)
    }
    meant = SYNONYMS.get(flag)
    if meant not in known:
        long = sorted((opt[2:] for opt in known if opt.startswith("--")), key=len)
        begun = (opt for opt in long if len(flag) > 4 and opt.startswith(flag[2:]))
        near = next(begun, None) or door.nearest(flag.strip("-"), long)
        meant = near and f"--{near}"
    hint = f"did you mean {meant}? ({see(name)})" if meant else see(name)
    return f"unknown option {flag}; {hint}"


def _named(param: Any) -> str:
    """Return an option's flag, the long one if there is one, or an argument's name."""
    if param.param_type_name == "option":
        return str(next((opt for opt in param.opts if opt.startswith("--")), param.opts[0]))
    return str(param.metavar or param.name.upper())


def _bad_value(what: str, error: click.BadParameter) -> str:
    """Say what a value has to be, from what the library that checked it knows."""
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    if not found:
        return f"{what}: {error.message}"
    first = found[0]
    given, (_, choices, allowed) = f"{what} {first.get('input')}", first["msg"].partition(" is not one of ")
    if choices:
        return f"{given}: choose one of {allowed.replace(chr(39), '').rstrip('.')}"
    match first["type"]:
        case "int_parsing" | "int_type" | "int_from_float":
            return f"{given}: not a whole number"
        case "float_parsing" | "float_type":
            return f"{given}: not a number"
    return f"{given}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def parsed(option: Any, value: Any) -> Any:
    """Return a value as an option reads it when it is typed. Raises UsageError that tells why it can't be."""
    try:
        return option.process_value(None, value)
    except click.BadParameter as error:
        raise UsageError(_bad_value("", error).strip()) from error
    except UsageError as error:  # of a parser of ours, which names the flag
        raise UsageError(str(error).removeprefix(f"{_named(option)} ")) from error


def is_typed(name: str) -> bool:
    """Return whether an option of the command that runs was typed, by its name in Python; not so from Python."""
    return _source(name) is ParameterSource.COMMANDLINE


def is_typed_in(context: Any, name: str) -> bool:
    """Return whether an option was typed, of a command that does not run yet, by its context."""
    return bool(context.get_parameter_source(name) is ParameterSource.COMMANDLINE)


def set_in_file(message: Message) -> str:
    """Return where the option that an error names was set, as a note behind it; "" if not in the config file."""
    named = (part.name for part in message.parts if isinstance(part, Option))
    if any(_source(name) is ParameterSource.DEFAULT_MAP for name in named):
        return f" (set in {display_path(config.config_path())})"
    return ""


def _source(name: str) -> ParameterSource | None:
    context = get_current_context(silent=True)
    return context.get_parameter_source(name) if context else None
