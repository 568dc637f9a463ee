"""Training examples → the table that sentence-transformers' trainer is fed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset

from imgsearch.dataset import Example, read_dataset
from imgsearch.errors import DatasetError, UsageError
from imgsearch.training.pictures import Pictures


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
        raise DatasetError(f"{name}: it holds no example to train on")
    counts = {len(example.negatives) for example in examples}
    least, most = min(counts), max(counts)
    if negatives is not None and negatives > least:
        short = next(example.query for example in examples if len(example.negatives) < negatives)
        raise UsageError(f"--negatives {negatives}: {name} has fewer for the query '{short[:60]}': {least}")
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
    for place in range(examples.negatives):
        columns[f"negative_{place}"] = [
            pictures.number(example.negatives[place]) for example in examples.examples
        ]
    return Dataset.from_dict(columns)
