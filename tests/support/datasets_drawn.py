"""Writes small retrieval datasets of drawn pictures in each layout, for tests to read and to spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset
from parquet_writer import write_parquet
from support.pictures import encode, save, scene

FAR = PictureRef("nowhere.png")
"""A picture that no test decodes."""


def rows(count: int, negatives: int = 1, size: tuple[int, int] = (48, 36)) -> list[dict[str, str | bytes]]:
    """Return rows with a query, its picture, so many hard negatives, and an attribute: colour or count."""
    made: list[dict[str, str | bytes]] = []
    for row in range(count):
        cells: dict[str, str | bytes] = {"query": f"scene number {row}"}
        cells["image"] = encode(scene(row, size), ".png")
        for number in range(negatives):
            cells[f"negative_{number}"] = encode(scene(1000 + 10 * row + number, size), ".jpg")
        cells["attribute"] = "colour" if row % 2 else "count"
        made.append(cells)
    return made


def parquet(folder: Path, count: int = 4, negatives: int = 1, name: str = "drawn.parquet") -> str:
    """Write rows as a parquet file; return its path."""
    path = str(folder / name)
    write_parquet(path, rows(count, negatives))
    return path


def beir(
    folder: Path,
    *,
    corpus: Sequence[Mapping[str, object]] | None = None,
    queries: Sequence[Mapping[str, object]] | None = None,
    qrels: str | None = None,
    split: str = "test",
) -> str:
    """Write a BEIR folder of three pictures and two judged queries, or with parts of it spoiled; return its path."""
    for number in range(3):
        save(scene(number, (48, 36)), folder / "images" / f"{number}.png")
    whole = [{"_id": f"d{number}", "image": f"images/{number}.png", "title": "x"} for number in range(3)]
    asked = [{"_id": f"q{number}", "text": f"scene number {number}"} for number in range(3)]
    _lines(folder / "corpus.jsonl", whole if corpus is None else corpus)
    _lines(folder / "queries.jsonl", asked if queries is None else queries)
    os.makedirs(folder / "qrels", exist_ok=True)
    judged = "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq1\td2\t1\n" if qrels is None else qrels
    (folder / "qrels" / f"{split}.tsv").write_text(judged)
    return str(folder)


def _lines(path: Path, entries: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def judged_dataset(
    relevant: list[list[int]], documents: int, negatives: dict[str, tuple[str, ...]] | None = None
) -> RetrievalDataset:
    # Names that sort as the corpus stands, since the other library breaks ties by name.
    queries = {f"q{number:03}": f"query {number}" for number in range(len(relevant))}
    corpus = {f"d{number:03}": FAR for number in range(documents)}
    judged = {query: {f"d{doc:03}": 1 for doc in docs} for query, docs in zip(queries, relevant, strict=True)}
    return RetrievalDataset("drawn", "", queries, corpus, judged, negatives or {})
