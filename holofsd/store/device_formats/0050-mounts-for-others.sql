-- SPDX-License-Identifier: GPL-3.0-or-later
ALTER TABLE mounts ADD COLUMN allow TEXT NOT NULL DEFAULT '';         -- who may use it besides its user: '', 'root', 'other'
ALTER TABLE mounts ADD COLUMN no_exec INTEGER NOT NULL DEFAULT 0;  -- 1: no program there can be run
