"""A model that a person can predict: a picture's vector is the mean colour of its four quarters.

``fake_model`` puts it in the place of the checkpoint, so that a run needs no weights and tests assert exact
hits. Words for colours are its whole language: "red" is a red picture, "red green blue white" one with these
quarters in reading order.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imgsearch.cli.spelling import spelled
from imgsearch.errors import InputError, NonFiniteError
from imgsearch.index.reader import ImageIndex
from imgsearch.index.rows import FileState
from imgsearch.indexing.options import IndexOptions, IndexResult
from imgsearch.indexing.run import index_pictures
from imgsearch.model import locate
from imgsearch.model.checkpoint import Checkpoint, CheckpointInfo
from imgsearch.types import (
    PAGE_BUDGET,
    RGB,
    IndexSpec,
    Input,
    ModelOptions,
    Patches,
    PixelBudget,
    Reporter,
    Runtime,
    Silent,
    SourceFile,
    Vectors,
)
from support import TESTS

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (230, 20, 20),
    "green": (20, 200, 40),
    "blue": (20, 40, 230),
    "yellow": (240, 220, 20),
    "pink": (250, 120, 180),
    "brown": (120, 70, 20),
    "orange": (250, 140, 10),
    "cyan": (20, 220, 230),
}
DIM = 13
"""Four quarters of three channels, and a constant, so that grey has a direction too."""
MODEL = "fake/colours"
BUDGET = PixelBudget(4096, 57600)


def vector(*quarters: Sequence[float]) -> Vectors:
    """Return the unit vector (1, DIM) of a picture of one colour, or of four quarters in reading order."""
    cells = np.asarray(quarters * 4 if len(quarters) == 1 else quarters, np.float32)
    row = np.concatenate([(cells / 127.5 - 1).reshape(-1), np.array([0.1], np.float32)])
    return np.asarray(row / np.linalg.norm(row), np.float32)[None]


def quarters_of(image: RGB) -> NDArray[np.float32]:
    """Return the mean colours (4, 3) of a picture's quarters in reading order."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    parts = (image[:height, :width], image[:height, width:], image[height:, :width], image[height:, width:])
    return np.stack([part.reshape(-1, 3).mean(axis=0) for part in parts]).astype(np.float32)


@dataclass
class FakeModel:
    """What the fake does and has done: ``loads`` of the model, ``embedded`` pictures, ``asked`` texts.

    ``before`` is called with ``embedded`` ahead of every batch of pictures and may raise; a picture whose
    first quarter has a colour in ``spoilt`` gets no finite row. ``budgets`` are those of the pages it has prepared.
    """

    loads: int = 0
    embedded: int = 0
    asked: int = 0
    before: Callable[[int], None] | None = None
    spoilt: set[tuple[int, int, int]] = field(default_factory=set)
    budgets: list[PixelBudget] = field(default_factory=list)

    def encoder(self, dim: int = DIM) -> FakeEncoder:
        """Return an encoder, without counting it as a load."""
        return FakeEncoder(self, dim)


class FakeEncoder:
    """An ImageEncoder over colours."""

    def __init__(self, model: FakeModel, dim: int = DIM) -> None:
        self.model, self._dim = model, dim

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    @property
    def runtime(self) -> Runtime:
        """A fixed place."""
        return Runtime("cpu", "float32", "the fake model knows no other")

    @property
    def batch_size(self) -> int:
        """As large as a real one on a CPU."""
        return 8

    @property
    def recomputed(self) -> int:
        """Return 0: a fake never overflows."""
        return 0

    @property
    def batch_reason(self) -> str:
        """No memory is looked at."""
        return "the fake model needs none"

    def expect(self, images: int) -> str:
        """A fake needs no preparation."""
        return ""

    def int8_speedup(self) -> float:
        """A fake is as fast as it gets."""
        return 1.0

    def prepare(self, image: RGB, budget: PixelBudget | None = None) -> Patches:
        """Keep the mean colours of the quarters."""
        if budget is not None:
            self.model.budgets.append(budget)
        return Patches(quarters_of(image), (1, 2, 2))

    def embed(
        self, inputs: Sequence[Input], normalize: bool = True, *, batch_size: int | None = None
    ) -> Vectors:
        """Return the rows, or what a real model would raise."""
        pictures = sum(item.image is not None for item in inputs)
        if pictures and self.model.before:
            self.model.before(self.model.embedded)
        self.model.embedded += pictures
        self.model.asked += len(inputs) - pictures
        cells = [self._cells(item) for item in inputs]
        bad = [
            place
            for place, colours in enumerate(cells)
            if tuple(int(value) for value in colours[0].round()) in self.model.spoilt
        ]
        if bad:
            raise NonFiniteError(bad)
        rows = np.concatenate([np.empty((0, DIM), np.float32), *(vector(*colours) for colours in cells)])
        rows = rows[:, : self._dim]
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def _cells(self, item: Input) -> NDArray[np.float32]:
        if isinstance(item.image, Patches):
            return item.image.pixel_values
        if item.image is not None:
            return quarters_of(item.image)
        if not item.text or not item.text.strip():
            raise InputError("there is nothing to embed: the text is empty")
        named = [COLOURS[word] for word in item.text.split() if word in COLOURS]
        if len(named) == 4:
            return np.asarray(named, np.float32)
        return np.repeat(np.mean(named or [(140, 120, 130)], axis=0, dtype=np.float32)[None], 4, axis=0)


def spec(dim: int = DIM, model: str = MODEL) -> IndexSpec:
    """Return the spec that an index made with the fake has."""
    prompt = "Represent the user's input."
    return IndexSpec(model, _fingerprint(f"/{model}"), dim, prompt, prompt, BUDGET, PAGE_BUDGET)


def _fingerprint(folder: str) -> str:
    return hashlib.sha256(folder.encode()).hexdigest()


def install(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """Put a fresh fake in the place of every checkpoint; another ``--model`` name is another fingerprint."""
    # Imported before anything is patched, so that none of them keeps a fake for good.
    users = [import_module(f"imgsearch.{name}") for name in ("client", "indexing.run", "search.encoding")]
    fake = FakeModel()

    def find_checkpoint(model: str | None = None, **_: object) -> Checkpoint:
        name = model or MODEL
        return Checkpoint(f"/{name}", name, "a fake")

    def load(
        checkpoint: Checkpoint, spec: IndexSpec, choice: ModelOptions, reporter: Reporter
    ) -> FakeEncoder:
        fake.loads += 1
        reporter.detail(f"{checkpoint.name} ({checkpoint.reason}) on cpu in float32: the fake model")
        return fake.encoder(spec.dim)

    monkeypatch.setattr(locate, "find_checkpoint", find_checkpoint)
    monkeypatch.setattr(locate, "look_for", lambda model, *_: find_checkpoint(model))
    monkeypatch.setattr(
        Checkpoint, "fingerprint", property(lambda checkpoint: _fingerprint(checkpoint.folder))
    )
    info = CheckpointInfo(DIM, "qwen3_vl", 1000, 1000)
    monkeypatch.setattr(Checkpoint, "info", property(lambda checkpoint: info))
    for user in users:
        monkeypatch.setattr(user, "load_encoder", load)
    for user in users[:2]:
        monkeypatch.setattr(user, "load_local_encoder", load)
    return fake


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """Give the fake that stands in the place of every checkpoint during a test."""
    return install(monkeypatch)


def paint(path: str | Path, *colours: str | tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Path:
    """Write a picture of one colour, or of four quarters in reading order, in its extension's format."""
    chosen = [COLOURS[colour] if isinstance(colour, str) else colour for colour in colours]
    image = Image.new("RGB", size, chosen[0])
    if len(chosen) == 4:
        width, height = size[0] // 2, size[1] // 2
        for place, colour in enumerate(chosen):
            left, top = place % 2 * width, place // 2 * height
            image.paste(colour, (left, top, left + width, top + height))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image.save(path)
    return Path(path)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Give a folder of small pictures named by their colours: red, green and blue, and sub/yellow and sub/white."""
    folder = tmp_path / "pictures"
    for name in ("red.png", "green.png", "blue.jpg", "sub/yellow.png", "sub/white.png"):
        paint(folder / name, Path(name).stem)
    return folder


_CHECKED = """
import os, sys, tempfile
from support import privileges
privileges.drop()
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o555)
    if os.access(folder, os.W_OK):
        sys.exit(77)
"""


def unprivileged(code: str, *argv: object) -> str:
    """Run Python ``code`` in a process that file modes bind, also root's; return what it prints.

    The test is skipped where that can't be had. ``argv`` is sys.argv[1:].
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHECKED + code, *map(str, argv)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("file modes bind no process of this user here")
    assert done.returncode == 0, done.stderr
    return done.stdout


def unit(n: int, seed: int = 0, dim: int = DIM) -> Vectors:
    """Return ``n`` random unit vectors (n, dim)."""
    found = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def sha(name: object) -> bytes:
    """Return a content's key."""
    return hashlib.sha256(os.fsencode(str(name))).digest()


def state(root: int, path: str, content: bytes | None, size: int = 1, error: str | None = None) -> FileState:
    """Return what a run found out about a file of /pictures."""
    if content is None and error is None:
        error = "corrupt"
    return FileState(root, SourceFile("/pictures", path, size, 1), content, error)


class Notes(Silent):
    """A reporter that remembers what was said, and apart from it the details."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.details: list[str] = []

    def say(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)

    def detail(self, line: str) -> None:
        """Keep the detail."""
        self.details.append(line)

    @property
    def text(self) -> str:
        """Everything that was said."""
        return "\n".join(self.lines)

    @property
    def shell(self) -> str:
        """Everything that was said, as the command line spells it."""
        return "\n".join(map(spelled, self.lines))


def run(
    folder: str | Path, *paths: str | Path, reporter: Reporter | None = None, **options: Any
) -> IndexResult:
    """Index the paths into ``folder``; ``options`` are those of IndexOptions."""
    return index_pictures([str(path) for path in paths], str(folder), IndexOptions(**options), reporter)


def indexed(folder: str | Path, below: str | Path = "/") -> set[str]:
    """Return the indexed files, relative to ``below``; one that is there twice fails."""
    found = []
    with ImageIndex(str(folder)) as index:
        for root in index.catalog.roots():
            rows = [row for row in index.catalog.files(root.id) if row.content is not None]
            found += [os.path.relpath(os.path.join(root.path, row.path), below) for row in rows]
    assert len(found) == len(set(found))
    return set(found)


def roots(folder: str | Path, below: str | Path = "/") -> set[str]:
    """Return the folders that are kept indexed, relative to ``below``."""
    with ImageIndex(str(folder)) as index:
        return {os.path.relpath(root.path, below) for root in index.catalog.roots()}
