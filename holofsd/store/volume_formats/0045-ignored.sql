-- SPDX-License-Identifier: GPL-3.0-or-later
-- Nodes that rules in a `.holofsignore` keep on this device: nothing of them was ever published (docs/ignore.md).

CREATE TABLE ignored (            -- a node is here or in `outbox`, never in both, and no envelope is about it
    node     BLOB PRIMARY KEY,
    doubtful INTEGER NOT NULL     -- 1: it got a name that no rule matched; it is to be published soon, if that is still so
) WITHOUT ROWID;
CREATE INDEX ignored_doubtful ON ignored (node) WHERE doubtful=1;

-- Files of rules: the name '.holofsignore'.
CREATE INDEX entries_of_rules ON entries (parent) WHERE name = x'2e686f6c6f667369676e6f7265';

-- Value in `meta`: 'ignored-anew' (rules or places of folders changed: all of `ignored` is to be looked at).
