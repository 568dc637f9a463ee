"""Full text in the catalogue: the words of each image's names, title, description and keywords.

SQLite's FTS5 by trigrams: "beach" is found in ``Mybeachday.jpg`` and "untergang" in ``Sonnenuntergang.jpg``, where
an index of words and their beginnings finds neither. Accents and case are folded here and not by SQLite, whose
trigrams can do that only from 3.45 on.

Triggers note in ``words_due`` whose words have changed, in the transaction that changes them; each transaction of a
writer ends with making them again. So a writer that is killed loses nothing, and what a migration notes is made when
an ``index`` run comes to it.
"""

from __future__ import annotations

import itertools
import json
import operator
import os
import unicodedata
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from imgsearch.errors import IndexDamaged, repair_hint
from imgsearch.index.layout import index_of
from imgsearch.index.rows import pair_row

if TYPE_CHECKING:
    from imgsearch.index.database import Database

FIELDS = ("name", "title", "keyword")
"""What a word can be found in: names of files and folders; title and description; keywords."""
_MADE = "words USING fts5 (name, title, keyword, tokenize = 'trigram case_sensitive 1')"
_TABLE = f"CREATE VIRTUAL TABLE {_MADE}"
_TELLS = "{0}.title <> '' OR {0}.description <> '' OR {0}.keywords <> ''"
_ALL_DUE = "INSERT INTO words_due SELECT id FROM content"


def _note(contents: str) -> str:
    """Return the statement of a trigger that notes contents as due; a statement's OR would overrule its OR IGNORE."""
    return f"INSERT INTO words_due {contents} ON CONFLICT DO NOTHING"


SCHEMA = (
    _TABLE,
    "CREATE TABLE words_due (content INTEGER PRIMARY KEY)",  # ids of contents whose words are to be made again
    f"""CREATE TRIGGER file_named AFTER INSERT ON file WHEN NEW.content IS NOT NULL BEGIN
        {_note("SELECT id FROM content WHERE sha256 = NEW.content")};
    END""",
    f"""CREATE TRIGGER file_renamed AFTER UPDATE OF root, path, content ON file
    WHEN (OLD.root, OLD.path, OLD.content) IS NOT (NEW.root, NEW.path, NEW.content) BEGIN
        {_note("SELECT id FROM content WHERE sha256 IN (OLD.content, NEW.content)")};
    END""",
    f"""CREATE TRIGGER file_unnamed AFTER DELETE ON file WHEN OLD.content IS NOT NULL BEGIN
        {_note("SELECT id FROM content WHERE sha256 = OLD.content")};
    END""",
    f"""CREATE TRIGGER content_named AFTER INSERT ON content BEGIN
        {_note("VALUES (NEW.id)")};
    END""",
    f"""CREATE TRIGGER content_unnamed AFTER DELETE ON content BEGIN
        {_note("VALUES (OLD.id)")};
    END""",
    f"""CREATE TRIGGER metadata_told AFTER INSERT ON metadata WHEN {_TELLS.format("NEW")} BEGIN
        {_note("SELECT id FROM content WHERE sha256 = NEW.sha256")};
    END""",
    f"""CREATE TRIGGER metadata_untold AFTER DELETE ON metadata WHEN {_TELLS.format("OLD")} BEGIN
        {_note("SELECT id FROM content WHERE sha256 = OLD.sha256")};
    END""",
    f"""CREATE TRIGGER root_renamed AFTER UPDATE OF path ON root WHEN OLD.path IS NOT NEW.path BEGIN
        {_note("SELECT content.id FROM file JOIN content ON content.sha256 = file.content WHERE root = NEW.id")};
    END""",
    _ALL_DUE,
)
"""The statements of the migration."""
SHADOWS = (
    "CREATE TABLE 'words_data'(id INTEGER PRIMARY KEY, block BLOB)",
    "CREATE TABLE 'words_idx'(segid, term, pgno, PRIMARY KEY(segid, term)) WITHOUT ROWID",
    "CREATE TABLE 'words_content'(id INTEGER PRIMARY KEY, c0, c1, c2)",
    "CREATE TABLE 'words_docsize'(id INTEGER PRIMARY KEY, sz BLOB)",
    "CREATE TABLE 'words_config'(k PRIMARY KEY, v) WITHOUT ROWID",
)
"""What FTS5 makes for the table of its own accord."""
EMPTY = (
    f"CREATE VIRTUAL TABLE temp.{_MADE}",
    "CREATE TEMP VIEW words_due AS SELECT id AS content FROM content",
)
"""Makes the tables for a reader of an older format, who finds nothing in them: all is due."""

AT_ONCE = 10_000
"""How many images' words a transaction makes again at most: a second or so."""
_MOST_CHARACTERS = 8_000
"""Of a field: copies in a thousand folders have no end of names."""
_MOST_WORDS = 64
"""Of a query that are looked for."""
_SHORTEST = 3
"""Characters of a word that can be looked for: a trigram's."""
_EVERYWHERE = (
    "and are but for from has her his its not off one our out she than that the their them then there these they this "
    "those was were who with you your into onto over under image images picture pictures photo photos"
)
"""Words that tell nothing of an image, and are part of many names."""
_NO_WORDS = frozenset(_EVERYWHERE.split())


def fold(text: str) -> str:
    """Return a text without case and accents: what differs in nothing else is the same to a search."""
    if text.isascii():
        return text.lower()
    plain = text
    for _ in range(2):  # a letter of mathematics has its case only when it is a plain one
        plain = unicodedata.normalize("NFKD", plain).casefold()
    return "".join(char for char in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(char))


def words_of(query: str) -> tuple[str, ...]:
    """Return the words of a query that are looked for, folded, each once; shorter ones than a trigram are none."""
    letters = "".join(char if char.isalnum() else " " for char in fold(query))
    words = (word for word in letters.split() if len(word) >= _SHORTEST and word not in _NO_WORDS)
    return tuple(itertools.islice(dict.fromkeys(words), _MOST_WORDS))


def is_everywhere(word: str) -> bool:
    """Whether a folded word tells nothing of an image."""
    return word in _NO_WORDS


def find(database: Database, words: Sequence[str]) -> Generator[tuple[int, int], None, None]:
    """Yield (segment, row) of the images that have files and one of some folded words, best first.

    They are ranked by BM25: many and rare words count. Raises IndexDamaged, which tells how to repair it.
    """
    if not words:
        return
    asked = " OR ".join('"{}"'.format(word.replace('"', '""')) for word in words)
    sql = (
        "SELECT segment, row FROM words CROSS JOIN content ON content.id = words.rowid "
        "WHERE words MATCH ? AND files > 0 ORDER BY bm25(words), content.id"
    )
    try:
        yield from database.stream(pair_row, sql, asked)
    except IndexDamaged as error:
        raise damaged(database, error) from error


def matched(
    database: Database, contents: Collection[int], words: Sequence[str]
) -> dict[int, dict[str, list[str]]]:
    """Return for some contents, by their ids, which of some folded words stand in which of FIELDS.

    A content and a field without any are left out. Raises IndexDamaged.
    """
    found: dict[int, dict[str, list[str]]] = {}
    ids = list(contents)
    for some in (ids[first : first + AT_ONCE] for first in range(0, len(ids), AT_ONCE)):
        sql = f"SELECT rowid, {', '.join(FIELDS)} FROM words WHERE rowid IN ({', '.join('?' * len(some))})"
        for id, *texts in database.query(lambda *row: row, sql, *some):
            for field, text in zip(FIELDS, texts, strict=True):
                if here := [word for word in words if word in str(text)]:
                    found.setdefault(int(id), {})[field] = here
    return found


def damaged(database: Database, error: IndexDamaged) -> IndexDamaged:
    """Return the error that says that only the full text is damaged, which a repair makes again."""
    reason = str(error.__cause__ or error)
    return IndexDamaged(
        f"the names and titles in {database.path} can't be searched ({reason}); ",
        repair_hint(index_of(database.folder)),
    )


def count_due(database: Database) -> int:
    """Return of how many images the words are still to be made again."""
    return database.query(int, "SELECT count(*) FROM words_due")[0]


def make_due(database: Database, most: int = AT_ONCE) -> None:
    """Make the words of at most so many images again that are due. In a transaction of the writer.

    Raises IndexDamaged, which tells how to repair it.
    """
    some = "SELECT content AS id FROM words_due ORDER BY content LIMIT ?"
    (last,) = database.query(_number, f"SELECT max(id) FROM ({some})", most)
    if last is None:
        return
    rows = list(_texts(database, some, most))
    db = database.connection
    try:
        with database.errors_explained():
            db.execute(
                "DELETE FROM words WHERE rowid IN (SELECT content FROM words_due WHERE content <= ?)", (last,)
            )
            db.executemany("INSERT INTO words (rowid, name, title, keyword) VALUES (?, ?, ?, ?)", rows)
    except IndexDamaged as error:
        raise damaged(database, error) from error
    db.execute("DELETE FROM words_due WHERE content <= ?", (last,))


def make_anew(database: Database) -> None:
    """Make the table again, and note that all words are due. In a transaction of the writer."""
    for statement in (
        # FTS5 drops no table whose version it does not know.
        "DELETE FROM words_config",
        "INSERT INTO words_config VALUES ('version', 4)",
        "DROP TABLE words",
        _TABLE,
        "DELETE FROM words_due",
        _ALL_DUE,
    ):
        database.connection.execute(statement)


def is_right(database: Database) -> bool:
    """Whether a search finds by the table what it should, but for what is due; this reads all of it."""
    if database.version < 3:
        return True  # there is none
    due = set(database.query(int, "SELECT content FROM words_due"))
    columns = ", ".join(f"words.{field}" for field in ("rowid", *FIELDS))
    sql = f"SELECT {columns}, sz FROM words LEFT JOIN words_docsize ON id = words.rowid ORDER BY words.rowid"
    kept = database.stream(lambda *row: row, sql)
    wanted = ((*row, _sizes(row)) for row in _texts(database, "SELECT id FROM content ORDER BY id"))
    pairs = itertools.zip_longest(*((row for row in rows if row[0] not in due) for rows in (kept, wanted)))
    lengths = " + ".join(f"max(0, length({field}) + 1 - {_SHORTEST})" for field in FIELDS)
    grams = f"SELECT (SELECT total(cnt) FROM temp.words_grams) = (SELECT total({lengths}) FROM words)"
    lost = (
        "SELECT EXISTS (SELECT 1 FROM temp.words_grams AS one WHERE NOT EXISTS "
        "(SELECT 1 FROM temp.words_grams AS same WHERE same.term = one.term AND same.doc = one.doc))"
    )
    try:
        if any(one != other for one, other in pairs):
            return False
        vocabulary = "CREATE VIRTUAL TABLE IF NOT EXISTS temp.words_grams USING fts5vocab (main, words, row)"
        database.query(str, vocabulary)
        if not database.query(bool, grams)[0] or database.query(bool, lost)[0]:
            return False
        list(find(database, database.query(str, "SELECT term FROM temp.words_grams LIMIT 1")))
    except IndexDamaged:
        return False
    return True


def _sizes(row: Row) -> bytes:
    """Return what FTS5 notes of a row: how many trigrams each field has, by SQLite's numbers of one byte or two."""
    sizes = [max(0, len(text) + 1 - _SHORTEST) for text in row[1:]]
    return b"".join(bytes([size >> 7 | 0x80, size & 0x7F] if size > 0x7F else [size]) for size in sizes)


Row = tuple[int, str, str, str]
"""A content's id and its texts, in the order of FIELDS."""


def _texts(database: Database, ids: str, *values: object) -> Iterator[Row]:
    """Yield what the table should hold of the contents whose ids a statement selects; nothing of one without files."""
    # Roots as they are stored: the folder that a portable index is in may be called anything tomorrow.
    sql = (
        f"WITH wanted AS ({ids}) SELECT wanted.id, root.path, file.path, title, description, keywords FROM wanted "
        "CROSS JOIN content USING (id) CROSS JOIN file ON file.content = content.sha256 "
        "CROSS JOIN main.root AS root ON root.id = file.root LEFT JOIN metadata USING (sha256) "
        "ORDER BY wanted.id, root.path, file.path"
    )
    rows = database.stream(_named, sql, *values)
    for (id, title, keyword), named in itertools.groupby(rows, key=operator.itemgetter(0, 1, 2)):
        names = dict.fromkeys(itertools.chain.from_iterable(names for *_, names in named))
        yield id, _joined(names), title, keyword


def _named(
    id: int, root: bytes, path: bytes, title: str | None, description: str | None, keywords: str | None
) -> tuple[int, str, str, list[str]]:
    """Read a row; the database turns ValueError and TypeError into damage."""
    folders, name = os.path.split(os.fsdecode(path))
    names = [os.path.basename(os.fsdecode(root)), *folders.split(os.sep), os.path.splitext(name)[0]]
    words = json.loads(keywords) if keywords else []
    return (
        int(id),
        _joined([title or "", description or ""]),
        _joined(map(str, words)),
        [n for n in names if n not in ("", os.curdir)],
    )


def _joined(texts: Iterable[str]) -> str:
    """Return texts folded, one a line, so that no word is found across two of them."""
    whole = "\n".join(text for text in texts if text)[:_MOST_CHARACTERS]
    # The bytes of a name may be no UTF-8, and folded a letter may be many.
    return fold(whole.encode(errors="replace").decode())[:_MOST_CHARACTERS]


def _number(value: int | None) -> int | None:
    return None if value is None else int(value)
