"""A folder or file → queries, pictures and judgements: chooses the layout by what is there."""

from __future__ import annotations

import os

from imgsearch.errors import DatasetError
from imgsearch.tools.dataset.retrieval import RetrievalDataset


def read_dataset(path: str, *, split: str | None = None) -> RetrievalDataset:
    """Read a retrieval dataset; pictures stay where they are and are read one by one when asked for.

    ``path`` is a folder in the BEIR layout (corpus.jsonl with the fields _id and image, queries.jsonl with _id
    and text, qrels/SPLIT.tsv), a parquet or Arrow/Feather file with the columns query, image, negative_0 …
    (and attribute, a label), a folder of such files, or a folder that ``datasets.save_to_disk`` wrote.
    ``split`` chooses among several; without it "test" is taken, or the only one there is. A single file is one
    split, whatever it is called.

    Raises DatasetError, naming file, line or row, and column, for anything that is missing, doubled, empty or of
    another type, and MissingExtra where pyarrow is needed and not installed. That every picture's bytes begin
    as a picture is checked by ``retrieval.check_pictures``.
    """
    given = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(given):
        raise DatasetError(
            f"{path}: no such dataset; give a folder in the BEIR layout or a Parquet or Arrow file"
        )
    if os.path.isdir(given) and os.path.exists(os.path.join(given, "corpus.jsonl")):
        from imgsearch.tools.dataset.beir import read_beir

        return read_beir(given, split)
    if not os.path.isdir(given) and not os.path.isfile(given):
        raise DatasetError(f"{path}: is neither a file nor a folder")
    from imgsearch.tools.dataset.tables import read_tables

    return read_tables(given, split)
