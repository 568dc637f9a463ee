"""ARCHITECTURE.md and the other pages can't lie: the drawing is made from the imports, and what is named exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support import ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "imgsearch"
PAGE = ROOT / "ARCHITECTURE.md"
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
)
# What a page may call a file of this repository; a log of measurements names what was there on its day.
PATH = re.compile(r"(?<![\w/.-])(?:\.ci|\.github|benchmarks|docs|recipes|src|tests)/[\w./-]*[\w/]")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("structure", ROOT / "docs" / "structure.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["structure"] = module
    spec.loader.exec_module(module)
    return module


structure = _load()


def _named(page: str) -> list[tuple[str, str]]:
    """Return every module that a page names, with the function or class behind the colon, or ""."""
    return sorted(set(re.findall(r"(?<![\w/.])([\w/]+\.py)(?::([\w.]*\w))?", page)))


def _definitions(tree: ast.AST, within: str = "") -> Iterator[str]:
    """Yield the dotted names that a module defines at its top and in its classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield within + node.name
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, f"{within}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (within + target.id for target in targets if isinstance(target, ast.Name))


def test_the_drawing_is_what_the_imports_say() -> None:
    """The drawing in ARCHITECTURE.md is the one that the script makes now: python docs/structure.py --write."""
    page = PAGE.read_text()
    assert page == structure.with_drawing(page, SOURCE)


@pytest.mark.parametrize(("module", "name"), _named(PAGE.read_text()))
def test_what_the_page_names_is_there(module: str, name: str) -> None:
    """A module that ARCHITECTURE.md names is there, and has the function or class behind the colon."""
    path = next((folder / module for folder in (PACKAGE, ROOT) if (folder / module).is_file()), None)
    assert path, f"no such module: {module}"
    if name:
        assert name in set(_definitions(ast.parse(path.read_text())))


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    """A file or folder of the repository that a page names exists."""
    paths = set(PATH.findall((ROOT / page).read_text()))
    links = set(re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text()))
    beside = {str((ROOT / page).parent.relative_to(ROOT) / link) for link in links}
    assert sorted(path for path in paths | beside if not (ROOT / path).exists()) == []


def test_every_room_that_the_page_names_is_there() -> None:
    """A folder that ARCHITECTURE.md names is one of the package or of the repository."""
    rooms = set(re.findall(r"`([\w/]+)/`", PAGE.read_text()))
    assert sorted(room for room in rooms if not ((PACKAGE / room).is_dir() or (ROOT / room).is_dir())) == []


def test_search_and_indexing_do_without_the_tools() -> None:
    """With the tools gone, the two stories and the command line can still be imported, as ARCHITECTURE.md says."""
    code = (
        "import sys; sys.modules['imgsearch.tools'] = None\n"
        "import imgsearch.indexing.run, imgsearch.search, imgsearch.cli"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_fits_in_one_sitting() -> None:
    """ARCHITECTURE.md is one page: at most 130 lines beside the drawing, which the script makes."""
    before, _, rest = PAGE.read_text().partition(structure.BEGIN)
    assert len((before + rest.partition(structure.END)[2]).splitlines()) <= 130


def _tree(folder: Path, **modules: str) -> Path:
    """Write a little package: a module a keyword, with ``__`` for the dot."""
    for name, text in {"__init__": "", **modules}.items():
        path = folder / "imgsearch" / ("/".join(name.split("__")) if name != "__init__" else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text)
    return folder


def test_imports_are_read_in_every_spelling(tmp_path: Path) -> None:
    """Imports are found whole, by name, relative and in functions; those for type checking alone are none."""
    source = _tree(
        tmp_path,
        a="import imgsearch.b\nfrom imgsearch import c\ndef f():\n    from imgsearch.room.d import x\n",
        b="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from imgsearch import c\n",
        c="",
        room__d="from .e import y\nfrom . import f\n",
        room__e="",
        room__f="",
    )
    (tmp_path / "imgsearch" / "room" / "__init__.py").write_text("")
    graph = structure.imports(source)
    assert (graph["a"], graph["b"]) == ({"b", "c", "room.d"}, set())
    assert graph["room.d"] == {"room.e", "room.f"}
    assert structure.imports(source, on_use=False)["a"] == {"b", "c"}


def test_a_storey_is_the_longest_way_down() -> None:
    """The chain from a module is the longest one, and a cycle is one step of it."""
    graph = {"top": {"left", "low"}, "left": {"right"}, "right": {"left", "low"}, "low": set()}
    assert {name: len(chain) for name, chain in structure.storeys(graph).items()} == {
        "top": 3,
        "left": 2,
        "right": 2,
        "low": 1,
    }
    assert ("left", "right") in [tuple(sorted(group)) for group in structure.groups(graph)]


def test_a_loop_is_told_once() -> None:
    """Stays are entries into another module; a block of them that follows on its like is left out."""
    calls = [("a", "f"), ("a", "g"), *[("b", "f"), ("c", "f"), ("c", "g")] * 3, ("a", "f"), ("b", "f")]
    assert structure.stays(calls) == [("a", "f"), ("b", "f"), ("c", "f"), ("a", "f"), ("b", "f")]


def test_a_walk_tells_the_calls_that_are_given_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A walk tells the calls that are given the value or what was made of it, and without a value all of them."""
    package = tmp_path / "walked_package"
    package.mkdir()
    (package / "top.py").write_text(
        "from walked_package import low, other\n"
        "def run(word):\n    other.note(1)\n    return other.keep([low.make(word)])\n"
    )
    (package / "low.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Made:\n    size: int\n"
        "def make(word):\n    return Made(len(word))\n"
    )
    (package / "other.py").write_text(
        "def note(number):\n    pass\ndef keep(things):\n    return len(things)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    top = importlib.import_module("walked_package.top")
    with structure.Recorder(package, lambda value: value == "word") as followed:
        top.run("word")
    with structure.Recorder(package) as every_call:
        top.run("word")
    assert followed.calls == [("top", "run"), ("low", "make"), ("other", "keep")]
    assert every_call.calls == [("top", "run"), ("other", "note"), ("low", "make"), ("other", "keep")]
