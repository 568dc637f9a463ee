"""Images found by the text that stands in them: by words alone, or beside what they show; and what is quoted of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imgsearch.index import image_text
from imgsearch.index.image_text.quotes import quote_of
from imgsearch.index.image_text.tokens import Phrase, phrases_of
from imgsearch.index.metadata.fulltext import is_everywhere
from imgsearch.index.reader import ImageIndex
from imgsearch.search.hits import SearchOptions
from imgsearch.search.ranking.fusion import DEPTH
from imgsearch.types import Hit, Record, Vectors

PLAIN_WORDS = 0.5
"""How much the ranks weigh for words without a digit or quotation marks: they may as well describe an image."""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """The images in whose text ``phrases`` of a query stand, best first, each with its score.

    ``weight`` is how much their ranks count against those of what images show.
    """

    phrases: tuple[Phrase, ...] = ()
    found: Sequence[tuple[Record, float]] = ()
    weight: float = 1.0

    def quoted(self, index: ImageIndex, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits, those that are among these images with what is quoted of them. Raises IndexDamaged."""
        here = {record.id for record, _ in self.found}
        return _quoted(index, hits, here, self.phrases) if here else list(hits)


NOTHING = Written()


def find_written(index: ImageIndex, text: str, options: SearchOptions) -> list[tuple[Record, float]]:
    """Return the at most ``options.n`` images in which all words of a text are written, each with its BM25."""
    return index.search_text(phrases_of(text), options.n, below=options.below, filters=options.filters)


def quoted(index: ImageIndex, hits: Sequence[Hit], text: str) -> list[Hit]:
    """Return hits, each with what is quoted of it for the words of a text. Raises IndexDamaged."""
    return _quoted(index, hits, {hit.content for hit in hits}, phrases_of(text))


def _quoted(
    index: ImageIndex, hits: Sequence[Hit], which: Collection[int], phrases: Sequence[Phrase]
) -> list[Hit]:
    contents = [hit.content for hit in hits if hit.content in which]
    texts = image_text.lines_of(index.catalog.database, contents)
    quotes = {content: quote_of(lines, phrases) for content, lines in texts.items()}
    return [replace(hit, quote=quotes.get(hit.content)) for hit in hits]


def find_beside(index: ImageIndex, vectors: Vectors, text: str, options: SearchOptions) -> Written:
    """Return the images whose text matches a query well, each with the cosine of a vector (1, dim), if that counts.

    Words that stand everywhere are not looked for; what matches well, ``image_text.search.find_close`` says.
    """
    if options.image_text != "auto" or not text or not image_text.has_any(index.catalog.database):
        return NOTHING
    phrases = tuple(phrase for phrase in phrases_of(text) if not _says_nothing(phrase))
    if not phrases:
        return NOTHING
    vector = np.asarray(vectors[0], np.float32)
    depth = max(options.n + options.offset, DEPTH)
    found = index.search_text(
        phrases, depth, vector, options.dim, below=options.below, filters=options.filters
    )
    plain = all(len(phrase.tokens) == 1 and phrase.tokens[0].isalpha() for phrase in phrases)
    return Written(phrases, found, PLAIN_WORDS if plain else 1.0)


def _says_nothing(phrase: Phrase) -> bool:
    first, *others = phrase.tokens
    return not others and first.isascii() and first.isalpha() and (len(first) < 3 or is_everywhere(first))


def why_nothing(index: ImageIndex, text: str) -> str:
    """Return why no image was found by the text in it; "" if nothing is to be said."""
    if not image_text.has_any(index.catalog.database):
        return "no text has been read in these images"
    if not phrases_of(text):
        return "there is no word in the query"
    return "in no image stand all of these words"
