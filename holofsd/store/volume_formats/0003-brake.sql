-- SPDX-License-Identifier: GPL-3.0-or-later
-- The brake on removals from elsewhere, and content that was found damaged.
-- Values in `meta`: 'brake-limit' ("FILES PERCENT", or "off"; absent: the default), 'brake-armed' (present once this
-- device held everything there was), 'brake-verdict' ('accept' or 'refuse' while a person's word is being carried out).

CREATE TABLE held_removals (      -- records that are in the document and, until a person decides, not merged into `nodes`
    node     BLOB NOT NULL,
    author   BLOB NOT NULL,
    seq      INTEGER NOT NULL,
    payload  BLOB NOT NULL,       -- as in envelopes, kept here because that one may be replaced or dropped
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (node, author)
) WITHOUT ROWID;

CREATE TABLE recent_removals (    -- nodes whose removal elsewhere was merged here within the brake's window
    node   BLOB PRIMARY KEY,
    author BLOB NOT NULL,         -- who said so
    file   INTEGER NOT NULL,      -- 1: not a directory
    at_ms  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE damaged (            -- content whose file here was found missing or altered, until it is whole again
    hash     BLOB PRIMARY KEY,
    size     INTEGER NOT NULL,
    found_ms INTEGER NOT NULL,
    aside    INTEGER NOT NULL     -- 1: what was left of the file is kept in damaged/
) WITHOUT ROWID;

-- A device that already held a volume before this format is not a newcomer: for it the brake works at once.
INSERT INTO meta SELECT 'brake-armed', x'01' WHERE EXISTS (SELECT 1 FROM heads);
