"""What the walk finds and leaves out, what may be pruned, and how files are opened."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch import fs, mounts
from imgsearch.errors import FolderError, PictureError, UsageError
from imgsearch.files import Reached, Walk, WalkOptions, check_root, described, open_source
from imgsearch.files import open as opening_module
from imgsearch.files.kinds import ARCHIVE, OTHER, kind_of

EXTENSIONS = frozenset({".jpg", ".png"})


def put(root: Path | str, *paths: str, data: bytes = b"x") -> None:
    for path in paths:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)


def walk(root: Path | str, options: WalkOptions | None = None, **keywords: object) -> Walk:
    return Walk(str(root), options or WalkOptions(), EXTENSIONS, **keywords)  # type: ignore[arg-type]


def found(root: Path | str, options: WalkOptions | None = None, **keywords: object) -> list[str]:
    return [source.path for source in walk(root, options, **keywords)]


def walked(root: Path | str, options: WalkOptions | None = None, **keywords: object) -> Walk:
    done = walk(root, options, **keywords)
    for _ in done:
        pass
    return done


FOLLOW = WalkOptions(follow_symlinks=True)


# What is found


def test_candidates_are_found_with_size_and_mtime(tmp_path: Path) -> None:
    """A file of a known extension, in any case of letters, is a candidate; others are only counted."""
    put(tmp_path, "b.JPG", "sub/a.Png", "note.txt", "sub/noextension", data=b"four")
    os.utime(tmp_path / "b.JPG", ns=(1, 123456789))
    done = walk(tmp_path)
    first, second = list(done)
    assert (first.root, first.path, first.size, first.mtime_ns, first.device) == (
        str(tmp_path),
        "b.JPG",
        4,
        123456789,
        0,
    )
    assert second.path == "sub/a.Png"
    assert done.other_files == {"other": 2}
    assert done.complete


def test_order_is_that_of_the_components_as_bytes(tmp_path: Path) -> None:
    """Two runs give the same order, whatever the file system's own: component by component, as bytes."""
    names = ["b.jpg", "a/z.jpg", "a.jpg", "a/B.jpg", "a b/1.jpg", "é.jpg", "Z.jpg", "a/b/c.jpg"]
    put(tmp_path, *names)
    assert found(tmp_path) == sorted(names, key=lambda path: os.fsencode(path).split(b"/"))


ODD_NAMES = [
    "with space.jpg",
    " leading.jpg",
    "new\nline.jpg",
    "tab\t.jpg",
    "quote'\".jpg",
    "back\\slash.jpg",
    "*?[x].jpg",
    "#hash.jpg",
    "!bang.jpg",
    "-dash.jpg",
    "emoji 🐈.jpg",
    os.fsdecode(b"latin \xe9\xff.jpg"),
    "n" * 251 + ".jpg",
]


def test_any_file_name_is_found_and_leads_back_to_the_file(tmp_path: Path) -> None:
    """Spaces, newlines, quotes, emoji, bytes that are no UTF-8 and 255-byte names come back as they are."""
    put(tmp_path, *(f"odd\ndir {number}/{name}" for number, name in enumerate(ODD_NAMES)))
    sources = list(walk(tmp_path))
    assert [os.path.basename(source.path) for source in sources] == [
        name for _, name in sorted((str(number), name) for number, name in enumerate(ODD_NAMES))
    ]
    for source in sources:
        with open_source(os.path.join(source.root, source.path)) as opened:
            assert opened.status.st_size == source.size


def test_excludes_reach_odd_names(tmp_path: Path) -> None:
    """A pattern applies to names that hold newlines or bytes that are no UTF-8 like to any other."""
    put(tmp_path, *ODD_NAMES, "two\nlines/x.png")
    assert found(tmp_path, WalkOptions(exclude=("*.jpg", "x.png"))) == []
    assert found(tmp_path, WalkOptions(exclude=("*",))) == []


def test_hidden_files_trash_and_caches_are_left_out(tmp_path: Path) -> None:
    """Hidden entries, trash, caches and the folders of other programs are not looked at."""
    put(tmp_path, "ok/a.jpg", ".hidden.jpg", ".hidden/a.jpg", "._a.jpg")
    put(tmp_path, *(f"{name}/a.jpg" for name in JUNK))
    assert found(tmp_path) == ["ok/a.jpg"]


JUNK = [".git", ".Trash", ".Trash-1000", "Trash-1000", ".cache", ".thumbnails", ".dtrash", "#recycle"]
JUNK += [
    "node_modules",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__pycache__",
    ".imgsearch",
]
JUNK += [".local/share/Trash/files"]


def test_include_hidden_lets_hidden_in_but_no_junk(tmp_path: Path) -> None:
    """--include-hidden takes what is merely hidden; trash, caches and resource forks stay out."""
    put(tmp_path, "ok/a.jpg", ".hidden.jpg", ".hidden/a.jpg", "._a.jpg", "Trash/a.jpg")
    put(tmp_path, *(f"{name}/a.jpg" for name in JUNK))
    options = WalkOptions(include_hidden=True)
    assert found(tmp_path, options) == [".hidden/a.jpg", ".hidden.jpg", "Trash/a.jpg", "ok/a.jpg"]


COPIES = [
    "@eaDir/a.jpg",
    ".@__thumb",
    "Photos Library.photoslibrary/resources/derivatives/F",
    "Photos Library.photoslibrary/resources/derivatives/masters/F",
    "Photos Library.photoslibrary/resources/renders/F",
    "Old.photolibrary/Thumbnails/2010",
    "iPhoto Library/Data/2009",
    "Old.aplibrary/Previews/2010",
    "Catalog Previews.lrdata/A/AB",
    "Catalog Smart Previews.lrdata/A",
    "shoot/CaptureOne/Cache/Proxies",
    "Work.cocatalog/Cache/Previews",
    "Adobe/Bridge 2024/Cache/full",
    "darktable/mipmaps-0123456789abcdef.d/3",
    "shotwell/thumbs/thumbs360",
    "immich/thumbs/u/aa",
    "photos-of-mine/thumbs/u",
    "storage/cache/thumbnails/1",
    "data/appdata_oc1x2y3z/preview/0/1",
    "data/me/thumbnails/7",
    "protected_media/square_thumbnails_small",
    "piwigo/_data/i/upload",
]
BESIDE = [
    "Photos Library.photoslibrary/originals/F",
    "Old.photolibrary/Masters/2010",
    "iPhoto Library/Originals/2009",
    "Old.aplibrary/Masters/2010",
    "Mobile Downloads.lrdata/A",
    "photos-of-mine/encoded-video",
    "data/me/files",
    "data/me/files_trashbin",
    "thumbs",
    "thumbnails",
    "Cache",
    "previews",
    "Old.photolibrary/Modified/2010",
]


PROXY = "resources/proxies/derivatives/00/00/0/a.jpg"


def test_copies_that_programs_keep_are_left_out(tmp_path: Path) -> None:
    """Thumbnails and previews of photo programs and servers are left out and noted; what lies beside them is not."""
    put(tmp_path, *(f"{folder}/a.jpg" for folder in [*COPIES, *BESIDE]))
    done = walk(tmp_path, WalkOptions(include_hidden=True))
    assert sorted(source.path for source in done) == sorted(f"{folder}/a.jpg" for folder in BESIDE)
    assert "Photos Library.photoslibrary/resources/renders" in done.copies
    assert len(done.copies) == len(COPIES)


def test_copies_are_taken_with_the_option(tmp_path: Path) -> None:
    """With include_copies they are images like any other, also where a folder is named by itself without it."""
    put(tmp_path, "@eaDir/a.jpg", "immich/thumbs/u/b.jpg", "c.jpg")
    done = walked(tmp_path, WalkOptions(include_copies=True))
    assert (done.copies, found(tmp_path, done.options)) == (
        set(),
        ["@eaDir/a.jpg", "c.jpg", "immich/thumbs/u/b.jpg"],
    )
    assert found(tmp_path / "immich/thumbs") == ["u/b.jpg"]


def test_derivatives_whose_original_is_in_the_cloud_are_taken(tmp_path: Path) -> None:
    """Of an Apple library each image is taken once: the original, else the derivative, else the small one."""
    library = tmp_path / "Photos Library.photoslibrary"
    a, b = (f"{letter}0000000-0000-4000-8000-00000000000" for letter in "AB")
    put(
        library, f"originals/A/{a}1.jpg", f"originals/A/{a}3_3.mov", f"originals/A/{a}4.dng", "originals/B/.x"
    )
    put(
        library / "resources/derivatives",
        *(f"A/{a}{n}_1_105_c.jpg" for n in range(1, 5)),
        f"B/{b}1_1_105_c.jpg",
    )
    put(
        library / "resources/derivatives/masters", *(f"A/{a}{n}_4_5005_c.jpg" for n in range(1, 6)), "A/x.jpg"
    )
    done = walk(library)
    assert [source.path for source in done] == [
        f"originals/A/{a}1.jpg",
        *(f"resources/derivatives/A/{a}{n}_1_105_c.jpg" for n in (2, 3, 4)),
        f"resources/derivatives/B/{b}1_1_105_c.jpg",
        f"resources/derivatives/masters/A/{a}5_4_5005_c.jpg",
    ]
    assert done.copies == {"resources/derivatives/A", "resources/derivatives/masters/A"}
    assert len(found(library, WalkOptions(include_copies=True))) == 12


@pytest.mark.parametrize("left", [None, "originals/.DS_Store", "originals/0/.x"])
def test_a_library_without_any_original_keeps_its_derivatives(tmp_path: Path, left: str | None) -> None:
    """If all originals are in the cloud, an image is taken once, by whatever names its derivatives have."""
    library = tmp_path / "Photos Library.photoslibrary"
    derivatives = ["resources/derivatives/F/U_1_105_c.jpg", "resources/derivatives/masters/F/U_4_5005_c.jpg"]
    put(library, *derivatives, *([left] if left else []))
    assert found(library) == derivatives[:1]


@pytest.mark.parametrize(("originals", "taken"), [("a.jpg", "Masters/2016/a.jpg"), (None, PROXY)])
def test_proxies_of_an_older_library_are_taken_if_it_has_no_originals(
    tmp_path: Path, originals: str | None, taken: str
) -> None:
    """A library of Apple Photos before 2019 has its previews elsewhere; they are taken if they are all it has."""
    library = tmp_path / "Photos Library.photoslibrary"
    put(library, PROXY, "Thumbnails/a.jpg")
    (library / "Masters/2016").mkdir(parents=True)
    if originals:
        put(library, f"Masters/2016/{originals}")
    assert found(library) == [taken]


def test_excluded_copies_are_not_noted(tmp_path: Path) -> None:
    """A folder that a pattern leaves out is not among those that the option would let in."""
    put(tmp_path, "@eaDir/a.jpg", "c.jpg")
    assert walked(tmp_path, WalkOptions(exclude=("@eaDir/",))).copies == set()


def test_a_hidden_root_is_walked(tmp_path: Path) -> None:
    """The folder that was named is meant, also if its own name is hidden or looks like junk."""
    put(tmp_path, ".cache/a.jpg")
    assert found(tmp_path / ".cache") == ["a.jpg"]


def test_an_index_folder_is_not_entered(tmp_path: Path) -> None:
    """A folder that holds an imgsearch index, whatever its name, gives no pictures (its thumbnails)."""
    put(tmp_path, "index/manifest.json", "index/catalog.sqlite", "index/thumbs/a.jpg", "a.jpg")
    assert found(tmp_path) == ["a.jpg"]


def test_only_regular_files_are_candidates(tmp_path: Path) -> None:
    """A pipe or a folder with a picture's name is no picture, and nothing waits for the pipe."""
    os.mkfifo(tmp_path / "pipe.jpg")
    put(tmp_path, "folder.jpg/a.jpg")
    done = walk(tmp_path)
    assert [source.path for source in done] == ["folder.jpg/a.jpg"]
    assert done.other_files == {"other": 1}


def test_a_tree_deeper_than_the_recursion_limit_is_walked(tmp_path: Path) -> None:
    """Depth is bounded by the file system's longest path, not by ours."""
    folders = []
    path = str(tmp_path)
    for _ in range(1200):
        path += "/d"
        os.mkdir(path)
        folders.append(path)
    put(path, "a.jpg")
    try:
        assert found(tmp_path) == ["d/" * 1200 + "a.jpg"]
    finally:
        os.remove(f"{path}/a.jpg")  # from the bottom: pytest's own cleaning would recurse
        for folder in reversed(folders):
            os.rmdir(folder)


# Excludes


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*.png",), ["a.jpg", "old/a.jpg", "old/new/c.jpg"]),
        (("old/",), ["a.jpg", "b.png"]),
        (("/a.jpg",), ["b.png", "old/a.jpg", "old/b.png", "old/new/c.jpg"]),
        (("old/new",), ["a.jpg", "b.png", "old/a.jpg", "old/b.png"]),
        (("old/**/c.jpg",), ["a.jpg", "b.png", "old/a.jpg", "old/b.png"]),
        (("*.jpg", "!a.jpg"), ["a.jpg", "b.png", "old/a.jpg", "old/b.png"]),
        (("old/", "!old/new/"), ["a.jpg", "b.png"]),
        (("?.jpg", "[b-c].png"), []),
        (("/*", "!/old/", "old/*.png"), ["old/a.jpg", "old/new/c.jpg"]),
        (("old/**", "!a.jpg"), ["a.jpg", "b.png", "old/a.jpg"]),
        (("*/",), ["a.jpg", "b.png"]),
        (("*", "!*/", "!*.png"), ["b.png", "old/b.png"]),
        (("*.jpg", "!old"), ["b.png", "old/b.png"]),
    ],
)
def test_exclude_takes_gitignore_patterns(
    tmp_path: Path, patterns: tuple[str, ...], expected: list[str]
) -> None:
    """--exclude patterns mean what they mean in a .gitignore at the root."""
    put(tmp_path, "a.jpg", "b.png", "old/a.jpg", "old/b.png", "old/new/c.jpg")
    assert sorted(found(tmp_path, WalkOptions(exclude=patterns))) == sorted(expected)


def test_an_ignore_file_counts_for_its_folder(tmp_path: Path) -> None:
    """Patterns of an .imgsearchignore are relative to its folder; comments, CRLF and a BOM do no harm."""
    put(tmp_path, "a.jpg", "sub/a.jpg", "sub/b.jpg", "sub/deep/a.jpg", "sub/deep/b.jpg")
    put(tmp_path, "sub/.imgsearchignore", data=b"\xef\xbb\xbf# mine\r\n\r\n/a.jpg\r\n")
    assert found(tmp_path) == ["a.jpg", "sub/b.jpg", "sub/deep/a.jpg", "sub/deep/b.jpg"]


def test_a_deeper_ignore_file_overrides_a_shallower_one(tmp_path: Path) -> None:
    """As in git: the deepest file that has a word on a path decides, "!" takes back in."""
    put(tmp_path, "a.jpg", "keep/a.jpg", "keep/b.png")
    put(tmp_path, ".imgsearchignore", data=b"*.jpg\n")
    put(tmp_path, "keep/.imgsearchignore", data=b"!*.jpg\n*.png\n")
    assert found(tmp_path) == ["keep/a.jpg"]


def test_what_lies_in_an_excluded_folder_can_not_come_back(tmp_path: Path) -> None:
    """As in git: an excluded folder is not entered, so an ignore file inside has no say."""
    put(tmp_path, "out/a.jpg")
    put(tmp_path, ".imgsearchignore", data=b"out/\n!out/a.jpg\n")
    put(tmp_path, "out/.imgsearchignore", data=b"!a.jpg\n")
    assert found(tmp_path) == []


def test_the_option_has_the_first_word(tmp_path: Path) -> None:
    """--exclude decides before any ignore file, in both directions."""
    put(tmp_path, "a.jpg", "b.png")
    put(tmp_path, ".imgsearchignore", data=b"*.png\n!*.jpg\n")
    assert found(tmp_path, WalkOptions(exclude=("a.*", "!b.png"))) == ["b.png"]


def test_a_hash_in_an_option_is_a_name(tmp_path: Path) -> None:
    """--exclude '#scans' leaves that folder out; only in a file does "#" begin a comment."""
    put(tmp_path, "#scans/a.jpg", "b.jpg")
    assert found(tmp_path, WalkOptions(exclude=("#scans",))) == ["b.jpg"]


@pytest.mark.parametrize("pattern", ["", "  ", "!", "/", "[z-a].jpg"])
def test_an_option_that_is_no_pattern_is_refused(tmp_path: Path, pattern: str) -> None:
    """A pattern that git would drop in silence is an error that names it, before anything is walked."""
    with pytest.raises(UsageError, match="exclude"):
        walk(tmp_path, WalkOptions(exclude=("ok", pattern)))


def test_more_options_than_a_person_gives_are_refused(tmp_path: Path) -> None:
    """Patterns may come from the catalogue of a stranger's index: their number and their length are limited."""
    with pytest.raises(UsageError, match=r"exclude: 5,001 patterns, at most 5,000 are allowed"):
        walk(tmp_path, WalkOptions(exclude=("a",) * 5001))
    with pytest.raises(UsageError, match=r"exclude: 'x{40}…' is not a valid .*: it has 1,001 characters"):
        walk(tmp_path, WalkOptions(exclude=("x" * 1001,)))


# Ignore files that can't be used


def usable_but_for(tmp_path: Path) -> tuple[Walk, list[str]]:
    """Walk three folders of which one has an ignore file of somebody's; return the walk and what it found."""
    put(tmp_path, "a.jpg", "sub/b.jpg", "sub/deep/c.jpg", "z/d.jpg")
    done = walk(tmp_path)
    return done, [source.path for source in done]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"# fine\n*.png\n!\n", "line 3: '!' is not a valid pattern: it names nothing"),
        (b"[z-a].jpg\n", "line 1: '[z-a].jpg' is not a valid pattern: its range z-a holds nothing"),
        (b"a\n[a\n", "line 2: '[a' is not a valid pattern: its bracket isn't closed"),
        (b"a\\\n", "it ends in a backslash"),
        (b"x" * 1001, f"line 1: '{'x' * 40}…' is not a valid pattern: it has 1,001 characters"),
        (b"pattern\n" * 5001, "it has more than 5,000 patterns"),
        (b"#" * ((1 << 20) + 1), "it is larger than 1 MiB"),
        (bytes(range(256)), "line 1: it contains a NUL byte"),
        ("a.jpg\n".encode("utf-16"), "line 1: it is UTF-16; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + "a.jpg\r\n".encode("utf-16-be"), "line 1: it is UTF-16; save it as UTF-8"),
        (b"b.jpg\n" + "a.jpg\n".encode("utf-16-le"), "line 2: it contains a NUL byte"),
    ],
)
def test_an_ignore_file_that_makes_no_sense_costs_its_folder_alone(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    """What it would leave out is unknown, so its folder is left alone, with a short reason; all others are walked."""
    put(tmp_path, "sub/.imgsearchignore", data=data)
    done, paths = usable_but_for(tmp_path)
    assert paths == ["a.jpg", "z/d.jpg"]
    assert list(done.left_alone) == ["sub"]
    assert done.left_alone["sub"].startswith("its .imgsearchignore can't be used: ")
    assert reason in done.left_alone["sub"]
    assert len(done.left_alone["sub"]) < 200
    for path in ("sub/b.jpg", "sub/deep/c.jpg"):
        assert done.is_gone(path, 0) == (False, f"sub is left alone: {done.left_alone['sub']}")
    assert done.is_gone("z/gone.jpg", 0) == (True, "deleted")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to("not-mounted/rules")


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make", [a_pipe, a_socket, a_link_to_itself, a_link_to_nowhere, a_device], ids=lambda make: make.__name__
)
def test_an_ignore_file_that_is_no_file_costs_its_folder_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A pipe is not waited for, a device not read, and a link that leads nowhere is not taken for no pattern."""
    (tmp_path / "sub").mkdir()
    make(tmp_path / "sub" / ".imgsearchignore")
    done, paths = usable_but_for(tmp_path)
    assert paths == ["a.jpg", "z/d.jpg"]
    assert "can't be read" in done.left_alone["sub"]


def test_an_ignore_file_that_may_not_be_read_costs_its_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is indexed on the guess that an unreadable ignore file was empty."""
    put(tmp_path, "sub/.imgsearchignore")
    refuse(monkeypatch, os.open, ".imgsearchignore")
    done, paths = usable_but_for(tmp_path)
    assert paths == ["a.jpg", "z/d.jpg"]
    assert done.left_alone == {
        "sub": "its .imgsearchignore can't be used: it can't be read: Permission denied"
    }


def test_a_bad_ignore_file_above_the_root_leaves_all_of_it_alone(tmp_path: Path) -> None:
    """What the folder above would leave out of the root is as unknown as what the root's own file would."""
    put(tmp_path, ".imgsearchignore", data=b"!\n")
    put(tmp_path, "in/a.jpg")
    done = walk(tmp_path / "in", WalkOptions(above=str(tmp_path)))
    assert list(done) == []
    assert list(done.left_alone) == [""]
    assert not done.is_gone("b.jpg", 0)[0]


# A plain model of the whole

NAMES = ["a", "b", "a.jpg", "b.png", "c.txt", ".h.jpg", "n\nl.jpg", "node_modules"]
PATTERNS = ["a", "b/", "/a", "*.jpg", "*.png", "a/b", "!a", "!*.jpg", "!/b", "!b/"]
Tree = dict[str, "Tree | list[str]"]  # a folder is a dict, a file the list of patterns that it holds

leaf: st.SearchStrategy[list[str]] = st.just([])
trees = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), leaf, max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), st.one_of(leaf, inner), max_size=4),
    max_leaves=12,
)
ignores = st.dictionaries(
    st.sampled_from(["", "a", "b", "a/a", "a/b"]), st.lists(st.sampled_from(PATTERNS), max_size=3), max_size=3
)


def write(tree: Tree, root: str) -> None:
    os.makedirs(root, exist_ok=True)
    for name, inside in tree.items():
        if isinstance(inside, dict):
            write(inside, f"{root}/{name}")
        else:
            put(root, name)


def matches(pattern: str, path: str, is_folder: bool) -> bool:
    """Plain gitignore for the few shapes that PATTERNS has."""
    if pattern.endswith("/"):
        return is_folder and path.split("/")[-1] == pattern[:-1]
    if "/" in pattern:
        return path == pattern.lstrip("/")
    name = path.split("/")[-1]
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def model(tree: Tree, lists: list[tuple[str, list[str]]], at: str = "") -> Iterator[str]:
    """Yield what should be found; ``lists`` are (folder, patterns), the first with a word decides."""
    for name, inside in sorted(tree.items(), key=lambda item: os.fsencode(item[0])):
        path = f"{at}/{name}" if at else name
        is_folder = isinstance(inside, dict)
        if name.startswith(".") or (is_folder and name == "node_modules"):
            continue
        verdict = None
        for folder, patterns in lists:
            if folder not in ("", "*") and not path.startswith(f"{folder}/"):
                continue
            inside_folder = path if folder in ("", "*") else path[len(folder) + 1 :]
            for pattern in patterns:
                if verdict is None and matches(pattern.lstrip("!"), inside_folder, is_folder):
                    verdict = not pattern.startswith("!")
        if verdict:
            continue
        if is_folder:
            assert isinstance(inside, dict)
            yield from model(inside, lists, path)
        elif name.endswith((".jpg", ".png")):
            yield path


@settings(max_examples=50, deadline=None)
@given(
    trees,
    ignores,
    st.lists(st.sampled_from(PATTERNS), max_size=2),
    st.sampled_from(["", "a", "a/b", "a.jpg"]),
)
def test_the_walk_agrees_with_a_plain_model(
    tree: Tree, ignored: dict[str, list[str]], exclude: list[str], subpath: str
) -> None:
    """For any tree, excludes and ignore files: what is found is what the rules say, and subpath only restricts."""
    with tempfile.TemporaryDirectory() as root:
        root = os.path.realpath(root)
        write(tree, root)
        lists = [("*", exclude[::-1])]
        for folder, patterns in sorted(ignored.items(), key=lambda item: -len(item[0])):
            if os.path.isdir(os.path.join(root, folder)):
                put(root, os.path.join(folder, ".imgsearchignore"), data="\n".join(patterns).encode())
                lists.append((folder, patterns[::-1]))
        expected = list(model(tree, lists))
        options = WalkOptions(exclude=tuple(exclude))
        done = walk(root, options)
        assert [source.path for source in done] == expected
        inside = [
            path for path in expected if not subpath or path == subpath or path.startswith(f"{subpath}/")
        ]
        assert found(root, options, subpath=subpath) == inside
        held = {
            folder
            for folder, _, names in os.walk(root)
            if names or any(inner for _, _, inner in os.walk(folder))
        }
        assert all(os.path.join(root, folder).rstrip("/") not in held for folder in done.empty_folders)


# Symbolic links


def test_links_are_not_followed_unless_asked(tmp_path: Path) -> None:
    """By default neither links to files nor links to folders lead anywhere."""
    put(tmp_path, "in/a.jpg", "out/b.jpg", "out/sub/c.jpg")
    os.symlink("../out/b.jpg", tmp_path / "in" / "l.jpg")
    os.symlink("../out/sub", tmp_path / "in" / "sub")
    assert found(tmp_path / "in") == ["a.jpg"]
    assert found(tmp_path / "in", FOLLOW) == ["a.jpg", "l.jpg", "sub/c.jpg"]


def test_a_root_that_is_a_link_is_its_target(tmp_path: Path) -> None:
    """The folder that was named may be a link: its real path is the root."""
    put(tmp_path, "real/a.jpg")
    os.symlink("real", tmp_path / "link")
    assert check_root(str(tmp_path / "link")) == str(tmp_path / "real")


def test_loops_end_and_each_real_file_comes_once(tmp_path: Path) -> None:
    """Links that lead upwards, to each other or to what was found already add nothing; real entries win."""
    put(tmp_path, "z/a.jpg", "z/sub/b.jpg")
    os.symlink("..", tmp_path / "z" / "up")
    os.symlink("../..", tmp_path / "z" / "sub" / "upper")
    os.symlink("z/a.jpg", tmp_path / "a-first-by-name.jpg")
    os.symlink("z/sub", tmp_path / "alias")
    os.symlink("circle2.jpg", tmp_path / "circle1.jpg")
    os.symlink("circle1.jpg", tmp_path / "circle2.jpg")
    os.symlink("nowhere.jpg", tmp_path / "dangling.jpg")
    done = walk(tmp_path, FOLLOW)
    assert [source.path for source in done] == ["z/a.jpg", "z/sub/b.jpg"]
    assert done.left_alone == {}


def test_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    """Two names of one file in a folder are both found, links followed or not."""
    put(tmp_path, "a.jpg")
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert found(tmp_path) == found(tmp_path, FOLLOW) == ["a.jpg", "b.jpg"]


def test_walks_that_share_what_was_seen_share_links(tmp_path: Path) -> None:
    """What two roots reach through links is found in the first only."""
    put(tmp_path, "one/a.jpg", "two/b.jpg", "far/c.jpg", "far/d.jpg")
    os.symlink("../far", tmp_path / "one" / "far")
    os.symlink("../far/d.jpg", tmp_path / "two" / "d.jpg")
    os.symlink("../far", tmp_path / "two" / "far")
    reached = Reached()
    assert found(tmp_path / "one", FOLLOW, reached=reached) == ["a.jpg", "far/c.jpg", "far/d.jpg"]
    assert found(tmp_path / "two", FOLLOW, reached=reached) == ["b.jpg"]


def test_other_roots_are_not_entered(tmp_path: Path) -> None:
    """A nested root belongs to its own walk, and so does what a link finds in any other root."""
    put(tmp_path, "one/a.jpg", "one/nested/b.jpg", "other/c.jpg")
    os.symlink("../other", tmp_path / "one" / "l")
    os.symlink("../other/c.jpg", tmp_path / "one" / "l.jpg")
    os.symlink("..", tmp_path / "one" / "up")
    skip = [str(tmp_path / name) for name in ("one", "one/nested", "other")]
    assert found(tmp_path / "one", FOLLOW, skip=skip) == ["a.jpg"]
    assert found(tmp_path / "one", skip=skip) == ["a.jpg"]


def test_excludes_apply_to_linked_folders(tmp_path: Path) -> None:
    """A pattern for folders ("pics/") takes out a followed link of that name."""
    put(tmp_path, "in/a.jpg", "out/b.jpg")
    os.symlink("../out", tmp_path / "in" / "pics")
    options = WalkOptions(exclude=("pics/",), follow_symlinks=True)
    assert found(tmp_path / "in", options) == ["a.jpg"]


# What could not be seen, and what may be pruned


def refuse(monkeypatch: pytest.MonkeyPatch, call: Callable[..., object], name: str) -> None:
    """Let an os function fail with EACCES for paths of this name: as root, modes do not bite."""

    def refusing(path: str, *args: object, **keywords: object) -> object:
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", path)
        return call(path, *args, **keywords)

    monkeypatch.setattr(os, call.__name__, refusing)


def test_a_folder_that_can_not_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk goes on round it, says why, and nothing below it may be pruned."""
    put(tmp_path, "a.jpg", "shut/b.jpg", "shut/deep/c.jpg", "z/d.jpg")
    refuse(monkeypatch, os.scandir, "shut")
    done = walk(tmp_path)
    assert [source.path for source in done] == ["a.jpg", "z/d.jpg"]
    assert done.left_alone == {"shut": "it can't be listed: Permission denied"}
    assert done.is_gone("shut/deep/c.jpg", 0) == (
        False,
        "shut is left alone: it can't be listed: Permission denied",
    )
    assert done.is_gone("shut/gone.jpg", 0, prune_empty=True)[0] is False
    assert done.is_gone("z/gone.jpg", 0) == (True, "deleted")


def test_a_root_that_can_not_be_listed_prunes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the root itself fails, the walk ends quietly and keeps everything."""
    put(tmp_path, "pics/a.jpg")
    refuse(monkeypatch, os.scandir, "pics")
    done = walked(tmp_path / "pics")
    assert done.left_alone == {"": "it can't be listed: Permission denied"}
    assert done.is_gone("a.jpg", 0, prune_empty=True)[0] is False
    missing = walked(tmp_path / "missing")
    assert list(missing.left_alone) == [""]
    assert missing.is_gone("a.jpg", 0, prune_empty=True)[0] is False


def test_a_file_that_can_not_be_looked_at_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that lists its names but refuses their details is as good as unlisted."""
    put(tmp_path, "sub/a.jpg", "b.jpg")
    refuse(monkeypatch, os.stat, "a.jpg")
    done = walk(tmp_path)
    assert [source.path for source in done] == ["b.jpg"]
    assert done.is_gone("sub/a.jpg", 0)[0] is False


def test_what_vanishes_during_the_walk_is_no_error(tmp_path: Path) -> None:
    """Files and folders that go between listing and visiting are passed over."""
    put(tmp_path, "a.jpg", "b.jpg", "c/d.jpg")
    done = walk(tmp_path)
    paths = []
    for source in done:
        paths.append(source.path)
        if source.path == "a.jpg":
            os.remove(tmp_path / "b.jpg")
            os.remove(tmp_path / "c" / "d.jpg")
            os.rmdir(tmp_path / "c")
    assert paths == ["a.jpg"]
    assert done.left_alone == {"c": "it was deleted during the scan"}
    assert done.is_gone("b.jpg", 0) == (True, "deleted")


def test_deleted_and_excluded_files_may_be_pruned(tmp_path: Path) -> None:
    """The reason tells a file that is gone from one that the excludes now leave out."""
    put(tmp_path, "a.jpg", "b.png", "old/c.jpg")
    done = walked(tmp_path, WalkOptions(exclude=("*.png", "old/")))
    assert done.is_gone("x.jpg", 0) == (True, "deleted")
    assert done.is_gone("gone/deep/x.jpg", 0) == (True, "deleted")
    assert done.is_gone("b.png", 0) == (True, "excluded now")
    assert done.is_gone("old/c.jpg", 0) == (True, "excluded now")


def test_an_emptied_folder_is_not_pruned_unless_meant(tmp_path: Path) -> None:
    """A folder without a single file may be a mount point without its drive: only ``prune_empty`` prunes it."""
    put(tmp_path, "a.jpg", "full/note.txt")
    os.makedirs(tmp_path / "mnt" / "inner" / "deep")
    done = walked(tmp_path)
    assert done.empty_folders == {"mnt", "mnt/inner", "mnt/inner/deep"}
    for path in ("mnt/x.jpg", "mnt/inner/x.jpg", "mnt/gone/x.jpg"):
        assert done.is_gone(path, 0) == (
            False,
            "its folder is empty now; to remove its images from the index: prune_empty=True",
        )
        assert done.is_gone(path, 0, prune_empty=True) == (True, "deleted")
    assert done.is_gone("full/x.jpg", 0) == (True, "deleted")


def test_a_file_that_is_left_out_still_fills_its_folder(tmp_path: Path) -> None:
    """Emptiness is about files on disk, not about candidates: hidden, excluded and deep ones count."""
    put(tmp_path, "a/.hidden", "b/.git/deep/config", "c/out/x.jpg")
    os.makedirs(tmp_path / "d" / ".git" / "empty")
    done = walked(tmp_path, WalkOptions(exclude=("out",)))
    assert done.empty_folders == {"d"}


def test_an_emptied_root_is_not_pruned(tmp_path: Path) -> None:
    """The root itself may be the mount point that lost its drive."""
    done = walked(tmp_path)
    assert done.empty_folders == {""}
    assert done.is_gone("a/b.jpg", 0)[0] is False
    assert done.is_gone("a/b.jpg", 0, prune_empty=True) == (True, "deleted")


def mount(monkeypatch: pytest.MonkeyPatch, *points: Path) -> None:
    """Let the folders and what lies below them be on device 99, on a system that shows no mount table."""

    def faked(path: str) -> int:
        os.stat(path)
        inside = any(path == str(point) or path.startswith(f"{point}/") for point in points)
        return 99 if inside else 7

    monkeypatch.setattr(fs, "device_of", faked)
    monkeypatch.setattr(mounts, "MOUNTINFO", "/nowhere")


def test_files_of_another_device_carry_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is 0 on the root's own drive and the other drive's number elsewhere, also behind links."""
    put(tmp_path, "root/a.jpg", "root/usb/b.jpg", "root/usb/deep/c.jpg", "far/d.jpg", "far/e/f.jpg")
    os.symlink("../far/d.jpg", tmp_path / "root" / "l.jpg")
    os.symlink("../far/e", tmp_path / "root" / "le")
    # Folder links are paths inside the root: the fake must know them as well.
    mount(monkeypatch, tmp_path / "root" / "usb", tmp_path / "far", tmp_path / "root" / "le")
    devices = {source.path: source.device for source in walk(tmp_path / "root", FOLLOW)}
    assert devices == {"a.jpg": 0, "usb/b.jpg": 99, "usb/deep/c.jpg": 99, "l.jpg": 99, "le/f.jpg": 99}


def test_files_of_a_drive_that_is_not_mounted_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was on another device and would now be on the root's own is not deleted, even with --prune-empty."""
    put(tmp_path, "a.jpg", "usb/leftover.txt")
    mount(monkeypatch)
    done = walked(tmp_path)
    reason = (False, "the drive it was on is not mounted")
    assert done.is_gone("usb/b.jpg", 99, prune_empty=True) == reason
    assert done.is_gone("vanished-mount-point/b.jpg", 99) == reason
    mount(monkeypatch, tmp_path / "usb")
    assert walked(tmp_path).is_gone("usb/b.jpg", 98) == reason
    assert walked(tmp_path).is_gone("usb/b.jpg", 0) == (False, "another drive is mounted over its folder")
    assert walked(tmp_path).is_gone("usb/b.jpg", 99) == (True, "deleted")


def test_ignore_files_and_patterns_from_above(tmp_path: Path) -> None:
    """A walk may go by the ignore files of folders above its root, and by patterns that are relative to one."""
    put(tmp_path, ".imgsearchignore", data=b"*.png\n/in/deep/b.jpg\n")
    put(tmp_path, "in/.imgsearchignore", data=b"!c.png\nd.jpg\n")
    put(tmp_path, *(f"in/deep/{name}" for name in ("a.jpg", "a.png", "b.jpg", "c.png", "d.jpg", "e.jpg")))
    top, root = str(tmp_path), tmp_path / "in" / "deep"
    assert found(root) == ["a.jpg", "a.png", "b.jpg", "c.png", "d.jpg", "e.jpg"]
    assert found(root, WalkOptions(above=top)) == ["a.jpg", "c.png", "e.jpg"]
    assert found(root, WalkOptions(above=f"{top}/in")) == ["a.jpg", "a.png", "b.jpg", "c.png", "e.jpg"]
    assert found(root, WalkOptions(("/a.*",), above=top)) == ["c.png", "e.jpg"]
    assert found(root, WalkOptions(("/in/deep/a.*",), above=top, anchor=top)) == ["c.png", "e.jpg"]
    assert found(root, WalkOptions(("deep/a.*",), anchor=f"{top}/in")) == ["b.jpg", "c.png", "d.jpg", "e.jpg"]
    put(tmp_path, ".imgsearchignore", data=b"in/\n")
    done = walked(root, WalkOptions(above=top))
    assert done.is_gone("a.jpg", 0) == (True, "excluded now")


def test_an_index_in_the_root_is_not_looked_at(tmp_path: Path) -> None:
    """Where an index is kept among pictures, its own files are none, fill no folder and are not counted."""
    put(tmp_path, "manifest.json", "catalog.sqlite", "catalog.sqlite-wal", "queries.sqlite", "writer.lock")
    put(tmp_path, "vectors/00000001.f16", "faiss/x", "thumbs/t.jpg")
    done = walked(tmp_path)
    assert (done.other_files, done.empty_folders) == ({}, {""})
    put(tmp_path, "a.jpg", "thumbs up.jpg", "sub/thumbs/b.jpg")
    assert found(tmp_path) == ["a.jpg", "sub/thumbs/b.jpg", "thumbs up.jpg"]


def test_a_rebuilt_index_in_the_root_is_not_looked_at(tmp_path: Path) -> None:
    """An index whose catalogue lies in the folder of a later generation is one too; such a folder alone is not."""
    put(tmp_path, "manifest.json", "queries.sqlite", "writer.lock", "thumbs/t.jpg")
    put(tmp_path, "generation-0002/catalog.sqlite", "generation-0002/vectors/00000001.f16")
    done = walked(tmp_path)
    assert (done.other_files, done.empty_folders) == ({}, {""})
    put(tmp_path, "sub/manifest.json", "sub/generation-0002/a.jpg", "sub/thumbs/b.jpg")
    assert found(tmp_path) == ["sub/generation-0002/a.jpg", "sub/thumbs/b.jpg"]


def test_a_walk_that_was_broken_off_prunes_nothing(tmp_path: Path) -> None:
    """Only a walk that reached its end knows what is missing."""
    put(tmp_path, "a.jpg", "b.jpg")
    done = walk(tmp_path)
    next(iter(done))
    assert done.is_gone("c.jpg", 0) == (False, "not all folders were scanned")


def test_a_device_that_is_told_by_its_files_counts_as_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the number that the drive had before, a file is deleted; with another drive's, its drive is away."""
    put(tmp_path, "usb/b.jpg")
    mount(monkeypatch, tmp_path / "usb")
    done = walked(tmp_path)
    away = (False, "the drive it was on is not mounted")
    assert done.is_gone("usb/deep/c.jpg", 51, same={(50, 99)}) == away
    assert done.is_gone("usb/deep/c.jpg", 50, same={(50, 99)}) == (True, "deleted")


# Roots


def test_a_root_is_a_real_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, a trailing slash and links lead to one and the same root; a file is let through."""
    put(tmp_path, "pics/a.jpg")
    os.symlink("pics", tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    for path in ("pics", "pics/", "./link", str(tmp_path / "pics" / ".." / "pics")):
        assert check_root(path) == str(tmp_path / "pics")
    assert check_root("link/a.jpg") == str(tmp_path / "pics" / "a.jpg")


def test_a_root_that_is_no_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, dangling, unreadable, or neither folder nor file: one line says which path and why."""
    put(tmp_path, "file.jpg")
    os.symlink("nowhere", tmp_path / "dangling")
    os.mkfifo(tmp_path / "pipe")
    os.mkdir(tmp_path / "shut")
    refuse(monkeypatch, os.scandir, "shut")
    for name, message in {
        "missing": "does not exist",
        "dangling": "does not exist",
        "file.jpg/inside": "does not exist",
        "pipe": "neither a folder nor a file",
        "shut": "can't be read: Permission denied",
        "two\nlines": "does not exist",
    }.items():
        with pytest.raises(FolderError, match=message) as caught:
            check_root(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(FolderError, match="empty"):
        check_root("")


def test_without_a_mount_table_device_numbers_tell_drives_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount point is the outermost folder on the same device; a link is none, and no such drive has a name."""
    mount(monkeypatch, tmp_path / "usb", tmp_path / "link")
    put(tmp_path, "usb/deep/a.jpg", "link-target/a.jpg")
    os.symlink("link-target", tmp_path / "link")
    now = mounts.Mounts()
    assert now.drive(str(tmp_path)) == mounts.Drive("/", "", 7)
    assert now.drive(str(tmp_path / "usb")) == mounts.Drive(str(tmp_path / "usb"), "", 99)
    assert now.drive(str(tmp_path / "usb" / "deep" / "a.jpg")) == mounts.Drive(str(tmp_path / "usb"), "", 99)
    assert now.is_point("/")
    assert now.is_point(str(tmp_path / "usb"))
    assert not now.is_point(str(tmp_path / "link"))
    assert not now.is_point(str(tmp_path / "missing"))
    with pytest.raises(OSError, match="No such file"):
        now.drive(str(tmp_path / "missing"))


# Opening


@pytest.mark.parametrize("limit", [64, 3])
def test_a_file_is_opened_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Small files from memory, large ones from disk: the same bytes, hash, size and mtime."""
    monkeypatch.setattr(opening_module, "_IN_MEMORY", limit)
    put(tmp_path, "a.jpg", data=b"picture")
    os.utime(tmp_path / "a.jpg", ns=(5, 5))
    with open_source(str(tmp_path / "a.jpg")) as opened:
        assert opened.stream.read() == b"picture"
        assert opened.sha256 == hashlib.sha256(b"picture").digest()
        assert (opened.status.st_size, opened.status.st_mtime_ns) == (7, 5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "vanished"),
        ("empty.jpg/inside", "vanished"),
        ("empty.jpg", "empty file"),
        ("pipe.jpg", "unreadable"),
        ("folder.jpg", "unreadable"),
        ("circle.jpg", "unreadable"),
        ("shut.jpg", "unreadable"),
        ("nul\0.jpg", "unreadable"),
    ],
)
def test_what_can_not_be_opened_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    """Gone, empty, refused, or no regular file (a pipe is not waited for): a reason each, no traceback."""
    put(tmp_path, "empty.jpg", data=b"")
    put(tmp_path, "shut.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkdir(tmp_path / "folder.jpg")
    os.symlink("circle.jpg", tmp_path / "circle.jpg")
    refuse(monkeypatch, os.open, "shut.jpg")
    with pytest.raises(PictureError) as caught, open_source(f"{tmp_path}/{name}"):
        pass
    assert caught.value.reason == reason
    assert str(tmp_path) not in caught.value.detail


def test_what_is_not_an_image_is_not_hashed(tmp_path: Path) -> None:
    """A file that is not recognised costs a look at its start, however large it is: here 8 TB."""
    put(tmp_path, "a.jpg", data=b"")
    os.truncate(tmp_path / "a.jpg", 8 << 40)

    def recognise(stream: BinaryIO) -> None:
        raise PictureError("not an image", str(len(stream.read(64))))

    with pytest.raises(PictureError, match="64"), open_source(str(tmp_path / "a.jpg"), recognise):
        pass


def test_a_file_that_is_recognised_is_read_from_its_start(tmp_path: Path) -> None:
    """What was read to recognise a file is read again, and hashed."""
    put(tmp_path, "a.jpg", data=b"picture")
    with open_source(str(tmp_path / "a.jpg"), lambda stream: stream.read(3)) as opened:
        assert opened.stream.read() == b"picture"
        assert opened.sha256 == hashlib.sha256(b"picture").digest()


def test_memory_that_runs_out_while_reading_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file for which there is no memory now gives a reason that may pass, not a traceback."""
    put(tmp_path, "a.jpg", data=b"picture")

    def no_memory(data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(opening_module.hashlib, "sha256", no_memory)
    with pytest.raises(PictureError) as caught, open_source(str(tmp_path / "a.jpg")):
        pass
    assert caught.value.reason == "out of memory"


def test_a_small_file_is_read_once(tmp_path: Path) -> None:
    """What a small file becomes later does not matter: hash and stream are of the same moment."""
    put(tmp_path, "a.jpg", data=b"before")
    with open_source(str(tmp_path / "a.jpg")) as opened:
        put(tmp_path, "a.jpg", data=b"afterwards")
        assert hashlib.sha256(opened.stream.read()).digest() == opened.sha256
        assert opened.status.st_size == 6


def test_a_large_file_that_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is read twice and changes in between gives that as the reason, also over a decoder's."""
    monkeypatch.setattr(opening_module, "_IN_MEMORY", 3)
    put(tmp_path, "a.jpg", data=b"before")
    with pytest.raises(PictureError) as caught, open_source(str(tmp_path / "a.jpg")):
        put(tmp_path, "a.jpg", data=b"afterwards")
    assert caught.value.reason == "changed while it was read"
    with pytest.raises(PictureError) as caught:  # noqa: PT012, SIM117 (the block is the point)
        with open_source(str(tmp_path / "a.jpg")):
            put(tmp_path, "a.jpg", data=b"once more")
            raise PictureError("corrupt", "half a picture")
    assert (caught.value.reason, caught.value.detail) == (
        "changed while it was read",
        "corrupt: half a picture",
    )


def test_other_errors_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller raises while the file is open is the caller's, and the file is closed."""
    monkeypatch.setattr(opening_module, "_IN_MEMORY", 3)
    put(tmp_path, "a.jpg", data=b"before")
    with pytest.raises(PictureError, match="corrupt"), open_source(str(tmp_path / "a.jpg")) as opened:
        raise PictureError("corrupt")
    assert opened.stream.closed
    with pytest.raises(KeyError), open_source(str(tmp_path / "a.jpg")) as opened:
        raise KeyError
    assert opened.stream.closed


def test_files_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    """RAW files, videos and documents are counted apart, whatever the case of their extension; the rest together."""
    put(tmp_path, "a.NEF", "b.cr3", "sub/c.dng", "d.MOV", "e.pdf", "f.txt", "g.jpg", "noextension")
    assert walked(tmp_path).other_files == {"raw": 3, "video": 1, "pdf": 1, "other": 2}


def test_links_that_are_not_followed_are_counted(tmp_path: Path) -> None:
    """A link to a folder or to an image counts, one to nothing or to another file doesn't; followed, none does."""
    put(tmp_path, "away/a.jpg", "away/note.txt", "root/b.jpg")
    for name, target in (
        ("folder", "away"),
        ("a.jpg", "away/a.jpg"),
        ("note.txt", "away/note.txt"),
        ("c.jpg", "away/c.jpg"),
    ):
        (tmp_path / "root" / name).symlink_to(tmp_path / target)
    assert walked(tmp_path / "root").other_files == {"link": 2}
    assert "link" not in walked(tmp_path / "root", FOLLOW).other_files
    assert walked(tmp_path / "root", WalkOptions(exclude=("folder", "a.jpg"))).other_files == {}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, ""),
        ({"raw": 1}, "1 RAW file"),
        ({"raw": 3120, "video": 88, "other": 5}, "3,120 RAW files and 88 videos"),
        ({"raw": 1, "video": 1, "document": 2}, "1 RAW file, 1 video and 2 documents"),
        ({"other": 2}, "2 other files"),
    ],
)
def test_kinds_are_put_into_words(counts: dict[str, int], said: str) -> None:
    """The kinds are named with their counts; other files only where there is nothing else."""
    assert described(counts) == said


def test_packed_tars_are_archives() -> None:
    """A folder of them is told as one of archives, not of other files."""
    assert {kind_of(name) for name in ("a.tar.gz", "a.TGZ", "a.tar.zst", "a.tar")} == {ARCHIVE}
    assert kind_of("a.gz") == OTHER
