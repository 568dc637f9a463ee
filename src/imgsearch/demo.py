"""Use case: show the whole way on drawn pictures: draw, index, find each picture's altered copies.

Until a trained checkpoint ships, the model is a tiny one with random weights: it tells pictures apart, so that
copies are found, but it knows no words.
"""

from __future__ import annotations

import os

from imgsearch.identity import ModelChoice
from imgsearch.index.image_index import ImageIndex
from imgsearch.indexer import index_pictures
from imgsearch.job import IndexOptions
from imgsearch.media.gallery import draw_gallery
from imgsearch.search import SearchOptions, similar
from imgsearch.types import Encoder, Reporter

PICTURES = 24


def run_demo(out: str, reporter: Reporter) -> int:
    """Draw a gallery into ``out``, index it, and look for each picture's copies; return 0 if all were found.

    Raises StorageError if ``out`` can't be written.
    """
    from imgsearch.model.random_checkpoint import write_random_checkpoint

    out = os.path.abspath(out)
    pictures, model, folder = (os.path.join(out, name) for name in ("pictures", "model", ".imgsearch"))
    copies = draw_gallery(pictures, PICTURES)
    reporter.say(
        f"drew {PICTURES} pictures and, of each, {len(next(iter(copies.values())))} altered copies in {pictures}"
    )
    write_random_checkpoint(model)
    reporter.say(
        "the model here is tiny and its weights are random: it knows pictures again, but no words yet"
    )
    result = index_pictures([pictures], folder, IndexOptions(model=ModelChoice(model=model)), reporter)
    reporter.say(result.summary().partition(" Try:")[0])

    def no_model() -> Encoder:
        raise AssertionError("an indexed picture answers from its stored vector")

    found = asked = 0
    with ImageIndex(folder) as index:
        for original, altered in copies.items():
            hits = similar(index, original, no_model, SearchOptions(n=1 + len(altered)))
            near = {hit.path for hit in hits[1:]}
            asked += len(altered)
            found += len(near & set(altered))
            marks = "  ".join(
                f"{os.path.basename(hit.path)} {hit.score:.3f}{'' if hit.path in altered else ' (wrong)'}"
                for hit in hits[1:]
            )
            reporter.say(f"similar {os.path.basename(original)}:  {marks}")
    reporter.say(f"{found} of {asked} altered copies stand first behind their original")
    reporter.say(
        "On your own pictures:  imgsearch index ~/Pictures   then:  imgsearch query 'red car at night'"
    )
    return 0 if found == asked else 1
