"""Relevance feedback: a query is moved towards the images that somebody likes, and away from others.

Rocchio's rule: the query itself counts 1, the images that are liked 0.75 together, the others -0.15 together (the
weights of Manning, Raghavan, Schütze: Introduction to Information Retrieval, 2008, section 9.1.1). What is liked says
more than what is not, since a query can be wrong in many ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from imgsearch.errors import InputError
from imgsearch.index.reader import ImageIndex
from imgsearch.search.ranking.compose import SAMPLE, combined
from imgsearch.types import Vectors

QUERY, MORE, LESS = 1.0, 0.75, -0.15
"""The weights of the query, of all that is liked together, and of all that is not."""

Page = tuple[bytes, int]
"""An image by its content, the sha256 of its file's bytes, and its page there."""


@dataclass(frozen=True, slots=True, eq=False)
class Feedback:
    """A query by its vector (1, dim), and the images that are to count with it and against it.

    ``of_image``: the query was one of images alone. Refining again adds to the images; the query stays as it was.
    """

    query: Vectors
    of_image: bool
    more: tuple[Page, ...] = ()
    less: tuple[Page, ...] = ()

    def adding(self, more: tuple[Page, ...], less: tuple[Page, ...]) -> Feedback:
        """Return it with further images; of one that was judged before, the last word counts."""
        kept = [page for page in self.more if page not in (*more, *less)]
        against = [page for page in self.less if page not in (*more, *less)]
        return replace(self, more=(*kept, *more), less=(*against, *less))


def refined(index: ImageIndex, feedback: Feedback) -> Vectors:
    """Return the unit vector (1, dim) of a query with its feedback, by the stored vectors of the images.

    Raises InputError if one of the images is no longer indexed, or if nothing is left of the query.
    """
    return moved(feedback, index.vector, index.sample(SAMPLE))


def moved(feedback: Feedback, vector_of: Callable[[bytes, int], Vectors | None], sample: Vectors) -> Vectors:
    """Return what ``refined`` does, by what gives the vector (1, dim) of an image, and some stored vectors."""
    vectors, weights = [feedback.query], [QUERY]
    for weight, pages in ((MORE, feedback.more), (LESS, feedback.less)):
        for content, page in pages:
            vector = vector_of(content, page)
            if vector is None:
                raise InputError("one of the images is no longer indexed; search again")
            vectors.append(vector)
            weights.append(weight / len(pages))
    of_images = [feedback.of_image] + [True] * (len(vectors) - 1)
    return combined(np.concatenate(vectors), weights, of_images, sample)
