-- SPDX-License-Identifier: GPL-3.0-or-later
-- What members said that cannot be true, counted (see lies.py).

CREATE TABLE lies (
    who      BLOB NOT NULL,    -- node key of a device, or an author
    what     TEXT NOT NULL,
    number   INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    example  TEXT NOT NULL,
    PRIMARY KEY (who, what)
) WITHOUT ROWID;
