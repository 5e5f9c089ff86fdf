-- SPDX-License-Identifier: GPL-3.0-or-later
-- What the records of each author take, counted with the set hash of its head (core/record_budget.py).
-- Value in `meta`: 'record-budget' (bytes for each other device, where a person said so; absent: the default).

ALTER TABLE heads ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;        -- weight of the author's records up to this head
ALTER TABLE heads ADD COLUMN strange INTEGER NOT NULL DEFAULT 0;      -- of those among them that this program does not understand
ALTER TABLE quarantine ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;   -- weight, where it is not in `heads.strange` already

CREATE TABLE let_go_authors (     -- authors whose records this device keeps no more, though others may still name their dots
    author BLOB PRIMARY KEY,
    dots   INTEGER NOT NULL,      -- highest dot counter, of the last head that was here
    going  INTEGER NOT NULL       -- 1: rows of it are still in `envelopes` and `incoming`; they are deleted bit by bit
) WITHOUT ROWID;

CREATE INDEX waiting_by_record ON waiting (author, key);

UPDATE heads SET bytes =
    (SELECT coalesce(sum(length(key) + length(payload) + 256), 0) FROM envelopes WHERE author = heads.author);
