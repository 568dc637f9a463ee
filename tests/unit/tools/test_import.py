"""What `import` takes in, what it refuses and how it says so, and what an index made of vectors alone can do."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from imgsearch.errors import (
    CheckpointError,
    DatasetError,
    FolderError,
    ImgsearchError,
    IndexLocked,
    IndexMismatch,
    IndexMissing,
    UsageError,
)
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.search import similar
from imgsearch.spec import checkpoint_for
from imgsearch.tools.transfer.exporter import export
from imgsearch.tools.transfer.importer import Imported, ImportOptions, import_vectors
from imgsearch.tools.transfer.source import Block
from imgsearch.tools.transfer.validate import check_rows, unit_rows
from imgsearch.types import ModelOptions, Silent, Vectors
from support import fakes
from support.cli import imgsearch
from support.fakes import DIM, FakeModel, Notes, indexed, paint, roots, run, spec, unit

fake_model, gallery = fakes.fake_model, fakes.gallery


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "index")


def save(where: Path, rows: NDArray[Any], *paths: str | Path | bytes, end: bytes = b"\n") -> tuple[str, str]:
    """Write a .npy file and a list of paths; return both names."""
    np.save(where / "vectors.npy", rows)
    lines = [os.fsencode(path) + end for path in paths]
    (where / "paths.txt").write_bytes(b"".join(lines))
    return str(where / "vectors.npy"), str(where / "paths.txt")


def put(
    folder: str, vectors: str, paths: str | None, reporter: Notes | None = None, **options: Any
) -> Imported:
    return import_vectors(vectors, paths, folder, ImportOptions(**options), reporter)


def rows_of(folder: str) -> dict[str, Vectors]:
    """Return the stored vector of every file, by its absolute path."""
    with ImageIndex(folder) as index:
        found = {}
        for picture in index.catalog.pictures():
            vector = index.vector(picture.sha256, picture.page)
            assert vector is not None
            found |= {os.fsdecode(path): vector[0] for path in picture.paths}
        return found


def names(gallery: Path) -> list[Path]:
    return sorted(path for path in gallery.rglob("*") if path.is_file())


# ---- with files ---------------------------------------------------------------------------------------------


def test_imported_pictures_are_found_and_a_later_run_has_nothing_to_do(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """With the model named, an import is as good as a run of the model: `index` finds every file current."""
    rows = unit(5)
    done = put(folder, *save(tmp_path, rows, *names(gallery)), model=ModelOptions("fake/colours"))
    assert (done.imported, done.skipped, fake_model.loads) == (5, {}, 0)
    assert roots(folder, gallery) == {"."}
    again = run(folder, gallery)
    assert (again.unchanged, again.indexed, again.pruned, fake_model.loads) == (5, 0, 0, 0)
    with ImageIndex(folder) as index:
        hits = similar(index, str(names(gallery)[2]), fake_model.encoder())
    assert hits[0].path == str(names(gallery)[2])
    assert fake_model.embedded == 0


def test_imported_pictures_have_their_size(folder: str, tmp_path: Path) -> None:
    """A file that is opened gives width and height, upright; one that is no image has none and is imported."""
    image = Image.new("RGB", (40, 30), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "plain.png")
    (tmp_path / "broken.jpg").write_bytes(b"x")
    files = [tmp_path / name for name in ("turned.jpg", "plain.png", "broken.jpg")]
    assert put(folder, *save(tmp_path, unit(3), *files)).imported == 3
    with ImageIndex(folder) as index:
        sizes = {
            os.path.basename(os.fsdecode(p.paths[0])): (p.width, p.height) for p in index.catalog.pictures()
        }
    assert sizes == {"turned.jpg": (30, 40), "plain.png": (40, 30), "broken.jpg": (0, 0)}


def test_missing_files_are_named_and_counted(folder: str, gallery: Path, tmp_path: Path) -> None:
    """A path without a file is said and left out; the others are imported."""
    notes = Notes()
    done = put(folder, *save(tmp_path, unit(2), gallery / "none.png", gallery / "red.png"), reporter=notes)
    assert (done.imported, done.skipped) == (1, {"not there": 1})
    assert f"{gallery / 'none.png'}: not there" in notes.lines
    assert indexed(folder, gallery) == {"red.png"}


def test_if_no_file_is_there_no_index_appears(folder: str, tmp_path: Path) -> None:
    """An import in which every path is wrong makes nothing, and ends with exit code 1."""
    vectors, paths = save(tmp_path, unit(2), tmp_path / "a.png", tmp_path / "b.png")
    done = imgsearch("import", vectors, "--paths", paths, "--index", folder)
    assert done.code == 1
    assert "2 skipped (2 not there)" in done.err
    with pytest.raises(IndexMissing):
        ImageIndex(folder)


def test_what_is_no_file_is_left_out(folder: str, gallery: Path, tmp_path: Path) -> None:
    """A folder or a pipe in the place of a picture is passed over, and nothing waits for it."""
    os.mkfifo(gallery / "pipe.png")
    done = put(folder, *save(tmp_path, unit(3), gallery / "sub", gallery / "pipe.png", gallery / "red.png"))
    assert (done.imported, done.skipped) == (1, {"no regular file": 2})


def test_copies_share_the_first_ones_vector(folder: str, gallery: Path, tmp_path: Path) -> None:
    """Two files with the same bytes are one picture, whatever vectors came for them."""
    (gallery / "copy.png").write_bytes((gallery / "red.png").read_bytes())
    done = put(folder, *save(tmp_path, unit(2), gallery / "red.png", gallery / "copy.png"))
    assert (done.imported, done.reused) == (1, 1)
    np.testing.assert_array_equal(rows_of(folder)[str(gallery / "copy.png")], unit(2)[0].astype(np.float16))


def test_a_path_through_a_link_is_the_file_behind_it(folder: str, gallery: Path, tmp_path: Path) -> None:
    """Links of folders and of files are resolved, as `index` resolves the folders that it is given."""
    (tmp_path / "short").symlink_to(gallery)
    (tmp_path / "photo.png").symlink_to(gallery / "green.png")
    paths = (tmp_path / "short" / "red.png", tmp_path / "photo.png")
    put(folder, *save(tmp_path, unit(2), *paths), root=str(gallery.parent))
    assert indexed(folder, gallery) == {"red.png", "green.png"}


def test_a_second_import_passes_over_what_is_there(
    folder: str, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same import again changes nothing and reads no picture; with more paths it adds only those."""
    given = save(tmp_path, unit(5), *names(gallery))
    put(folder, *given)
    before = rows_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr(
            "imgsearch.tools.transfer.importer.open_source", None
        )  # whoever reads a picture now fails
        assert put(folder, *given) == Imported(unchanged=5, seconds=pytest.approx(0, abs=100))
    assert rows_of(folder).keys() == before.keys()
    paint(gallery / "pink.png", "pink")
    more = put(folder, *save(tmp_path, unit(6), *names(gallery)))
    assert (more.unchanged, more.imported) == (5, 1)


def test_an_import_that_was_cut_off_keeps_what_it_had(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed before the interruption stays, and the same command goes on from there."""
    from imgsearch.tools.transfer import validate

    monkeypatch.setattr(validate, "_BLOCK_BYTES", 4 * DIM * 10)
    given = save(tmp_path, unit(95), *(f"/no/{number}.jpg" for number in range(95)))

    class Impatient(Notes):
        def advance(self, n: int = 1) -> None:
            self.done = getattr(self, "done", 0) + n
            if self.done >= 95 + 40:  # the check has seen all of them by then
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(folder, *given, reporter=Impatient(), files=False)
    assert len(rows_of(folder)) == 40
    done = put(folder, *given, files=False)
    assert (done.unchanged, done.imported) == (40, 55)
    assert len(rows_of(folder)) == 95


# ---- without files ------------------------------------------------------------------------------------------


def test_without_files_invented_paths_are_pictures(folder: str, tmp_path: Path) -> None:
    """With --no-files nothing needs to exist, and every row is a picture of its own."""
    rows = unit(30)
    done = put(folder, *save(tmp_path, rows, *(f"/no/such/{n}.jpg" for n in range(30))), files=False)
    assert done.imported == 30
    with ImageIndex(folder) as index:
        hits = [found[0][0].paths[0] for found in index.search(rows, 1)]
        assert hits == [f"/no/such/{n}.jpg" for n in range(30)]
        assert [root.path for root in index.catalog.roots()] == ["/no/such"]


def test_a_large_import_answers_fast_at_once(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the size where searches scan, an import ends with the ANN files made that `index` would make."""
    from imgsearch.index.ann import search as ann

    monkeypatch.setattr(ann, "EXACT_ROWS", 500)
    rows = unit(600)
    put(folder, *save(tmp_path, rows, *(f"/no/{n}.jpg" for n in range(600))), files=False)
    with ImageIndex(folder) as index:
        assert [one.rows for one in index.catalog.ann_files().values()] == [600]
        assert index.search(rows[7:8], 1)[0][0][0].paths == ("/no/7.jpg",)


def test_a_file_that_appears_later_is_embedded(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """What was imported by its name only is not taken for the file that is found in its place."""
    given = save(tmp_path, unit(2), gallery / "new.png", gallery / "red.png")
    put(folder, *given, model=ModelOptions("fake/colours"), files=False)
    paint(gallery / "new.png", "pink")
    done = run(folder, gallery)
    # red.png was there with size and time, so its vector is taken for its own.
    assert (done.unchanged, done.indexed) == (1, 5)
    np.testing.assert_allclose(
        rows_of(folder)[str(gallery / "new.png")], fakes.vector(fakes.COLOURS["pink"])[0], atol=1e-3
    )


def test_without_files_what_the_model_has_made_stays(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A file that the index has as it is keeps its vector, whatever is imported under its name."""
    run(folder, gallery)
    before = rows_of(folder)
    done = put(folder, *save(tmp_path, unit(5), *names(gallery)), files=False)
    assert (done.unchanged, done.imported) == (5, 0)
    for path, row in rows_of(folder).items():
        np.testing.assert_array_equal(row, before[path])


# ---- folders ------------------------------------------------------------------------------------------------


def test_a_file_goes_to_the_known_folder_around_it(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Files below a known folder are that one's; only the others need a new one."""
    run(folder, gallery / "sub")
    done = put(folder, *save(tmp_path, unit(5), *names(gallery)))
    assert (done.imported, done.unchanged) == (3, 2)
    assert roots(folder, gallery) == {"sub", "."}
    assert indexed(folder, gallery) == {str(path.relative_to(gallery)) for path in names(gallery)}


def test_a_file_that_was_indexed_by_itself_stays_so(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A single file's own root keeps it; the rest of its folder becomes a whole one."""
    run(folder, gallery / "red.png")
    put(folder, *save(tmp_path, unit(1), gallery / "red.png"))
    with ImageIndex(folder) as index:
        assert [root.options["only"] for root in index.catalog.roots()] == [["red.png"]]
    put(folder, *save(tmp_path, unit(2), gallery / "red.png", gallery / "green.png"))
    assert indexed(folder, gallery) == {"red.png", "green.png"}
    assert roots(folder, gallery) == {"."}


@pytest.mark.parametrize("out", ["all.npy", "all.parquet"])
def test_folders_of_the_exporting_index_stay(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, out: str
) -> None:
    """What was exported belongs to the folders, and the single file, that it belonged to, with their options."""
    if out.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    run(folder, gallery, walk=WalkOverrides(exclude=("green.*",), include_hidden=True))
    run(folder, gallery / "sub", walk=WalkOverrides(include_copies=True))
    paint(gallery / ".hidden.png", "orange")
    run(folder)
    (tmp_path / "one").mkdir()
    run(folder, paint(tmp_path / "one" / "pink.png", "pink"))
    export(str(tmp_path / out), folder)
    paths = str(tmp_path / "all.paths.txt") if out.endswith(".npy") else None
    notes = Notes()
    other = str(tmp_path / "other")
    put(other, str(tmp_path / out), paths, notes)
    assert kept_folders(other) == kept_folders(folder)
    assert "deepest" not in notes.text
    assert "hidden" not in notes.text
    assert indexed(other, tmp_path) == indexed(folder, tmp_path)
    again = run(other)
    assert (again.indexed, again.pruned, again.reused) == (0, 0, 0)


def kept_folders(folder: str) -> dict[str, dict[str, object]]:
    with ImageIndex(folder) as index:
        return {root.path: root.options for root in index.catalog.roots()}


def test_a_given_root_goes_before_those_of_the_export(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """With --root everything new belongs to that folder, and known folders keep what is theirs."""
    run(folder, gallery, walk=WalkOverrides(exclude=("*.txt",)))
    export(str(tmp_path / "all.npy"), folder)
    other = str(tmp_path / "other")
    run(other, gallery / "sub")
    put(other, str(tmp_path / "all.npy"), str(tmp_path / "all.paths.txt"), root=str(tmp_path))
    assert roots(other, tmp_path) == {".", str((gallery / "sub").relative_to(tmp_path))}


def test_single_files_of_an_export_join_those_that_are_known(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Files of one folder that were indexed by themselves, here and there, are all so afterwards."""
    run(folder, gallery / "red.png")
    export(str(tmp_path / "all.npy"), folder)
    other = str(tmp_path / "other")
    run(other, gallery / "green.png")
    put(other, str(tmp_path / "all.npy"), str(tmp_path / "all.paths.txt"))
    assert kept_folders(other)[str(gallery)]["only"] == ["green.png", "red.png"]
    assert indexed(other, gallery) == {"red.png", "green.png"}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"path": "/a"},
        {"path": "a", "options": {}},
        {"path": "/a\0", "options": {}},
        {"path": "/a", "options": {"colour": "red"}},
        {"path": "/a", "options": {"exclude": "*.jpg"}},
        {"path": "/a", "options": {"exclude": [1]}},
        {"path": "/a", "options": {"only": ["/b/c.jpg"]}},
        {"path": "/a", "options": {"above": "/b"}},
    ],
)
def test_folders_that_make_no_sense_are_refused(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, entry: object
) -> None:
    """What an export says of its folders is checked before anything is made of it."""
    run(folder, gallery)
    export(str(tmp_path / "all.npy"), folder)
    about = json.loads((tmp_path / "all.json").read_text())
    (tmp_path / "all.json").write_text(json.dumps({**about, "imgsearch.roots": [entry]}))
    with pytest.raises(DatasetError, match=r"all\.json: the folders it names can't be read"):
        put(str(tmp_path / "other"), str(tmp_path / "all.npy"), str(tmp_path / "all.paths.txt"))


class Refusing(Notes):
    """A person who says no."""

    def approve(self, question: str) -> bool:
        return False


def test_a_folder_that_nobody_named_is_told_and_asked(folder: str, gallery: Path, tmp_path: Path) -> None:
    """The deepest common folder becomes an indexed one only after it was named; a no changes nothing."""
    given = save(tmp_path, unit(5), *names(gallery))
    notes = Refusing()
    with pytest.raises(UsageError, match="nothing was imported; choose the folder to index with root=DIR"):
        put(folder, *given, notes)
    assert notes.lines[-1] == (
        f"the images will be indexed as part of {gallery}, the deepest folder that holds them all "
        "(root=DIR chooses another)"
    )
    assert not Path(folder).exists()
    assert put(folder, *given, Refusing(), root=str(gallery)).imported == 5


def test_paths_without_a_common_folder_need_a_root(folder: str, tmp_path: Path) -> None:
    """The whole disk becomes no folder of the index unless somebody says so."""
    given = save(tmp_path, unit(2), "/one/a.jpg", "/two/b.jpg")
    with pytest.raises(UsageError, match="root=DIR"):
        put(folder, *given, files=False)
    assert not Path(folder).exists()
    put(folder, *given, files=False, root="/")
    assert roots(folder) == {"."}
    assert sorted(rows_of(folder)) == ["/one/a.jpg", "/two/b.jpg"]


def test_relative_paths_are_relative_to_the_root_or_to_here(
    folder: str, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--root is where relative paths begin; without it that is the current folder."""
    given = save(tmp_path, unit(2), "red.png", "sub/../sub/white.png")
    put(folder, *given, root=str(gallery))
    assert indexed(folder, gallery) == {"red.png", "sub/white.png"}
    monkeypatch.chdir(gallery)
    assert put(folder, *given).unchanged == 2


def test_a_path_outside_of_the_root_is_a_bad_row(folder: str, tmp_path: Path) -> None:
    """With --root, what lies elsewhere is said with its line."""
    given = save(tmp_path, unit(2), "a.jpg", "/else/b.jpg")
    with pytest.raises(DatasetError, match=r"line 2: /else/b.jpg: it is outside"):
        put(folder, *given, files=False, root="/photos")


def test_a_root_that_is_not_there_is_refused_where_files_are_read(folder: str, tmp_path: Path) -> None:
    """A mistyped --root is one line, and nothing is made."""
    with pytest.raises(FolderError, match="does not exist"):
        put(folder, *save(tmp_path, unit(1), "a.jpg"), root=str(tmp_path / "none"))
    assert not Path(folder).exists()


# ---- spec ---------------------------------------------------------------------------------------------------


def test_vectors_of_nobody_make_an_index_without_a_model(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Such an index answers `similar` for its photos; words and new pictures end in one line that says why not."""
    put(folder, *save(tmp_path, unit(5), *names(gallery)))
    assert imgsearch("similar", gallery / "red.png", "--index", folder).code == 0
    paint(gallery / "pink.png", "pink")
    for command in (["query", "red"], ["similar", gallery / "pink.png"], ["index", gallery]):
        done = imgsearch(*command, "--index", folder)
        assert done.code == 2, command
        assert "holds imported embedding" in done.err.splitlines()[-1]
    assert "pixels     unknown: the embeddings were imported" in imgsearch("status", "--index", folder).lines
    with ImageIndex(folder) as index, pytest.raises(CheckpointError, match="without a model"):
        checkpoint_for(folder, index.spec, ModelOptions("fake/colours"), Silent())


def test_an_index_without_a_model_is_refreshed_without_one(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Moved and deleted files need no model, so `index` keeps such an index up to date as far as it can."""
    put(folder, *save(tmp_path, unit(5), *names(gallery)))
    (gallery / "red.png").rename(gallery / "sub" / "scarlet.png")
    (gallery / "green.png").unlink()
    done = run(folder)
    assert (done.reused, done.pruned, done.unchanged) == (1, 2, 3)


def test_such_an_index_is_made_anew_with_a_model_of_its_own(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """--rebuild takes the usual model, as for a new index, and none of what imported vectors lack."""
    put(folder, *save(tmp_path, unit(5), *names(gallery)))
    assert run(folder, rebuild=True).indexed == 5
    with ImageIndex(folder) as index:
        assert index.spec == spec()


def test_an_index_that_is_there_vouches_for_the_model(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """Without another word, vectors are taken to come from the index's own model, and that is said."""
    run(folder, gallery / "sub")
    notes = Notes()
    put(folder, *save(tmp_path, unit(5), *names(gallery)), reporter=notes)
    assert "assuming that the embeddings were made by fake/colours" in notes.text
    assert "the model of this index" in notes.text


@pytest.mark.parametrize(
    ("dim", "model", "said"),
    [(DIM, "other/model", "not other/model"), (7, None, f"dimension {DIM}, not 7")],
)
def test_what_the_index_was_not_made_with_is_refused(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, dim: int, model: str | None, said: str
) -> None:
    """Vectors of another model or length do not get into an index, and the line says how they differ."""
    run(folder, gallery)
    given = save(tmp_path, unit(1, dim=dim), gallery / "x.png")
    with pytest.raises(IndexMismatch, match=said):
        put(folder, *given, model=ModelOptions(model), files=False)


def test_an_export_is_not_imported_as_another_models(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """What a file says of its vectors is held against --model and against the index."""
    run(folder, gallery)
    out = str(tmp_path / "out.npy")
    export(out, folder)
    lists = str(tmp_path / "out.paths.txt")
    with pytest.raises(IndexMismatch, match="not other/model"):
        put(str(tmp_path / "new"), out, lists, model=ModelOptions("other/model"))
    put(str(tmp_path / "third"), *save(tmp_path, unit(1), gallery / "red.png"))
    with pytest.raises(IndexMismatch, match="fake/colours"):
        put(str(tmp_path / "third"), out, lists)


def test_a_second_writer_is_told(folder: str, gallery: Path, tmp_path: Path) -> None:
    """While another process writes to the index nothing is imported."""
    given = save(tmp_path, unit(5), *names(gallery))
    put(folder, *given)
    with IndexWriter(folder), pytest.raises(IndexLocked):
        put(folder, *given)


# ---- rows ---------------------------------------------------------------------------------------------------


@given(
    dtype=st.sampled_from(["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]),
    scale=st.sampled_from([1e-3, 1.0, 700.0]),
    seed=st.integers(0, 99),
)
def test_rows_of_any_precision_become_unit_rows(dtype: str, scale: float, seed: int) -> None:
    """Whatever length and precision they came in, rows point where they pointed and have length 1."""
    rows = (unit(8, seed) * scale).astype(dtype)
    made = unit_rows(rows)
    assert made.dtype == np.float32
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(made, rows.astype(np.float64) / lengths, atol=1.5e-3 if scale == 1 else 1e-6)
    assert check_rows(Block(rows, {})) == {}


@given(rows=hnp.arrays(np.float32, (3, 4), elements=st.floats(-(2.0**126), 2.0**126, width=32)))
def test_every_finite_row_but_zero_has_a_direction(rows: NDArray[np.float32]) -> None:
    """Rows too large or too small for their squares are no exception."""
    wrong = check_rows(Block(rows, {}))
    assert set(wrong) == {row for row in range(3) if not rows[row].any()}
    made = unit_rows(rows)
    for row in set(range(3)) - set(wrong):
        assert np.linalg.norm(made[row].astype(np.float64)) == pytest.approx(1, abs=1.1e-3)
        assert (np.sign(made[row]) * np.sign(rows[row]) >= 0).all()


@given(
    dim=st.integers(1, 40),
    seed=st.integers(0, 9999),
    wide=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_rounded_unit_rows_stay_bit_by_bit(dim: int, seed: int, wide: Any) -> None:
    """A unit row as an index stores it, in float16, is not rounded a second time."""
    stored = unit(20, seed, dim).astype(np.float16)
    again = unit_rows(stored.astype(wide)).astype(np.float16)
    assert again.tobytes() == stored.tobytes()


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "contains NaN"), (np.inf, "contains infinity"), (0, "is all zeros")]
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_bad_row_is_named_and_nothing_is_written(
    folder: str, tmp_path: Path, value: float, said: str, dtype: Any
) -> None:
    """One row that is no vector stops the import before it begins; with skip_bad it is left out and counted."""
    rows = unit(4).astype(dtype)
    rows[2] = value
    given = save(tmp_path, rows, *(f"/no/{n}.jpg" for n in range(4)))
    with pytest.raises(
        DatasetError, match=f"1 of 4 can't be imported: line 3: its embedding {said}; nothing"
    ):
        put(folder, *given, files=False)
    assert not Path(folder).exists()
    notes = Notes()
    done = put(folder, *given, files=False, skip_bad=True, reporter=notes)
    assert (done.imported, done.bad) == (3, 1)
    assert done.summary().startswith("3 imported; 1 bad row skipped; ")
    assert f"line 3: its embedding {said}" in notes.text
    assert "/no/2.jpg" not in rows_of(folder)


def test_many_bad_rows_are_counted_and_the_first_named(folder: str, tmp_path: Path) -> None:
    """The line stays a line, however many rows are bad."""
    given = save(tmp_path, np.zeros((50, 3), np.float32), *(f"/no/{n}.jpg" for n in range(50)))
    with pytest.raises(DatasetError, match=r"50 of 50 .* and 45 more") as raised:
        put(folder, *given, files=False)
    assert len(str(raised.value)) < 400


# ---- paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["/no/a.jpg", "", "/no/c.jpg"], "line 2: the path: it is empty"),
        (["/no/a.jpg", "/no/b.jpg", "/no/a.jpg"], "line 3: /no/a.jpg is already named by line 1"),
        (["/no/a.jpg", "/no/b.jpg", "/no/x/../a.jpg"], "line 3: /no/a.jpg is already named by line 1"),
        (["/no/a.jpg", "/no/b/", "/no/c.jpg"], "line 2: /no/b/: it names a folder"),
        (["/no/a.jpg", "/no/..", "/no/c.jpg"], "line 2: /no/..: it names a folder"),
    ],
)
def test_a_bad_path_is_named(folder: str, tmp_path: Path, names: list[str], said: str) -> None:
    """Empty lines, folders and doubles are said with their lines; with skip_bad the first of doubles is kept."""
    given = save(tmp_path, unit(3), *names)
    with pytest.raises(DatasetError, match=said):
        put(folder, *given, files=False)
    assert put(folder, *given, files=False, skip_bad=True).imported == 2
    assert "/no/a.jpg" in rows_of(folder)


@pytest.mark.parametrize("number", [0, 2, 4, 30_000])
def test_as_many_paths_as_vectors(folder: str, tmp_path: Path, number: int) -> None:
    """A list that is too short or too long can't be matched, also with skip_bad."""
    given = save(tmp_path, unit(3), *(f"/no/{n}.jpg" for n in range(number)))
    with pytest.raises(DatasetError, match=f"3 embeddings, but there are {number:,} paths"):
        put(folder, *given, files=False, skip_bad=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"/no/a.jpg\r\n/no/b.jpg\r\n", ["/no/a.jpg", "/no/b.jpg"]),
        (b"\xef\xbb\xbf/no/a.jpg\n/no/b.jpg", ["/no/a.jpg", "/no/b.jpg"]),
        (b"\xef\xbb\xbf/no/a.jpg\r\n/no/b.jpg\r\n", ["/no/a.jpg", "/no/b.jpg"]),
        (b"/no/a.jpg \n/no/ b.jpg\n", ["/no/a.jpg ", "/no/ b.jpg"]),
        (b"/no/a\r.jpg\n/no/b.jpg\r\n", ["/no/a\r.jpg", "/no/b.jpg\r"]),
        (b"/no/a\xff.jpg\n/no/\xc3\xa9.jpg\n", ["/no/a\udcff.jpg", "/no/é.jpg"]),
        (b"/no/a\n.jpg\0/no/b.jpg\0", ["/no/a\n.jpg", "/no/b.jpg"]),
        (b"/no/a.jpg\0/no/b.jpg", ["/no/a.jpg", "/no/b.jpg"]),
    ],
)
def test_a_list_of_paths_is_read_as_it_was_meant(
    folder: str, tmp_path: Path, data: bytes, expected: list[str]
) -> None:
    """Line ends of either kind, a byte order mark, NUL bytes; and not a byte of a name is lost."""
    vectors, paths = save(tmp_path, unit(2))
    Path(paths).write_bytes(data)
    put(folder, vectors, paths, files=False)
    assert sorted(rows_of(folder)) == sorted(expected)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("/no/a.jpg\n/no/b.jpg\n".encode("utf-16"), "UTF-16"),
        (b"x" * 200_000, "line 1: it is longer than any path"),
        (b"/no/a.jpg\n" * 10_000 + b"/no/\0.jpg\n", "line 10001: it contains a NUL byte"),
    ],
)
def test_what_is_no_list_of_paths_is_refused(folder: str, tmp_path: Path, data: bytes, said: str) -> None:
    """A file of another kind is told from a list, with the line where that shows."""
    vectors, paths = save(tmp_path, unit(10_001, dim=2))
    Path(paths).write_bytes(data)
    with pytest.raises(DatasetError, match=said):
        put(folder, vectors, paths, files=False)


# ---- files that are none ------------------------------------------------------------------------------------


def header(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    """Return a .npy file's header with any shape."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def saved(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    np.savez(out, unit(2))
    return out.getvalue()


class Bomb:
    """What a pickle would run if it were read."""

    def __reduce__(self) -> tuple[Any, tuple[int, int]]:
        return os.kill, (os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither a .npy file nor a Parquet file"),
        pytest.param(pickle.dumps(Bomb()), "neither a .npy file", id="a pickle"),
        pytest.param(saved(np.array([Bomb()], object), allow_pickle=True), "never unpickled", id="objects"),
        (zipped(), "is an archive"),
        (saved(unit(2)[0]), r"shape \(13,\)"),
        (saved(np.float32(1)), r"shape \(\)"),
        (saved(np.zeros((2, 2, 2), np.float32)), r"shape \(2, 2, 2\)"),
        (saved(np.empty((0, 4), np.float32)), "is empty"),
        (saved(np.empty((4, 0), np.float32)), "is empty"),
        (saved(np.asfortranarray(unit(2))), "column by column"),
        (saved(np.ones((2, 3), np.uint8)), "contains uint8"),
        (saved(np.ones((2, 3), np.complex64)), "contains complex64"),
        (saved(np.zeros((2, 3), [("a", "<f4")])), "embeddings must be float16"),
        (saved(unit(2))[:-1], "is truncated"),
        (saved(unit(2)) + b"x", "more than one array"),
        (saved(unit(2)) + saved(unit(2)), "more than one array"),
        (header("(1000000000000, 2048)"), "is truncated"),
        (header("(10**12, 2)"), "not a valid .npy file"),
        (header("(-1, 2)") + bytes(8), "is empty|not a valid"),
        (header("(2, 2)", descr="'|O'") + bytes(100), "never unpickled"),
        (header("(2, 2)", descr="'<f16'") + bytes(64), "float128|longdouble|embeddings must be float16"),
        (header("(2, 2)", descr="'nonsense'"), "not a valid .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "not a valid .npy file"),
        (b"\x93NUMPY\x09\x00" + bytes(40), "not a valid .npy file"),
        (b"\x93NUMPY", "not a valid .npy file"),
        (b"PAR1" + bytes(100), "can't be read as Parquet"),
    ],
)
def test_what_is_no_array_of_vectors_is_refused(folder: str, tmp_path: Path, data: bytes, said: str) -> None:
    """Whatever a file holds, it ends in one line that names it; nothing is unpickled, nothing made."""
    vectors, paths = save(tmp_path, unit(2), "/no/a.jpg", "/no/b.jpg")
    Path(vectors).write_bytes(data)
    with pytest.raises(ImgsearchError, match=said) as raised:
        put(folder, vectors, None if data.startswith(b"PAR1") else paths, files=False)
    assert "\n" not in str(raised.value)
    assert vectors in str(raised.value)
    assert not Path(folder).exists()


@given(place=st.integers(0, 127), value=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any byte of a header changed to any other gives a sound import or one line."""
    where = tmp_path_factory.mktemp("damaged")
    vectors, paths = save(where, unit(2), "/no/a.jpg", "/no/b.jpg")
    data = bytearray(Path(vectors).read_bytes())
    data[place] = value
    Path(vectors).write_bytes(data)
    try:
        put(str(where / "index"), vectors, paths, files=False)
    except ImgsearchError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert sorted(rows_of(str(where / "index"))) == ["/no/a.jpg", "/no/b.jpg"]


@pytest.mark.parametrize("which", ["vectors", "paths"])
def test_what_is_no_file_can_not_be_read(folder: str, tmp_path: Path, which: str) -> None:
    """A folder, a pipe, a missing file: one line, and nothing waits."""
    given = dict(zip(("vectors", "paths"), save(tmp_path, unit(1), "/no/a.jpg"), strict=True))
    os.mkfifo(tmp_path / "pipe")
    for wrong, said in (
        ("", "is a folder"),
        ("pipe", "neither a folder nor a file"),
        ("none", "does not exist"),
    ):
        with pytest.raises(FolderError, match=said):
            put(folder, **{**given, which: str(tmp_path / wrong)}, files=False)


def test_the_two_forms_need_what_they_need(folder: str, gallery: Path, tmp_path: Path) -> None:
    """A .npy file needs a list of paths, a parquet file must not have one."""
    vectors, paths = save(tmp_path, unit(5), *names(gallery))
    with pytest.raises(UsageError, match="paths=FILE"):
        put(folder, vectors, None)
    put(folder, vectors, paths)
    export(str(tmp_path / "out.parquet"), folder)
    with pytest.raises(UsageError, match="omit paths"):
        put(str(tmp_path / "new"), str(tmp_path / "out.parquet"), paths)


# ---- parquet of others --------------------------------------------------------------------------------------


def table(where: Path, **columns: Any) -> str:
    """Write a parquet file as anybody would."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), where / "others.parquet")
    return str(where / "others.parquet")


@pytest.mark.parametrize("kind", ["fixed", "list", "large", "double"])
def test_a_parquet_file_of_anybody_is_read(folder: str, tmp_path: Path, kind: str) -> None:
    """Two columns are enough, path and embedding; other columns, whatever they are called, are left alone."""
    pa = pytest.importorskip("pyarrow")
    rows = unit(3)
    types = {
        "fixed": pa.list_(pa.float32(), DIM),
        "list": pa.list_(pa.float32()),
        "large": pa.large_list(pa.float32()),
        "double": pa.list_(pa.float64()),
    }
    embedding = pa.array(rows.tolist(), types[kind])
    path = table(
        tmp_path,
        path=[f"/no/{n}.jpg" for n in range(3)],
        embedding=embedding,
        sha256=[1, 2, 3],
        page=["x"] * 3,
    )
    assert put(folder, path, None, files=False).imported == 3
    for n, row in enumerate(rows):
        np.testing.assert_array_equal(rows_of(folder)[f"/no/{n}.jpg"], row.astype(np.float16))


def test_bad_rows_of_a_parquet_file_are_named(folder: str, tmp_path: Path) -> None:
    """Null, short and broken embeddings and null paths are said with their rows."""
    rows: list[Any] = unit(6).tolist()
    rows[1], rows[2], rows[3] = None, rows[2][:-1], [None] * DIM
    path = table(tmp_path, path=["/no/0", "/no/1", "/no/2", "/no/3", None, "/no/5"], embedding=rows)
    with pytest.raises(DatasetError) as raised:
        put(folder, path, None, files=False)
    for said in (
        "4 of 6",
        "row 2: its embedding is missing",
        f"row 3: its embedding has {DIM - 1} dimensions, not {DIM}",
    ):
        assert said in str(raised.value)
    assert "row 4: its embedding contains NaN" in str(raised.value)
    assert "row 5: the path: it is empty" in str(raised.value)
    assert put(folder, path, None, files=False, skip_bad=True).imported == 2
    np.testing.assert_array_equal(rows_of(folder)["/no/5"], unit(6)[5].astype(np.float16))


@pytest.mark.parametrize("column", ["page", "width", "height"])
@pytest.mark.parametrize("number", [2**31, 2**63, -1, float("inf"), float("nan")])
def test_numbers_that_no_index_can_hold_are_named(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel, column: str, number: float
) -> None:
    """A page, width or height out of range in a file that says it is an export is refused with its row."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    run(folder, gallery)
    path = str(tmp_path / "out.parquet")
    export(path, folder)
    found = pq.read_table(path)
    kind = pa.float64() if isinstance(number, float) else pa.uint64() if number >= 0 else pa.int64()
    cells = pa.array([number] * len(found), kind)
    pq.write_table(found.set_column(found.column_names.index(column), column, cells), path)
    with pytest.raises(DatasetError, match=f"row 1: its {column} is not valid"):
        put(str(tmp_path / "new"), path, None)


def test_a_file_of_any_date_is_imported_once(folder: str, gallery: Path, tmp_path: Path) -> None:
    """A date that 64 bits of nanoseconds can't hold is no reason to refuse a file, nor to import it twice."""
    given = save(tmp_path, unit(5), *names(gallery))
    os.utime(gallery / "red.png", ns=(2**63, 2**63))
    assert put(folder, *given).imported == 5
    assert put(folder, *given).unchanged == 5


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": ["a"]}, "needs one column 'embedding'"),
        ({"embedding": [[1.0]]}, "needs one column 'path'"),
        ({"path": ["a"], "embedding": [{"x": [1.0]}]}, "not lists of floats"),
        ({"path": ["a"], "embedding": [[[1.0]]]}, "not lists of floats"),
        ({"path": ["a"], "embedding": ["x"]}, "not lists of floats"),
        ({"path": ["a"], "embedding": [[1, 2]]}, "not lists of floats"),
        ({"path": [1], "embedding": [[1.0]]}, "column path: it contains int64"),
        ({"path": ["a"], "embedding": [[]]}, "lists of floats|no numbers"),
    ],
)
def test_a_parquet_file_without_vectors_is_refused(
    folder: str, tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    """Columns that lack or hold something else are named."""
    with pytest.raises(DatasetError, match=said):
        put(folder, table(tmp_path, **columns), None, files=False)


def test_without_pyarrow_the_extra_is_named(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parquet file without the library that reads it is one line with the extra; .npy files need none."""
    given = save(tmp_path, unit(1), "/no/a.jpg")
    path = table(tmp_path, path=["/no/a.jpg"], embedding=unit(1).tolist())
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = imgsearch("import", path, "--index", folder, "--no-files")
    assert done.code == 2
    assert done.err.endswith("[eval]'\n")
    assert put(folder, *given, files=False).imported == 1


# ---- the command --------------------------------------------------------------------------------------------


def test_the_command_says_what_it_did(folder: str, gallery: Path, tmp_path: Path) -> None:
    """One line for people, one JSON object for programs."""
    vectors, paths = save(tmp_path, unit(5), *names(gallery))
    done = imgsearch("import", vectors, "--paths", paths, "--index", folder, "--json")
    assert done.code == 0
    (said,) = done.objects
    assert {**said, "seconds": 0} == {
        "imported": 5,
        "reused": 0,
        "unchanged": 0,
        "skipped": {},
        "bad": 0,
        "seconds": 0,
    }
    assert "5 imported; " in done.err
    assert f"Try: imgsearch similar PHOTO --index {folder}" in done.err
    assert f"{gallery} is now an indexed folder" in done.err


def test_somebody_elses_json_beside_the_vectors_is_no_matter(folder: str, tmp_path: Path) -> None:
    """Only what export wrote says what made the vectors; a broken one of ours is refused."""
    given = save(tmp_path, unit(1), "/no/a.jpg")
    for data in (b"[]", b'{"imgsearch', b"\xff", json.dumps({"model": "x"}).encode()):
        (tmp_path / "vectors.json").write_bytes(data)
        put(folder, *given, files=False)
    for ours, said in (
        ({"imgsearch": {"format": 1, "model": "x"}, "rows": 1}, "can't be read"),
        ({"imgsearch": {"format": 9, "model": "x"}, "rows": 1}, "newer imgsearch"),
        ({"imgsearch": {}, "rows": 2}, "does not belong to these"),
    ):
        (tmp_path / "vectors.json").write_text(json.dumps(ours))
        with pytest.raises(DatasetError, match=rf"vectors\.json.*{said}"):
            put(folder, *given, files=False)


def test_files_that_a_walk_does_not_see_are_said(folder: str, tmp_path: Path) -> None:
    """What the next `index` would forget, a RAW file or one that is hidden, is counted in a line."""
    notes = Notes()
    paths = ("/no/a.dng", "/no/.hidden/b.jpg", "/no/c.JPG")
    put(folder, *save(tmp_path, unit(3), *paths), files=False, reporter=notes)
    assert "2 of the files are hidden or RAW files" in notes.text


def test_an_imported_image_stays_whatever_its_name(
    folder: str, gallery: Path, tmp_path: Path, fake_model: FakeModel
) -> None:
    """A file that an import named stays indexed with its vector when its folder is updated."""
    odd = gallery / "red.png.1"
    (gallery / "red.png").rename(odd)
    put(folder, *save(tmp_path, unit(5), *names(gallery)))
    result = run(folder)
    assert (result.unchanged, result.pruned) == (5, 0)
    assert str(odd).lstrip("/") in indexed(folder)


def test_an_empty_root_is_refused(folder: str, tmp_path: Path) -> None:
    """An empty --root, as of an unset variable, is not the current folder."""
    with pytest.raises(FolderError, match="empty"):
        put(folder, *save(tmp_path, unit(1), "a.jpg"), root="")
