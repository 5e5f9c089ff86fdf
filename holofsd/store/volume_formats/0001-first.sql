-- SPDX-License-Identifier: GPL-3.0-or-later
-- The index of one volume: everything this device knows about it, but for the bytes of large files.
-- Ids are raw bytes. "token" is a dot as bytes: author (32) || counter (8, big endian). Times are ms unless named _ns.

-- ---------------------------------------------------------------- document
CREATE TABLE envelopes (          -- the newest record of each author under each key; the document replica
    author    BLOB NOT NULL,
    key       BLOB NOT NULL,      -- node id, or 'device', 'volume'
    seq       INTEGER NOT NULL,   -- number of the publication record of this author
    payload   BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (author, key)
) WITHOUT ROWID;
CREATE INDEX envelopes_by_seq ON envelopes (author, seq);
CREATE INDEX envelopes_by_key ON envelopes (key);

CREATE TABLE heads (              -- per author: the signed head up to which `envelopes` is complete
    author    BLOB PRIMARY KEY,
    seq       INTEGER NOT NULL,
    dots      INTEGER NOT NULL,   -- highest dot counter the author has used
    set_hash  BLOB NOT NULL,
    signature BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE incoming (           -- received pages that wait for the head they lead to
    author    BLOB NOT NULL,
    key       BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    payload   BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (author, key)
) WITHOUT ROWID;

CREATE TABLE merge_queue (        -- records in `envelopes` that are not merged into `nodes` yet
    author BLOB NOT NULL,
    key    BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (author, key)
) WITHOUT ROWID;
CREATE INDEX merge_queue_by_seq ON merge_queue (author, seq);

CREATE TABLE waiting (            -- records whose claims about `waits_for` go beyond that author's head: merged again when it advances
    waits_for BLOB NOT NULL,
    author    BLOB NOT NULL,
    key       BLOB NOT NULL,
    PRIMARY KEY (waits_for, author, key)
) WITHOUT ROWID;

CREATE TABLE quarantine (         -- well signed but refused or not understood; counted in status
    author BLOB NOT NULL,
    key    BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (author, key)
) WITHOUT ROWID;

CREATE TABLE credentials (        -- grants, removals, certificates: signed messages, verified before they are stored
    kind   TEXT NOT NULL,         -- 'grant' | 'removal' | 'certificate'
    digest BLOB NOT NULL,
    message BLOB NOT NULL,        -- protobuf
    PRIMARY KEY (kind, digest)
) WITHOUT ROWID;

CREATE TABLE marks (              -- newest mark of each device
    device  BLOB PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    message BLOB NOT NULL         -- protobuf
) WITHOUT ROWID;

CREATE TABLE authors (            -- our own authors of this volume; the active one signs
    author   BLOB PRIMARY KEY,
    seed     BLOB NOT NULL,       -- 32 bytes, secret
    counter  INTEGER NOT NULL,    -- last dot counter given
    active   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE meta (               -- single values, by name: see volume.py
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- ---------------------------------------------------------------- tree (derived from the document and local changes)
CREATE TABLE nodes (
    node      BLOB PRIMARY KEY,
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
) WITHOUT ROWID;                  -- the root has a row too, with an empty state: it has attributes but no record
CREATE INDEX nodes_revived ON nodes (node) WHERE visible = 2;
CREATE INDEX nodes_in_conflict ON nodes (node) WHERE versions > 1 AND kind != 2;

CREATE TABLE placements (         -- the effective names of every visible node, after revival and cycles
    node   BLOB NOT NULL,
    link   BLOB NOT NULL,
    parent BLOB NOT NULL,
    name   BLOB NOT NULL,
    stamp  BLOB NOT NULL,         -- of the link: wall_ms (8 BE) || counter (4 BE) || author (32): compares like the stamp
    PRIMARY KEY (node, link)
) WITHOUT ROWID;
CREATE INDEX placements_by_slot ON placements (parent, name);

CREATE TABLE entries (            -- the names a person sees
    parent BLOB NOT NULL,
    name   BLOB NOT NULL,
    node   BLOB NOT NULL,
    dot    BLOB NOT NULL,         -- '' for the node itself, else the token of a conflict copy's version
    slot   BLOB NOT NULL,         -- the name whose projection made this entry (differs from name for conflict copies)
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX entries_copies ON entries (parent, slot) WHERE name != slot;

CREATE TABLE hidden_copies (      -- conflict copies inside .git: listed as conflicts, not shown as names
    parent BLOB NOT NULL,
    slot   BLOB NOT NULL,
    node   BLOB NOT NULL,
    dot    BLOB NOT NULL,         -- as in entries
    PRIMARY KEY (parent, slot, node, dot)
) WITHOUT ROWID;

CREATE TABLE overrides (          -- directories that fall back to another place because of a cycle
    node   BLOB PRIMARY KEY,
    parent BLOB NOT NULL,
    name   BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE inodes (             -- local inode numbers, never reused
    ino      INTEGER PRIMARY KEY AUTOINCREMENT,
    node     BLOB NOT NULL,
    dot      BLOB NOT NULL,       -- as in entries
    detached BLOB                 -- NULL: follows the node; else the Version (protobuf) that open handles still read
);
CREATE UNIQUE INDEX inodes_live ON inodes (node, dot) WHERE detached IS NULL;

CREATE TABLE bad_names (          -- placements that cannot be shown: counted in status
    node BLOB NOT NULL,
    link BLOB NOT NULL,
    PRIMARY KEY (node, link)
) WITHOUT ROWID;

-- ---------------------------------------------------------------- local work
CREATE TABLE outbox (             -- nodes whose current record has no number yet
    node       BLOB PRIMARY KEY,
    changed_ms INTEGER NOT NULL,  -- first unpublished change
    hold_ms    INTEGER NOT NULL   -- not before this wall time (file created and still open); 0: no hold
) WITHOUT ROWID;

CREATE TABLE staging (            -- files that are being written, or sealed and not hashed yet
    id       TEXT PRIMARY KEY,    -- file name in staging/
    ino      INTEGER NOT NULL,
    node     BLOB NOT NULL,
    base     BLOB NOT NULL,       -- token of the version it was made from; '' for none
    mount_id TEXT NOT NULL,       -- who opened it first
    sealed   BLOB NOT NULL,       -- token of the version whose body is Pending(id); '' while it can be written
    made_ms  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX staging_by_ino ON staging (ino);

CREATE TABLE pending_bodies (     -- which nodes have (or had) a version whose body is Pending(staging)
    staging TEXT NOT NULL,
    node    BLOB NOT NULL,
    PRIMARY KEY (staging, node)
) WITHOUT ROWID;

CREATE TABLE content (            -- blobs that are here, whole and verified
    hash     BLOB PRIMARY KEY,
    size     INTEGER NOT NULL,
    added_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE wanted (             -- blobs that shown or live versions need and that are not here
    hash     BLOB NOT NULL,
    node     BLOB NOT NULL,       -- who needs it
    size     INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (hash, node)
) WITHOUT ROWID;
CREATE INDEX wanted_by_node ON wanted (node);
