"""What the commands share: their options, the error handler, and how flags become choices."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, cast

import typer

from imgsearch.cli import completion, output
from imgsearch.cli.help import ADVANCED, MODEL, OUTPUT, show_all
from imgsearch.cli.parsing import is_typed, set_in_file
from imgsearch.cli.terminal.look import When
from imgsearch.errors import ImgsearchError, InputError, UsageError, exhausted
from imgsearch.machine import cores
from imgsearch.model.locate import DEFAULT_MODEL, DEMO_MODEL
from imgsearch.startup import INTERRUPTED
from imgsearch.text import Message
from imgsearch.types import (
    DETAIL,
    MIN_PIXELS,
    MOST_PIXELS,
    DtypeName,
    ModelOptions,
    PixelBudget,
    PixelChoice,
    Profile,
)

if TYPE_CHECKING:
    # It is imported on use: it draws.
    from imgsearch.cli.terminal.preview.start import Preview as Started

P = ParamSpec("P")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY

_DEVICE_HELP = "Device: auto (a GPU if available), cuda, mps or cpu"
Detail = Literal["low", "standard", "high", "max", "checkpoint"]

IndexFolder = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="DIR",
        autocompletion=completion.indexes,
        show_default="$IMGSEARCH_INDEX, else .imgsearch in this folder or above, else your data folder",
        help="Folder of the index",
        rich_help_panel=ADVANCED,
    ),
]
IndexFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        metavar="DIR",
        autocompletion=completion.indexes,
        show_default="$IMGSEARCH_INDEX, else .imgsearch in this folder or above, else your data folder",
        help="Folder of the index; may be repeated to search several indexes together",
        rich_help_panel=ADVANCED,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|DIR",
        autocompletion=completion.models,
        help="The model: a folder, a name (see: imgsearch models), or demo (small, included; knows only drawings)",
        rich_help_panel=MODEL,
    ),
]
ModelFolder = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="DIR",
        help="Folder of the index's model, if it has moved",
        rich_help_panel=ADVANCED,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        metavar="NAME",
        help="Branch, tag or commit of the model on Hugging Face",
        rich_help_panel=ADVANCED,
    ),
]
ForceModel = Annotated[
    bool,
    typer.Option(
        "--force-model",
        help="Use a model even if it seems to generate text instead of embeddings",
        rich_help_panel=ADVANCED,
    ),
]
Gentle = Annotated[
    bool,
    typer.Option(
        "--gentle",
        help="Leave the machine to others: low priority, one core free, pauses on battery, in heat and while "
        "others need the processor",
        rich_help_panel=ADVANCED,
    ),
]
Device = Annotated[
    Literal["auto", "cuda", "mps", "cpu"],
    typer.Option("--device", metavar="NAME", show_default=False, help=_DEVICE_HELP, rich_help_panel=MODEL),
]
SearchDevice = Annotated[
    Literal["auto", "cuda", "mps", "cpu"],
    typer.Option("--device", metavar="NAME", show_default=False, help=_DEVICE_HELP, rich_help_panel=ADVANCED),
]
Dtype = Annotated[
    Literal["auto", DtypeName],
    typer.Option(
        "--dtype",
        metavar="TYPE",
        show_default=False,
        help="Precision: auto (the best here), float32, bfloat16, float16, or int8 (some CPUs: faster, less accurate)",
        rich_help_panel=MODEL,
    ),
]
SearchDtype = Annotated[
    Literal["auto", DtypeName],
    typer.Option(
        "--dtype",
        metavar="TYPE",
        show_default=False,
        help="Numeric precision: auto (the best for your hardware), float32, bfloat16, float16 or int8",
        rich_help_panel=ADVANCED,
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(
        "--dim",
        metavar="N",
        show_default="the model's, or the index's",
        help="Embedding length (Matryoshka): shorter ones take less disk space and are slightly less accurate",
        rich_help_panel=ADVANCED,
    ),
]
DetailOption = Annotated[
    Detail | None,
    typer.Option(
        "--detail",
        metavar="LEVEL",
        help="Resolution: low (fastest), standard (5 to 7 times slower; reads small text), high, max, or "
        "checkpoint (the model's own)",
        rich_help_panel=MODEL,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Image resolution as a number of pixels, instead of --detail",
        rich_help_panel=ADVANCED,
    ),
]
Instruction = Annotated[
    str | None,
    typer.Option(
        "--instruction",
        metavar="TEXT",
        show_default="the model's",
        help="Instruction to the model, for queries and images alike",
        rich_help_panel=ADVANCED,
    ),
]
Offset = Annotated[
    int,
    typer.Option("--offset", metavar="N", help="Leave out the first N results", rich_help_panel=ADVANCED),
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON Lines", rich_help_panel=OUTPUT)]
Nul = Annotated[
    bool,
    typer.Option("-0", help="Print only paths, separated by NUL (for xargs -0)", rich_help_panel=ADVANCED),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", help="Print results and errors only, no messages", rich_help_panel=OUTPUT),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print more messages", rich_help_panel=OUTPUT)]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Don't ask for confirmation")]
HelpAll = Annotated[
    bool, typer.Option("--help-all", help="Show this help with all options", is_eager=True, callback=show_all)
]


Preview = Annotated[
    Literal["auto", "kitty", "iterm2", "sixel", "blocks", "off"] | None,
    typer.Option(
        *("-p", "--preview"),
        metavar="[=HOW]",
        show_default=False,
        help="Show images; =kitty, =iterm2, =sixel, =blocks: in pipes too",
        rich_help_panel=OUTPUT,
    ),
]
Columns = Annotated[
    int | None,
    typer.Option(
        "--columns",
        metavar="N",
        help="With --preview: at most N images in a row",
        show_default="as many as fit",
        rich_help_panel=ADVANCED,
    ),
]
Color = Annotated[
    When,
    typer.Option(
        "--color",
        metavar="WHEN",
        show_default=False,
        help="Colours: auto (on a terminal), always (also in a pipe, with numbers and bars) or never",
        rich_help_panel=ADVANCED,
    ),
]

Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        show_default="all cores",
        help="Use at most N processor cores",
        rich_help_panel=ADVANCED,
    ),
]
Open = Annotated[
    bool,
    typer.Option("--open", help="Also open the results in your image viewer", rich_help_panel=OUTPUT),
]


def count(given: str | int) -> int:
    """Read a number of results, or all; the default is one already. Raises UsageError."""
    if str(given).strip().lower() == "all":
        return sys.maxsize
    try:
        return int(given)
    except ValueError:
        raise UsageError(f"--limit {given}: not a whole number, nor all") from None


def handled(
    command: Callable[P, int],
    *,
    asks: bool = False,
    shows: bool = False,
    opens: bool = False,
    computes: bool = False,
) -> Callable[P, None]:
    """Make a function a command: add the options that all have, and turn its exit code or error into the process's.

    ``asks``: it may ask the user something, which --yes answers. ``shows``: it prints images, in colours by --color,
    and with thumbnails by --preview. ``opens``: it can also open what it prints, by --open. ``computes``: it can run
    the model for long, on as many cores as --threads allows.

    ImgsearchError: one line and its own code. Ctrl-C: 130. A closed pipe: silence, and the code that a shell shows
    for it. Anything else is a bug of ours and shows its traceback.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        quiet, verbose, yes = (bool(kwargs.pop(name, False)) for name in ("quiet", "verbose", "yes"))
        kwargs.pop("help_all", None)
        color = cast(When, kwargs.pop("color", "auto"))
        to_open: list[str] | None = [] if kwargs.pop("open_printed", False) else None
        threads = cast(int | None, kwargs.pop("threads", None))
        preview, columns = kwargs.pop("preview", None), kwargs.pop("columns", None)
        try:
            if quiet and verbose:
                raise UsageError("--quiet and --verbose contradict each other; give one of them")
            output.settings.level = output.QUIET if quiet else output.VERBOSE if verbose else output.NORMAL
            output.settings.yes, output.settings.color = yes, color
            output.settings.to_open = to_open
            output.settings.preview = _preview(cast(str | None, preview), cast(int | None, columns), kwargs)
            with cores.limited(threads):
                code = command(*args, **kwargs)
            if to_open:
                _open(to_open)
        except ImgsearchError as error:
            output.error(Message(error.as_message, set_in_file(error.as_message)))
            code = error.exit_code
        except KeyboardInterrupt as stopped:  # with a line where there is more to tell
            output.error(
                str(stopped) or "interrupted; what was done is saved. Run the same command to continue"
            )
            code = INTERRUPTED
        except FileNotFoundError:
            if _have_a_folder():
                raise
            output.error("the current folder was deleted; change to another one and try again")
            code = 2
        except BrokenPipeError:
            # Python flushes stdout once more at exit; into the closed pipe that would print an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 141
        except Exception as error:
            spent = exhausted(error)
            if spent is None:
                raise
            output.error(spent.as_message)
            code = spent.exit_code
        finally:
            output.stop_waiting()
        raise typer.Exit(code)

    added: dict[str, tuple[Any, object]] = {
        **({"open_printed": (Open, False)} if opens else {}),
        **(
            {"preview": (Preview, None), "columns": (Columns, None), "color": (Color, "auto")}
            if shows
            else {}
        ),
        **({"yes": (Yes, False)} if asks else {}),
        "quiet": (Quiet, False),
        "verbose": (Verbose, False),
        "help_all": (HelpAll, False),
    }
    signature = inspect.signature(command, eval_str=True)
    flags = [
        inspect.Parameter(name, _KEYWORD, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    parameters = list(signature.parameters.values())
    if computes:
        threads = inspect.Parameter("threads", _KEYWORD, default=None, annotation=Threads)
        names = list(signature.parameters)
        parameters.insert(names.index("dtype") + 1 if "dtype" in names else len(names), threads)
        # Python wants what can only be given by name to stand last, and nobody calls these by place.
        parameters = [parameter.replace(kind=_KEYWORD) for parameter in parameters]
    run.__signature__ = signature.replace(parameters=[*parameters, *flags])  # type: ignore[attr-defined]
    return run


def _open(images: list[str]) -> None:
    """Open the first of the images that were printed, on the user's desktop. Raises DesktopError."""
    from imgsearch import deep
    from imgsearch.tools import desktop

    there = [image for image in dict.fromkeys(images) if deep.exists(image)] or images[:1]
    if len(there) > desktop.MAX_OPENED:
        output.ProgressReporter().say(f"only the first {desktop.MAX_OPENED} images are opened")
    desktop.open_files(there[: desktop.MAX_OPENED])


def _preview(asked: str | None, columns: int | None, others: Mapping[str, object]) -> Started | None:
    """Return the preview that a command's options ask for, None for none. Raises UsageError and MissingExtra.

    Where it is only set in the config file, what goes into a pipe or is data stays as it is.
    """
    if asked in (None, "off"):
        return None
    typed = is_typed("preview")
    data = next((flag for name, flag in _DATA.items() if others.get(name)), None)
    if data and typed:
        raise UsageError(f"--preview shows images and {data} prints data; give one of them")
    if data or not (typed or sys.stdout.isatty()):
        return None
    if columns is not None and columns < 1:
        raise UsageError(f"--columns {columns}: a row has at least 1 image")
    from imgsearch.cli.terminal.preview.start import begin

    return begin(asked, columns, output.ProgressReporter().say)


_DATA = {"json": "--json", "paths": "--paths", "nul": "-0"}
"""Options whose output is for programs → their flags."""


def _have_a_folder() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def as_text(given: str, what: str, instead: str) -> str:
    """Return words of the command line as the text that their bytes are: in a C locale Python takes them for ASCII.

    Raises InputError where they are not UTF-8; ``what`` was given, and ``instead`` is what to do.
    """
    try:
        return os.fsencode(given).decode()
    except UnicodeError:
        raise InputError(
            f"{what} is not valid UTF-8; use a terminal with a UTF-8 locale, or {instead}"
        ) from None


def pixel_choice(detail: Detail | None, max_pixels: int | None) -> PixelChoice | None:
    """Turn --detail or --max-pixels into a choice of budget, None if neither was given. Raises UsageError."""
    if detail == "checkpoint" and max_pixels is None:
        return detail
    return pixel_budget(detail, max_pixels)


def pixel_budget(detail: Detail | None, max_pixels: int | None) -> PixelBudget | None:
    """Turn --detail or --max-pixels into a budget where a checkpoint's own is not to be had. Raises UsageError."""
    if detail is None and max_pixels is None:
        return None
    if detail is not None and max_pixels is not None:
        raise UsageError("--detail and --max-pixels set the same thing; give one of them")
    if detail == "checkpoint":
        raise UsageError("--detail checkpoint does not work here; give a number with --max-pixels N")
    if detail is not None:
        return PixelBudget(MIN_PIXELS, DETAIL[detail])
    assert max_pixels is not None
    if max_pixels < MIN_PIXELS:
        raise UsageError(f"--max-pixels {max_pixels}: the model needs at least {MIN_PIXELS:,}")
    if max_pixels > MOST_PIXELS:
        raise UsageError(f"--max-pixels {max_pixels}: no image has that many; the most is {MOST_PIXELS:,}")
    return PixelBudget(MIN_PIXELS, max_pixels)


def model_choice(
    model: str | None,
    revision: str | None = None,
    dim: int | None = None,
    pixels: PixelChoice | None = None,
    instruction: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    force_model: bool = False,
    profile: Profile | None = None,
) -> ModelOptions:
    """Collect the model's flags; a folder is made absolute, so that the index finds it from anywhere."""
    if model is not None and model not in (DEMO_MODEL, DEFAULT_MODEL):
        expanded = os.path.expanduser(model)
        if os.path.isdir(expanded):
            model = os.path.abspath(expanded)
    if instruction:
        instruction = as_text(instruction, "the instruction", "leave it out")
    choice = model, revision, dim, pixels, instruction, device, dtype
    return ModelOptions(*choice, force_model=force_model, profile=profile)
