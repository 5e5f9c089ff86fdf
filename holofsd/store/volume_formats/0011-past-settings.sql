-- SPDX-License-Identifier: GPL-3.0-or-later
-- What nodes had beside their content before it was changed. Not derived: what was is written down here alone.

CREATE TABLE past_settings (      -- modes, extended attributes and times that ended
    id       INTEGER PRIMARY KEY,
    node     BLOB NOT NULL,
    until_ms INTEGER NOT NULL,    -- when this device saw them change
    settings BLOB NOT NULL,       -- NodeRecord (protobuf) with the mode, the attributes and a directory's times; nothing else
    dot      BLOB NOT NULL,       -- token of the version whose time changed without its content; '' for none
    mtime_ns INTEGER NOT NULL     -- the time that this version had; 0 for none
);
CREATE INDEX past_settings_by_node ON past_settings (node, until_ms);
CREATE INDEX past_settings_by_end ON past_settings (until_ms);

CREATE TABLE past_inodes (        -- files of the past that mounts have open, to be known after a restart
    ino   INTEGER PRIMARY KEY,    -- made from the time and the node
    at_ms INTEGER NOT NULL,       -- the time that is looked at
    node  BLOB NOT NULL,
    name  BLOB NOT NULL
) WITHOUT ROWID;
