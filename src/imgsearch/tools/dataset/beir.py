"""Reads the BEIR layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from imgsearch.errors import DatasetError
from imgsearch.lines import NotText, decode_line
from imgsearch.text import Option, error_line
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset

_MAX_SCORE = 1_000_000  # trec_eval's NDCG takes memory for each level of relevance up to the highest


def read_beir(folder: str, split: str | None) -> RetrievalDataset:
    """Read the queries that ``qrels/SPLIT.tsv`` judges, and the whole corpus.

    queries.jsonl commonly holds the queries of all splits: those that this split does not judge are left out
    and counted. Raises DatasetError with file, line (from 1) and field.
    """
    split, qrels = _qrels_file(folder, split)
    corpus = _corpus(folder)
    texts = _queries(folder)
    relevant = _judgements(qrels, texts, corpus)
    queries = {query: text for query, text in texts.items() if query in relevant}
    return RetrievalDataset(
        name=f"{os.path.basename(folder.rstrip(os.sep))}, {split}",
        path=folder,
        queries=queries,
        corpus=corpus,
        relevant={query: relevant[query] for query in queries},
        left_out=len(texts) - len(queries),
    )


def _qrels_file(folder: str, split: str | None) -> tuple[str, str]:
    qrels = os.path.join(folder, "qrels")
    names = sorted(os.listdir(qrels)) if os.path.isdir(qrels) else []
    splits = [name.removesuffix(".tsv") for name in names if name.endswith(".tsv")]
    if not splits:
        raise DatasetError(
            f"{qrels}: no relevance judgements found; the BEIR layout keeps them in qrels/SPLIT.tsv"
        )
    chosen = split or (splits[0] if len(splits) == 1 else "test")
    if chosen not in splits:
        raise DatasetError(
            f"{folder}: there is no split {chosen}; choose one with ",
            Option("split"),
            f": {', '.join(splits)}",
        )
    return chosen, os.path.join(qrels, f"{chosen}.tsv")


def _corpus(folder: str) -> dict[str, PictureRef]:
    path = os.path.join(folder, "corpus.jsonl")
    corpus: dict[str, PictureRef] = {}
    for line, name, image in _named(path, "image"):
        full = os.path.join(folder, image)
        if not os.path.isfile(full):
            raise DatasetError(f"{path}, line {line}, field image: {full} does not exist")
        corpus[name] = PictureRef(full, named_in=f"{path}, line {line}")
    if not corpus:
        raise DatasetError(f"{path}: the corpus is empty")
    return corpus


def _queries(folder: str) -> dict[str, str]:
    path = os.path.join(folder, "queries.jsonl")
    queries = {name: text for _, name, text in _named(path, "text")}
    if not queries:
        raise DatasetError(f"{path}: there are no queries")
    return queries


def _judgements(
    path: str, queries: dict[str, str], corpus: dict[str, PictureRef]
) -> dict[str, dict[str, int]]:
    """Return query → picture → score, of the scores over 0; a query that has none of these is an error."""
    lines = iter(_lines(path))
    columns = next(lines, (1, ""))[1].split("\t")
    wanted = ["query-id", "corpus-id", "score"]
    if missing := [name for name in wanted if name not in columns]:
        raise DatasetError(
            f"{path}, line 1: there is no column {missing[0]}; the header needs {', '.join(wanted)}, "
            f"separated by tabs; it has: {', '.join(filter(None, columns)) or 'nothing'}"
        )
    indices = [columns.index(name) for name in wanted]
    judged: dict[str, dict[str, int]] = {}
    last_line: dict[str, int] = {}
    for line, text in lines:
        cells = text.split("\t")
        if len(cells) != len(columns):
            raise DatasetError(
                f"{path}, line {line}: it has {len(cells)} columns, the header has {len(columns)}"
            )
        query, doc, grade = (cells[index] for index in indices)
        try:
            score = int(grade)
        except ValueError:
            raise DatasetError(
                f"{path}, line {line}, column score: '{grade[:40]}' is not an integer"
            ) from None
        if score > _MAX_SCORE:
            raise DatasetError(f"{path}, line {line}, column score: {score} is over {_MAX_SCORE:,}")
        if query not in queries:
            raise DatasetError(f"{path}, line {line}, column query-id: queries.jsonl has no {query}")
        if doc not in corpus:
            raise DatasetError(f"{path}, line {line}, column corpus-id: corpus.jsonl has no {doc}")
        if doc in judged.setdefault(query, {}):
            raise DatasetError(f"{path}, line {line}: the query {query} has two judgements for {doc}")
        judged[query][doc] = score
        last_line[query] = line
    if not judged:
        raise DatasetError(f"{path}: no relevance judgements found; evaluation needs some")
    found = {
        query: {doc: score for doc, score in docs.items() if score > 0} for query, docs in judged.items()
    }
    for query, docs in found.items():
        if not docs:
            raise DatasetError(
                f"{path}, line {last_line[query]}, column score: no image is relevant to the query {query}; "
                "give it one with a score above 0, or remove the query"
            )
    return found


def _named(path: str, field: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the _id and one more field of each object of a JSON Lines file; no _id comes twice."""
    seen: set[str] = set()
    for line, entry in _entries(path):
        name, value = _field(path, line, entry, "_id"), _field(path, line, entry, field)
        if name in seen:
            raise DatasetError(f"{path}, line {line}: the _id {name} occurs twice")
        seen.add(name)
        yield line, name, value


def _entries(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines file with their lines, counted from 1."""
    for line, text in _lines(path):
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}, line {line}: not valid JSON: {error}") from None
        if not isinstance(entry, dict):
            raise DatasetError(f"{path}, line {line}: not a JSON object")
        yield line, entry


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, counted from 1, without their ends."""
    try:
        with open(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                text = decode_line(raw, number)
                if text.strip():
                    yield number, text
    except NotText as error:
        raise DatasetError(f"{path}, line {number}: {error}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path}, line {number}: not UTF-8") from None
    except OSError as error:
        raise DatasetError(f"{path}: can't be read: {error_line(error)}") from error


def _field(path: str, line: int, entry: dict[str, Any], name: str) -> str:
    if name not in entry:
        have = ", ".join(entry) or "none"
        raise DatasetError(f"{path}, line {line}: there is no field {name}; the line's fields are: {have}")
    value = entry[name]
    if name == "_id" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise DatasetError(f"{path}, line {line}, field {name}: must be text that is not empty")
    return value
