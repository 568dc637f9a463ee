"""Full text in the catalogue of what stands in images: SQLite's FTS5 over the tokens that ``tokens`` makes.

Triggers note in ``image_words_due`` whose text has changed, in the transaction that changes it; each transaction of a
writer ends with making these again, as ``metadata.fulltext`` does with names and titles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from imgsearch.errors import IndexDamaged, repair_hint
from imgsearch.index.image_text import lines_of
from imgsearch.index.image_text.tokens import Phrase, tokens_of
from imgsearch.index.layout import index_of

if TYPE_CHECKING:
    from imgsearch.index.database import Database

# The tokens are made already: ASCII's tokenizer parts them at the spaces between them and changes nothing.
_MADE = "image_words USING fts5 (text, tokenize = 'ascii')"
_TABLE = f"CREATE VIRTUAL TABLE {_MADE}"
_ALL_DUE = "INSERT INTO image_words_due SELECT content FROM image_text"
SCHEMA = (
    """CREATE TABLE image_text (
        content INTEGER PRIMARY KEY,         -- content.id
        reader TEXT NOT NULL,                -- who has read it
        lines TEXT NOT NULL                  -- JSON: [text, [8 corners]] of each line; '' if there is no text
    )""",
    _TABLE,
    "CREATE TABLE image_words_due (content INTEGER PRIMARY KEY)",  # ids of contents whose words are to be made again
    """CREATE TRIGGER text_read AFTER INSERT ON image_text BEGIN
        INSERT INTO image_words_due VALUES (NEW.content) ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER text_unread AFTER DELETE ON image_text BEGIN
        INSERT INTO image_words_due VALUES (OLD.content) ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER text_forgotten AFTER DELETE ON content BEGIN
        DELETE FROM image_text WHERE content = OLD.id;
    END""",
)
"""The statements of the migration."""
SHADOWS = (
    "CREATE TABLE 'image_words_data'(id INTEGER PRIMARY KEY, block BLOB)",
    "CREATE TABLE 'image_words_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
    "CREATE TABLE 'image_words_content'(id INTEGER PRIMARY KEY, c0)",
    "CREATE TABLE 'image_words_docsize'(id INTEGER PRIMARY KEY, sz BLOB)",
    "CREATE TABLE 'image_words_config'(k PRIMARY KEY, v) WITHOUT ROWID",
)
"""What FTS5 makes for the table of its own accord."""
EMPTY = (
    f"CREATE VIRTUAL TABLE temp.{_MADE}",
    "CREATE TEMP VIEW image_words_due AS SELECT 0 AS content WHERE 0",
    "CREATE TEMP VIEW image_text AS SELECT 0 AS content, '' AS reader, '' AS lines WHERE 0",
)
"""Makes the tables for a reader of an older format, who finds nothing in them."""
AT_ONCE = 2_000
"""How many images' words a transaction makes again at most: a second or so."""


COVERED = 0.6
"""How much of what a query asks for must stand in an image's text for that to count, by how rare its words are."""
_MOST_FOUND = 2_000
"""A phrase that stands in more images tells nothing of them."""


def find(database: Database, phrases: Sequence[Phrase]) -> Generator[tuple[int, int, float], None, None]:
    """Yield (segment, row, score) of the images that have files and all of some phrases in their text.

    The best is first, by BM25: many and rare words in little text count; a higher score is a better one. Raises
    IndexDamaged, which tells how to repair it.
    """
    if phrases:
        for segment, row, score, _ in _found(database, " AND ".join(map(_matching, phrases))):
            yield segment, row, score


def find_close(
    database: Database, phrases: Sequence[Phrase]
) -> Generator[tuple[int, int, float], None, None]:
    """Yield what ``find`` does of the images that have enough of some phrases in their text: those with most first.

    Enough is COVERED of them, each counted by its rarity, the logarithm of how many images there are for each that has
    it. A phrase that stands nowhere counts as the rarest. Raises IndexDamaged.
    """
    covers: dict[int, float] = {}
    whole, images = 0.0, _text_count(database)
    for phrase in phrases:
        ids = _holding(database, phrase)
        rarity = math.log1p(images / max(len(ids), 0.5)) if len(ids) <= _MOST_FOUND else 0.0
        whole += rarity
        for id in ids if rarity else ():
            covers[id] = covers.get(id, 0.0) + rarity
    good = {id: cover for id, cover in covers.items() if cover >= COVERED * whole}
    if not good:
        return
    asked = " OR ".join(map(_matching, phrases))
    best = sorted(good, key=lambda id: (-good[id], id))[:_MOST_FOUND]
    found = _found(database, asked, f"AND image_words.rowid IN ({', '.join(map(str, best))}) ")
    scored = {id: (segment, row, score) for segment, row, score, id in found}
    yield from (scored[id] for id in sorted(scored, key=lambda id: (-good[id], -scored[id][2])))


def _found(database: Database, asked: str, where: str = "") -> Iterator[tuple[int, int, float, int]]:
    """Yield (segment, row, score, content) of what FTS5 finds, best first. Raises IndexDamaged."""
    sql = (
        "SELECT segment, row, -bm25(image_words), content.id FROM image_words CROSS JOIN content "
        f"ON content.id = image_words.rowid WHERE image_words MATCH ? AND files > 0 {where}"
        "AND image_words.rowid NOT IN (SELECT content FROM image_words_due) "
        "ORDER BY bm25(image_words), content.id"
    )
    try:
        yield from database.stream(_found_row, sql, asked)
    except IndexDamaged as error:
        raise damaged(database, error) from error


def _text_count(database: Database) -> int:
    """Return in how many images any text has been found."""
    return database.query(int, "SELECT count(*) FROM image_words_docsize")[0]


def _holding(database: Database, phrase: Phrase) -> list[int]:
    """Return the contents in which a phrase stands, not many more than count. Raises IndexDamaged."""
    sql = "SELECT rowid FROM image_words WHERE image_words MATCH ? LIMIT ?"
    try:
        return database.query(int, sql, _matching(phrase), _MOST_FOUND + 1)
    except IndexDamaged as error:
        raise damaged(database, error) from error


def _matching(phrase: Phrase) -> str:
    """Return a phrase in FTS5's language; its tokens are letters and digits alone."""
    return f'"{" ".join(phrase.tokens)}"{" *" if phrase.open else ""}'


def damaged(database: Database, error: IndexDamaged) -> IndexDamaged:
    """Return the error that says that only this full text is damaged, which a repair makes again."""
    reason = str(error.__cause__ or error)
    return IndexDamaged(
        f"the text of the images in {database.path} can't be searched ({reason}); ",
        repair_hint(index_of(database.folder)),
    )


def count_due(database: Database) -> int:
    """Return of how many images the words are still to be made again."""
    return database.query(int, "SELECT count(*) FROM image_words_due")[0]


def make_due(database: Database, most: int = AT_ONCE) -> None:
    """Make the words of at most so many images again that are due. In a transaction of the writer.

    Raises IndexDamaged, which tells how to repair it.
    """
    due = database.query(int, "SELECT content FROM image_words_due ORDER BY content LIMIT ?", most)
    if not due:
        return
    rows = list(_rows(database, due))
    db = database.connection
    ids = [(id,) for id in due]
    try:
        with database.errors_explained():
            db.executemany("DELETE FROM image_words WHERE rowid = ?", ids)
            db.executemany("INSERT INTO image_words (rowid, text) VALUES (?, ?)", rows)
    except IndexDamaged as error:
        raise damaged(database, error) from error
    db.executemany("DELETE FROM image_words_due WHERE content = ?", ids)


def make_anew(database: Database) -> None:
    """Make the table again, and note that all words are due. In a transaction of the writer."""
    for statement in (
        # FTS5 drops no table whose version it does not know.
        "DELETE FROM image_words_config",
        "INSERT INTO image_words_config VALUES ('version', 4)",
        "DROP TABLE image_words",
        _TABLE,
        "DELETE FROM image_words_due",
        _ALL_DUE,
    ):
        database.connection.execute(statement)


def is_right(database: Database) -> bool:
    """Whether a search finds by the table what it should, but for what is due; this reads all of it."""
    if database.version < 4:
        return True  # there is none
    due = set(database.query(int, "SELECT content FROM image_words_due"))
    ids = database.query(int, "SELECT content FROM image_text WHERE lines <> '' ORDER BY content")
    kept = database.stream(_word_row, "SELECT rowid, text FROM image_words ORDER BY rowid")
    parts = (ids[first : first + AT_ONCE] for first in range(0, len(ids), AT_ONCE))
    wanted = itertools.chain.from_iterable(_rows(database, part) for part in parts)
    tokens = 0
    try:
        for one, other in itertools.zip_longest(
            *((row for row in rows if row[0] not in due) for rows in (kept, wanted))
        ):
            if one != other:
                return False
            tokens += len(other[1].split())
        vocabulary = (
            "CREATE VIRTUAL TABLE IF NOT EXISTS temp.image_words_row USING fts5vocab (main, image_words, row)"
        )
        database.query(str, vocabulary)
        counted = database.query(int, "SELECT total(cnt) FROM temp.image_words_row")[0]
        return bool(due) or counted == tokens
    except IndexDamaged:
        return False


def _rows(database: Database, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield what the table should hold of some contents; nothing of one without text."""
    texts = lines_of(database, ids)
    for id in ids:
        if id in texts:
            yield id, " ".join(token.text for line in texts[id] for token in tokens_of(line.text))


def _word_row(id: int, text: str) -> tuple[int, str]:
    return int(id), str(text)


def _found_row(segment: int, row: int, score: float, id: int) -> tuple[int, int, float, int]:
    return int(segment), int(row), float(score), int(id)
