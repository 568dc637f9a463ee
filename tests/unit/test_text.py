"""Words for a person: messages keep what they name as data, and sizes, durations and errors read well."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import imgsearch
from imgsearch import text
from imgsearch.errors import UsageError, rebuild_hint
from imgsearch.indexing.options import IndexOptions
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.text import Call, Message, Option, display_path
from imgsearch.tools.training.options import TrainOptions
from imgsearch.types import ModelOptions
from support import ROOT

SOURCE = ROOT / "src" / "imgsearch"
LIBRARY = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "cli")
COMMANDS = sorted(path.stem for path in (ROOT / "tests" / "cli" / "golden").glob("*.txt"))
SPELLS = re.compile(rf"(?<![\w-])--[a-z]|\bimgsearch ({'|'.join(COMMANDS)})\b")

ABOUT_THE_COMMAND_LINE = {
    "tools/cluster/pipeline.py": "the command of Ray: another program than our own",
    "installation.py": "the commands of pip, uv and pipx: other programs than our own",
    "tools/watch/units.py": "the commands of systemd and launchd",
    "tools/training/export.py": "the model card is a page for people, and shows them the command",
    "tools/collect/page.py": "the variables of a style sheet begin as flags do",
    "tools/desktop.py": "the programs of the desktop: other programs than our own",
    "tools/server/api.py": "the words of docs/http.md, a page that names the commands beside its addresses",
    "tools/web/app.py": "what the browser shows whoever has no session: a page for people",
}


def _docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes that are docstrings, also those below an assignment."""
    found = set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found.add(id(statement.value))
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_library_spells_no_command_and_no_flag(path: Path) -> None:
    """No string below the command line holds a command or a flag: messages name options and calls as data."""
    tree = ast.parse(path.read_text())
    docstrings = _docstrings(tree)
    spelled = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if SPELLS.search(node.value)
    ]
    assert spelled == [] or str(path.relative_to(SOURCE)) in ABOUT_THE_COMMAND_LINE


def test_the_check_finds_what_it_is_for() -> None:
    """Flags and commands are found, and the program's name in a sentence is none."""
    assert all(map(SPELLS.search, ("leave --dtype out", "run 'imgsearch download' again")))
    assert not any(map(SPELLS.search, ("update imgsearch to use it", "a well--known", "imgsearch needs one")))


def _named() -> tuple[set[str], dict[str, set[str]]]:
    """Return the options that the library's messages name, and the arguments of each call that they name."""
    options, calls = set(), {}
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            first = node.args[0]
            if not isinstance(first, ast.Constant):
                continue
            if node.func.id == "Option":
                options.add(first.value)
            elif node.func.id == "Call":
                given = node.args[1].keys if len(node.args) > 1 and isinstance(node.args[1], ast.Dict) else []
                calls.setdefault(first.value, set()).update(
                    key.value for key in given if isinstance(key, ast.Constant)
                )
    return options, calls


def _parameters() -> dict[str, set[str]]:
    """Return the parameters of every function of the package, and the fields of every class."""
    found: dict[str, set[str]] = {}
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                found.setdefault(node.name, set()).update(one.arg for one in every)
            elif isinstance(node, ast.ClassDef):
                fields = (one.target for one in node.body if isinstance(one, ast.AnnAssign))
                found.setdefault(node.name, set()).update(
                    field.id for field in fields if isinstance(field, ast.Name)
                )
    return found


def test_messages_name_what_python_has() -> None:
    """Every option that a message names is a parameter somewhere, every call a function with these parameters."""
    options, calls = _named()
    parameters = _parameters()
    assert {"dim", "rebuild", "learning_rate"} <= options | set().union(*calls.values())
    assert options - set().union(*parameters.values()) == set()
    assert {name for name, given in calls.items() if given - parameters.get(name, set())} == set()
    assert set(calls) <= set(parameters)
    # A caller who is told to call something finds it in the package itself.
    functions = {name for name in calls if name.islower()}
    assert functions <= set(imgsearch.__all__)


# ---- messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said", "option"),
    [
        (
            lambda: IndexOptions(batch_size=0),
            "batch_size=0: must be at least 1",
            "batch_size",
        ),
        (
            lambda: TrainOptions(out="x", learning_rate=-1.0),
            "learning_rate=-1.0: must be above 0",
            "learning_rate",
        ),
        (lambda: imgsearch.SearchOptions(within=101.0), "within=101.0: must be a percentage", "within"),
    ],
)
def test_a_caller_in_python_reads_parameters(wrong: Any, said: str, option: str) -> None:
    """An error of the library names the parameter with its value, and says as data which one it is."""
    with pytest.raises(UsageError) as caught:
        wrong()
    assert str(caught.value).startswith(said)
    assert caught.value.option == option
    assert caught.value.next is None


def test_a_caller_in_python_reads_the_next_call(tmp_path: Path) -> None:
    """Where there is no index, the error names the function that makes one, as text and as data."""
    folder = str(tmp_path / "none")
    with pytest.raises(imgsearch.ImgsearchError) as caught:
        imgsearch.read_status(folder)
    assert str(caught.value).endswith(f"index_pictures(paths=['FOLDER'], folder={folder!r})")
    assert caught.value.next == Call("index_pictures", {"paths": ["FOLDER"], "folder": folder})


def test_a_message_within_a_message_keeps_its_parts() -> None:
    """Parts of nested and joined messages stand in one row, and the text is theirs."""
    inner = Message("leave ", Option("dtype"), " out")
    assert Message("x: ", inner).parts == ("x: ", "leave ", Option("dtype"), " out")
    assert Message.joined("; ", [inner, "b"]) == "leave dtype out; b"
    assert Message.joined("; ", [inner, "b"]).parts[1] == Option("dtype")
    assert Message.joined("; ", []) == ""
    for one in (copy.deepcopy(inner), pickle.loads(pickle.dumps(inner))):
        assert (one, one.parts) == (inner, inner.parts)
    assert rebuild_hint("/i").parts[-1].arguments["options"] == Call("IndexOptions", {"rebuild": True})


def test_options_become_a_call_without_what_was_left_out() -> None:
    """Of a dataclass of options a call has what differs from the default, also within another one."""
    options = IndexOptions(ModelOptions(dim=5), WalkOverrides(exclude=("*.png",)), prune=False)
    assert str(Call.of(options)) == (
        "IndexOptions(model=ModelOptions(dim=5), walk=WalkOverrides(exclude=('*.png',)), prune=False)"
    )
    assert str(Call.of(IndexOptions())) == "IndexOptions()"


# ---- figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0.0 MB"), (340_000, "0.3 MB"), (712e6, "712.0 MB"), (1e9, "1.0 GB"), (4.31e12, "4,310.0 GB")],
)
def test_bytes_are_megabytes_and_gigabytes(count: float, said: str) -> None:
    """A size is in MB up to a billion bytes, in GB from there, with one decimal."""
    assert text.format_bytes(count) == said
    assert text.format_bytes(21_400_000, 0) == "21 MB"


def test_a_long_path_is_cut_in_its_middle() -> None:
    """A message has the beginning of a path and the file's name, however deep that lies; a short one is whole."""
    path = "/mnt/photos/" + "folder/" * 600 + "a.jpg"
    shown = display_path(path)
    assert len(shown) == 200
    assert shown.startswith("/mnt/photos/folder/")
    assert "…" in shown
    assert shown.endswith("/folder/a.jpg")
    assert display_path("/mnt/é" * 33) == "/mnt/é" * 33


def test_a_count_has_its_noun() -> None:
    """One thing is singular, none and many are plural, with a noun of its own where an s does not do."""
    assert [text.plural(count, "file") for count in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert text.plural(2, "copy", "copies") == "2 copies"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x"), "No such file or directory"),
        (OSError("cannot identify\n  image file"), "cannot identify image file"),
        (ValueError(""), "ValueError"),
        (ValueError("x" * 300), "x" * 200),
    ],
)
def test_an_error_is_one_line(error: Exception, said: str) -> None:
    """An error of the system or of a library is a line without line breaks, never empty, never endless."""
    assert text.error_line(error) == said


def test_the_first_line_of_an_error_leaves_its_advice_out() -> None:
    """Where a library goes on with advice of its own, its first line can be had alone."""
    assert text.error_line(ValueError("no connection\nTry again with …"), first=True) == "no connection"


def test_no_error_shows_the_systems_number() -> None:
    """What an HTTP library takes over from the system is told without the system's number."""
    assert (
        text.error_line(RuntimeError("[Errno -2] Name or service not known")) == "Name or service not known"
    )
