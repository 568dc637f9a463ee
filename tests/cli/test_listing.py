"""Images without a query: listed newest first, and counted by year, camera, folder and type."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from imgsearch.index.metadata import collect
from imgsearch.index.writer import IndexWriter
from support import fakes
from support.cli import imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model

PHOTOS = (
    ("2023/july.jpg", "red", "2023:07:14 09:30:00", "NIKON CORPORATION", "NIKON Z 8"),
    ("2023/august.jpg", "red", "2023:08:01 00:00:00", "NIKON CORPORATION", "NIKON Z 8"),
    ("old.jpeg", "blue", "2019:05:04 10:00:00", "FUJIFILM", "X-T5"),
    ("b/deep/may.jpg", "blue", "2023:05:01 12:00:00", "FUJIFILM", "X-T5"),
)


@pytest.fixture(params=[False, True], ids=["sql", "columns"])
def index(fake_model: FakeModel, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Give an index of four photos and a copy of one; with columns, or without."""
    photos = tmp_path / "photos"
    for name, colour, date, make, model in PHOTOS:
        path = paint(photos / name, colour)
        exif = Image.Exif()
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = make, model
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
        Image.open(path).save(path, "JPEG", exif=exif, quality=95)
    shutil.copy(photos / "old.jpeg", photos / "b" / "copy.jpg")
    run(tmp_path / "ix", photos)
    if request.param:
        with IndexWriter(str(tmp_path / "ix")) as writer:
            collect.build(writer.catalog.database, writer.data, 1, len(PHOTOS))
    return str(tmp_path / "ix")


def listed(index: str, *argv: object) -> list[str]:
    """Return the names of the images that list prints, in its order."""
    done = imgsearch("list", *argv, "--index", index)
    assert done.err == ""
    return [Path(line).name for line in done.out.decode().splitlines()]


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], ["august.jpg", "july.jpg", "copy.jpg", "may.jpg", "old.jpeg"]),
        (["--sort", "newest"], ["august.jpg", "july.jpg", "may.jpg", "copy.jpg", "old.jpeg"]),
        (["--sort", "oldest", "-n", "3"], ["copy.jpg", "old.jpeg", "may.jpg"]),
        (["--on", "2023"], ["august.jpg", "july.jpg", "may.jpg"]),
        (["--on", "2023", "--camera", "x-t5"], ["may.jpg"]),
        (["--camera", "x-t5", "--sort", "path"], ["copy.jpg", "may.jpg", "old.jpeg"]),
        (["--name", "*.jpg", "--camera", "x-t5"], ["may.jpg", "copy.jpg"]),
        (["-n", "2"], ["august.jpg", "july.jpg"]),
        (["-n", "2", "--offset", "1"], ["july.jpg", "may.jpg"]),
        (["-n", "all", "--offset", "3"], ["copy.jpg", "old.jpeg"]),
    ],
)
def test_list_chooses_and_sorts(index: str, argv: list[str], names: list[str]) -> None:
    """Every file that passes is listed, newest first where an option chooses, and by path as ever where none does."""
    found = listed(index, *argv)
    assert Counter(found) == Counter(names)
    # The copy and what it is a copy of have the same date.
    assert [name.replace("copy.jpg", "old.jpeg") for name in found] == [
        name.replace("copy.jpg", "old.jpeg") for name in names
    ]


def test_list_of_a_folder_takes_filters_too(index: str, tmp_path: Path) -> None:
    """PATH confines, and a file there counts, not its copy elsewhere."""
    assert listed(index, tmp_path / "photos" / "b", "--sort", "newest") == ["may.jpg", "copy.jpg"]
    assert listed(index, tmp_path / "photos" / "old.jpeg", "--camera", "x-t5") == ["old.jpeg"]
    assert listed(index, tmp_path / "photos" / "2023", "--before", "2023-08") == ["july.jpg"]


def test_list_has_its_forms_with_filters(index: str, tmp_path: Path) -> None:
    """--json has the same fields as without filters, -0 ends each path with a NUL, --paths changes nothing."""
    (one,) = imgsearch("list", "--on", "2023-07", "--json", "--index", index).objects
    assert one["path"] == str(tmp_path / "photos" / "2023" / "july.jpg")
    assert one.keys() == imgsearch("list", "--json", "--index", index).objects[0].keys()
    assert imgsearch("list", "--on", "2023-07", "-0", "--index", index).out.endswith(b"july.jpg\0")
    plain = imgsearch("list", "--on", "2023", "--index", index).out
    assert imgsearch("list", "--on", "2023", "--paths", "--index", index).out == plain


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--camera", "leica"], "no image taken with leica is indexed"),
        (["--camera", "nikon", "--type", "png"], "no image of the type png is indexed"),
        (
            ["--camera", "nikon", "--name", "may*"],
            "no image passes all filters: taken with nikon; named may*",
        ),
        (["PHOTOS/b", "--camera", "nikon"], "no image passes all filters: taken with nikon; in PHOTOS/b"),
        (["nowhere", "--camera", "nikon"], "no image in CWD/nowhere is indexed"),
        (["--offset", "5"], "no more images: there are 5 at most"),
    ],
)
def test_what_empties_a_list_is_named(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str
) -> None:
    """Where nothing is left, one line says which filter no image passes, or that none passes all; exit code 1."""
    monkeypatch.chdir(tmp_path)
    for word, path in (("PHOTOS", tmp_path / "photos"), ("CWD", tmp_path)):
        argv, message = [one.replace(word, str(path)) for one in argv], message.replace(word, str(path))
    done = imgsearch("list", *argv, "--index", index)
    assert (done.code, done.out, done.err) == (1, b"", message + "\n")
    if "--offset" not in argv:
        done = imgsearch("facets", *argv, "--index", index)
        assert (done.code, done.out, done.err) == (1, b"", message + "\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-n", "few"], "--limit few: not a whole number, nor all"),
        (["-n", "0"], "--limit 0: ask for at least one image"),
        (["--offset", "-1"], "--offset -1: must be 0 or more"),
        (["--sort", "score"], "--sort score: choose one of newest, oldest, path"),
        (["--json", "-0"], "--json and -0 are two forms of the same list"),
        (["--json", "--paths"], "--json and --paths are two forms of the same list"),
        (["--type", "xyz"], "--type: xyz: there is no such type"),
    ],
)
def test_a_list_that_can_not_be_meant_is_one_line(index: str, argv: list[str], message: str) -> None:
    """Each mistake is one line that names the option, and exit code 2."""
    done = imgsearch("list", *argv, "--index", index)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_facets_count_files(index: str, tmp_path: Path) -> None:
    """Each file counts once by year, camera, folder below an indexed one, and type, as list would list it."""
    photos = str(tmp_path / "photos")
    (found,) = imgsearch("facets", "--json", "--index", index).objects
    assert found == {
        "images": 5,
        "year": [{"year": 2023, "images": 3}, {"year": 2019, "images": 2}],
        "camera": [
            {"camera": "FUJIFILM X-T5", "images": 3},
            {"camera": "NIKON CORPORATION NIKON Z 8", "images": 2},
        ],
        "folder": [
            {"path": f"{photos}/2023", "images": 2},
            {"path": f"{photos}/b", "images": 2},
            {"path": photos, "images": 1},
        ],
        "type": [{"type": "jpg", "images": 5}],
        "rating": [{"rating": None, "images": 5}],
        "kind": [],
        "text": 0,
    }
    (found,) = imgsearch(
        "facets", "--json", "--camera", "x-t5", tmp_path / "photos" / "b", "--index", index
    ).objects
    assert found["year"] == [{"year": 2023, "images": 1}, {"year": 2019, "images": 1}]
    done = imgsearch("facets", "--on", "2023", "--index", index)
    assert done.out.decode() == (
        "images           3\n"
        "year             3  2023\n"
        "camera           2  NIKON CORPORATION NIKON Z 8\n"
        "                 1  FUJIFILM X-T5\n"
        f"folder           2  {photos}/2023\n"
        f"                 1  {photos}/b\n"
        "type             3  jpg\n"
    )


def test_the_last_indexed_come_first_by_added(index: str, tmp_path: Path) -> None:
    """What a later run finds stands before all that was known, whatever its date."""
    paint(tmp_path / "photos" / "late.png", "green")
    run(index, tmp_path / "photos")
    assert listed(index, "--sort", "added", "-k", "1") == ["late.png"]
    assert sorted(listed(index, "--sort", "added")) == sorted(listed(index))
    assert listed(index, "--sort", "added", "--camera", "x-t5")[-1] != "late.png"


def test_a_random_order_is_the_same_for_the_same_seed(index: str) -> None:
    """Every file is there once, pages of it fit together, and another seed has another order."""
    orders = {tuple(listed(index, "--sort", "random", "--seed", seed)) for seed in range(12)}
    assert len(orders) > 4
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(listed(index)))}
    whole = listed(index, "--sort", "random", "--seed", "7")
    parts = [listed(index, "--sort", "random", "--seed", "7", "-k", "2", "--offset", at) for at in (0, 2, 4)]
    assert [name for part in parts for name in part] == whole
    assert sorted(listed(index, "--sort", "random")) == sorted(whole)
    done = imgsearch("list", "--seed", "7", "--index", index)
    assert (done.code, done.err) == (2, "imgsearch: --seed is of --sort random; give both\n")


def test_ratings_are_counted_where_there_are_any(index: str, tmp_path: Path) -> None:
    """Stars from five down, rejected ones and those that nobody rated; no line of them without any."""
    assert not any(line.startswith("rating") for line in imgsearch("facets", "--index", index).lines)
    for name, stars in (("2023/july", 5), ("2023/august", 3), ("b/deep/may", -1)):
        text = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{stars}"/></rdf:RDF></x:xmpmeta>'
        )
        (tmp_path / "photos" / f"{name}.xmp").write_text(text)
    run(index, tmp_path / "photos")
    (found,) = imgsearch("facets", "--json", "--index", index).objects
    assert found["rating"] == [
        {"rating": 5, "images": 1},
        {"rating": 3, "images": 1},
        {"rating": -1, "images": 1},
        {"rating": None, "images": 2},
    ]
    assert (
        imgsearch("facets", "--index", index)
        .out.decode()
        .endswith(
            "rating           1  5\n"
            "                 1  3\n"
            "                 1  rejected\n"
            "                 2  unrated\n"
        )
    )


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], ["august", "july"]),
        (["--sort", "newest"], ["august", "july"]),
        (["--sort", "oldest"], ["july", "august"]),
        (["--sort", "path"], ["august", "july"]),
        (["--offset", "1"], ["july"]),
    ],
)
def test_a_query_is_sorted_among_its_best(index: str, argv: list[str], names: list[str]) -> None:
    """--sort orders the best hits and finds no others; --offset leaves out the best."""
    hits = imgsearch("query", "red", "-k", 2, *argv, "--json", "--index", index).objects
    assert [Path(hit["path"]).stem for hit in hits][: len(names)] == names
    assert [hit["rank"] for hit in hits] == list(
        range(1 + ("--offset" in argv), 1 + ("--offset" in argv) + len(hits))
    )


def test_all_are_found(index: str) -> None:
    """-n all returns every image, and an offset beyond them says so."""
    assert len(imgsearch("query", "red", "-n", "all", "--json", "--index", index).objects) == len(PHOTOS)
    done = imgsearch("query", "red", "--offset", 9, "--index", index)
    assert (done.code, done.err) == (1, "no more results: there are 9 at most\n")
    done = imgsearch("query", "red", "-k", "some", "--index", index)
    assert (done.code, done.err) == (2, "imgsearch: --limit some: not a whole number, nor all\n")
