-- SPDX-License-Identifier: GPL-3.0-or-later
-- The three tables with large rows under random keys, in order of arrival instead of order of key: a transaction with 200
-- records then writes the pages at the end, and not one page for each record (measured: 6 us of commit a record, not 35).

CREATE TABLE new_envelopes (      -- the newest record of each author under each key; the document replica
    author    BLOB NOT NULL,
    key       BLOB NOT NULL,      -- node id, or 'device', 'volume'
    seq       INTEGER NOT NULL,   -- number of the publication record of this author
    payload   BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (author, key)
);
INSERT INTO new_envelopes SELECT author, key, seq, payload, signature FROM envelopes;
DROP TABLE envelopes;
ALTER TABLE new_envelopes RENAME TO envelopes;
CREATE INDEX envelopes_by_seq ON envelopes (author, seq);
CREATE INDEX envelopes_by_key ON envelopes (key);

CREATE TABLE new_incoming (       -- received pages that wait for the head they lead to
    author    BLOB NOT NULL,
    key       BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    payload   BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (author, key)
);
INSERT INTO new_incoming SELECT author, key, seq, payload, signature FROM incoming;
DROP TABLE incoming;
ALTER TABLE new_incoming RENAME TO incoming;

CREATE TABLE new_nodes (          -- as before
    node      BLOB PRIMARY KEY NOT NULL,
    kind      INTEGER NOT NULL,   -- 1 file, 2 directory, 3 symlink
    state     BLOB NOT NULL,      -- NodeRecord (protobuf), may hold Pending bodies
    shown     BLOB NOT NULL,      -- token of the version that is shown; '' for none
    held      BLOB,               -- a Version (protobuf) that is shown though superseded, until the newer one's content is here
    size      INTEGER NOT NULL,   -- of the shown version, bytes
    mtime_ns  INTEGER NOT NULL,
    ctime_ns  INTEGER NOT NULL,   -- local: when this device last saw the node change
    mode      INTEGER NOT NULL,   -- permission bits
    nlink     INTEGER NOT NULL,   -- files: number of placements; directories: number of entries that are directories
    xattrs    INTEGER NOT NULL,   -- how many
    remote    INTEGER NOT NULL,   -- 1: the shown version's content is not here
    versions  INTEGER NOT NULL,   -- live versions of different content; more than one is a conflict
    visible   INTEGER NOT NULL    -- 0: no placement; 1: has one; 2: a removed directory that a visible child needs
);
INSERT INTO new_nodes SELECT node, kind, state, shown, held, size, mtime_ns, ctime_ns, mode, nlink, xattrs, remote,
    versions, visible FROM nodes;
DROP TABLE nodes;
ALTER TABLE new_nodes RENAME TO nodes;
CREATE INDEX nodes_revived ON nodes (node) WHERE visible = 2;
CREATE INDEX nodes_in_conflict ON nodes (node) WHERE versions > 1 AND kind != 2;
