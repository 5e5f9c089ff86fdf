-- SPDX-License-Identifier: GPL-3.0-or-later
ALTER TABLE mounts ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;  -- shows the volume as it was then; 0: as it is
