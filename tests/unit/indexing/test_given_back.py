"""What a hit shows can be given back: by that name every command knows it, through links, mounts and odd spellings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imgsearch import names as naming
from imgsearch.errors import UsageError
from imgsearch.indexing.edit import Removed, remove_paths
from imgsearch.indexing.roots import WalkOverrides
from imgsearch.tools.maintenance.status import indexed_files
from support import fakes, mounts
from support.fakes import FakeModel, indexed, paint, roots, run
from support.given_back import changes_nothing, given_back, hits, names
from support.mounts import Binds

fake_model, binds = fakes.fake_model, mounts.binds

FOLLOW = WalkOverrides(follow_symlinks=True)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Give the place of the index."""
    return str(tmp_path / "index")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Give a folder with an image of its own, and another folder outside of it, which is not linked yet."""
    paint(tmp_path / "photos" / "blue.png", "blue")
    paint(tmp_path / "ext" / "trip" / "red.png", "red")
    paint(tmp_path / "ext" / "trip" / "day" / "green.png", "green")
    return tmp_path / "photos"


def link_a_folder(photos: Path) -> None:
    (photos / "trip").symlink_to("../ext/trip")


def link_files(photos: Path) -> None:
    (photos / "r.png").symlink_to("../ext/trip/red.png")
    (photos / "g.png").symlink_to(photos.parent / "ext" / "trip" / "day" / "green.png")


def link_twice(photos: Path) -> None:
    (photos / "a").symlink_to("../ext/trip/day")
    (photos / "b").symlink_to("../ext")
    (photos / "c").symlink_to("b")


def link_inside(photos: Path) -> None:
    paint(photos / "own" / "red.png", "red")
    (photos / "a").symlink_to("own")
    (photos / "round").symlink_to(".")
    (photos / "sub").mkdir()
    (photos / "sub" / "l.png").symlink_to("../blue.png")
    (photos / "sub" / "pink.png").write_bytes(paint(photos.parent / "pink.png", "pink").read_bytes())


def link_the_root(photos: Path) -> None:
    photos.rename(photos.parent / "moved")
    photos.symlink_to("moved")
    link_a_folder(photos)


@pytest.mark.parametrize("make", [link_a_folder, link_files, link_twice, link_inside, link_the_root])
def test_what_is_behind_a_link_can_be_given_back(
    folder: str, photos: Path, fake_model: FakeModel, make: Callable[[Path], None]
) -> None:
    """Every path that a hit shows through links is a filter, a query, a folder to index and one to remove."""
    make(photos)
    run(folder, photos, walk=FOLLOW)
    assert len(roots(folder)) == 1
    assert len(given_back(folder, fake_model)) >= 3


def test_two_roots_that_lead_to_one_folder_keep_what_each_has(
    folder: str, tmp_path: Path, photos: Path, fake_model: FakeModel
) -> None:
    """What one root shows through a link no other root takes, in whatever order they are indexed."""
    link_a_folder(photos)
    paint(tmp_path / "also" / "white.png", "white")
    (tmp_path / "also" / "way").symlink_to("../ext")
    run(folder, photos, walk=FOLLOW)
    run(folder, tmp_path / "also", walk=FOLLOW)
    assert indexed(folder, tmp_path) == {
        "photos/blue.png",
        "photos/trip/red.png",
        "photos/trip/day/green.png",
        "also/white.png",
    }
    given_back(folder, fake_model)
    changes_nothing(folder, tmp_path / "also", photos)


def test_what_was_behind_a_link_is_known_by_its_real_name_once_that_is_indexed(
    folder: str, tmp_path: Path, photos: Path, fake_model: FakeModel
) -> None:
    """A folder that was known through a link and is indexed itself is known once, by its own name, from then on."""
    link_a_folder(photos)
    run(folder, photos, walk=FOLLOW)
    result = run(folder, tmp_path / "ext")
    assert (result.indexed, result.reused, result.pruned) == (0, 2, 2)
    assert indexed(folder, tmp_path) == {"photos/blue.png", "ext/trip/red.png", "ext/trip/day/green.png"}
    given_back(folder, fake_model)


def test_a_file_by_itself_takes_nothing_else_of_its_folder_from_a_link(
    folder: str, tmp_path: Path, photos: Path, fake_model: FakeModel
) -> None:
    """A file of a linked folder that is indexed by itself goes by its own name, all others by that behind the link."""
    paint(tmp_path / "ext" / "trip" / "white.png", "white")
    link_a_folder(photos)
    run(folder, tmp_path / "ext" / "trip" / "red.png")
    run(folder, photos, walk=FOLLOW)
    assert indexed(folder, tmp_path) == {
        "photos/blue.png",
        "photos/trip/white.png",
        "photos/trip/day/green.png",
        "ext/trip/red.png",
    }
    given_back(folder, fake_model)


def test_a_name_that_is_excluded_now_gives_way_to_another_in_the_same_run(
    folder: str, tmp_path: Path, photos: Path, fake_model: FakeModel
) -> None:
    """A file that two links lead to goes by the second as soon as the first is excluded, in a run of this part too."""
    (photos / "sub").mkdir()
    for name in ("a", "b"):
        (photos / "sub" / name).symlink_to("../../ext/trip/day")
    run(folder, photos, walk=FOLLOW)
    assert indexed(folder, photos) == {"blue.png", "sub/a/green.png"}
    (photos / "sub" / ".imgsearchignore").write_text("a/\n")
    run(folder, photos / "sub")
    assert indexed(folder, photos) == {"blue.png", "sub/b/green.png"}
    given_back(folder, fake_model)


def test_an_image_behind_a_link_whose_drive_is_away_keeps_its_vector(
    folder: str, photos: Path, fake_model: FakeModel
) -> None:
    """`similar` and a filter answer for what is behind a link also while it leads nowhere."""
    link_a_folder(photos)
    run(folder, photos, walk=FOLLOW)
    (photos.parent / "ext").rename(photos.parent / "away")
    embedded = fake_model.embedded
    first = hits(folder, fake_model, like=str(photos / "trip" / "red.png"))[0]
    assert (first.path, first.missing) == (str(photos / "trip" / "red.png"), True)
    assert len(hits(folder, fake_model, photos / "trip")) == 2
    assert fake_model.embedded == embedded
    assert remove_paths([str(photos / "trip")], folder) == Removed(2)


def test_a_copy_in_the_folder_is_shown_for_one_outside(
    folder: str, photos: Path, fake_model: FakeModel
) -> None:
    """A search of a folder shows the copy that lies in it, also if only the one outside is there now."""
    for name in ("a", "z"):
        paint(photos / name / "red.png", "red")
    run(folder, photos)
    inside, outside = photos / "z" / "red.png", photos / "a" / "red.png"
    assert hits(folder, fake_model)[0].path == str(outside)
    (hit,) = hits(folder, fake_model, photos / "z")
    assert (hit.path, hit.copies, hit.missing) == (str(inside), (str(outside),), False)
    (hit,) = hits(folder, fake_model, photos / "z", like=str(outside))
    assert (hit.path, hit.copies) == (str(inside), (str(outside),))
    inside.unlink()
    (hit,) = hits(folder, fake_model, photos / "z")
    assert (hit.path, hit.copies, hit.missing) == (str(inside), (str(outside),), True)


def test_a_path_that_leads_out_of_the_index_is_told(folder: str, photos: Path, fake_model: FakeModel) -> None:
    """A link that was not followed leads to no indexed folder: the message tells where to."""
    link_a_folder(photos)
    run(folder, photos)
    with pytest.raises(UsageError, match=r"trip leads to .*ext/trip, which is not in an indexed folder"):
        hits(folder, fake_model, photos / "trip")


def test_a_folder_is_known_by_the_name_that_the_shell_shows(
    folder: str, photos: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that was entered through a link, a relative path is the one that the prompt shows."""
    link_a_folder(photos)
    run(folder, photos, walk=FOLLOW)
    monkeypatch.chdir(photos / "trip")
    monkeypatch.setenv("PWD", str(photos / "trip"))
    changes_nothing(folder, ".", "red.png", "day")
    assert [names(hit) for hit in hits(folder, fake_model, "day")] == [[f"{photos}/trip/day/green.png"]]
    monkeypatch.setenv("PWD", str(photos))  # of a shell that went elsewhere
    assert run(folder, ".").reused == 2


ALIASES = ["alias", "alias/sub", "alias/sub/red.png", "alias/blue.png"]


def test_a_folder_that_is_mounted_twice_is_one_root(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel
) -> None:
    """By either name of a bind mount there are one root, one file and no copies, and both are filters and removed."""
    paint(tmp_path / "real" / "blue.png", "blue")
    paint(tmp_path / "real" / "sub" / "red.png", "red")
    binds.put(tmp_path / "real", tmp_path / "alias")
    result = run(folder, tmp_path / "real", tmp_path / "alias")
    assert (result.indexed, roots(folder, tmp_path)) == (2, {"real"})
    changes_nothing(folder, tmp_path / "alias")
    for alias in ALIASES:
        real = str(tmp_path / alias.replace("alias", "real"))
        changes_nothing(folder, tmp_path / alias)
        wanted = [file.path for file in indexed_files(folder, real)]
        assert wanted
        assert [file.path for file in indexed_files(folder, str(tmp_path / alias))] == wanted
        assert sorted(hit.path for hit in hits(folder, fake_model, tmp_path / alias)) == wanted
        assert remove_paths([str(tmp_path / alias)], folder, dry_run=True).files == len(wanted)
    embedded = fake_model.embedded
    like = hits(folder, fake_model, like=str(tmp_path / "alias/sub/red.png"))[0]
    assert (names(like), fake_model.embedded) == ([f"{tmp_path}/real/sub/red.png"], embedded)
    paint(tmp_path / "alias" / "new" / "green.png", "green")
    assert run(folder, tmp_path / "alias" / "new").indexed == 1
    assert roots(folder, tmp_path) == {"real"}
    given_back(folder, fake_model)
    assert remove_paths([str(tmp_path / "alias")], folder) == Removed(3, 1)


@pytest.mark.parametrize(
    ("real", "alias"),
    [("b", "a"), ("b", "z"), ("b/sub", "a"), ("b/sub", "y/z"), ("b", "b/sub/again"), (".", "b/all")],
)
def test_a_file_below_a_mount_inside_its_root_is_not_its_own_copy(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel, real: str, alias: str
) -> None:
    """A folder that is mounted a second time inside a root is walked once; by its other name it is known too."""
    top = tmp_path / "pictures"
    paint(top / "b" / "blue.png", "blue")
    paint(top / "b" / "sub" / "red.png", "red")
    binds.put(top / real, top / alias)
    run(folder, top)
    assert len(indexed(folder)) == 2
    given_back(folder, fake_model)
    changes_nothing(folder, top / alias, top / real)
    by_alias, by_name = ([hit.path for hit in hits(folder, fake_model, top / name)] for name in (alias, real))
    assert by_alias == by_name
    assert remove_paths([str(top / alias)], folder).files == len(by_name)


def test_a_mount_that_comes_later_changes_no_names(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel
) -> None:
    """What is indexed keeps its names when a folder is mounted a second time, also where that one sorts first."""
    top = tmp_path / "pictures"
    paint(top / "b" / "blue.png", "blue")
    run(folder, top)
    binds.put(top / "b", top / "a")
    changes_nothing(folder, top)
    changes_nothing(folder, top / "a")
    assert indexed(folder, top) == {"b/blue.png"}


def test_a_mount_of_a_folder_of_another_root_stays_that_ones(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel
) -> None:
    """A root in which a folder of another root is mounted does not take its files."""
    paint(tmp_path / "one" / "sub" / "red.png", "red")
    paint(tmp_path / "two" / "blue.png", "blue")
    binds.put(tmp_path / "one" / "sub", tmp_path / "two" / "mnt")
    run(folder, tmp_path / "one")
    run(folder, tmp_path / "two")
    assert indexed(folder, tmp_path) == {"one/sub/red.png", "two/blue.png"}
    given_back(folder, fake_model)


def test_what_was_behind_a_mount_goes_by_its_own_name_once_that_is_indexed(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel
) -> None:
    """A folder that was known by a mount is known once when a run of another root finds it without one."""
    paint(tmp_path / "one" / "blue.png", "blue")
    paint(tmp_path / "two" / "sub" / "red.png", "red")
    binds.put(tmp_path / "two" / "sub", tmp_path / "one" / "mnt")
    run(folder, tmp_path / "one")
    assert indexed(folder, tmp_path) == {"one/blue.png", "one/mnt/red.png"}
    run(folder, tmp_path / "two")
    assert indexed(folder, tmp_path) == {"one/blue.png", "two/sub/red.png"}
    given_back(folder, fake_model)
    changes_nothing(folder, tmp_path / "one")


def test_a_mount_stays_indexed_when_a_folder_around_its_root_becomes_one(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel
) -> None:
    """What is mounted in a root is that root's, also if it lies in another one."""
    paint(tmp_path / "drive" / "red.png", "red")
    paint(tmp_path / "top" / "sub" / "blue.png", "blue")
    paint(tmp_path / "top" / "green.png", "green")
    binds.put(tmp_path / "drive", tmp_path / "top" / "sub" / "mnt")
    run(folder, tmp_path / "top" / "sub")
    run(folder, tmp_path / "top")
    assert indexed(folder, tmp_path) == {"top/green.png", "top/sub/blue.png", "top/sub/mnt/red.png"}
    given_back(folder, fake_model)


def test_a_file_by_itself_on_a_mount_keeps_the_name_that_was_asked_for(
    folder: str, tmp_path: Path, binds: Binds, fake_model: FakeModel
) -> None:
    """It does so when its folder is indexed by another name; a hard link is a file of its own, as ever."""
    for name in ("red", "blue"):
        paint(tmp_path / "top" / "real" / f"{name}.png", name)
    binds.put(tmp_path / "top" / "real", tmp_path / "alias")
    run(folder, tmp_path / "alias" / "red.png")
    run(folder, tmp_path / "top")
    assert indexed(folder, tmp_path) == {"alias/red.png", "top/real/blue.png"}
    given_back(folder, fake_model)
    os.link(tmp_path / "top" / "real" / "red.png", tmp_path / "top" / "red.png")
    run(folder)
    assert indexed(folder, tmp_path) == {"alias/red.png", "top/real/blue.png", "top/red.png"}
    changes_nothing(folder)


class Folding:
    """A file system to which upper and lower case are the same, in the words of os.stat."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top = str(top)
        for name in ("stat", "lstat", "scandir", "listdir", "open", "access", "readlink"):
            monkeypatch.setattr(os, name, self.folded(getattr(os, name)))

    def folded(self, call: Callable[..., object]) -> Callable[..., object]:
        """Return a call of the system that takes any spelling."""

        def through(path: object = ".", *rest: object, **options: object) -> object:
            if isinstance(path, str) and path.startswith(self.top):
                path = self.top + path[len(self.top) :].lower()
            return call(path, *rest, **options)

        return through


def test_a_folder_on_a_file_system_that_folds_case_is_one_root(
    folder: str, tmp_path: Path, fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where "Trip" and "trip" are one folder, either spelling is the root, its filter and what is removed."""
    top = tmp_path / "disk"
    paint(top / "trip" / "day" / "red.png", "red")
    paint(top / "trip" / "blue.png", "blue")
    Folding(top, monkeypatch)
    run(folder, top / "trip")
    for spelling in ("TRIP", "Trip/Day", "tRIP/day/RED.png"):
        changes_nothing(folder, top / spelling)
        found = hits(folder, fake_model, top / spelling)
        wanted = str(top / spelling).replace(str(top / spelling), str(top / spelling.lower()))
        assert found
        assert all(hit.path.startswith(wanted) for hit in found)
        assert remove_paths([str(top / spelling)], folder, dry_run=True).files == len(found)
    assert len(hits(folder, fake_model, top.parent / "disk" / "..")) == 2
    given_back(folder, fake_model)


def test_a_path_is_known_by_the_roots_alone(tmp_path: Path) -> None:
    """Without a catalogue, as for an index that is made anew, the roots and single files still have their names."""
    assert naming.known_as(str(tmp_path), [], None) == naming.Name(str(tmp_path), False)
