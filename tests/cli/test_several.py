"""Several indexes searched together: `--index` given more than once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.types import ModelOptions
from support import fakes
from support.cli import Done, imgsearch
from support.fakes import FakeModel, paint, run

fake_model = fakes.fake_model


@pytest.fixture
def two(fake_model: FakeModel, tmp_path: Path) -> tuple[Path, Path]:
    """Give two indexes of the same model, of two folders of photos; the model counts from here."""
    for name in ("a/red.png", "a/blue.png", "b/pink.png", "b/orange.png"):
        paint(tmp_path / name, Path(name).stem)
    for name in ("a", "b"):
        run(tmp_path / f"ix-{name}", tmp_path / name)
    fake_model.loads = fake_model.embedded = fake_model.asked = 0
    return tmp_path / "ix-a", tmp_path / "ix-b"


def search(indexes: tuple[Path, ...], *argv: object, stdin: bytes | None = None) -> Done:
    flags = [part for index in indexes for part in ("--index", index)]
    done = imgsearch(*argv, *flags, "--json", stdin=stdin)
    assert done.code == 0, done.err
    return done


def names(done: Done) -> list[str]:
    return [Path(hit["path"]).stem for hit in done.objects]


def test_indexes_of_one_model_are_merged_by_score(two: tuple[Path, Path], tmp_path: Path) -> None:
    """The answer is that of one index with all the photos, and each hit tells its index."""
    run(tmp_path / "all", tmp_path / "a", tmp_path / "b")
    together = search(two, "query", "red", "-k", 3)
    alone = search((tmp_path / "all",), "query", "red", "-k", 3)
    for hit, same in zip(together.objects, alone.objects, strict=True):
        assert hit.pop("index") == str(two[0] if "/a/" in hit["path"] else two[1])
        assert hit == same
    assert "rank" not in together.err


def test_one_index_has_the_fields_of_before(two: tuple[Path, Path]) -> None:
    """With one --index, also given twice, no hit tells its index."""
    assert all("index" not in hit for hit in search(two[:1] * 2, "query", "red").objects)


def test_the_model_is_loaded_and_asked_once(two: tuple[Path, Path], fake_model: FakeModel) -> None:
    """Indexes that agree share the query's embedding."""
    search(two, "query", "red")
    assert (fake_model.loads, fake_model.asked) == (1, 1)


def test_an_image_of_one_index_is_an_example_for_all(
    two: tuple[Path, Path], fake_model: FakeModel, tmp_path: Path
) -> None:
    """similar takes the stored embedding of whichever index has the image, without the model."""
    found = names(search(two, "similar", tmp_path / "b" / "pink.png"))
    assert found[0] == "pink"
    assert set(found) == {"red", "blue", "pink", "orange"}
    assert fake_model.loads == 0


def test_indexes_of_two_models_are_merged_by_rank(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Scores of different models say nothing of each other: first the best of each, which is told once."""
    other = tmp_path / "ix-other"
    run(other, tmp_path / "b", model=ModelOptions("fake/other"))
    done = search((two[0], other), "query", "red")
    assert [hit["rank"] for hit in done.objects] == [1, 2, 3, 4]
    assert {Path(hit["index"]).name for hit in done.objects[:2]} == {"ix-a", "ix-other"}
    assert done.err.count("merged by rank, not by score") == 1


def test_a_file_in_two_indexes_is_one_hit(two: tuple[Path, Path], tmp_path: Path) -> None:
    """What both indexes hold is found once."""
    run(two[1], tmp_path / "a" / "red.png")
    found = names(search(two, "query", "red"))
    assert found.count("red") == 1
    assert len(found) == 4


def test_thresholds_hold_for_the_whole_answer(two: tuple[Path, Path]) -> None:
    """--within counts from the best of all hits, and -k is how many there are in all."""
    assert names(search(two, "query", "red", "--within", 1)) == ["red"]
    assert len(names(search(two, "query", "red", "-k", 2))) == 2


def test_order_and_offset_hold_for_the_whole_answer(two: tuple[Path, Path], tmp_path: Path) -> None:
    """--offset leaves out the best of all, and --sort orders what is shown, as in one index with all the photos."""
    for number, path in enumerate(sorted(tmp_path.glob("[ab]/*.png"))):
        os.utime(path, (1e9 + 1e7 * (number * 3 % 4),) * 2)
    for index in two:
        search((index,), "query", "red", "--refresh")
    run(tmp_path / "all", tmp_path / "a", tmp_path / "b")
    for flags in (["--offset", 1, "-k", 2], ["--sort", "newest"], ["--sort", "path", "--offset", 1]):
        together, alone = (
            search(which, "query", "red", *flags).objects for which in (two, (tmp_path / "all",))
        )
        assert [(hit["rank"], hit["path"]) for hit in together] == [
            (hit["rank"], hit["path"]) for hit in alone
        ]


def test_a_folder_that_only_one_index_knows(two: tuple[Path, Path], tmp_path: Path) -> None:
    """--in confines the search to the indexes that have the folder; one that none has is an error."""
    assert set(names(search(two, "query", "red", "--in", tmp_path / "b"))) == {"pink", "orange"}
    (tmp_path / "c").mkdir()
    done = imgsearch("query", "red", "--in", tmp_path / "c", "--index", two[0], "--index", two[1])
    assert done.code == 2
    assert "is not in an indexed folder" in done.err


def test_queries_from_stdin(two: tuple[Path, Path]) -> None:
    """Each line is asked of all indexes."""
    done = search(two, "query", "-", "-k", 1, stdin=b"red\npink\n")
    assert [(hit["query"], Path(hit["path"]).stem) for hit in done.objects] == [
        ("red", "red"),
        ("pink", "pink"),
    ]


def test_parts_and_refresh(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Combined queries work, and --refresh updates each of the indexes."""
    paint(tmp_path / "a" / "green.png", "green")
    paint(tmp_path / "b" / "white.png", "white")
    found = names(search(two, "query", "red", "+", "green", "--refresh"))
    assert {"green", "white"} < set(found)


def test_an_index_that_can_not_be_opened_is_named(two: tuple[Path, Path], tmp_path: Path) -> None:
    """One that is missing is an error; nothing is searched without it."""
    done = imgsearch("query", "red", "--index", two[0], "--index", tmp_path / "none")
    assert done.code == 2
    assert f"there is no index in {tmp_path / 'none'}" in done.err
    assert done.out == b""


def test_numbers_name_the_images_of_all_indexes(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number is an image of whichever index has it, and that one is asked; there is no single query to refine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = search(two, "query", "red").objects
    for number, hit in enumerate(found, 1):
        done = imgsearch("similar", number, "--json")
        assert done.err == f"{number}: {hit['path']}\n"
        assert Path(done.objects[0]["path"]) == Path(hit["path"])
        assert len(done.objects) == 2
        search(two, "query", "red")
    done = imgsearch("query", "--more", "1", "--index", two[0])
    assert done.code == 2
    assert "not those of one query in one index" in done.err
    done = imgsearch("query", "--more", "1", "--index", two[0], "--index", two[1])
    assert done.code == 2
    assert "give one --index" in done.err


def test_any_bytes_in_an_indexs_name(two: tuple[Path, Path], tmp_path: Path) -> None:
    """An index whose folder is not UTF-8 is told with its bytes."""
    named = os.fsdecode(os.fsencode(tmp_path) + b"/ix-\xff")
    os.rename(two[1], named)
    hit = next(hit for hit in search((two[0], Path(named)), "query", "pink").objects)
    assert hit["index"] == named
    assert "index_b64" in hit
