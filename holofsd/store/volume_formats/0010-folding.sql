-- SPDX-License-Identifier: GPL-3.0-or-later
-- Authors that nobody uses any more, and whose records nobody needs: what lives is in the records of others.

CREATE TABLE folded (             -- derived from records under the key 'folded'; kept because claims about these authors count up to here
    author    BLOB PRIMARY KEY,
    seq       INTEGER NOT NULL,   -- as in heads, of the last head
    dots      INTEGER NOT NULL,
    set_hash  BLOB NOT NULL,
    signature BLOB NOT NULL
) WITHOUT ROWID;
