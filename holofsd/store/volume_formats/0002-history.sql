-- SPDX-License-Identifier: GPL-3.0-or-later
-- What was: versions that were replaced, places that nodes had, the trash, and content that nothing needs any more.

CREATE TABLE history (            -- versions that went out of the state of their node; bytes by hash, small ones inline
    id       INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: a pass of garbage collection goes by it
    node     BLOB NOT NULL,
    dot      BLOB NOT NULL,       -- token of the version
    began_ms INTEGER NOT NULL,    -- wall time of its stamp: when it was written
    ended_ms INTEGER NOT NULL,    -- when this device saw it replaced
    size     INTEGER NOT NULL,
    blob     BLOB,                -- hash of its content; NULL: the bytes are in `version`
    version  BLOB NOT NULL        -- Version (protobuf), as in nodes.held
);
CREATE UNIQUE INDEX history_by_dot ON history (node, dot);
CREATE INDEX history_by_end ON history (ended_ms);

CREATE TABLE past_places (        -- placements that ended: which node was at which place from when to when
    id       INTEGER PRIMARY KEY,
    node     BLOB NOT NULL,
    parent   BLOB NOT NULL,
    name     BLOB NOT NULL,
    from_ms  INTEGER NOT NULL,    -- wall time of the link's stamp
    until_ms INTEGER NOT NULL     -- when this device saw it end
);
CREATE INDEX past_places_by_node ON past_places (node);
CREATE INDEX past_places_by_parent ON past_places (parent, name);
CREATE INDEX past_places_by_end ON past_places (until_ms);

CREATE INDEX nodes_gone ON nodes (node) WHERE visible = 0;

CREATE TABLE trash_purged (       -- removed nodes whose versions this device does not keep any more
    node  BLOB PRIMARY KEY,
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE garbage (            -- content that nothing was found to need; it goes when that is still so after a while
    hash     BLOB PRIMARY KEY,
    since_ms INTEGER NOT NULL
) WITHOUT ROWID;
