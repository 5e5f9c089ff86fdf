-- SPDX-License-Identifier: GPL-3.0-or-later
-- What history and trash take of the disk, kept up to date with every row that comes or goes (see past_sizes.py).
-- Meta value 'trash_counted': present once every node that was removed before this format is in `trash_content`.

CREATE TABLE trash_content (      -- what removed nodes that are kept contain
    node       BLOB NOT NULL,
    hash       BLOB NOT NULL,     -- of its content; '' for bytes inside the record
    size       INTEGER NOT NULL,
    removed_ms INTEGER NOT NULL,  -- when this device saw it removed
    PRIMARY KEY (node, hash)
) WITHOUT ROWID;
CREATE INDEX trash_content_by_age ON trash_content (removed_ms, node);

CREATE TABLE past_content (       -- content that replaced versions or removed nodes have
    hash    BLOB PRIMARY KEY,
    size    INTEGER NOT NULL,
    history INTEGER NOT NULL,     -- rows of `history` that name it
    trash   INTEGER NOT NULL      -- rows of `trash_content` that name it
) WITHOUT ROWID;

CREATE TABLE past_sizes (         -- totals; content that is not on this device counts nothing
    name  TEXT PRIMARY KEY,       -- 'versions': rows of `history`; 'history': their bytes; 'all': with the trash, each content once
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE let_go (             -- removed files that went from the trash to make room: a restored folder names them
    node       BLOB PRIMARY KEY,
    parent     BLOB NOT NULL,
    name       BLOB NOT NULL,
    removed_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX let_go_by_parent ON let_go (parent);

CREATE INDEX history_by_node ON history (node, ended_ms);

-- ---------------------------------------------------------------- what is there already
INSERT INTO past_content SELECT blob, max(size), count(*), 0 FROM history WHERE blob IS NOT NULL GROUP BY blob;
INSERT INTO past_sizes
    SELECT 'versions', count(*) FROM history
    UNION ALL SELECT 'history', coalesce((SELECT sum(size) FROM history WHERE blob IS NULL), 0)
        + coalesce((SELECT sum(p.size) FROM past_content AS p JOIN content AS c ON c.hash=p.hash), 0);
INSERT INTO past_sizes SELECT 'all', value FROM past_sizes WHERE name='history';

-- ---------------------------------------------------------------- bytes inside the records
CREATE TRIGGER history_more_inline AFTER INSERT ON history WHEN NEW.blob IS NULL BEGIN
    UPDATE past_sizes SET value=value + CASE name WHEN 'versions' THEN 1 ELSE NEW.size END;
END;
CREATE TRIGGER history_less_inline AFTER DELETE ON history WHEN OLD.blob IS NULL BEGIN
    UPDATE past_sizes SET value=value - CASE name WHEN 'versions' THEN 1 ELSE OLD.size END;
END;
CREATE TRIGGER trash_more_inline AFTER INSERT ON trash_content WHEN NEW.hash=x'' BEGIN
    UPDATE past_sizes SET value=value + NEW.size WHERE name='all';
END;
CREATE TRIGGER trash_less_inline AFTER DELETE ON trash_content WHEN OLD.hash=x'' BEGIN
    UPDATE past_sizes SET value=value - OLD.size WHERE name='all';
END;

-- ---------------------------------------------------------------- content by hash: its first row counts, and its last one
CREATE TRIGGER history_more AFTER INSERT ON history WHEN NEW.blob IS NOT NULL BEGIN
    INSERT OR IGNORE INTO past_content VALUES (NEW.blob, NEW.size, 0, 0);
    UPDATE past_sizes SET value=value + CASE name WHEN 'versions' THEN 1 ELSE
        (SELECT CASE WHEN history=0 AND (NOT trash OR past_sizes.name='history') THEN size ELSE 0 END
            * (SELECT count(*) FROM content WHERE hash=NEW.blob) FROM past_content WHERE hash=NEW.blob) END;
    UPDATE past_content SET history=history + 1 WHERE hash=NEW.blob;
END;
CREATE TRIGGER history_less AFTER DELETE ON history WHEN OLD.blob IS NOT NULL BEGIN
    UPDATE past_content SET history=history - 1 WHERE hash=OLD.blob;
    UPDATE past_sizes SET value=value - CASE name WHEN 'versions' THEN 1 ELSE
        (SELECT CASE WHEN history=0 AND (NOT trash OR past_sizes.name='history') THEN size ELSE 0 END
            * (SELECT count(*) FROM content WHERE hash=OLD.blob) FROM past_content WHERE hash=OLD.blob) END;
    DELETE FROM past_content WHERE hash=OLD.blob AND history=0 AND trash=0;
END;
CREATE TRIGGER trash_more AFTER INSERT ON trash_content WHEN NEW.hash!=x'' BEGIN
    INSERT OR IGNORE INTO past_content VALUES (NEW.hash, NEW.size, 0, 0);
    UPDATE past_sizes SET value=value + (SELECT CASE WHEN history=0 AND trash=0 THEN size ELSE 0 END
        * (SELECT count(*) FROM content WHERE hash=NEW.hash) FROM past_content WHERE hash=NEW.hash) WHERE name='all';
    UPDATE past_content SET trash=trash + 1 WHERE hash=NEW.hash;
END;
CREATE TRIGGER trash_less AFTER DELETE ON trash_content WHEN OLD.hash!=x'' BEGIN
    UPDATE past_content SET trash=trash - 1 WHERE hash=OLD.hash;
    UPDATE past_sizes SET value=value - (SELECT CASE WHEN history=0 AND trash=0 THEN size ELSE 0 END
        * (SELECT count(*) FROM content WHERE hash=OLD.hash) FROM past_content WHERE hash=OLD.hash) WHERE name='all';
    DELETE FROM past_content WHERE hash=OLD.hash AND history=0 AND trash=0;
END;

-- ---------------------------------------------------------------- content that comes to this device, or goes from it
CREATE TRIGGER content_more AFTER INSERT ON content WHEN EXISTS (SELECT 1 FROM past_content WHERE hash=NEW.hash) BEGIN
    UPDATE past_sizes SET value=value + (SELECT CASE WHEN past_sizes.name='all' OR history>0 THEN size ELSE 0 END
        FROM past_content WHERE hash=NEW.hash) WHERE name!='versions';
END;
CREATE TRIGGER content_less AFTER DELETE ON content WHEN EXISTS (SELECT 1 FROM past_content WHERE hash=OLD.hash) BEGIN
    UPDATE past_sizes SET value=value - (SELECT CASE WHEN past_sizes.name='all' OR history>0 THEN size ELSE 0 END
        FROM past_content WHERE hash=OLD.hash) WHERE name!='versions';
END;
