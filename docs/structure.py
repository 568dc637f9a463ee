"""Says how the package is built: its size, its imports as a drawing, and the way that one value takes through it.

    python docs/structure.py                     entries, packages, modules, lines, the longest chain of imports
    python docs/structure.py --write             puts the drawing of rooms into ARCHITECTURE.md
    python docs/structure.py --walk picture      the modules that one picture's path meets while it is indexed
    python docs/structure.py --walk query        the modules that the words of one query meet
    python docs/structure.py --walk checkpoint   the modules that are entered while a model is loaded

``--source DIR`` reads another tree (the folder that holds ``imgsearch``). The first two need the standard library
alone. A walk runs the program with the demo checkpoint in a temporary folder, so it needs an environment with
what the program needs.

What a walk counts. A *stay* is an entry into a module: a call from another one; calls inside a module and returns
are not counted. What comes round in a loop, the same functions called from the same lines, is told once.
``checkpoint`` tells every call while the model of an index is loaded. ``picture`` and ``query`` tell the calls that
are given the value: the path itself, what a function made of it (a file, a picture, an input, a vector), or a list
or dataclass that holds one of them; arithmetic on tensors is not followed. A generator that is given it is asked
for the next one and not called, so it is no stay, but what it calls is. A *return* is a stay in a module that the
walk has left before, a *climb* one in a storey above the stay before it. A module's storey is the longest way down
the imports that starts at it, so it is read from the code and not from a list. Small helpers, the nouns and the
errors count like any other module, so a helper that two modules share counts for more than two copies of it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import inspect
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "imgsearch"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- drawing: made by docs/structure.py -->\n", "<!-- end of the drawing -->\n"
SMALL, LARGE, CROWDED = 60, 500, 12


# The imports.


def modules(source: Path) -> dict[str, Path]:
    """Return every module by its name below the package ("" is the package itself, ``index.reader`` one in a room)."""
    folder = source / PACKAGE
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in sorted(folder.rglob("*.py"))
    }


def imports(source: Path, *, on_use: bool = True) -> dict[str, set[str]]:
    """Return for each module the modules of the package that it imports; ``on_use`` counts those inside functions.

    What is imported for type checking alone is left out, and so is what the package itself lists.
    """
    known = modules(source)
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        found: set[str] = set()
        package = path.name == "__init__.py"
        for node in _nodes(ast.parse(path.read_bytes()), on_use):
            found |= _targets(node, name, package, known)
        graph[name] = found - {name}
    graph[""] = set()
    return graph


def _nodes(tree: ast.AST, on_use: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from (other, *_nodes(other, on_use))
        elif on_use or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _nodes(node, on_use)


def _targets(node: ast.AST, here: str, package: bool, known: Iterable[str]) -> set[str]:
    """Return the modules of the package that one import statement names."""
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = [PACKAGE, *here.split(".")] if here else [PACKAGE]
            parts = parts[: len(parts) - node.level + package]
            base = ".".join([*parts, base] if base else parts)
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            names.append(whole if whole.removeprefix(PACKAGE + ".") in known else base)
    inside = {name.removeprefix(PACKAGE + ".") for name in names if name.startswith(PACKAGE + ".")}
    return inside & set(known)


def groups(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Return the modules in an order in which each comes after those that it imports; a cycle is one group."""
    order: list[tuple[str, ...]] = []
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = tuple(stack[stack.index(name) :])
            del stack[-len(group) :]
            order.append(group)

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return order


def storeys(graph: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return for each module the longest chain of imports that starts at it, itself included; a cycle counts once."""
    chain: dict[str, list[str]] = {}
    for group in groups(graph):
        below: set[str] = set().union(*(graph[name] for name in group)) - set(group)
        longest: list[str] = max((chain[name] for name in sorted(below)), key=len, default=[])
        for name in group:
            chain[name] = [name, *longest]
    return chain


# The figures.


def figures(source: Path) -> Iterator[str]:
    """Yield the size and shape of a tree, a line each."""
    folder = source / PACKAGE
    known = modules(source)
    lines = {name: len(path.read_text().splitlines()) for name, path in known.items()}
    entries = [entry.name for entry in folder.iterdir() if not entry.name.startswith(("__pycache__", "."))]
    packages = Counter(name.rpartition(".")[0] for name, path in known.items() if path.name != "__init__.py")
    yield f"entries in the package folder: {len(entries)}"
    yield f"packages: {sum(path.name == '__init__.py' for path in known.values())}"
    yield f"modules: {len(known)}"
    yield f"lines: {sum(lines.values()):,}"
    for title, on_use in (("as loaded", False), ("with those on use", True)):
        graph = imports(source, on_use=on_use)
        longest = max(storeys(graph).values(), key=len)
        yield f"longest chain of imports, {title}: {len(longest)}: {' > '.join(longest)}"
        cycles = [group for group in groups(graph) if len(group) > 1]
        yield f"cycles, {title}: {'; '.join(', '.join(sorted(group)) for group in cycles) or 'none'}"
    down = max(storeys(rooms(source)).values(), key=len)
    yield f"longest chain of rooms (entries in the package folder): {len(down)}: {' > '.join(down)}"
    knots = [group for group in groups(rooms(source)) if len(group) > 1]
    yield f"cycles of rooms: {'; '.join(', '.join(sorted(group)) for group in knots) or 'none'}"
    small = [f"{name or PACKAGE} {lines[name]}" for name in known if SMALL > lines[name] > 1]
    yield f"modules under {SMALL} lines (of one line or none: packages without code, not told): {_list(small)}"
    yield f"modules over {LARGE} lines: {_list(f'{name} {lines[name]}' for name in known if lines[name] > LARGE)}"
    crowded = (f"{name} {count}" for name, count in sorted(packages.items()) if count > CROWDED)
    yield f"packages of more than {CROWDED} modules: {_list(crowded)}"


def _list(items: Iterable[str]) -> str:
    items = list(items)
    return f"{len(items)}: {', '.join(items)}" if items else "none"


# The drawing.


def room(module: str) -> str:
    """Return the part of the package folder that a module stands in."""
    return module.partition(".")[0]


def rooms(source: Path) -> dict[str, set[str]]:
    """Return the rooms and which of the others each imports from; the package's own table of contents is none."""
    graph: dict[str, set[str]] = {}
    for name, others in imports(source).items():
        if name and not name.startswith("__"):
            graph.setdefault(room(name), set()).update(room(other) for other in others)
    return {name: others - {name} for name, others in graph.items()}


def drawing(source: Path) -> str:
    """Return the rooms and their arrows as Mermaid. An arrow that another way down implies is left out."""
    graph = rooms(source)
    chain = storeys(graph)
    levels: dict[int, list[str]] = {}
    for name in graph:
        levels.setdefault(len(chain[name]), []).append(name)
    out = ["```mermaid", "flowchart TD"]
    for level in sorted(levels, reverse=True):
        out.append("    " + "; ".join(sorted(levels[level])))
    for level in sorted(levels, reverse=True):
        for name in sorted(levels[level]):
            implied = set().union(*(_below(graph, other) for other in graph[name]))
            out += [f"    {name} --> {other}" for other in sorted(graph[name] - implied)]
    return "\n".join([*out, "```"]) + "\n"


def _below(graph: dict[str, set[str]], name: str) -> set[str]:
    found: set[str] = set()
    todo = list(graph[name])
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += graph[other]
    return found


def with_drawing(page: str, source: Path) -> str:
    """Return a page's text with the drawing between its marks. Raises ValueError where the marks are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no marks for the drawing")
    return before + BEGIN + drawing(source) + END + after


# The walks.


class Recorder:
    """Notes the calls into the package's functions, on every thread, while it is switched on.

    With ``follow`` given, only calls that carry the value: one for which it says so, or that was made from it.
    """

    def __init__(self, package: Path, follow: Callable[[object], bool] | None = None) -> None:
        """Take the package's folder, and what tells the value if one is to be followed."""
        self.folder = str(package) + os.sep
        self.follow = follow
        self.calls: list[tuple[str, str]] = []
        self.paths: set[tuple[tuple[CodeType, int], ...]] = set()
        self.made: dict[int, object] = {}  # kept, so that no other object gets the same id
        self.contents: set[tuple[int, int]] = set()
        self.carrying: set[FrameType] = set()
        self.importing = threading.local()

    def __enter__(self) -> Recorder:
        """Switch it on."""
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        return self

    def __exit__(self, *error: object) -> None:
        """Switch it off, on threads that live on too."""
        sys.setprofile(None)
        threading.setprofile(None)
        self.folder = os.sep * 2

    def _event(self, frame: FrameType, event: str, value: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(self.folder):
            return
        if code.co_name == "<module>":
            depth = getattr(self.importing, "depth", 0)
            self.importing.depth = depth + (1 if event == "call" else -1)
        elif getattr(self.importing, "depth", 0) or code.co_name.startswith("<"):
            return
        elif event == "return":
            if frame in self.carrying:
                self._mark(value)
        else:
            self._call(frame)

    def _call(self, frame: FrameType) -> None:
        code = frame.f_code
        if self.follow:
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            given = [frame.f_locals.get(name) for name in names if name not in ("self", "cls")]
            if not any(self._carries(value) for value in given):
                return
            self.carrying.add(frame)
        if code.co_flags & inspect.CO_GENERATOR:
            return  # it is asked for values, and its calls are told; it is not called itself
        path, above = [(code, 0)], frame.f_back
        while above:
            if above.f_code.co_filename.startswith(self.folder):
                path.append((above.f_code, above.f_lineno))
            above = above.f_back
        if tuple(path) not in self.paths:
            self.paths.add(tuple(path))
            name = code.co_filename[len(self.folder) : -len(".py")].replace(os.sep, ".")
            self.calls.append((name.removesuffix(".__init__"), code.co_name))

    def _carries(self, value: object, depth: int = 3) -> bool:
        assert self.follow
        if id(value) in self.made or self.follow(value) or self._content(value) in self.contents:
            return True
        return depth > 0 and any(self._carries(part, depth - 1) for part in _parts(value))

    def _mark(self, value: object, depth: int = 3) -> None:
        """Take note of what was made of the value: a dataclass, and the pictures and arrays that it holds."""
        kind = type(value)
        if kind.__module__.startswith(("numpy", "PIL")) or (depth == 3 and dataclasses.is_dataclass(kind)):
            self.made[id(value)] = value
            if (content := self._content(value)) is not None:
                self.contents.add(content)
        for part in _parts(value) if depth else ():
            self._mark(part, depth - 1)

    @staticmethod
    def _content(value: Any) -> tuple[int, int] | None:
        """Return what tells an array by its numbers: batches copy their rows, and the index halves their precision."""
        if (
            type(value).__module__ == "numpy"
            and value.ndim
            and 8 < value.size < 1 << 20
            and value.dtype.kind == "f"
        ):
            return value.size, hash(value.astype("<f2").tobytes())
        return None


def _parts(value: object) -> list[object]:
    """Return what a list or a dataclass holds."""
    if isinstance(value, list | tuple):
        return list(value[:8])
    if isinstance(value, dict):
        return list(value.values())[:8]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return []


def stays(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the entries into a module, each with the function it is entered by; a loop is told once."""
    entries = [call for at, call in enumerate(calls) if not at or calls[at - 1][0] != call[0]]
    before: list[tuple[str, str]] = []
    while before != entries:
        before = entries
        for length in range(2, 24):
            entries = _without_repeats(entries, length)
    return entries


def _without_repeats(entries: list[tuple[str, str]], length: int) -> list[tuple[str, str]]:
    """Return the entries without a block of ``length`` of them that follows on its like."""
    kept: list[tuple[str, str]] = []
    at = 0
    while at < len(entries):
        if len(kept) >= length and entries[at : at + length] == kept[-length:]:
            at += length
        else:
            kept.append(entries[at])
            at += 1
    return kept


def walk(source: Path, which: str) -> Iterator[str]:
    """Yield the walk of a value, a line a stay, and the count of stays, modules and climbs."""
    entries = stays(_record(source, which))
    floor = {name: len(chain) for name, chain in storeys(imports(source)).items()}
    climbs = 0
    for i, (name, function) in enumerate(entries):
        up = i > 0 and floor.get(name, 0) > floor.get(entries[i - 1][0], 0)
        climbs += up
        yield f"{'^' if up else ' '} {name}: {function}"
    met = Counter(name for name, _ in entries)
    often, times = met.most_common(1)[0]
    yield (
        f"{len(entries)} stays in {len(met)} modules, so {len(entries) - len(met)} returns, and {climbs} climbs; "
        f"most often in {often}: {times}"
    )


WORDS = "a red circle on white"


def _record(source: Path, which: str) -> list[tuple[str, str]]:
    """Run the program with the demo checkpoint in a temporary folder, and return the calls that a walk tells."""
    with tempfile.TemporaryDirectory() as folder:
        home = os.path.realpath(folder)
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "HOME"):
            os.environ[name] = home
        sys.path.insert(0, str(source))
        sys.dont_write_bytecode = True
        from PIL import Image

        pictures, index = os.path.join(home, "pictures"), os.path.join(home, "index")
        os.mkdir(pictures)
        Image.new("RGB", (64, 48), (200, 30, 30)).save(os.path.join(pictures, "first.png"))
        _program("index", pictures, "--index", index, "--model", "demo")
        if which == "checkpoint":
            return _record_loading(source, index)
        if which == "query":
            with Recorder(source / PACKAGE, _is_words) as recorder:
                _program("query", WORDS, "--index", index, "--no-remember", "--json")
            return recorder.calls
        walked = os.path.join(pictures, "walked.png")
        Image.new("RGB", (64, 48), (30, 30, 200)).save(walked)
        with Recorder(source / PACKAGE, _is_walked_path) as recorder:
            _program("index", walked, "--index", index)
        return recorder.calls


def _is_walked_path(value: object) -> bool:
    return isinstance(value, str) and (value == "walked.png" or value.endswith("/walked.png"))


def _is_words(value: object) -> bool:
    return isinstance(value, str) and value == WORDS


def _program(*argv: str) -> None:
    """Run a command in this process; what it prints goes nowhere."""
    from imgsearch.cli import app

    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        app(list(argv), standalone_mode=False)


def _record_loading(source: Path, folder: str) -> list[tuple[str, str]]:
    from imgsearch import ImageIndex, IndexOptions, checkpoint_for, load_encoder

    class Silent:
        """Hears what is said and shows nothing."""

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args, **kwargs: None

    with ImageIndex(folder) as index:
        spec = getattr(index, "spec", None) or index.identity  # its former name
        model = IndexOptions().model
        with Recorder(source / PACKAGE) as recorder:
            load_encoder(checkpoint_for(folder, spec, model, Silent()), spec, model, Silent())
    return recorder.calls


def main() -> None:
    """Run the script."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument(
        "--source", type=Path, default=ROOT / "src", help="the folder that holds the package"
    )
    options.add_argument("--write", action="store_true", help="put the drawing into ARCHITECTURE.md")
    options.add_argument(
        "--walk", choices=["picture", "query", "checkpoint"], help="tell the way of one value"
    )
    chosen = options.parse_args()
    source = chosen.source.resolve()
    if chosen.write:
        PAGE.write_text(with_drawing(PAGE.read_text(), source))
    for line in walk(source, chosen.walk) if chosen.walk else figures(source):
        print(line)


if __name__ == "__main__":
    main()
