-- SPDX-License-Identifier: GPL-3.0-or-later
-- The brake weighs how long removed files stood, and what excused their removal.
-- Value in `meta`: 'brake-skip' (names of further folders whose content is made by tools, each followed by a zero byte).

CREATE TABLE births (             -- nodes that this device first heard of within the brake's window, or during a hold
    node    BLOB PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    in_hold INTEGER NOT NULL      -- 1: while removals were held, as they are still
) WITHOUT ROWID;
CREATE INDEX births_by_time ON births (at_ms);

ALTER TABLE recent_removals ADD COLUMN born_ms INTEGER NOT NULL DEFAULT 0; -- 0: before the window
ALTER TABLE recent_removals ADD COLUMN counts INTEGER NOT NULL DEFAULT 1;  -- 0: nobody would miss it; 2: its content is still there
ALTER TABLE recent_removals ADD COLUMN repository BLOB;                    -- it counts once this git repository is gone
ALTER TABLE held_removals ADD COLUMN born_ms INTEGER NOT NULL DEFAULT 0;   -- as above
