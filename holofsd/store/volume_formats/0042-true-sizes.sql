-- SPDX-License-Identifier: GPL-3.0-or-later
-- The size of content is that of its bytes, once they are here: what a record says of it is a claim, and there may be
-- several. Meta value 'wanted-anew': rows of `wanted` were made before this format; `Tree` makes them again, once.

ALTER TABLE wanted RENAME TO wanted_before;
CREATE TABLE wanted (             -- blobs that live versions need and that are not here
    hash     BLOB NOT NULL,
    node     BLOB NOT NULL,       -- who needs it
    author   BLOB NOT NULL,       -- of the version that names it: it is missing from what that author said
    size     INTEGER NOT NULL,    -- what that version says
    since_ms INTEGER NOT NULL,    -- its turn: the oldest first, and not before this time
    PRIMARY KEY (hash, node, author)
) WITHOUT ROWID;
INSERT INTO wanted SELECT hash, node, x'', size, since_ms FROM wanted_before;
DROP TABLE wanted_before;
CREATE INDEX wanted_by_node ON wanted (node);
CREATE INDEX wanted_by_author ON wanted (author, since_ms, size);
INSERT INTO meta VALUES ('wanted-anew', x'01');

-- ---------------------------------------------------------------- history and trash count true sizes (see 0020)
UPDATE past_content SET size=(SELECT c.size FROM content AS c WHERE c.hash=past_content.hash)
    WHERE EXISTS (SELECT 1 FROM content AS c WHERE c.hash=past_content.hash);
UPDATE past_sizes SET value=coalesce((SELECT sum(size) FROM history WHERE blob IS NULL), 0)
    + coalesce((SELECT sum(p.size) FROM past_content AS p JOIN content AS c ON c.hash=p.hash WHERE p.history>0), 0)
    WHERE name='history';
UPDATE past_sizes SET value=coalesce((SELECT sum(size) FROM history WHERE blob IS NULL), 0)
    + coalesce((SELECT sum(size) FROM trash_content WHERE hash=x''), 0)
    + coalesce((SELECT sum(p.size) FROM past_content AS p JOIN content AS c ON c.hash=p.hash), 0)
    WHERE name='all';

DROP TRIGGER history_more;
CREATE TRIGGER history_more AFTER INSERT ON history WHEN NEW.blob IS NOT NULL BEGIN
    INSERT OR IGNORE INTO past_content
        VALUES (NEW.blob, coalesce((SELECT size FROM content WHERE hash=NEW.blob), NEW.size), 0, 0);
    UPDATE past_sizes SET value=value + CASE name WHEN 'versions' THEN 1 ELSE
        (SELECT CASE WHEN history=0 AND (NOT trash OR past_sizes.name='history') THEN size ELSE 0 END
            * (SELECT count(*) FROM content WHERE hash=NEW.blob) FROM past_content WHERE hash=NEW.blob) END;
    UPDATE past_content SET history=history + 1 WHERE hash=NEW.blob;
END;
DROP TRIGGER trash_more;
CREATE TRIGGER trash_more AFTER INSERT ON trash_content WHEN NEW.hash!=x'' BEGIN
    INSERT OR IGNORE INTO past_content
        VALUES (NEW.hash, coalesce((SELECT size FROM content WHERE hash=NEW.hash), NEW.size), 0, 0);
    UPDATE past_sizes SET value=value + (SELECT CASE WHEN history=0 AND trash=0 THEN size ELSE 0 END
        * (SELECT count(*) FROM content WHERE hash=NEW.hash) FROM past_content WHERE hash=NEW.hash) WHERE name='all';
    UPDATE past_content SET trash=trash + 1 WHERE hash=NEW.hash;
END;
DROP TRIGGER content_more;
CREATE TRIGGER content_more AFTER INSERT ON content WHEN EXISTS (SELECT 1 FROM past_content WHERE hash=NEW.hash) BEGIN
    UPDATE past_content SET size=NEW.size WHERE hash=NEW.hash;
    UPDATE past_sizes SET value=value + (SELECT CASE WHEN past_sizes.name='all' OR history>0 THEN size ELSE 0 END
        FROM past_content WHERE hash=NEW.hash) WHERE name!='versions';
END;
CREATE TRIGGER content_other_size AFTER UPDATE OF size ON content
    WHEN NEW.size!=OLD.size AND EXISTS (SELECT 1 FROM past_content WHERE hash=NEW.hash) BEGIN
    UPDATE past_sizes SET value=value + (SELECT CASE WHEN past_sizes.name='all' OR history>0 THEN NEW.size - size ELSE 0 END
        FROM past_content WHERE hash=NEW.hash) WHERE name!='versions';
    UPDATE past_content SET size=NEW.size WHERE hash=NEW.hash;
END;
