"""A person's commands over a folder of pictures that changes, and what each must leave, whole or broken off."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import ImgsearchError
from imgsearch.index.reader import ImageIndex
from support import fakes
from support.cli import imgsearch
from support.fakes import COLOURS, DIM, paint, quarters_of, spec, vector
from support.faults.checks import check_database

Tree = dict[str, tuple[str, ...]]
"""The four colours of every picture by its path."""


class Refused(ImgsearchError):
    """A command that ended with a line of error and exit code 2."""


@dataclass(frozen=True)
class Command:
    """One command, and the folder as it then is; ``{}`` in ``argv`` stands for that folder."""

    argv: tuple[str, ...]
    tree: Tree


@cache
def script(seed: int) -> tuple[Command, ...]:
    """Draw some commands."""
    draw = random.Random(f"{seed} commands")
    tree: Tree = {}
    commands = []
    for argv in (("index", "{}"), ("index",), ("remove", "{}/b"), ("index", "{}", "--rebuild"), ("index",)):
        tree = {path: colours for path, colours in tree.items() if draw.random() < 0.6}
        for number in range(12):
            path = f"{draw.choice('ab')}/{len(commands)} {number}.png"
            tree[path] = tuple(draw.choices(sorted(COLOURS), k=4))
        if argv[0] == "remove":
            tree = dict(commands[-1].tree)
        commands.append(Command(argv, tree))
    return tuple(commands)


def known(number: int, commands: tuple[Command, ...]) -> Tree:
    """Return what the index holds when the command of that number is done."""
    if number < 0:
        return {}
    gone = commands[number].argv[0] == "remove"
    return {
        path: colours
        for path, colours in commands[number].tree.items()
        if not (gone and path.startswith("b/"))
    }


def live(
    folder: str,
    seed: int,
    first: int,
    begin: Callable[[int], None],
    done: Callable[[int], None],
) -> None:
    """Carry out the commands from ``first`` on. Raises Refused when one fails."""
    fakes.install(pytest.MonkeyPatch())
    pictures = pictures_of(folder)
    for number, command in enumerate(script(seed)[first:], first):
        shutil.rmtree(pictures, ignore_errors=True)
        for path, colours in command.tree.items():
            paint(os.path.join(pictures, path), *colours, size=(16, 16))
        begin(number)
        ended = imgsearch(*(part.format(pictures) for part in command.argv), "--index", folder)
        # What was broken off may have removed everything already: nothing found, says the next one.
        if ended.code and not (ended.code == 1 and command.argv[0] == "remove"):
            assert ended.code == 2, (ended.code, ended.err)
            assert "Traceback" not in ended.err, ended.err
            raise Refused(ended.err.splitlines()[-1])
        done(number)


def pictures_of(folder: str) -> str:
    """Return the folder of the pictures; it lies beside the disk that fails."""
    return os.path.join(os.path.dirname(os.path.dirname(folder)), "pictures")


def check(folder: str, seed: int, begun: int, done: int) -> None:
    """What the last command that ended left is there; of the one that was broken off, some files may be.

    Raises AssertionError, and what the index itself raises.
    """
    commands = script(seed)
    before, after = known(done, commands), known(begun, commands)
    pictures = Path(pictures_of(folder))
    with ImageIndex(folder) as index:
        have = {
            os.path.relpath(os.path.join(root.path, row.path), pictures): row.content
            for root in index.catalog.roots()
            for row in index.catalog.files(root.id)
        }
        for path in before.keys() | after.keys() | have.keys():
            allowed = {content(before.get(path)), content(after.get(path))}
            assert have.get(path) in allowed, f"{path}: {have.get(path)!r}"
        for path, colours in {**before, **after}.items():
            if have.get(path) is not None and have[path] == content(colours):
                assert np.array_equal(index.vector(have[path]), stored(colours)), path
        hits = index.search(vector(COLOURS["red"]), 5)[0]
        assert len(hits) == min(5, len(set(have.values())))
        for record, _ in hits:
            shown = {os.path.relpath(path, pictures) for path in record.paths}
            assert shown == {path for path, held in have.items() if held == record.sha256}
        assert index.spec == spec(DIM)
        path = index.catalog.path
    check_database(path)


@cache
def _painted(colours: tuple[str, ...]) -> tuple[bytes, np.ndarray]:
    """Return the sha256 of a picture's file, and its vector as it is stored."""
    with tempfile.TemporaryDirectory() as folder:
        path = paint(os.path.join(folder, "one.png"), *colours, size=(16, 16))
        row = vector(*quarters_of(np.asarray(Image.open(path).convert("RGB"))).tolist())
        return hashlib.sha256(path.read_bytes()).digest(), row.astype("<f2").astype(np.float32)


def content(colours: tuple[str, ...] | None) -> bytes | None:
    """Return the sha256 of a picture's file."""
    return _painted(colours)[0] if colours else None


def stored(colours: tuple[str, ...]) -> np.ndarray:
    """Return the row (1, DIM) that a picture must have."""
    return _painted(colours)[1]
