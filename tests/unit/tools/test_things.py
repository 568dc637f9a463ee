"""Scenes of everyday things (recipes/things): names, drawings, captions and rows, from a sample that is drawn here."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgsearch.errors import DatasetError
from support.emoji_sets import write_names, write_set
from things.altering import altered
from things.artwork import Artwork, drawn_by, open_artwork, render_artwork
from things.compose import SMALL_SIZES, TINY_SIZES, Composer, filled, shade, tinted
from things.gallery import STYLES as GALLERY_STYLES
from things.names import Drawings, known_names, read_things
from things.packages import ALL, STYLES, Package, check, fetch
from things.rows import composition_rows, name_rows, training_rows
from things.scenes import COLOURS, KINDS, OPPOSITE, Pool, Scene, is_held_out
from things.shapes import SHAPES_STYLE, draw_shape_of, shape_things
from things.wording import article, caption, plural


@pytest.fixture(scope="module")
def artwork(tmp_path_factory: pytest.TempPathFactory) -> Artwork:
    """Four things and the shapes: red in one style, green in another that has no codes."""
    folder = tmp_path_factory.mktemp("sets")
    coded, uncoded = (
        write_set(folder / "red", "#d00", codes=True),
        write_set(folder / "green", "#0c0", codes=False),
    )
    things = read_things(write_names(folder / "names"), [coded])
    names = known_names(things, [coded])
    styles = {
        "red": drawn_by(Drawings(coded, names)),
        "green": drawn_by(Drawings(uncoded, names)),
        SHAPES_STYLE: draw_shape_of,
    }
    render_artwork(str(folder / "artwork"), [*things, *shape_things()], styles)
    return open_artwork(str(folder / "artwork"))


@pytest.fixture(scope="module")
def pool(artwork: Artwork) -> Pool:
    """All of it."""
    return Pool(artwork, ("red", "green", SHAPES_STYLE))


def _thing(artwork: Artwork, name: str) -> int:
    return next(n for n, thing in enumerate(artwork.things) if thing.name == name)


def test_a_face_is_the_animal_and_a_thing_has_its_everyday_name(artwork: Artwork) -> None:
    """A cat and a cat face are one thing with a drawing each, and an automobile is called a car."""
    cat = artwork.things[_thing(artwork, "cat")]
    assert cat.codes == ("1f408", "1f431")
    assert cat.names["de"] == ("Katze", "word1f408", "Katzengesicht", "word1f431")
    assert len(artwork.places["red"][_thing(artwork, "cat")]) == 2
    assert artwork.things[_thing(artwork, "car")].names["en"][:2] == ("car", "automobile")


def test_a_set_without_codes_is_matched_by_its_names(artwork: Artwork) -> None:
    """A style whose icons have names only draws the same things as one that says their codes."""
    assert artwork.shown("green") == artwork.shown("red")


def test_a_drawing_fills_its_square(artwork: Artwork) -> None:
    """However much margin an icon has, what it shows is stored as large as there is room."""
    for number in artwork.places["red"][_thing(artwork, "bicycle")]:
        assert artwork.drawing(number).size == (80, 80)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_every_kind_has_a_caption_in_every_language(pool: Pool, kind: str, language: str) -> None:
    """A caption names the things of its scene, in the language that is asked for."""
    chance = random.Random(kind)
    for _ in range(20):
        scene = pool.draw(kind, chance)
        said = caption(pool.artwork, scene, chance, language, plain=True)
        name = pool.artwork.things[scene.thing].names[language][0]
        assert (plural(name) if language == "en" and scene.count > 1 else name) in said


def test_a_caption_says_each_attribute(artwork: Artwork) -> None:
    """Colour, number, ground and relation stand in the caption, in English words."""
    car, cat = _thing(artwork, "car"), _thing(artwork, "cat")
    chance = random.Random(0)
    scene = Scene("count", car, "red", "blue", count=3)
    assert "red cars on" in (text := caption(artwork, scene, chance, plain=True).replace("against", "on"))
    assert text.startswith(("three ", "3 "))
    assert "blue" in text
    scene = Scene("relation", car, relation="left of", other=cat)
    assert "left of" in caption(artwork, scene, chance, plain=True)


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("cat", "cats"),
        ("cherry", "cherries"),
        ("box", "boxes"),
        ("mouse", "mice"),
        ("slice of cake", "slices of cake"),
    ],
)
def test_plurals(one: str, several: str) -> None:
    """A plural is the English one, of the word that there are several of."""
    assert plural(one) == several


def test_articles() -> None:
    """An article fits the sound that follows."""
    assert [article(word) for word in ("apple", "car", "unicorn")] == ["an", "a", "a"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pair"])
def test_an_alternative_differs_in_one_attribute(pool: Pool, kind: str) -> None:
    """A negative differs from its scene in what it is said to differ in, and in nothing else."""
    chance = random.Random(kind)
    for _ in range(40):
        scene = pool.draw(kind, chance)
        for attribute in scene.attributes():
            other = pool.alternative(scene, attribute, chance)
            fields = [name for name in Scene.__slots__ if getattr(scene, name) != getattr(other, name)]
            assert fields == [attribute]


def test_a_relation_said_the_other_way_round_is_the_same_combination() -> None:
    """A left of B is held out if and only if B right of A is."""
    scene = Scene("relation", 1, "red", None, relation="left of", other=2, other_colour="blue")
    turned = Scene("relation", 2, "blue", None, relation=OPPOSITE["left of"], other=1, other_colour="red")
    assert scene.key() == turned.key()
    assert (
        scene.key() != Scene("relation", 1, "red", None, relation="above", other=2, other_colour="blue").key()
    )


@pytest.mark.parametrize(
    ("relation", "first"), [("left of", 0), ("right of", 0), ("above", 1), ("below", 1)], ids=lambda v: str(v)
)
def test_things_stand_where_the_caption_says(pool: Pool, relation: str, first: int) -> None:
    """The first thing of a relation lies on the side that the relation names, and so does a thing at a place."""
    artwork, chance = pool.artwork, random.Random(3)
    composer = Composer(pool, (), SMALL_SIZES)
    square, circle = _thing(artwork, "square"), _thing(artwork, "circle")
    scene = Scene("relation", square, "red", "white", relation=relation, other=circle, other_colour="blue")
    place = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}[relation]
    for _ in range(10):
        red, blue = (_middle(composer.draw(scene, chance), channel) for channel in (0, 2))
        before = relation in ("left of", "above")
        assert (red[first] < blue[first]) == before
        image = composer.draw(Scene("place", square, "red", "white", place=place), chance)
        assert (_middle(image, 0)[first] < 0.5) == before


def _middle(image: Image.Image, channel: int) -> tuple[float, float]:
    """Return where, in shares of width and height, the pixels lie of which one channel is far above the others."""
    pixels = np.asarray(image).astype(int)
    others = [n for n in range(3) if n != channel]
    rows, columns = np.nonzero(pixels[..., channel] - pixels[..., others].max(axis=2) > 60)
    return float(columns.mean()) / image.width, float(rows.mean()) / image.height


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_as_many_things_are_drawn_as_are_counted(pool: Pool, count: int) -> None:
    """A count is that of the separate things in the picture."""
    chance = random.Random(count)
    composer = Composer(pool, (), SMALL_SIZES)
    scene = Scene("count", _thing(pool.artwork, "square"), "black", "white", count=count)
    for _ in range(5):
        dark = np.asarray(composer.draw(scene, chance, altered=False).convert("L")) < 110
        assert _pieces(dark) == count


def _pieces(mask: np.ndarray) -> int:
    """Count the connected pieces of a mask."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    pieces = 0
    while left:
        pieces += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
    return pieces


@pytest.mark.parametrize("colour", COLOURS)
def test_a_tint_is_one_colour(artwork: Artwork, colour: str) -> None:
    """A drawing that is tinted has no pixel of another hue, and is as opaque as it was."""
    drawing = artwork.drawing(artwork.places["green"][_thing(artwork, "car")][0])
    image = tinted(drawing, colour, random.Random(1))
    assert image.getchannel("A").tobytes() == drawing.getchannel("A").tobytes()
    seen = image.convert("RGB").getpixel((40, 40))
    assert isinstance(seen, tuple)
    if colour in ("red", "green", "blue"):
        assert max(range(3), key=lambda channel: seen[channel]) == ("red", "green", "blue").index(colour)


def _rows(pool: Pool, seed: str, composer: Composer) -> list[dict[str, str | bytes]]:
    kinds = dict.fromkeys(KINDS, 1.0)
    return list(training_rows(24, seed, pool, composer, kinds, {"en": 2, "de": 1}, negatives=2))


def test_the_same_seed_draws_the_same_rows(pool: Pool) -> None:
    """Rows depend on their seed and on nothing else; another seed gives others."""
    photo = Image.radial_gradient("L").convert("RGB")
    composer = Composer(pool, (photo,), TINY_SIZES)
    assert _rows(pool, "one", composer) == _rows(pool, "one", composer)
    assert _rows(pool, "one", composer) != _rows(pool, "two", composer)


def test_rows_are_small_pictures_with_negatives(pool: Pool) -> None:
    """A row has a query, its picture and as many negatives as are asked for, in one of the sizes."""
    for row in _rows(pool, "sizes", Composer(pool, (), SMALL_SIZES)):
        assert list(row) == ["query", "image", "negative_0", "negative_1"]
        with Image.open(io.BytesIO(bytes(row["image"]))) as image:  # type: ignore[arg-type]
            assert image.size in SMALL_SIZES


def test_training_leaves_held_out_combinations_to_the_evaluation(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No training row shows a combination that the composition rows may ask for, and these show only such."""
    scenes: list[Scene] = []
    composer = Composer(pool, (), TINY_SIZES)
    draw: Callable[..., Image.Image] = composer.draw

    def noted(scene: Scene, chance: random.Random, **more: object) -> Image.Image:
        scenes.append(scene)
        return draw(scene, chance, **more)

    monkeypatch.setattr(composer, "draw", noted)
    list(training_rows(60, "t", pool, composer, {"relation": 1, "count": 1}, {"en": 1}, negatives=0))
    assert not any(is_held_out(pool.artwork, scene) for scene in scenes)
    scenes.clear()
    rows = list(composition_rows(8, "t", pool, composer, "count", "count"))
    assert all(is_held_out(pool.artwork, scene) for scene in scenes[::2])
    assert Counter(str(row["attribute"]) for row in rows) == {"count": 8}


def test_names_are_asked_for_in_one_style_and_several_languages(pool: Pool) -> None:
    """The pictures of a name's row are the same in every language; only the query is another."""
    composer, things = (
        Composer(pool, (), TINY_SIZES),
        [_thing(pool.artwork, name) for name in ("cat", "bicycle")],
    )

    def rows(language: str) -> Sequence[dict[str, str | bytes]]:
        return list(name_rows(things, things, "n", composer, pool, "green", language, distractors=1))

    english, german = rows("en"), rows("de")
    assert [row["image"] for row in english] == [row["image"] for row in german]
    assert str(german[0]["query"]).endswith("Katze")
    assert str(english[0]["query"]).endswith("cat")


def test_a_package_that_is_another_is_refused(tmp_path: Path) -> None:
    """A file with another checksum is not used; the message names the package and both checksums."""
    (tmp_path / "archive.tgz").write_bytes(b"something else")
    package = Package("things", "1.0", "npm", "0" * 64, "MIT", "nobody", "train")
    with pytest.raises(
        DatasetError, match=r"things 1\.0 is not the package that is pinned: its SHA-256 is [0-9a-f]{64}"
    ):
        check(package, str(tmp_path / "archive.tgz"))


def test_a_package_is_fetched_once(tmp_path: Path) -> None:
    """What is in the cache already is not fetched again."""
    package = STYLES["noto"]
    (tmp_path / package.folder).mkdir()
    assert fetch(package, str(tmp_path)) == str(tmp_path / package.folder)


def test_every_package_is_pinned() -> None:
    """Each package has a version, a checksum, a licence and an author; copyleft only measures, but for OpenMoji."""
    for package in ALL:
        assert len(package.sha256) == 64
        assert all((package.version, package.licence, package.author))
    copyleft = {package for package in ALL if "SA" in package.licence or "GPL" in package.licence}
    assert {package for package in copyleft if package.use != "evaluate"} == {STYLES["openmoji"]}


def test_no_share_alike_drawing_ships() -> None:
    """The gallery's drawings are under licences that only ask to be named."""
    assert not any("SA" in STYLES[style].licence for style in GALLERY_STYLES)


def test_variants_of_an_icon_show_what_it_is_called(tmp_path: Path) -> None:
    """Filled, bold and numbered icons of a bicycle are drawings of one, as many as are wanted; others are not."""
    names = ("bicycle", "bicycle-fill", "bicycle-2-bold", "bicycle-basket")
    folder = write_set(tmp_path / "icons", "#000", dict(zip("abcd", names, strict=True)), codes=False)
    coded = write_set(tmp_path / "coded", "#000", codes=True)
    bicycle = next(
        thing for thing in read_things(write_names(tmp_path / "names"), [coded]) if thing.name == "bicycle"
    )
    known = known_names([bicycle], [coded])
    assert len(Drawings(folder, known).of(bicycle)) == 3
    assert len(Drawings(folder, known, most=2).of(bicycle)) == 2


@pytest.mark.parametrize("seed", range(20))
def test_another_hand_leaves_a_named_colour(artwork: Artwork, seed: int) -> None:
    """However a drawing is changed, what a caption calls green stays green."""
    chance = random.Random(seed)
    drawing = artwork.drawing(artwork.places["red"][_thing(artwork, "cat")][0])
    green = filled(drawing, shade("green", chance))
    pixels = np.asarray(altered(green, chance, recolour=False), np.int16)
    red, green_, blue, opaque = (pixels[..., n] for n in range(4))
    coloured = (opaque > 128) & (pixels[..., :3].max(axis=-1) - pixels[..., :3].min(axis=-1) > 30)
    assert coloured.any()
    assert ((green_ > red) & (green_ > blue))[coloured].mean() > 0.9


def test_a_changed_drawing_still_shows_something(artwork: Artwork) -> None:
    """Whatever another hand does to a drawing, a good part of it is left to be seen."""
    drawing = artwork.drawing(artwork.places["red"][_thing(artwork, "cat")][0])
    before = (np.asarray(drawing.getchannel("A")) > 128).sum()
    for seed in range(150):
        changed = altered(drawing, random.Random(seed))
        assert changed.mode == "RGBA"
        assert (np.asarray(changed.getchannel("A")) > 128).sum() > before / 3
