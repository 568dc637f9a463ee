"""Draws rows of things: a query, its picture, and pictures that differ from it in one attribute."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from things.compose import Composer
from things.scenes import Pool, Scene, is_held_out, weighted
from things.wording import caption

Cells = dict[str, str | bytes]
# How often a training negative differs in an attribute rather than in its thing, which the rest of a batch tells.
_NEGATIVES = {
    "thing": 1.0,
    "colour": 1.0,
    "ground": 1.0,
    "count": 3.0,
    "size": 2.0,
    "place": 3.0,
    "relation": 4.0,
}


def encoded(image: Image.Image) -> bytes:
    """Encode a picture small and quickly."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, subsampling=0)
    return stream.getvalue()


def training_rows(
    count: int,
    seed: str,
    pool: Pool,
    composer: Composer,
    kinds: Mapping[str, float],
    languages: Mapping[str, float],
    negatives: int = 1,
    *,
    altered: bool = True,
    plain: bool = False,
) -> Iterator[Cells]:
    """Yield ``count`` rows of combinations that are not held out, with so many negatives each.

    ``kinds`` and ``languages`` are weights; ``altered`` is as ``Composer.draw`` takes it, ``plain`` as
    ``caption``. The same ``seed`` gives the same rows.
    """
    chance = random.Random(f"things {seed}")
    made = 0
    while made < count:
        scene = pool.draw(weighted(kinds, chance), chance)
        if is_held_out(pool.artwork, scene):
            continue
        made += 1
        row: Cells = {
            "query": caption(pool.artwork, scene, chance, weighted(languages, chance), plain=plain),
            "image": encoded(composer.draw(scene, chance, altered=altered)),
        }
        for number, other in enumerate(_negatives(pool, scene, negatives, chance)):
            row[f"negative_{number}"] = encoded(composer.draw(other, chance, altered=altered))
        yield row


def _negatives(pool: Pool, scene: Scene, count: int, chance: random.Random) -> Iterator[Scene]:
    """Draw scenes that differ from ``scene`` in one attribute each, in different ones while there are such."""
    left = list(scene.attributes())
    for _ in range(count):
        attribute = chance.choices(left, [_NEGATIVES[name] for name in left])[0]
        yield pool.alternative(scene, attribute, chance)
        if len(left) > 1:
            left.remove(attribute)


def composition_rows(
    count: int, seed: str, pool: Pool, composer: Composer, kind: str, attribute: str
) -> Iterator[Cells]:
    """Yield ``count`` rows of distinct held-out combinations, each with a negative in ``attribute``.

    Raises ValueError if there are too few of them.
    """
    chance = random.Random(f"compositions {seed} {kind} {attribute}")
    taken: set[tuple[object, ...]] = set()
    for _ in range(400 * count):
        if len(taken) == count:
            return
        scene = pool.draw(kind, chance)
        if scene.key() in taken or not (is_held_out(pool.artwork, scene) or kind == "one"):
            continue
        taken.add(scene.key())
        yield {
            "query": caption(pool.artwork, scene, chance, plain=True),
            "image": encoded(composer.draw(scene, chance, altered=False)),
            "negative_0": encoded(
                composer.draw(pool.alternative(scene, attribute, chance), chance, altered=False)
            ),
            "attribute": attribute,
        }
    if len(taken) < count:
        raise ValueError(f"there are fewer than {count} held-out combinations of the kind {kind!r}")


def name_rows(
    things: Sequence[int],
    others: Sequence[int],
    seed: str,
    composer: Composer,
    pool: Pool,
    style: str,
    language: str = "en",
    distractors: int = 4,
) -> Iterator[Cells]:
    """Yield a row for each of ``things``: its name, its picture in ``style``, and pictures of ``others``.

    The pictures are the same whatever the language.
    """
    chance = random.Random(f"names {seed} {style}")
    words = random.Random(f"words {seed} {language}")
    for thing in things:
        scene = Scene("one", thing)
        row: Cells = {
            "query": caption(pool.artwork, scene, words, language, plain=True),
            "image": encoded(composer.draw(scene, chance, style=style, altered=False)),
        }
        for number in range(distractors):
            other = Scene("one", chance.choice(others))
            row[f"negative_{number}"] = encoded(composer.draw(other, chance, style=style, altered=False))
        yield row
