"""What the recipe takes from packages whose files say what they show: clip art to train on, stamps to measure with."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from imgsearch.tools.dataset import read_dataset
from support.emoji_sets import write_clipart, write_stamps
from things import evaluation
from things.artwork import render
from things.clipart import Clipart
from things.names import Thing
from things.stamps import read_stamps


def _things(*names: str) -> list[Thing]:
    return [
        Thing((str(place),), "Objects", {"en": (name, f"any {name}")}) for place, name in enumerate(names)
    ]


def test_clip_art_is_of_the_thing_that_its_file_is_called_by(tmp_path: Path) -> None:
    """A file is a thing's if its name begins with that and names no other; authors, numbers, colours may follow."""
    cat, glove, hot_dog, dog = things = _things("cat", "gloves", "hot dog", "dog")
    files = ("cat_linda_kim_01", "cats_red_02", "cat_glove", "catapult_01", "hot_dog_bw", "special/dog_01")
    found = Clipart(write_clipart(tmp_path, files), things)
    assert [len(found.of(thing)) for thing in (cat, glove, hot_dog, dog)] == [2, 0, 1, 0]
    assert all(render(svg) is not None for svg in found.of(cat))


def test_a_thing_has_no_more_than_six_drawings_and_none_twice(tmp_path: Path) -> None:
    """The same file in two folders counts once."""
    cat, dog = things = _things("cat", "dog")
    write_clipart(tmp_path, [f"cat_{number}" for number in range(9)])
    same = (tmp_path / "svg" / "cat_0.svg").read_text()
    for name in ("dog_1.svg", "dog_2.svg"):
        (tmp_path / "svg" / name).write_text(same)
    found = Clipart(str(tmp_path), things)
    assert [len(found.of(thing)) for thing in (cat, dog)] == [6, 1]


def test_a_stamp_is_a_picture_on_white_with_its_english_caption(tmp_path: Path) -> None:
    """Pictures are PNG or SVG; a caption without either, and a file that is none, are passed over."""
    folder = write_stamps(tmp_path, {"b": "A black cat.", "a": "An old boat!"})
    (tmp_path / "stamps" / "alone.txt").write_text("Nothing.")
    (tmp_path / "stamps" / "broken.txt").write_text("Something.")
    (tmp_path / "stamps" / "broken.png").write_bytes(b"no picture")
    stamps = list(read_stamps(folder))
    assert [(stamp.caption, stamp.name) for stamp in stamps] == [
        ("An old boat!", "old boat"),
        ("A black cat.", "black cat"),
    ]
    assert [stamp.image.size for stamp in stamps] == [(128, 128), (128, 85)]
    assert {stamp.image.mode for stamp in stamps} == {"RGB"}
    assert stamps[0].image.getpixel((0, 0)) == (255, 255, 255)


def test_of_stamps_with_one_caption_one_is_right(tmp_path: Path) -> None:
    """Names are asked for over what they don't name, and the same thing is asked for once."""
    captions = {"1": "A cat.", "2": "Cat.", "3": "A CAT", "4": "My boat.", "5": "A kite.", "6": "A kite."}
    folder = write_stamps(tmp_path / "package", captions)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "package" / "stamps" / "4.png")
    evaluation.write_stamps(str(tmp_path), folder, _things("cat"))
    known = read_dataset(str(tmp_path / "stamps-known.parquet"))
    assert list(known.queries.values()) == ["cat"]
    assert len(known.corpus) == 4
    captioned = read_dataset(str(tmp_path / "stamps.parquet"))
    assert sorted(captioned.queries.values()) == ["A CAT", "A cat.", "A kite.", "Cat.", "My boat."]
