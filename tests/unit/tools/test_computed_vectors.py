"""Embeddings computed elsewhere: what is scored, and what is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import DatasetError, StorageError, UsageError
from imgsearch.tools.dataset import read_dataset
from imgsearch.tools.dataset.inputs import write_inputs
from imgsearch.tools.dataset.retrieval import PictureRef, RetrievalDataset
from imgsearch.tools.evaluation.computed import doubt, score_vectors
from support.cli import imgsearch

COUNT, DIM = 6, 8
UNITS = np.eye(DIM, dtype=np.float32)[:COUNT]


def dataset(count: int = COUNT) -> RetrievalDataset:
    """Return a dataset whose query N is answered by image N; no image exists, for none is needed."""
    names = [str(number) for number in range(count)]
    return RetrievalDataset(
        name="six",
        path="six",
        queries={name: f"query {name}" for name in names},
        corpus={f"d{name}": PictureRef(f"/nowhere/{name}.png") for name in names},
        relevant={name: {f"d{name}": 1} for name in names},
    )


def saved(path: Path, array: np.ndarray) -> str:
    """Save an array as numpy does; return its path."""
    np.save(path, array)
    return str(path)


def test_rows_in_the_order_of_the_dataset_are_scored(tmp_path: Path) -> None:
    """Rows that fit exactly reach 1.0 at every length, whatever their dtype and length are."""
    queries = saved(tmp_path / "q.npy", UNITS.astype(np.float64) * 3)
    documents = saved(tmp_path / "d.npy", UNITS.astype(np.float16))
    row = score_vectors(dataset(), queries, documents, dims=[6])
    assert [scores.metrics["ndcg@10"] for scores in row.scores.values()] == [1.0, 1.0]
    assert list(row.scores) == [8, 6]
    assert (row.vectors, row.parameters) == ((queries, documents), None)


def test_the_first_queries_take_their_rows_out_of_the_whole_files(tmp_path: Path) -> None:
    """With a part of the dataset, the files are still those of the whole."""
    files = (saved(tmp_path / "q.npy", UNITS), saved(tmp_path / "d.npy", UNITS))
    row = score_vectors(dataset().first(2), *files, whole=dataset())
    assert row.scores[DIM].metrics["accuracy@1"] == 1.0


def edited(change: object) -> np.ndarray:
    """Return the six rows with one number changed."""
    rows = UNITS.astype(np.float64)
    rows[3, 3] = change
    return rows


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (UNITS[0], "needs one row per query, but its shape is 8"),
        (np.float32(1), "its shape is a single number"),
        (UNITS.astype(np.int8), "holds int8, but embeddings are floating-point numbers"),
        (UNITS[:5], "5 rows, but the dataset has 6 queries"),
        (edited(np.nan), "row 4: contains NaN or infinity"),
        (edited(1e300), "row 4: contains NaN or infinity"),
        (edited(0), "row 4: all zeros"),
        (UNITS[:, :4] + 1, "has embeddings of 4 dimensions"),
    ],
)
def test_an_array_that_can_not_be_the_embeddings_is_refused(
    tmp_path: Path, array: np.ndarray, said: str
) -> None:
    """The message names the file and what is wrong with it, with rows from 1."""
    queries, documents = saved(tmp_path / "q.npy", np.asarray(array)), saved(tmp_path / "d.npy", UNITS)
    with pytest.raises(DatasetError, match=said) as caught:
        score_vectors(dataset(), queries, documents)
    assert str(caught.value).startswith(queries)


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    """No file, a torn one, an archive and a pickle are refused, and the pickle's code does not run."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Trap()))
    np.save(tmp_path / "object.npy", np.array([Trap()], object), allow_pickle=True)
    whole = Path(saved(tmp_path / "whole.npy", UNITS)).read_bytes()
    (tmp_path / "torn.npy").write_bytes(whole[:-9])
    (tmp_path / "empty.npy").write_bytes(b"")
    np.savez(tmp_path / "several.npz", UNITS)
    for name, said in {
        "raw.npy": "no pickled objects",
        "object.npy": "no pickled objects",
        "torn.npy": "can't be read as a .npy file",
        "empty.npy": "can't be read as a .npy file",
        "several.npz": r"an archive of arrays \(.npz\)",
        "none.npy": "no such file",
    }.items():
        with pytest.raises(DatasetError, match=said):
            score_vectors(dataset(), str(tmp_path / name), str(tmp_path / "whole.npy"))
    assert not (tmp_path / "ran").exists()


def test_swapped_files_are_told(tmp_path: Path) -> None:
    """Where the other file has the number of rows that lacks, the message asks whether they are swapped."""
    data = dataset().first(2)
    two, six = saved(tmp_path / "two.npy", UNITS[:2]), saved(tmp_path / "six.npy", UNITS)
    uneven = RetrievalDataset("u", "u", data.queries, dataset().corpus, data.relevant)
    with pytest.raises(DatasetError, match="swapped"):
        score_vectors(uneven, six, two)


def test_a_length_that_the_embeddings_lack_is_refused(tmp_path: Path) -> None:
    """Lengths of 0 and beyond the embeddings' own are usage errors."""
    files = (saved(tmp_path / "q.npy", UNITS), saved(tmp_path / "d.npy", UNITS))
    for dim in (0, 9):
        with pytest.raises(UsageError, match=f"dims={dim}: the embeddings have 8 dimensions"):
            score_vectors(dataset(), *files, dims=[dim])


def test_rows_in_another_order_raise_a_doubt(tmp_path: Path) -> None:
    """Scores of chance alone are doubted where there are images enough to tell, good ones are not."""
    rows = np.random.default_rng(0).normal(size=(150, 32)).astype(np.float32)
    queries = saved(tmp_path / "q.npy", rows)
    mixed = saved(tmp_path / "mixed.npy", np.roll(rows, 50, axis=0))
    assert "order of the dataset" in str(
        doubt(score_vectors(dataset(150), queries, mixed, dims=[32]), dataset(150))
    )
    assert doubt(score_vectors(dataset(150), queries, queries, dims=[32]), dataset(150)) is None


def beir(folder: Path) -> str:
    """Write a folder of two queries and three images in the BEIR layout."""
    (folder / "qrels").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (80 * number, 0, 0)).save(folder / f"{number}.png")
    corpus = [{"_id": f"d{number}", "image": f"{number}.png"} for number in range(3)]
    queries = [{"_id": f"q{number}", "text": f"query {number}"} for number in range(2)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\n")
    return str(folder)


def test_the_written_inputs_are_the_same_dataset(tmp_path: Path) -> None:
    """What is written for another program reads back with the same ids in the same order."""
    first = read_dataset(beir(tmp_path / "given"))
    write_inputs(first, str(tmp_path / "written"))
    again = read_dataset(str(tmp_path / "written"))
    assert list(again.queries.items()) == list(first.queries.items())
    assert list(again.corpus) == list(first.corpus)
    assert again.relevant == first.relevant
    assert [ref.read() for ref in again.corpus.values()] == [ref.read() for ref in first.corpus.values()]


def test_images_of_a_table_are_written_to_files(tmp_path: Path) -> None:
    """An image that lies in a Parquet file gets a file of its own, by its format."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    given = read_dataset(beir(tmp_path / "given"))
    data = [ref.read() for ref in given.corpus.values()]
    columns = {"query": ["a", "b"], "image": data[:2], "negative_0": [data[2], data[2]]}
    parquet.write_table(pa.table(columns), tmp_path / "table.parquet")
    write_inputs(read_dataset(str(tmp_path / "table.parquet")), str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == [
        f"{number:06}.png" for number in range(4)
    ]
    assert list(read_dataset(str(tmp_path / "out")).corpus) == [
        "1/image", "1/negative_0", "2/image", "2/negative_0",
    ]  # fmt: skip


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written into a folder that is not empty."""
    with pytest.raises(StorageError, match="is not empty"):
        write_inputs(dataset(), beir(tmp_path / "given"))


def test_the_command_scores_two_files_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads no model, prints the table, and says in results.json which files it was."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "q.npy", UNITS[:2])
    saved(tmp_path / "d.npy", UNITS[:3])
    argv = ["eval", beir(tmp_path / "given"), "--vectors", "q.npy", "d.npy"]
    done = imgsearch(*argv, "--dims", "4", "--out", "out")
    assert done.code == 0
    assert "| ndcg@10 | 1.0000 |" in done.lines
    (row,) = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert row["vectors"] == ["q.npy", "d.npy"]
    assert list(row["dims"]) == ["8", "4"]


def test_what_does_not_go_with_vectors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of a model, and --inputs, which measures nothing, are usage errors beside --vectors."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "q.npy", UNITS[:2])
    saved(tmp_path / "d.npy", UNITS[:3])
    argv = ["eval", beir(tmp_path / "given"), "--vectors", "q.npy", "d.npy"]
    for more, said in {
        ("--inputs", "there"): "--inputs measures nothing",
        ("--dtype", "int8"): "--vectors are as they are",
        ("--dims", "9"): "--dims 9: the embeddings have 8 dimensions",
    }.items():
        done = imgsearch(*argv, *more)
        assert done.code == 2
        assert said in done.err
