-- SPDX-License-Identifier: GPL-3.0-or-later
-- Records that take the place of an earlier one are looked at once more: does the later one say all that the earlier one said?

ALTER TABLE merge_queue ADD COLUMN again INTEGER NOT NULL DEFAULT 0;  -- 1: its author had said something under this key before
