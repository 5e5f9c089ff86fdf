-- SPDX-License-Identifier: GPL-3.0-or-later
ALTER TABLE redemptions ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;  -- 1: the invite stays good when this device is removed
