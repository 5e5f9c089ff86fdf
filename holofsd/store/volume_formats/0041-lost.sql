-- SPDX-License-Identifier: GPL-3.0-or-later
-- A node that is alive has a name, whatever a member says of its place: at worst in `lost+found`.

CREATE TABLE strays (             -- nodes with a link whose directory is unknown, or no directory: derived, but for the time
    node     BLOB NOT NULL,
    parent   BLOB NOT NULL,
    since_ms INTEGER NOT NULL,    -- when this device noticed
    PRIMARY KEY (node, parent)
) WITHOUT ROWID;
CREATE INDEX strays_by_parent ON strays (parent);
CREATE INDEX strays_by_time ON strays (parent, since_ms);

CREATE TABLE given_up (           -- unknown directories that are not waited for any more: what is in them is in `lost+found`
    parent BLOB PRIMARY KEY
) WITHOUT ROWID;

INSERT OR IGNORE INTO strays SELECT p.node, coalesce(p.real, p.parent), 0 FROM placements AS p
    WHERE p.parent!=zeroblob(16) AND NOT EXISTS
    (SELECT 1 FROM nodes AS n WHERE n.node=coalesce(p.real, p.parent) AND n.kind=2);

-- Value in `meta`: 'placing-lost' (more of them have to be placed anew than one transaction did).
-- `Tree` looks once at what was alive without a name.
INSERT INTO meta VALUES ('lost-anew', x'01');
