"""The overview: groups of images that look alike, named by words that tell them apart, and kept while they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import CheckpointError, InputError, UsageError
from imgsearch.index import side_db
from imgsearch.index.catalog import Catalog
from imgsearch.index.reader import ImageIndex
from imgsearch.index.writer import IndexWriter
from imgsearch.search.listing import ListOptions
from imgsearch.search.overview import Overview, _key, naming, overview_of
from imgsearch.search.overview.grouping import groups_for
from imgsearch.search.overview.naming import MIXED, names_by_words, shipped_words, told_apart
from imgsearch.search.timeline import list_contents
from imgsearch.types import QueryEncoder, Record
from support import fakes
from support.cli import imgsearch
from support.fakes import COLOURS, FakeModel, Notes, paint, run, sha, spec, state, unit

fake_model = fakes.fake_model

FOUR = ("red", "green", "blue", "yellow")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give images in four colours, twelve of the first, then fewer; no two are quite the same."""
    random = np.random.default_rng(0)
    for number, colour in enumerate(FOUR):
        for place in range(12 - 2 * number):
            shade = tuple(
                int(value) for value in np.clip(COLOURS[colour] + random.integers(-12, 13, 3), 0, 255)
            )
            paint(tmp_path / "photos" / f"{colour}{place}.png", shade)
    return tmp_path / "photos"


@pytest.fixture
def index(photos: Path, tmp_path: Path, fake_model: FakeModel) -> Path:
    """Give an index of these images."""
    run(tmp_path / "index", photos)
    fake_model.loads = fake_model.asked = 0
    return tmp_path / "index"


def look(index: Path, model: FakeModel | None, count: int | None = None) -> Overview:
    """Return the overview of an index."""
    with ImageIndex(str(index)) as opened:
        return overview_of(opened, model and _loading(model), count=count)


def _loading(model: FakeModel) -> Callable[[], QueryEncoder]:
    def load() -> QueryEncoder:
        model.loads += 1
        return model.encoder()

    return load


def absent() -> QueryEncoder:
    raise CheckpointError("it is not here")


def colours_of(images: Iterable[Record]) -> set[str]:
    return {Path(image.paths[0]).stem.rstrip("0123456789") for image in images}


def test_images_of_four_colours_are_four_groups_with_their_names(index: Path, fake_model: FakeModel) -> None:
    """Each has its own images alone, its count, and six that stand for it; the largest comes first."""
    found = look(index, fake_model)
    assert [(one.name, one.count, one.named_by) for one in found.clusters] == [
        ("red", 12, "words"),
        ("green", 10, "words"),
        ("blue", 8, "words"),
        ("yellow", 6, "words"),
    ]
    assert found.images == 36
    assert found.named
    for cluster in found.clusters:
        assert colours_of(cluster.images) == {cluster.name}
        assert len({image.id for image in cluster.images}) == 6


def test_a_group_lists_all_of_its_images(index: Path, fake_model: FakeModel) -> None:
    """What ``rows`` gives leaves just these in a list; an id of another overview is an error."""
    with ImageIndex(str(index)) as opened:
        found = overview_of(opened, _loading(fake_model))
        for cluster in found.clusters:
            listed = list_contents(opened, ListOptions(), found.rows(cluster.id))
            assert listed.total == cluster.count
            assert colours_of([one.record for one in listed.images]) == {cluster.name}
        with pytest.raises(InputError, match="no longer there"):
            found.rows("0" * 12)


def test_it_is_kept_and_needs_the_model_once(index: Path, fake_model: FakeModel) -> None:
    """A second look computes nothing and gives the same; with other groups the words are known already."""
    first = look(index, fake_model)
    assert fake_model.loads == 1
    again = look(index, fake_model)
    assert (again.clusters, again.seconds) == (first.clusters, first.seconds)
    assert [one.name for one in look(index, None, count=2).clusters] != []
    assert look(index, fake_model, count=3).named
    assert look(index, fake_model).seconds == first.seconds
    assert (fake_model.loads, fake_model.asked) == (1, len(shipped_words()))


def test_without_the_model_groups_have_names_all_the_same(
    index: Path, photos: Path, fake_model: FakeModel
) -> None:
    """Of the folder or the time of most, else "mixed"; once the model is there it names them, and they stay."""
    with ImageIndex(str(index)) as opened:
        without = overview_of(opened, absent)
    assert not without.named
    assert {one.named_by for one in without.clusters} == {"facts"}
    assert len({one.name for one in without.clusters}) == 4
    named = look(index, fake_model)
    assert named.named
    assert [one.id for one in named.clusters] == [one.id for one in without.clusters]
    assert {one.name for one in named.clusters} == set(FOUR)


def test_a_group_in_one_folder_has_its_name(photos: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    """But not one in the folder that most of all images are in."""
    for path in photos.glob("blue*"):
        (photos / "The sea").mkdir(exist_ok=True)
        path.rename(photos / "The sea" / path.name)
    run(tmp_path / "index", photos)
    names = [one.name for one in look(tmp_path / "index", None).clusters]
    assert names[2] == "The sea"
    assert "photos" not in names


def test_new_images_join_their_group_until_many_have_changed(
    index: Path, photos: Path, fake_model: FakeModel
) -> None:
    """A tenth more leaves the groups as they are; with more than that they are found anew."""
    before = look(index, fake_model)
    for place in range(3):
        paint(photos / f"late{place}.png", (20 + place, 45, 228))
    run(index, photos)
    after = look(index, fake_model)
    assert {one.id for one in after.clusters} == {one.id for one in before.clusters}
    assert {one.name: one.count for one in after.clusters}["blue"] == 11
    for place in range(9):
        paint(photos / f"pink{place}.png", (250, 118 + place, 180))
    run(index, photos)
    assert {one.name for one in look(index, fake_model).clusters} == {*FOUR, "pink"}


def test_images_that_are_gone_are_not_shown(index: Path, photos: Path, fake_model: FakeModel) -> None:
    """Nor counted, whether or not the groups are found anew; a group without images goes."""
    shown = {Path(image.paths[0]).name for image in look(index, fake_model).clusters[3].images}
    for name in sorted(shown)[:3]:
        (photos / name).unlink()
    run(index, photos)
    yellow = look(index, fake_model).clusters[3]
    assert (yellow.name, yellow.count, len(yellow.images)) == ("yellow", 3, 3)
    with closing(Catalog(str(index), write=True)) as catalog:
        gone = [row.id for row in catalog.files(1) if row.path.startswith("yellow")]
        catalog.drop_files(gone)
    assert [one.name for one in look(index, fake_model).clusters] == ["red", "green", "blue"]


def test_what_is_kept_may_be_lost_or_damaged(index: Path, fake_model: FakeModel) -> None:
    """It is made again, and the same."""
    before = look(index, fake_model)
    (index / side_db.NAME).unlink()
    assert look(index, fake_model).clusters == before.clusters
    with ImageIndex(str(index)) as opened:
        key = _key(opened, None, shipped_words())
        whole = side_db.cached_bytes(str(index), "overview", key)
        assert whole
        for data in (b"", b"PK", b"x" * 500, whole[:-40], whole[:300] + whole[340:]):
            side_db.cache_bytes(str(index), "overview", key, data)
            assert overview_of(opened, _loading(fake_model)).clusters == before.clusters


def test_a_rebuilt_or_compacted_index_has_its_overview(
    index: Path, photos: Path, fake_model: FakeModel
) -> None:
    """Rows that have moved are in their groups again."""
    before = {one.name: one.count for one in look(index, fake_model).clusters}
    (photos / "red0.png").unlink()
    run(index, photos)
    assert imgsearch("compact", "--all", "--index", index).code == 0
    before["red"] -= 1
    assert {one.name: one.count for one in look(index, fake_model).clusters} == before
    run(index, photos, rebuild=True)
    assert {one.name: one.count for one in look(index, fake_model).clusters} == before


def test_an_empty_index_has_no_groups(tmp_path: Path, fake_model: FakeModel) -> None:
    """And no model is loaded for it."""
    with IndexWriter(str(tmp_path / "index"), spec()):
        pass
    assert look(tmp_path / "index", fake_model).clusters == ()
    assert fake_model.loads == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 30)), st.integers(0, 9))
def test_every_image_is_in_one_group(
    tmp_path_factory: pytest.TempPathFactory, images: int, count: int | None, seed: int
) -> None:
    """Whatever the vectors: counts add up, no name is given twice, and no more groups than asked for."""
    folder = tmp_path_factory.mktemp("index")
    with IndexWriter(str(folder), spec()) as writer:
        root = writer.catalog.put_root("/pictures", {})
        files = [state(root, f"{number}.jpg", sha(number)) for number in range(images)]
        writer.commit([(sha(number), 0, 4, 3) for number in range(images)], unit(images, seed), files)
    with ImageIndex(str(folder)) as opened:
        found = overview_of(opened, FakeModel().encoder, count=count)
        assert sum(one.count for one in found.clusters) == found.images == images
        assert 1 <= len(found.clusters) <= groups_for(images, count)
        assert len({one.name for one in found.clusters}) == len(found.clusters)
        assert all(1 <= len(one.images) <= min(6, one.count) for one in found.clusters)
        listed = [list_contents(opened, ListOptions(), found.rows(one.id)).images for one in found.clusters]
        assert len({one.record.id for some in listed for one in some}) == images


@pytest.mark.parametrize("count", [0, -1, 251])
def test_an_impossible_number_of_groups_is_refused(index: Path, count: int) -> None:
    """With the range that is possible."""
    with pytest.raises(UsageError, match="from 1 to 250"):
        look(index, None, count)


def test_the_number_of_groups_follows_the_images() -> None:
    """From a few to sixty, and never more than a quarter of the images."""
    assert [groups_for(images) for images in (1, 20, 40, 300, 2_000, 100_000)] == [1, 5, 10, 12, 32, 60]


def test_a_name_goes_to_the_group_that_it_tells_from_the_others() -> None:
    """A word that is near to every group names none, however near it is; what fits nothing gives no name."""
    groups = np.eye(3, 8, dtype=np.float32) + np.eye(1, 8, 7, dtype=np.float32)
    words = [(name, name) for name in ("an image", "first", "second", *(f"other {n}" for n in range(40)))]
    vectors = 0.02 * np.random.default_rng(0).standard_normal((len(words), 8)).astype(np.float32)
    vectors[0, 7], vectors[1, 0], vectors[2, 1] = 5, 1, 1
    assert names_by_words(groups, words, vectors)[:2] == ["first", "second"]
    assert "an image" not in names_by_words(groups, words, vectors)
    assert names_by_words(groups[:1], words, vectors) == [None]


@given(st.lists(st.sampled_from([MIXED, "2023", "mixed (2)", "Kenya"]), max_size=8))
def test_names_are_told_apart(names: list[str]) -> None:
    """None is another's, and each begins with what it was."""
    found = told_apart(names)
    assert len(set(found)) == len(names)
    assert all(told.startswith(name) for told, name in zip(found, names, strict=True))


def test_the_words_that_ship_are_in_order() -> None:
    """No name twice, none empty or long, and each with a text for the model."""
    words = shipped_words()
    names = [name for name, _ in words]
    assert len(set(names)) == len(names) > 300
    assert all(0 < len(name) <= 24 and text for name, text in words)
    assert 5 < len(shipped_words(naming.COLOURS)) < 20


def test_the_command_prints_a_table_whose_numbers_are_remembered(
    index: Path, photos: Path, fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``show 7`` is the first image of the second group."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = imgsearch("overview", "--index", index)
    assert done.code == 0
    assert done.lines == [
        "red            12  1-6",
        "green          10  7-12",
        "blue            8  13-18",
        "yellow          6  19-24",
    ]
    assert done.err.endswith("4 groups of 36 images; to see some: imgsearch open 1-6\n")
    shown = imgsearch("show", "7", "--json", "--index", index).objects[0]["path"]
    assert Path(shown).name.startswith("green")


def test_the_command_gives_json(index: Path, photos: Path, fake_model: FakeModel) -> None:
    """A group a line, with its images by path and page."""
    red, *_ = imgsearch("overview", "--json", "--index", index).objects
    assert {**red, "id": "", "images": []} == {
        "id": "",
        "name": "red",
        "named_by": "words",
        "count": 12,
        "images": [],
    }
    assert len(red["images"]) == 6
    assert all(os.path.exists(image["path"]) and image["page"] == 0 for image in red["images"])


def test_the_command_works_without_the_model(
    index: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says how the groups are named then; an empty index is exit code 1."""
    from imgsearch.cli.commands import overview as command

    def missing(*_: object, **__: object) -> None:
        raise CheckpointError("it is not here")

    monkeypatch.setattr(command, "checkpoint_for", missing)
    done = imgsearch("overview", "--index", index)
    assert done.code == 0
    assert "the model is not on this computer: groups are named by folder and date\n" in done.err
    assert "mixed" in done.lines[0]


def test_its_progress_is_told(index: Path, fake_model: FakeModel) -> None:
    """What takes long has a count: the images, and the words."""

    class Progress(Notes):
        def __init__(self) -> None:
            super().__init__()
            self.began: list[tuple[int, str]] = []
            self.done = 0

        def start(self, total: int, unit: str) -> None:
            self.began.append((total, unit))

        def advance(self, n: int = 1, where: str = "") -> None:
            self.done += n

    progress = Progress()
    with ImageIndex(str(index)) as opened:
        overview_of(opened, _loading(fake_model), progress)
    assert progress.began == [(36, "images"), (len(shipped_words()), "words")]
    assert progress.done == 36 + len(shipped_words())
