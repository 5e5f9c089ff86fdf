-- SPDX-License-Identifier: GPL-3.0-or-later
-- How far the journals of mounts are carried out (ADR 11). Not derived.

CREATE TABLE journals (
    name    TEXT PRIMARY KEY,     -- of the file in journals/
    applied INTEGER NOT NULL      -- all calls up to this number are decided
) WITHOUT ROWID;
