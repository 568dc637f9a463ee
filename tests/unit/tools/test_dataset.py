"""The dataset room: every layout gives the same queries, pictures and judgements, and bad input is named."""

from __future__ import annotations

import codecs
import os
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import DatasetError, MissingExtra
from imgsearch.tools.dataset import read_dataset
from imgsearch.tools.dataset.cells import _Cache
from imgsearch.tools.dataset.retrieval import check_pictures, decode
from parquet_writer import write_parquet
from support.datasets_drawn import beir, parquet, rows
from support.pictures import encode, save, scene


def _check(path: str, made: list[dict[str, str | bytes]], split: str | None = None) -> None:
    dataset = read_dataset(path, split=split)
    assert list(dataset.queries.values()) == [row["query"] for row in made]
    assert len(dataset.corpus) == 3 * len(made)
    for number, row in enumerate(made, 1):
        assert dataset.relevant[str(number)] == {f"{number}/image": 1}
        assert dataset.hard_negatives[str(number)] == (f"{number}/negative_0", f"{number}/negative_1")
        for column in ("image", "negative_0", "negative_1"):
            assert dataset.corpus[f"{number}/{column}"].read() == row[column]
    assert dataset.labels == {str(number): row["attribute"] for number, row in enumerate(made, 1)}


def test_parquet_and_arrow_files_give_the_same_dataset(tmp_path: Path) -> None:
    """Parquet with small row groups, Feather packed and not, and an Arrow stream: one document a cell."""
    made = rows(70, 2, (16, 12))
    path = str(tmp_path / "a.parquet")
    assert write_parquet(path, iter(made)) == 70
    table = pq.read_table(path)
    assert pq.ParquetFile(path).metadata.num_row_groups == 2
    feather.write_feather(table, tmp_path / "packed.feather", chunksize=30)
    feather.write_feather(table, tmp_path / "plain.arrow", chunksize=30, compression="uncompressed")
    with (
        pa.OSFile(str(tmp_path / "stream.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=30)
    for name in ("a.parquet", "packed.feather", "plain.arrow", "stream.arrow"):
        _check(str(tmp_path / name), made)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20)), max_size=30),
    st.integers(1, 60),
)
def test_row_groups_in_memory_are_of_at_most_so_many_bytes(puts: list[tuple[int, int]], most: int) -> None:
    """Those that were asked for last stay, as many as fit, and the last one even alone."""
    cache = _Cache(most)
    kept: dict[int, int] = {}
    for group, size in puts:
        cache.put((0, group, "image"), pa.array([0] * size, pa.uint8()))
        kept.pop(group, None)
        kept[group] = size
        while len(kept) > 1 and sum(kept.values()) > most:
            del kept[next(iter(kept))]
    found = {group: cache.get((0, group, "image")) for group in range(7)}
    assert {group: chunk.nbytes for group, chunk in found.items() if chunk is not None} == kept


def test_shards_are_one_split_in_order(tmp_path: Path) -> None:
    """A folder of shards gives the split asked for; without one, test or the only one; else the names are said."""
    made = rows(6, 2, (16, 12))
    folder = tmp_path / "data"
    write_parquet(str(folder / "eval-00000-of-00002.parquet"), made[:4])
    write_parquet(str(folder / "eval-00001-of-00002.parquet"), made[4:])
    _check(str(tmp_path), made)
    write_parquet(str(folder / "train-00000-of-00001.parquet"), made[:1])
    _check(str(tmp_path), made, split="eval")
    with pytest.raises(DatasetError, match="no split test; choose one with split: eval, train"):
        read_dataset(str(tmp_path))


def test_subsets_in_folders_are_splits_too(tmp_path: Path) -> None:
    """As a hub keeps them: a folder a subset, named by it alone where it holds one split."""
    made = rows(3, 2, (16, 12))
    write_parquet(str(tmp_path / "eval" / "train-00000-of-00001.parquet"), made)
    for split in ("train", "dev"):
        write_parquet(str(tmp_path / "big" / f"{split}-00000-of-00001.parquet"), made[1:])
    _check(str(tmp_path), made, split="eval")
    _check(str(tmp_path / "eval"), made)
    _check(str(tmp_path), made[1:], split="big/dev")


def test_what_the_datasets_library_saves_is_read(tmp_path: Path) -> None:
    """save_to_disk of a Dataset and of a DatasetDict; the columns written by us are Image features there."""
    import datasets

    made = rows(3, 2, (16, 12))
    path = str(tmp_path / "a.parquet")
    write_parquet(path, made)
    loaded: Any = datasets.load_dataset("parquet", data_files=path, cache_dir=str(tmp_path / "hf"))["train"]
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded[0]["negative_1"].size == (16, 12)
    loaded.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": loaded, "test": loaded}).save_to_disk(tmp_path / "two")
    _check(str(tmp_path / "one"), made)
    _check(str(tmp_path / "two"), made, split="train")


def test_a_cell_may_name_a_file_or_hold_bare_bytes(tmp_path: Path) -> None:
    """A path counts from the folder of the dataset's file; binary cells need no struct; labels are optional."""
    save(scene(1, (16, 12)), tmp_path / "pictures" / "one.png")
    bare = encode(scene(2, (16, 12)), ".png")
    table = pa.table(
        {"query": ["a"], "image": ["pictures/one.png"], "negative_0": pa.array([bare], pa.binary())}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = read_dataset(str(tmp_path / "a.parquet"))
    assert dataset.corpus["1/image"].read() == (tmp_path / "pictures" / "one.png").read_bytes()
    assert dataset.corpus["1/negative_0"].read() == bare
    assert dataset.labels is None
    struct = pa.array([{"bytes": None, "path": "pictures/one.png"}])
    pq.write_table(pa.table({"query": ["a"], "image": struct}), tmp_path / "b.parquet")
    dataset = read_dataset(str(tmp_path / "b.parquet"))
    assert dataset.corpus["1/image"].path == str(tmp_path / "pictures" / "one.png")
    assert dataset.hard_negatives == {}


def test_beir_keeps_the_judged_queries_and_counts_the_others(tmp_path: Path) -> None:
    """Queries of other splits are left out, the corpus stays whole, scores of 0 judge nothing relevant."""
    qrels = "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq1\td2\t0\n"
    dataset = read_dataset(beir(tmp_path / "x", qrels=qrels))
    assert dataset.name == "x, test"
    assert dataset.queries == {"q0": "scene number 0", "q1": "scene number 1"}
    assert list(dataset.corpus) == ["d0", "d1", "d2"]
    assert dataset.relevant == {"q0": {"d0": 1}, "q1": {"d1": 2}}
    assert (dataset.left_out, dataset.labels, dataset.hard_negatives) == (1, None, {})


def test_a_beir_folder_with_one_split_needs_no_name(tmp_path: Path) -> None:
    """The only qrels file is taken; one that is not there is refused with those that are."""
    folder = beir(tmp_path / "x", split="dev")
    assert read_dataset(folder).name == "x, dev"
    with pytest.raises(DatasetError, match="no split test; choose one with split: dev"):
        read_dataset(folder, split="test")


def test_examples_pair_each_query_with_each_answer(tmp_path: Path) -> None:
    """What training learns from: query, picture, hard negatives; a query with two answers gives two."""
    drawn = read_dataset(parquet(tmp_path, 2, negatives=2)).examples
    assert [example.query for example in drawn] == ["scene number 0", "scene number 1"]
    assert [ref.column for ref in drawn[1].negatives] == ["negative_0", "negative_1"]
    judged = read_dataset(beir(tmp_path / "x")).examples
    assert [(pair.query, os.path.basename(pair.positive.path)) for pair in judged] == [
        ("scene number 0", "0.png"),
        ("scene number 1", "1.png"),
        ("scene number 1", "2.png"),
    ]
    assert judged[0].negatives == ()


def test_the_first_queries_bring_their_own_pictures(tmp_path: Path) -> None:
    """A try on a few queries keeps what these judge and their negatives, and says how many are left out."""
    few = read_dataset(parquet(tmp_path, 4)).first(2)
    assert list(few.corpus) == ["1/image", "1/negative_0", "2/image", "2/negative_0"]
    assert (few.left_out, few.labels) == (2, {"1": "count", "2": "colour"})


WHOLE = [{"_id": "d0", "image": "images/0.png"}, {"_id": "d1", "image": "images/1.png"}]
HEAD = "query-id\tcorpus-id\tscore\n"
BAD_BEIR: dict[str, tuple[dict[str, Any], str]] = {
    "missing image": (
        {"corpus": [WHOLE[0], {"_id": "d1", "image": "images/9.png"}]},
        r"corpus\.jsonl, line 2, field image: .*images/9\.png does not exist",
    ),
    "no image field": (
        {"corpus": [{"_id": "d0", "title": "x"}]},
        r"corpus\.jsonl, line 1: there is no field image; the line's fields are: _id, title",
    ),
    "document twice": ({"corpus": [WHOLE[0], WHOLE[0]]}, r"corpus\.jsonl, line 2: the _id d0 occurs twice"),
    "empty corpus": ({"corpus": []}, r"corpus\.jsonl: the corpus is empty"),
    "query twice": (
        {"queries": [{"_id": "q0", "text": "a"}, {"_id": "q0", "text": "b"}]},
        r"queries\.jsonl, line 2: the _id q0 occurs twice",
    ),
    "empty query": (
        {"queries": [{"_id": "q0", "text": "  "}]},
        r"queries\.jsonl, line 1, field text: must be text that is not empty",
    ),
    "no queries": ({"queries": []}, r"queries\.jsonl: there are no queries"),
    "empty qrels": ({"qrels": HEAD}, r"test\.tsv: no relevance judgements"),
    "no header": ({"qrels": ""}, r"test\.tsv, line 1: there is no column query-id; .* it has: nothing"),
    "another header": (
        {"qrels": "query-id\tdoc\tscore\n"},
        r"line 1: there is no column corpus-id; .* it has: query-id, doc, score",
    ),
    "unknown query": ({"qrels": HEAD + "q7\td0\t1\n"}, r"line 2, column query-id: queries\.jsonl has no q7"),
    "unknown document": (
        {"qrels": HEAD + "q0\td7\t1\n"},
        r"line 2, column corpus-id: corpus\.jsonl has no d7",
    ),
    "not an integer": (
        {"qrels": HEAD + "q0\td0\t0.5\n"},
        r"line 2, column score: '0\.5' is not an integer",
    ),
    "a score beyond reason": (
        {"qrels": HEAD + "q0\td0\t99999999999999999999\n"},
        r"line 2, column score: 99999999999999999999 is over 1,000,000",
    ),
    "too few columns": ({"qrels": HEAD + "q0\td0\n"}, r"line 2: it has 2 columns, the header has 3"),
    "judged twice": (
        {"qrels": HEAD + "q0\td0\t1\nq0\td0\t1\n"},
        r"line 3: the query q0 has two judgements for d0",
    ),
    "nothing relevant": (
        {"qrels": HEAD + "q0\td0\t1\nq1\td0\t0\nq1\td1\t0\n"},
        r"test\.tsv, line 4, column score: no image is relevant to the query q1",
    ),
}


@pytest.mark.parametrize("case", BAD_BEIR)
def test_a_bad_beir_folder_is_refused_with_file_line_and_column(case: str, tmp_path: Path) -> None:
    """Each thing that can be wrong is one line that says where."""
    parts, message = BAD_BEIR[case]
    with pytest.raises(DatasetError, match=message):
        read_dataset(beir(tmp_path, **parts))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"_id": "q0", "text"', r"queries\.jsonl, line 2: not valid JSON"),
        (b"[1]", r"queries\.jsonl, line 2: not a JSON object"),
        (b'{"_id": "\xff", "text": "a"}', r"queries\.jsonl, line 2: not UTF-8"),
        (b"[" * 100_000, r"queries\.jsonl, line 2: not valid JSON"),
        (b'{"_id": "\0", "text": "a"}', r"queries\.jsonl, line 2: it contains a NUL byte"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: bytes, message: str, tmp_path: Path) -> None:
    """Broken JSON, another value, and bytes that are no UTF-8, each with the line."""
    folder = beir(tmp_path)
    (tmp_path / "queries.jsonl").write_bytes(b'\xef\xbb\xbf{"_id": "q0", "text": "a"}\n' + line + b"\n")
    with pytest.raises(DatasetError, match=message):
        read_dataset(folder)


def test_windows_text_files_are_read(tmp_path: Path) -> None:
    """A byte order mark and CRLF, in jsonl and tsv, change nothing; UTF-16 is refused by its name."""
    folder = beir(tmp_path)
    plain = read_dataset(folder)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        file = tmp_path / name
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_dataset(folder) == plain
    text = (tmp_path / "qrels/test.tsv").read_text("utf-8-sig")
    (tmp_path / "qrels/test.tsv").write_bytes(text.encode("utf-16"))
    with pytest.raises(DatasetError, match=r"test\.tsv, line 1: it is UTF-16; save it as UTF-8"):
        read_dataset(folder)


def test_ids_count_as_they_stand(tmp_path: Path) -> None:
    """Spaces of any script in an id are part of it; a number is its digits."""
    corpus = [{"_id": " d\u00a0", "image": "images/0.png"}, {"_id": 7, "image": "images/1.png"}]
    queries = [{"_id": "q \u3000", "text": "a"}]
    qrels = HEAD + "q \u3000\t d\u00a0\t1\nq \u3000\t7\t-1\n"
    dataset = read_dataset(beir(tmp_path, corpus=corpus, queries=queries, qrels=qrels))
    assert dataset.relevant == {"q \u3000": {" d\u00a0": 1}}
    assert list(dataset.corpus) == [" d\u00a0", "7"]


def test_a_missing_part_of_a_beir_folder_is_named(tmp_path: Path) -> None:
    """Without queries, or without judgements, the path that is missing is said."""
    folder = beir(tmp_path)
    os.remove(tmp_path / "queries.jsonl")
    with pytest.raises(DatasetError, match=r"queries\.jsonl: can't be read: No such file"):
        read_dataset(folder)
    os.remove(tmp_path / "qrels" / "test.tsv")
    with pytest.raises(DatasetError, match=r"qrels: no relevance judgements found; .*qrels/SPLIT\.tsv"):
        read_dataset(folder)


PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CELL = {"bytes": b"x", "path": None}
BAD_TABLES: dict[str, tuple[pa.Table, str]] = {
    "no image column": (
        pa.table({"query": ["a"], "picture": ["b"]}),
        r"a\.parquet: there is no column image; .* the file's columns are: query, picture",
    ),
    "no query column": (pa.table({"image": ["b"]}), r"there is no column query; .* columns are: image"),
    "query of another type": (
        pa.table({"query": [1], "image": ["b"]}),
        r"a\.parquet, column query: it contains int64, not texts",
    ),
    "image of another type": (
        pa.table({"query": ["a"], "image": [1]}),
        r"a\.parquet, column image: it contains int64, not images",
    ),
    "paths of another type": (
        pa.table({"query": ["a"], "image": [{"path": 5}]}),
        r"a\.parquet, column image: it contains struct<path: int64>, not images",
    ),
    "bytes of another type": (
        pa.table({"query": ["a"], "image": [{"bytes": "text", "path": None}]}),
        r"a\.parquet, column image: it contains struct<bytes: string, path: null>, not images",
    ),
    "no columns": (pa.table({}), r"a\.parquet: there is no column query; .* columns are: none"),
    "null query": (
        pa.table({"query": ["a", None], "image": pa.array([CELL, CELL], PICTURE)}),
        r"a\.parquet, row 2, column query: the cell is null",
    ),
    "empty query": (
        pa.table({"query": ["a", " "], "image": pa.array([CELL, CELL], PICTURE)}),
        r"a\.parquet, row 2, column query: the cell is an empty text",
    ),
    "null image": (
        pa.table({"query": ["a", "b"], "image": pa.array([CELL, None], PICTURE)}),
        r"a\.parquet, row 2, column image: the cell is null",
    ),
    "null negative": (
        pa.table(
            {"query": ["a"], "image": pa.array([CELL], PICTURE), "negative_0": pa.array([None], pa.binary())}
        ),
        r"a\.parquet, row 1, column negative_0: the cell is null",
    ),
    "missing image": (
        pa.table({"query": ["a"], "image": ["gone.png"]}),
        r"a\.parquet, row 1, column image: .*gone\.png does not exist",
    ),
    "no rows": (
        pa.table({"query": pa.array([], pa.string()), "image": pa.array([], PICTURE)}),
        r"a\.parquet: the dataset has no rows",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_bad_table_is_refused_with_file_row_and_column(case: str, ending: str, tmp_path: Path) -> None:
    """Each thing that can be wrong in a file of columns is one line that says where."""
    table, message = BAD_TABLES[case]
    path = str(tmp_path / f"a.{ending}")
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table, path)
    with pytest.raises(DatasetError, match=message.replace("parquet", ending)):
        read_dataset(path)


@pytest.mark.parametrize(
    ("query", "image"),
    [
        (pa.large_string(), pa.large_binary()),
        (pa.string_view(), pa.binary_view()),
        (pa.dictionary(pa.int32(), pa.string()), pa.binary()),
        (pa.string(), pa.struct([("path", pa.null()), ("bytes", pa.large_binary()), ("size", pa.int64())])),
    ],
)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_columns_may_be_of_any_type_that_holds_texts_and_bytes(
    query: pa.DataType, image: pa.DataType, ending: str, tmp_path: Path
) -> None:
    """Large, viewed and dictionary-encoded texts, large and viewed bytes, structs with more than is needed."""
    data = [encode(scene(number, (20, 10)), ".png") for number in range(2)]
    cells = [{"bytes": cell} for cell in data] if pa.types.is_struct(image) else data
    table = pa.table({"query": pa.array(["a", "b"]).cast(query), "image": pa.array(cells, image)})
    path = str(tmp_path / f"a.{ending}")
    if ending == "parquet":
        pq.write_table(table, path)
    else:
        feather.write_feather(table, path)
    dataset = read_dataset(path)
    assert list(dataset.queries.values()) == ["a", "b"]
    assert [ref.read() for ref in dataset.corpus.values()] == data


def test_paths_may_be_viewed_texts(tmp_path: Path) -> None:
    """A picture column of type string_view names files, as one of type string does."""
    save(scene(0, (20, 10)), tmp_path / "0.png")
    table = pa.table({"query": ["a"], "image": pa.array(["0.png"], pa.string_view())})
    pq.write_table(table, str(tmp_path / "a.parquet"))
    (ref,) = read_dataset(str(tmp_path / "a.parquet")).corpus.values()
    assert ref.read() == (tmp_path / "0.png").read_bytes()


def test_numbered_shards_are_one_split(tmp_path: Path) -> None:
    """Files that are called by numbers alone are parts of one table."""
    for number in range(2):
        parquet(tmp_path / "eval", 2, name=f"000{number}.parquet")
    assert len(read_dataset(str(tmp_path / "eval")).queries) == 4
    dataset = read_dataset(str(tmp_path), split="eval")
    assert len(dataset.queries) == 4


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for, as a dataset or among the files of one."""
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(DatasetError, match=r"pipe\.parquet: is neither a file nor a folder"):
        read_dataset(str(tmp_path / "pipe.parquet"))
    with pytest.raises(DatasetError, match="not a dataset"):
        read_dataset(str(tmp_path))


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    """Other bytes, an empty file, a parquet file cut short, an empty folder, a path that is not there."""
    whole = Path(parquet(tmp_path, 2)).read_bytes()
    for data in (b"", b"hello world, no table", whole[:-200]):
        (tmp_path / "bad.parquet").write_bytes(data)
        with pytest.raises(DatasetError, match=r"bad\.parquet: not a valid Parquet or Arrow file"):
            read_dataset(str(tmp_path / "bad.parquet"))
    os.mkdir(tmp_path / "empty")
    with pytest.raises(DatasetError, match=r"not a dataset: it has neither corpus\.jsonl"):
        read_dataset(str(tmp_path / "empty"))
    with pytest.raises(DatasetError, match="nothing: no such dataset"):
        read_dataset(str(tmp_path / "nothing"))


def test_a_cell_that_is_no_picture_is_named(tmp_path: Path) -> None:
    """Bytes that don't begin as a picture are found by the check, a broken one further on by decoding."""
    made = rows(3)
    made[1]["negative_0"] = b"not a picture"
    write_parquet(str(tmp_path / "a.parquet"), made)
    with pytest.raises(DatasetError, match=r"a\.parquet, row 2, column negative_0: not an image"):
        check_pictures(read_dataset(str(tmp_path / "a.parquet")))
    whole = made[2]["image"]
    assert isinstance(whole, bytes)
    made[1]["negative_0"], made[2]["image"] = whole, whole[: len(whole) // 2]
    write_parquet(str(tmp_path / "b.parquet"), made)
    dataset = read_dataset(str(tmp_path / "b.parquet"))
    assert len(check_pictures(dataset)) == 6
    with pytest.raises(DatasetError, match=r"b\.parquet, row 3, column image: corrupt"):
        decode(dataset.corpus["3/image"])


def test_a_picture_file_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    """A BEIR picture is named by its file and the line of the corpus."""
    folder = beir(tmp_path)
    (tmp_path / "images" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(
        DatasetError, match=r"images/1\.png \(named in .*corpus\.jsonl, line 2\): not an image"
    ):
        check_pictures(read_dataset(folder))


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    """The cells of an open file don't outlive the file."""
    first = read_dataset(parquet(tmp_path, 2)).corpus["1/image"].read()
    made = rows(2)[::-1]
    path = str(tmp_path / "drawn.parquet")
    write_parquet(path, made)
    os.utime(path, ns=(1, 1))
    assert read_dataset(path).corpus["1/image"].read() == made[0]["image"] != first


def test_writing_refuses_other_columns_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A row of other columns is named, and neither a torn file nor a partial one stays."""
    made = rows(2)
    del made[1]["attribute"]
    path = str(tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=re.escape("row 2: its columns are query, image, negative_0, not")):
        write_parquet(path, made)
    with pytest.raises(DatasetError, match="no rows to write"):
        write_parquet(path, [])
    assert os.listdir(tmp_path) == []


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing parquet say what to install; the BEIR layout needs nothing."""
    path = parquet(tmp_path, 2)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"\[eval\]"):
        read_dataset(path)
    with pytest.raises(MissingExtra, match=r"\[eval\]"):
        write_parquet(path, rows(1))
    assert len(read_dataset(beir(tmp_path / "x")).corpus) == 3
