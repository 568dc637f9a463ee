"""Writes a dataset down for another program: its queries and images in their order, in the BEIR layout."""

from __future__ import annotations

import io
import json
import os

from imgsearch.errors import StorageError
from imgsearch.media import formats
from imgsearch.text import error_line
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset, located_errors
from imgsearch.types import Reporter, Silent


def write_inputs(dataset: RetrievalDataset, folder: str, reporter: Reporter | None = None) -> None:
    """Write queries.jsonl, corpus.jsonl, qrels/test.tsv and, for images that lie in tables, images/.

    Line N of queries.jsonl is row N of an array of query embeddings, line N of corpus.jsonl that of an image's. The
    folder is itself a dataset, with the same order. Images that are files already stay where they are.

    Raises StorageError for a folder that is not empty or can't be written, DatasetError for an image that can't be
    read.
    """
    reporter = reporter or Silent()
    target = os.path.abspath(os.path.expanduser(folder))
    reporter.start(len(dataset.corpus), "images")
    try:
        os.makedirs(target, exist_ok=True)
        if os.listdir(target):
            raise StorageError(f"{folder} is not empty; give a new folder")
        os.makedirs(os.path.join(target, "qrels"))
        with open(os.path.join(target, "queries.jsonl"), "w", encoding="utf-8") as out:
            for query, text in dataset.queries.items():
                out.write(json.dumps({"_id": query, "text": text}) + "\n")
        with open(os.path.join(target, "qrels", "test.tsv"), "w", encoding="utf-8") as out:
            out.write("query-id\tcorpus-id\tscore\n")
            for query, documents in dataset.relevant.items():
                out.writelines(f"{query}\t{document}\t{grade}\n" for document, grade in documents.items())
        with open(os.path.join(target, "corpus.jsonl"), "w", encoding="utf-8") as out:
            for number, (document, ref) in enumerate(dataset.corpus.items()):
                image = _image(ref, target, number)
                out.write(json.dumps({"_id": document, "image": image}) + "\n")
                reporter.advance()
    except OSError as error:
        raise StorageError(f"{folder} could not be written: {error_line(error)}") from error
    finally:
        reporter.stop()


def _image(ref: PictureRef, target: str, number: int) -> str:
    """Return where an image lies for a reader of the folder; one of a table is written to a file first."""
    if ref.column is None:
        return os.path.abspath(ref.path)
    data = ref.read()
    with located_errors(ref):
        ending = formats.recognise(io.BytesIO(data), ref.path).extensions.split()[0]
    name = os.path.join("images", f"{number:06}.{ending}")
    os.makedirs(os.path.join(target, "images"), exist_ok=True)
    with open(os.path.join(target, name), "wb") as out:
        out.write(data)
    return name
