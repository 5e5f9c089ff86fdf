-- SPDX-License-Identifier: GPL-3.0-or-later
-- Heads that vouch for more versions of their author than a later one of it does, which no program of ours makes.

CREATE TABLE widest (
  author BLOB PRIMARY KEY, seq INTEGER NOT NULL, dots INTEGER NOT NULL, set_hash BLOB NOT NULL, signature BLOB NOT NULL
) WITHOUT ROWID;
