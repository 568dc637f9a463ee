"""What `export` writes, that it comes back as it was, and that a file is never half of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import DatasetError, FolderError, IndexDamaged, IndexMissing, StorageError, UsageError
from imgsearch.index import segments
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.tools.transfer import exporter
from imgsearch.tools.transfer.exporter import Exported, export
from imgsearch.tools.transfer.importer import ImportOptions, import_vectors
from support import fakes
from support.cli import imgsearch
from support.fakes import DIM, FakeModel, Notes, indexed, run, sha, spec, state, unit

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def make(folder: str, *names: str, seed: int = 0) -> None:
    """Make an index of a picture a name below /pictures."""
    with IndexWriter(folder, spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        contents = [(sha(name), 0, 40, 30) for name in names]
        writer.commit(contents, unit(len(names), seed), [state(root, name, sha(name)) for name in names])


def read(path: str | Path) -> Any:
    """Return a parquet file as a list of its rows."""
    pq = pytest.importorskip("pyarrow.parquet")
    return pq.read_table(path).to_pylist()


def stored(folder: str) -> list[tuple[Any, ...]]:
    """Return everything an index says of its pictures, with their exact bytes, in the order of indexing."""
    with ImageIndex(folder) as index:
        found = []
        for picture in index.catalog.pictures():
            row = index.vector(picture.sha256, picture.page)
            assert row is not None
            size = picture.width, picture.height
            found.append(
                (picture.sha256, picture.page, size, picture.paths, row.astype(np.float16).tobytes())
            )
        return found


def test_parquet_holds_a_row_a_picture(folder: str, tmp_path: Path) -> None:
    """One row a distinct picture, with its copies, in the order of indexing; pictures without files are left out."""
    make(folder, "b.jpg", "a.jpg", "gone.jpg")
    with IndexWriter(folder) as writer:
        writer.commit([], unit(0), [state(1, "copy.jpg", sha("b.jpg")), state(1, "bad.jpg", None)])
        row = writer.catalog.file(1, "gone.jpg")
        assert row is not None
        writer.catalog.drop_files([row.id])
    done = export(str(tmp_path / "out.parquet"), folder)
    assert (done.pictures, done.dim, done.damaged) == (2, DIM, 0)
    rows = read(tmp_path / "out.parquet")
    assert [row.pop("embedding") for row in rows] == unit(3)[:2].astype(np.float16).tolist()
    assert rows == [
        {
            "path": f"/pictures/{name}",
            "page": 0,
            "copies": copies,
            "sha256": sha(name).hex(),
            "width": 40,
            "height": 30,
        }
        for name, copies in (("b.jpg", ["/pictures/copy.jpg"]), ("a.jpg", []))
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_other_libraries_read_the_parquet(
    folder: str, tmp_path: Path, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """datasets and pandas read the file as it is: fixed-size embeddings, text, lists of text."""
    datasets = pytest.importorskip("datasets")
    pandas = pytest.importorskip("pandas")
    make(folder, *(f"{n}.jpg" for n in range(20)))
    out = str(tmp_path / "out.parquet")
    export(out, folder, dtype=dtype)
    loaded = datasets.load_dataset(
        "parquet", data_files=out, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.features["embedding"].length == DIM
    assert loaded.features["embedding"].feature.dtype == dtype
    assert loaded.features["path"].dtype == "string"
    np.testing.assert_array_equal(np.array(loaded[7]["embedding"], dtype), unit(20)[7].astype(np.float16))
    frame = pandas.read_parquet(out)
    assert frame["path"].tolist() == [f"/pictures/{n}.jpg" for n in range(20)]
    assert np.stack(frame["embedding"]).shape == (20, DIM)


def test_npy_holds_the_rows_as_they_are_stored(folder: str, tmp_path: Path) -> None:
    """The array, the paths in the same order, and what made the vectors; float32 on demand."""
    make(folder, "b.jpg", "a.jpg")
    done = export(str(tmp_path / "out.npy"), folder)
    assert done.files == tuple(str(tmp_path / name) for name in ("out.npy", "out.paths.txt", "out.json"))
    rows = np.load(tmp_path / "out.npy", allow_pickle=False)
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, unit(2).astype(np.float16))
    assert (tmp_path / "out.paths.txt").read_text() == "/pictures/b.jpg\n/pictures/a.jpg\n"
    said = json.loads((tmp_path / "out.json").read_text())
    assert said["rows"] == 2
    assert said["imgsearch"]["fingerprint"] == spec().fingerprint
    export(str(tmp_path / "wide.npy"), folder, dtype="float32")
    np.testing.assert_array_equal(np.load(tmp_path / "wide.npy"), rows.astype(np.float32))


def test_an_empty_index_is_an_empty_file(folder: str, tmp_path: Path) -> None:
    """An index without pictures exports to files without rows."""
    make(folder)
    assert export(str(tmp_path / "out.parquet"), folder).pictures == 0
    assert export(str(tmp_path / "out.npy"), folder).pictures == 0
    assert read(tmp_path / "out.parquet") == []
    assert np.load(tmp_path / "out.npy").shape == (0, DIM)


# ---- and back -----------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    n=st.integers(1, 60),
    per_segment=st.integers(3, 80),
    group=st.integers(1, 20),
    seed=st.integers(0, 999),
    form=st.sampled_from(
        [(".parquet", "float16"), (".parquet", "float32"), (".npy", "float16"), (".npy", "float32")]
    ),
)
def test_what_is_exported_comes_back_bit_by_bit(
    n: int, per_segment: int, group: int, seed: int, form: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Export and import give the same spec, the same order and the very same bytes; parquet keeps everything."""
    where = tmp_path_factory.mktemp("round")
    ending, dtype = form
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", segments.HEADER_BYTES + per_segment * DIM * 2)
        patch.setattr(exporter, "_GROUP_BYTES", group * 2 * DIM)
        make(str(where / "a"), *(f"{number}.jpg" for number in range(n)), seed=seed)
        with IndexWriter(str(where / "a")) as writer:
            writer.commit([], unit(0), [state(1, "copy.jpg", sha("0.jpg"))])
        out = str(where / f"out{ending}")
        export(out, str(where / "a"), dtype=dtype)
        lists = None if ending == ".parquet" else str(where / "out.paths.txt")
        import_vectors(out, lists, str(where / "b"), ImportOptions(files=False))
    before, after = stored(str(where / "a")), stored(str(where / "b"))
    assert [row[-1] for row in after] == [row[-1] for row in before]
    if ending == ".parquet":
        assert after == before
    with ImageIndex(str(where / "a")) as one, ImageIndex(str(where / "b")) as other:
        assert other.spec == one.spec


def test_an_import_of_an_export_needs_no_model(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """With files, an index that was moved by export and import is current: a run finds nothing to do."""
    run(folder, gallery)
    export(str(tmp_path / "out.parquet"), folder)
    new = str(tmp_path / "new")
    done = import_vectors(str(tmp_path / "out.parquet"), None, new)
    assert done.imported == 5
    assert stored(new) == stored(folder)
    loads = fake_model.loads
    again = run(new, gallery)
    assert (again.unchanged, again.indexed, fake_model.loads) == (5, 0, loads)


def test_a_picture_that_has_changed_since_does_not_get_its_old_vector(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """The file's hash is compared with the one that was exported; the next run embeds the new picture."""
    run(folder, gallery)
    export(str(tmp_path / "out.parquet"), folder)
    fakes.paint(gallery / "red.png", "brown")
    notes, new = Notes(), str(tmp_path / "new")
    done = import_vectors(str(tmp_path / "out.parquet"), None, new, reporter=notes)
    assert (done.imported, done.skipped) == (4, {"changed since its embedding was exported": 1})
    assert f"{gallery / 'red.png'}: changed since" in notes.text
    assert run(new, gallery).indexed == 1


# ---- names --------------------------------------------------------------------------------------------------


def test_names_that_are_no_utf8_survive(folder: str, tmp_path: Path) -> None:
    """Parquet text can't hold them: `path` shows escapes, and columns of bytes, only there, have the exact names."""
    make(folder, "fine.jpg", "bad\udcff.jpg", "é.jpg")
    with IndexWriter(folder) as writer:
        writer.commit([], unit(0), [state(1, "ü\udcfe.jpg", sha("é.jpg"))])
    out = str(tmp_path / "out.parquet")
    export(out, folder)
    rows = read(out)
    assert [row["path"] for row in rows] == [
        "/pictures/fine.jpg",
        "/pictures/bad\\xff.jpg",
        "/pictures/é.jpg",
    ]
    assert [row["path_bytes"] for row in rows] == [None, b"/pictures/bad\xff.jpg", "/pictures/é.jpg".encode()]
    assert rows[2]["copies_bytes"] == [b"/pictures/\xc3\xbc\xfe.jpg"]
    import_vectors(out, None, str(tmp_path / "new"), ImportOptions(files=False))
    assert stored(str(tmp_path / "new")) == stored(folder)
    assert indexed(str(tmp_path / "new"), "/pictures") == {
        "fine.jpg",
        "bad\udcff.jpg",
        "é.jpg",
        "ü\udcfe.jpg",
    }


def test_plain_names_need_no_column_of_bytes(folder: str, tmp_path: Path) -> None:
    """Where every name is UTF-8 the extra columns are not there."""
    make(folder, "é.jpg")
    export(str(tmp_path / "out.parquet"), folder)
    assert "path_bytes" not in read(tmp_path / "out.parquet")[0]


@pytest.mark.parametrize("name", ["a\nb.jpg", "ends\r"])
def test_a_name_with_the_end_of_a_line_needs_nul(folder: str, tmp_path: Path, name: str) -> None:
    """A list of lines can't hold it, which is said; a .nul list can, and comes back."""
    make(folder, name, "bad\udcff.jpg")
    with pytest.raises(DatasetError, match=r"paths=FILE\.nul"):
        export(str(tmp_path / "out.npy"), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    export(str(tmp_path / "out.npy"), folder, paths=str(tmp_path / "list.nul"))
    assert (tmp_path / "list.nul").read_bytes() == os.fsencode(f"/pictures/{name}\0/pictures/bad\udcff.jpg\0")
    import_vectors(
        str(tmp_path / "out.npy"),
        str(tmp_path / "list.nul"),
        str(tmp_path / "new"),
        ImportOptions(files=False),
    )
    assert indexed(str(tmp_path / "new"), "/pictures") == {name, "bad\udcff.jpg"}


# ---- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_a_damaged_vector_is_never_exported_in_silence(folder: str, tmp_path: Path, ending: str) -> None:
    """A row that does not match its checksum stops the export, which leaves nothing; or it is left out and counted."""
    make(folder, "a.jpg", "b.jpg", "c.jpg")
    segment = Path(folder) / "vectors" / "00000001.f16"
    data = bytearray(segment.read_bytes())
    data[4096 + 2 * DIM + 3] ^= 1
    segment.write_bytes(data)
    out = tmp_path / f"out{ending}"
    out.write_text("old")
    with pytest.raises(IndexDamaged, match=r"00000001\.f16 is damaged: embedding 1"):
        export(str(out), folder)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", out.name]
    done = export(str(out), folder, skip_bad=True)
    assert (done.pictures, done.damaged) == (2, 1)
    assert "1 damaged embedding left out" in done.summary()
    if ending == ".npy":
        np.testing.assert_array_equal(np.load(out), unit(3)[[0, 2]].astype(np.float16))
        assert (tmp_path / "out.paths.txt").read_text() == "/pictures/a.jpg\n/pictures/c.jpg\n"
    else:
        assert [row["path"] for row in read(out)] == ["/pictures/a.jpg", "/pictures/c.jpg"]


def test_an_index_that_is_being_written_can_be_exported(folder: str, tmp_path: Path) -> None:
    """Export takes no lock; it gives what was committed when it began."""
    make(folder, "a.jpg")
    with IndexWriter(folder) as writer:
        writer.commit([(sha("b"), 0, 1, 1)], unit(1, 5), [state(1, "b.jpg", sha("b"))])
        assert export(str(tmp_path / "out.npy"), folder).pictures == 2


def test_a_damaged_parquet_file_is_not_imported(folder: str, tmp_path: Path) -> None:
    """Any byte of a file that was written here, changed, is told by its checksums, or makes no difference."""
    make(folder, "a.jpg", "bad\udcff.jpg", *(f"{n}.jpg" for n in range(30)))
    out, before = tmp_path / "out.parquet", stored(folder)
    export(str(out), folder)
    sound = out.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for number, place in enumerate(rng.integers(0, len(sound), 150).tolist()):
        data = bytearray(sound)
        data[place] ^= 1 << int(rng.integers(8))
        out.write_bytes(data)
        new = str(tmp_path / f"new{number}")
        try:
            import_vectors(str(out), None, new, ImportOptions(files=False))
        except (DatasetError, UsageError) as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        else:
            assert {row[3:] for row in stored(new)} <= {row[3:] for row in before}
    assert refused > 50


# ---- the disk -----------------------------------------------------------------------------------------------

_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from imgsearch.__main__ import main
import pyarrow.parquet, numpy  # their own files are written without a limit
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv = ["imgsearch", "export", sys.argv[1], "--index", sys.argv[2]]
main()
"""


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_a_disk_that_takes_no_more_is_one_line(folder: str, tmp_path: Path, ending: str) -> None:
    """When the target can't grow, the old file stays, nothing is left beside it, and one line says why."""
    make(folder, *(f"{number}.jpg" for number in range(3000)))
    out = tmp_path / f"out{ending}"
    out.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(out), folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("imgsearch: ")
    assert "could not be written: File too large; nothing was replaced" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", out.name]


@pytest.mark.parametrize("errno", ["ENOSPC", "EIO"])
def test_a_sync_that_fails_replaces_nothing(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errno: str
) -> None:
    """What the disk has not taken for good does not take the old file's place."""
    import errno as numbers

    from imgsearch import fs

    make(folder, "a.jpg")
    (tmp_path / "out.npy").write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(getattr(numbers, errno), os.strerror(getattr(numbers, errno)))

    monkeypatch.setattr(fs, "sync_file", fail)
    with pytest.raises(
        StorageError, match="the disk is full" if errno == "ENOSPC" else "could not be written"
    ):
        export(str(tmp_path / "out.npy"), folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "out.npy"]
    assert (tmp_path / "out.npy").read_text() == "old"


def test_a_link_stays_and_what_it_leads_to_is_replaced(folder: str, tmp_path: Path) -> None:
    """An export into a linked file writes where the link leads."""
    make(folder, "a.jpg")
    (tmp_path / "far").mkdir()
    (tmp_path / "out.parquet").symlink_to(tmp_path / "far" / "real.parquet")
    export(str(tmp_path / "out.parquet"), folder)
    assert (tmp_path / "out.parquet").is_symlink()
    assert len(read(tmp_path / "far" / "real.parquet")) == 1


@pytest.mark.parametrize(
    ("out", "options", "kind", "said"),
    [
        ("out.csv", {}, UsageError, r"\.parquet or \.npy"),
        ("out", {}, UsageError, r"\.parquet or \.npy"),
        ("none/out.npy", {}, FolderError, "is not a folder"),
        ("folder.npy", {}, FolderError, "not a regular file"),
        ("pipe.npy", {}, FolderError, "not a regular file"),
        ("out.parquet", {"paths": "x.txt"}, UsageError, "paths is for .npy files"),
        ("out.npy", {"paths": "out.json"}, UsageError, "another name"),
    ],
)
def test_a_target_that_is_none_is_refused(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, options: Any, kind: Any, said: str
) -> None:
    """Wrong endings, missing folders, folders and pipes: one line before anything is written."""
    make(folder, "a.jpg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=said):
        export(out, folder, **options)
    assert sorted(tmp_path.iterdir()) == before


def test_no_index_no_file(tmp_path: Path) -> None:
    """Where there is no index nothing is written."""
    with pytest.raises(IndexMissing):
        export(str(tmp_path / "out.npy"), str(tmp_path / "index"))
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_npy_is_still_there(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parquet file names the extra that it needs; a .npy file needs none."""
    make(folder, "a.jpg")
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = imgsearch("export", tmp_path / "out.parquet", "--index", folder)
    assert done.code == 2
    assert done.err.endswith("[eval]'\n")
    assert not (tmp_path / "out.parquet").exists()
    assert imgsearch("export", tmp_path / "out.npy", "--index", folder).code == 0


def test_the_command_says_what_it_wrote(folder: str, tmp_path: Path) -> None:
    """One line for people, one JSON object for programs."""
    make(folder, "a.jpg", "b.jpg")
    out = tmp_path / "out.npy"
    done = imgsearch("export", out, "--index", folder, "--json")
    (said,) = done.objects
    assert {**said, "seconds": 0} == {
        "pictures": 2,
        "dim": DIM,
        "files": [str(out), str(tmp_path / "out.paths.txt"), str(tmp_path / "out.json")],
        "damaged": 0,
        "seconds": 0,
    }
    assert f"2 images, {DIM} dimensions, in {out}" in done.err
    assert Exported(1, 1, ("a",), seconds=2).summary() == "1 image, 1 dimension, in a; 2.0 s"
