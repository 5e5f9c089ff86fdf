-- SPDX-License-Identifier: GPL-3.0-or-later
-- Large content as lists of chunks (ADR 16): holofsd/store/bodies.py.
CREATE TABLE bodies (
  cid    BLOB PRIMARY KEY,       -- id of the list, which is the file lists/ab/<cid>
  size   INTEGER NOT NULL,
  count  INTEGER NOT NULL,       -- chunks
  here   INTEGER NOT NULL,       -- chunks that are here, as the segments say
  layout BLOB NOT NULL           -- holofsd.core.runs
) WITHOUT ROWID;

CREATE TABLE segments (          -- the file segments/ab/<name>
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  name   TEXT NOT NULL UNIQUE,   -- '<cid>.whole', or '<cid>.<first chunk>'
  chunks INTEGER NOT NULL,       -- places
  have   BLOB                    -- a bit for each place whose chunk is verified and synced, NULL for all of them
);

CREATE TABLE body_segments (     -- segments without which a body would lack chunks
  segment INTEGER NOT NULL,
  cid     BLOB NOT NULL,
  PRIMARY KEY (segment, cid)
) WITHOUT ROWID;
CREATE INDEX body_segments_by_cid ON body_segments (cid);

ALTER TABLE wanted ADD COLUMN is_list INTEGER NOT NULL DEFAULT 0; -- 1: the hash is the id of a list of chunks
