-- SPDX-License-Identifier: GPL-3.0-or-later
-- Versions have seals of their authors.

CREATE TABLE sealing (            -- from which counter on the versions of an author have seals
    author      BLOB PRIMARY KEY, -- one of ours of before (others of ours: from 1), or somebody else's
    sealed_from INTEGER NOT NULL  -- of somebody else's: what its device record said last, 0 for never; -1: its records went
) WITHOUT ROWID;
INSERT INTO sealing SELECT author, counter + 1 FROM authors;
INSERT OR IGNORE INTO sealing SELECT author, 0 FROM envelopes WHERE key=x'646576696365';  -- 'device'

CREATE TABLE unproven (           -- records of which some claim about another author's version was not believed
    node   BLOB NOT NULL,
    author BLOB NOT NULL,         -- of the record
    PRIMARY KEY (node, author)
) WITHOUT ROWID;

-- What was said before of versions that have seals may lack them: it is said once more (sync/sealing_again.py).
INSERT INTO meta SELECT 'seal-again', x'' WHERE EXISTS (SELECT 1 FROM envelopes);
