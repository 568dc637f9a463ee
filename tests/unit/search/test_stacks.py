"""Stacks: hits that show the same stand behind the best of them, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imgsearch.index.reader import ImageIndex
from imgsearch.search import SearchRequest, answer
from imgsearch.search.hits import SearchOptions
from imgsearch.search.ranking.stacks import stem_of
from imgsearch.types import Hit
from support import fakes
from support.fakes import FakeModel, run
from support.tagged_files import exif

fake_model = fakes.fake_model


def drawn(seed: int, tint: tuple[int, int, int] = (200, 60, 60)) -> NDArray[np.uint8]:
    """Draw an image of soft shapes around a colour, so that the fake model finds it by that."""
    rng = np.random.default_rng(seed)
    small = np.clip(rng.integers(-50, 50, (8, 8, 1)) + np.array(tint), 0, 255).astype(np.uint8)
    return np.array(Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC))


def at(seconds: float, camera: str = "X-T5") -> Image.Exif:
    """Return the EXIF of an image that was taken some seconds after noon."""
    moment = datetime(2024, 7, 14, 12) + timedelta(seconds=seconds)
    return exif({0x0110: camera}, {0x9003: f"{moment:%Y:%m:%d %H:%M:%S}"})


def save(path: Path, pixels: NDArray[np.uint8], tags: Image.Exif | None = None, **options: int) -> None:
    """Save an image, with its EXIF if it has any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=tags or Image.Exif(), **options)


@pytest.fixture
def found(fake_model: FakeModel, tmp_path: Path) -> Callable[..., list[Hit]]:
    """Give what indexes the photos and answers a query for red."""

    def ask(n: int = 10, *, stacks: bool = True, **options: object) -> list[Hit]:
        run(tmp_path / "ix", tmp_path / "photos")
        with ImageIndex(str(tmp_path / "ix")) as index:
            request = SearchRequest("query", "red", options=SearchOptions(n=n, stacks=stacks, **options))  # type: ignore[arg-type]
            return answer(index, request, fake_model.encoder())

    return ask


def behind(hit: Hit) -> list[tuple[str, str]]:
    """Return the names of what stands behind a hit, with the reasons."""
    return sorted((Path(other.path).name, other.reason) for other in hit.stack or ())


def test_a_burst_is_one_result(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """Frames of one camera within seconds, that look alike, stand behind the best; the ranks close up."""
    for frame in range(5):
        save(tmp_path / "photos" / f"f{frame}.jpg", drawn(frame), at(frame))
    save(tmp_path / "photos" / "later.jpg", drawn(9), at(60))
    save(tmp_path / "photos" / "other camera.jpg", drawn(8), at(1, "Pixel 8"))
    hits = found()
    assert [len(behind(hit)) for hit in hits if Path(hit.path).name.startswith("f")] == [4]
    assert {reason for hit in hits for _, reason in behind(hit)} == {"burst"}
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_what_looks_otherwise_is_no_burst(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """Two images of one second that show something else are two results."""
    save(tmp_path / "photos" / "a.jpg", drawn(1), at(0))
    save(tmp_path / "photos" / "b.jpg", drawn(2, (30, 60, 200)), at(1))
    assert [behind(hit) for hit in found()] == [[], []]


def test_a_capture_id_makes_a_burst_of_any_time(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """Images with the same burst id are one stack, whatever their times and looks."""
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:BurstID="B1"/>'
        "</rdf:RDF></x:xmpmeta>"
    )
    for name, tint in (("a", (200, 60, 60)), ("b", (60, 60, 200))):
        path = tmp_path / "photos" / f"{name}.jpg"
        save(path, drawn(3, tint))
        path.with_suffix(".xmp").write_text(packet)
    (hit,) = found()
    assert behind(hit) == [("b.jpg", "burst")]


def test_two_files_of_one_shot_are_one_result(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """The same name with another ending, or that of an edited copy, and the same time: versions of one shot."""
    save(tmp_path / "photos" / "IMG_1.jpg", drawn(1), at(0))
    save(tmp_path / "photos" / "IMG_1.png", drawn(2, (150, 40, 40)), at(0))
    save(tmp_path / "photos" / "IMG_1-edited.jpg", drawn(3, (120, 100, 90)), at(0))
    save(tmp_path / "photos" / "far" / "IMG_1.jpg", drawn(4, (90, 100, 120)), at(3600))
    hits = found()
    assert sorted(len(behind(hit)) for hit in hits) == [0, 2]
    assert {reason for hit in hits for _, reason in behind(hit)} == {"version"}


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("IMG_1.JPG", "img_1"),
        ("IMG_1-edited.heic", "img_1"),
        ("IMG_E1234.JPG", "img_1234"),
        ("IMG_1(1).jpg", "img_1"),
        ("IMG_1~2.jpg", "img_1"),
        ("credit.jpg", "credit"),
        ("edited.jpg", "edited"),
    ],
)
def test_the_names_of_one_shot(name: str, stem: str) -> None:
    """What programs add to the names of edited copies does not count."""
    assert stem_of(name) == stem


def test_nearly_the_same_pixels_are_one_result(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """A smaller copy, one of low quality and one that was turned stand behind the best, without any date."""
    original = drawn(5)
    save(tmp_path / "photos" / "a.png", original)
    save(tmp_path / "photos" / "small.png", np.array(Image.fromarray(original).resize((48, 48))))
    save(tmp_path / "photos" / "low.jpg", original, quality=40)
    save(tmp_path / "photos" / "turned.png", np.ascontiguousarray(np.rot90(original)))
    save(tmp_path / "photos" / "other.png", drawn(6))
    assert sorted(len(behind(hit)) for hit in found()) == [0, 3]


def test_plain_images_are_not_alike(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """Images of one colour each, whose hashes are all zero, are results of their own."""
    for number, colour in enumerate([(230, 20, 20), (200, 30, 30), (180, 10, 40)]):
        save(tmp_path / "photos" / f"{number}.png", np.full((64, 64, 3), colour, np.uint8))
    assert [behind(hit) for hit in found()] == [[], [], []]


def test_as_many_stacks_come_as_were_asked_for(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """A burst that would fill the answer several times over leaves room for all the results behind it."""
    for frame in range(60):
        save(tmp_path / "photos" / f"f{frame:02}.jpg", drawn(100 + frame, (225, 25, 25)), at(frame))
    for number in range(3):
        save(tmp_path / "photos" / f"other{number}.png", drawn(number, (150, 90 + 20 * number, 60)))
    hits = found(3)
    assert [len(behind(hit)) for hit in hits] == [59, 0, 0]
    assert [hit.rank for hit in hits] == [1, 2, 3]


def test_thresholds_count_before_stacks(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """What scores too low stands behind nothing."""
    original = drawn(5)
    save(tmp_path / "photos" / "a.png", original)
    save(tmp_path / "photos" / "dark.png", (original * 0.5).astype(np.uint8))
    every = found()
    assert [behind(hit) for hit in every] == [[("dark.png", "alike")]]
    assert every[0].stack is not None
    low = every[0].stack[0].score
    assert [behind(hit) for hit in found(min_score=low + 1e-4)] == [[]]


def test_without_stacks_hits_are_as_they_were(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """Unless it is asked for, every image is a hit, and JSON has no field for stacks."""
    for frame in range(3):
        save(tmp_path / "photos" / f"f{frame}.jpg", drawn(frame), at(frame))
    hits = found(stacks=False)
    assert len(hits) == 3
    assert all("stack" not in hit.as_json() and "content" not in hit.as_json() for hit in hits)
    (best,) = found()
    assert [set(other) for other in best.as_json()["stack"]] == [{"path", "page", "score", "reason"}] * 2


def test_an_example_has_its_twins_behind_it(
    fake_model: FakeModel, found: Callable[..., list[Hit]], tmp_path: Path
) -> None:
    """Similar images to one of a burst: the image itself with its burst, then what is like it."""
    for frame in range(4):
        save(tmp_path / "photos" / f"f{frame}.jpg", drawn(frame), at(frame))
    save(tmp_path / "photos" / "like.png", drawn(20))
    found()
    with ImageIndex(str(tmp_path / "ix")) as index:
        request = SearchRequest(
            "similar", image=str(tmp_path / "photos" / "f2.jpg"), options=SearchOptions(n=2, stacks=True)
        )
        hits = answer(index, request, fake_model.encoder())
    assert [Path(hit.path).name for hit in hits] == ["f2.jpg", "like.png"]
    assert [len(behind(hit)) for hit in hits] == [3, 0]


def test_an_index_of_an_older_format_has_stacks_too(found: Callable[..., list[Hit]], tmp_path: Path) -> None:
    """Images without a hash are stacked by their times and names."""
    import sqlite3
    from contextlib import closing

    for frame in range(3):
        save(tmp_path / "photos" / f"f{frame}.jpg", drawn(frame), at(frame))
    found()
    with closing(sqlite3.connect(tmp_path / "ix" / "catalog.sqlite")) as db, db:
        db.execute("DELETE FROM hash")
    (hit,) = found()
    assert len(behind(hit)) == 2
