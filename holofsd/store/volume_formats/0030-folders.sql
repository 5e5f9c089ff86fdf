-- SPDX-License-Identifier: GPL-3.0-or-later
-- Directories that want one name are shown as one (ADR 12).

ALTER TABLE placements ADD COLUMN real BLOB;  -- the directory that the link names, where `parent` shows it as part of it; else NULL
CREATE INDEX placements_by_real ON placements (real) WHERE real IS NOT NULL;

CREATE TABLE aliases (            -- directories that are shown as part of another one: derived
    node  BLOB PRIMARY KEY,
    shown BLOB NOT NULL           -- the directory whose id stands for all of them
) WITHOUT ROWID;

CREATE TABLE outlived (           -- directories that a move kept from a removal: what went with them may have to come back
    node BLOB PRIMARY KEY
) WITHOUT ROWID;

-- In a volume of the format before, two directories at one name stood beside each other: `Tree` looks at them once.
INSERT INTO meta VALUES ('folders-apart', x'01');
