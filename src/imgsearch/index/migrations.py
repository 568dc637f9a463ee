"""The catalogue's schema, as numbered steps: an index at version n has run the first n of them.

A step that has shipped is never edited; a change is a new step at the end.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE meta (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE root (
            id INTEGER PRIMARY KEY,
            path BLOB NOT NULL UNIQUE,           -- absolute
            options TEXT NOT NULL,               -- JSON: the walk's options by name
            mount BLOB NOT NULL                  -- the mount point that it lies on
        )""",
        """CREATE TABLE segment (
            id INTEGER PRIMARY KEY,              -- vectors/<id>.f16
            rows INTEGER NOT NULL                -- committed rows; bytes past them do not exist
        )""",
        """CREATE TABLE content (
            id INTEGER PRIMARY KEY,
            sha256 BLOB NOT NULL,                -- of the file's bytes
            page INTEGER NOT NULL DEFAULT 0,
            segment INTEGER NOT NULL REFERENCES segment (id),
            row INTEGER NOT NULL,
            crc INTEGER NOT NULL,                -- crc32 of the row's bytes
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            UNIQUE (sha256, page),
            UNIQUE (segment, row)
        )""",
        """CREATE TABLE file (
            id INTEGER PRIMARY KEY,
            root INTEGER NOT NULL REFERENCES root (id) ON DELETE CASCADE,
            path BLOB NOT NULL,                  -- relative to the root
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            device INTEGER NOT NULL DEFAULT 0,   -- 0: the root's own device
            content BLOB,                        -- content.sha256, or NULL when skipped
            error TEXT,                          -- why it was skipped
            detail TEXT NOT NULL DEFAULT '',
            UNIQUE (root, path),
            CHECK ((content IS NULL) <> (error IS NULL))
        )""",
        "CREATE INDEX file_by_content ON file (content) WHERE content IS NOT NULL",
        "CREATE INDEX file_by_error ON file (error) WHERE error IS NOT NULL",
        """CREATE TABLE ann (
            id INTEGER PRIMARY KEY,
            segment INTEGER NOT NULL REFERENCES segment (id),
            rows INTEGER NOT NULL,
            name TEXT NOT NULL,                  -- file below faiss/
            faiss TEXT NOT NULL                  -- version that wrote it
        )""",
    ),
)
