"""Training examples: pictures decoded once and kept while they fit, and the table that the trainer is fed with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datasets import Dataset

from imgsearch.errors import DatasetError, UsageError
from imgsearch.media.lookahead import aside, look_ahead
from imgsearch.model import image as pixels
from imgsearch.text import Option
from imgsearch.tools.dataset import read_dataset
from imgsearch.tools.dataset.retrieval import Example, PictureRef, decode, located_errors
from imgsearch.types import RGB, Patches, PixelBudget, Reporter

_AHEAD = 64  # pictures that are read ahead of their turn


class Pictures:
    """Numbered pictures; the same bytes have the same number wherever in the dataset they stand.

    Equal numbers are what the no-duplicates sampler tells equal pictures by. ``in_memory`` says whether the
    resized pictures are kept; where they don't fit, each is read and decoded again whenever it is needed.
    """

    def __init__(
        self,
        refs: Iterable[PictureRef],
        budget: PixelBudget,
        layout: pixels.PatchLayout,
        reporter: Reporter,
        room: int | None = None,
    ) -> None:
        """Read and decode every picture once. ``room`` is how many bytes may be kept, by default a
        quarter of the machine's memory.

        Raises DatasetError, which names where it lies, for a picture that can't be read or decoded.
        """
        wanted = list(dict.fromkeys(refs))
        self._budget, self._layout = budget, layout
        self.in_memory = len(wanted) * budget.max_pixels * 3 <= (_memory() // 4 if room is None else room)
        self._numbers: dict[PictureRef, int] = {}
        self._refs: list[PictureRef] = []
        self._kept: list[RGB] = []
        by_content: dict[bytes, int] = {}
        reporter.start(len(wanted), "pictures")
        try:
            for ref, digest, picture in look_ahead(self._read, wanted, _AHEAD):
                number = by_content.setdefault(digest, len(self._refs))
                self._numbers[ref] = number
                if number == len(self._refs):
                    self._refs.append(ref)
                    if self.in_memory:
                        self._kept.append(picture)
                reporter.advance()
        finally:
            reporter.stop()

    def __len__(self) -> int:
        """How many distinct pictures there are."""
        return len(self._refs)

    def number(self, ref: PictureRef) -> int:
        """Return the number of a picture that was given to the constructor."""
        return self._numbers[ref]

    def patches(self, number: int) -> Patches:
        """Return a picture as the vision tower takes it."""
        image = self._kept[number] if self.in_memory else aside(lambda: self._resized(self._refs[number]))
        return pixels.prepare(image, self._budget, self._layout)

    def _read(self, ref: PictureRef) -> tuple[PictureRef, bytes, RGB]:
        content = ref.read()
        return ref, hashlib.sha256(content).digest(), self._resized(ref, content)

    def _resized(self, ref: PictureRef, content: bytes | None = None) -> RGB:
        """Return a picture in the size that the model sees it in."""
        with located_errors(ref):  # the model may refuse a picture for its shape
            return pixels.resize(decode(ref, self._budget, content), self._budget, self._layout)


def _memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of one or several datasets, with as many negatives each; ``notes`` says what was left out."""

    name: str
    examples: tuple[Example, ...]
    negatives: int
    notes: tuple[str, ...]


def read_examples(paths: Sequence[str], split: str | None, negatives: int | None) -> Examples:
    """Read the examples to train on; each keeps its first ``negatives`` hard negatives, by default all.

    Raises DatasetError for a dataset that can't be used, UsageError for more negatives than there are.
    """
    read = [read_dataset(path, split=split) for path in paths]
    examples = tuple(example for one in read for example in one.examples)
    name = " + ".join(one.name for one in read)
    if not examples:
        raise DatasetError(f"{name}: it has no training examples")
    counts = {len(example.negatives) for example in examples}
    least, most = min(counts), max(counts)
    if negatives is not None and negatives > least:
        short = next(example.query for example in examples if len(example.negatives) < negatives)
        raise UsageError(
            Option("negatives", negatives), f": {name} has only {least} for the query '{short[:60]}'"
        )
    notes = []
    if negatives is None and least < most:
        notes.append(
            f"the examples have {least} to {most} hard negatives; the first {least} of each are used"
        )
    return Examples(name, examples, least if negatives is None else negatives, tuple(notes))


def as_table(examples: Examples, pictures: Pictures) -> Dataset:
    """Return the columns query (text), image and negative_0 … (numbers of pictures), one row an example."""
    columns: dict[str, list[str] | list[int]] = {
        "query": [example.query for example in examples.examples],
        "image": [pictures.number(example.positive) for example in examples.examples],
    }
    for number in range(examples.negatives):
        columns[f"negative_{number}"] = [
            pictures.number(example.negatives[number]) for example in examples.examples
        ]
    return Dataset.from_dict(columns)
