"""The catalogue's schema, as numbered steps: an index at version n has run the first n of them.

A step that has shipped is never edited; a change is a new step at the end.
"""

from __future__ import annotations

_NOW = "CAST(strftime('%s', 'now') AS INTEGER)"

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
    # 2: what is dead and how many files there are is known without counting; derived FAISS files.
    (
        "ALTER TABLE content ADD COLUMN files INTEGER NOT NULL DEFAULT 0",  # how many files have it
        # Committed rows that no search may show: no file has their content, or it is forgotten.
        """CREATE TABLE dead (
            segment INTEGER NOT NULL,
            row INTEGER NOT NULL,
            since INTEGER NOT NULL DEFAULT 0,    -- when the last file went, seconds since 1970; 0: forgotten
            PRIMARY KEY (segment, row)
        ) WITHOUT ROWID""",
        # Files by the reason why they were skipped; '' are the indexed ones.
        "CREATE TABLE tally (reason TEXT PRIMARY KEY, files INTEGER NOT NULL) WITHOUT ROWID",
        "DROP TABLE ann",
        """CREATE TABLE ann (
            segment INTEGER PRIMARY KEY REFERENCES segment (id),
            rows INTEGER NOT NULL,               -- it covers the first so many
            name TEXT NOT NULL,                  -- file below faiss/
            faiss TEXT NOT NULL,                 -- version that wrote it
            bytes INTEGER NOT NULL,
            crc INTEGER NOT NULL,                -- crc32 of the file
            nlist INTEGER NOT NULL,              -- inverted lists
            nprobe INTEGER NOT NULL              -- of which a search looks into so many
        )""",
        "UPDATE content SET files = (SELECT count(*) FROM file WHERE file.content = content.sha256)",
        f"INSERT INTO dead SELECT segment, row, {_NOW} FROM content WHERE files = 0",
        """INSERT OR IGNORE INTO dead (segment, row)
            WITH RECURSIVE every (segment, row, rows) AS (
                SELECT id, 0, rows FROM segment WHERE rows > 0
                UNION ALL SELECT segment, row + 1, rows FROM every WHERE row + 1 < rows
            )
            SELECT segment, row FROM every
            WHERE NOT EXISTS (SELECT 1 FROM content c WHERE c.segment = every.segment AND c.row = every.row)""",
        "INSERT INTO tally SELECT coalesce(error, ''), count(*) FROM file GROUP BY 1",
        """CREATE TRIGGER file_added AFTER INSERT ON file BEGIN
            INSERT INTO tally VALUES (coalesce(NEW.error, ''), 1)
                ON CONFLICT (reason) DO UPDATE SET files = files + 1;
            UPDATE content SET files = files + 1 WHERE sha256 = NEW.content;
        END""",
        """CREATE TRIGGER file_dropped AFTER DELETE ON file BEGIN
            UPDATE tally SET files = files - 1 WHERE reason = coalesce(OLD.error, '');
            UPDATE content SET files = files - 1 WHERE sha256 = OLD.content;
        END""",
        """CREATE TRIGGER file_changed AFTER UPDATE OF content, error ON file
        WHEN OLD.content IS NOT NEW.content OR OLD.error IS NOT NEW.error BEGIN
            UPDATE tally SET files = files - 1 WHERE reason = coalesce(OLD.error, '');
            INSERT INTO tally VALUES (coalesce(NEW.error, ''), 1)
                ON CONFLICT (reason) DO UPDATE SET files = files + 1;
            UPDATE content SET files = files - 1 WHERE sha256 = OLD.content;
            UPDATE content SET files = files + 1 WHERE sha256 = NEW.content;
        END""",
        # A content is named after its files, in the same transaction, so that it is hardly ever dead for a moment.
        """CREATE TRIGGER content_added AFTER INSERT ON content BEGIN
            UPDATE content SET files = (SELECT count(*) FROM file WHERE content = NEW.sha256) WHERE id = NEW.id;
            INSERT INTO dead (segment, row) SELECT NEW.segment, NEW.row
                WHERE NOT EXISTS (SELECT 1 FROM file WHERE content = NEW.sha256);
        END""",
        f"""CREATE TRIGGER content_unused AFTER UPDATE OF files ON content WHEN OLD.files > 0 AND NEW.files = 0 BEGIN
            INSERT OR REPLACE INTO dead VALUES (NEW.segment, NEW.row, {_NOW});
        END""",
        """CREATE TRIGGER content_used AFTER UPDATE OF files ON content WHEN OLD.files = 0 AND NEW.files > 0 BEGIN
            DELETE FROM dead WHERE segment = NEW.segment AND row = NEW.row;
        END""",
        # Compaction: the row that it has left is dead; one that waits for its file to come back still waits.
        """CREATE TRIGGER content_moved AFTER UPDATE OF segment, row ON content BEGIN
            INSERT OR REPLACE INTO dead SELECT NEW.segment, NEW.row, since FROM dead
                WHERE segment = OLD.segment AND row = OLD.row AND NEW.files = 0;
            INSERT OR REPLACE INTO dead VALUES (OLD.segment, OLD.row, 0);
        END""",
        """CREATE TRIGGER content_forgotten AFTER DELETE ON content BEGIN
            INSERT OR REPLACE INTO dead VALUES (OLD.segment, OLD.row, 0);
        END""",
    ),
)
