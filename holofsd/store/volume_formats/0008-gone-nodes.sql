-- SPDX-License-Identifier: GPL-3.0-or-later
-- The index of 0002 went with the table that 0007 replaced. Without it a look at the trash reads every node.
CREATE INDEX IF NOT EXISTS nodes_gone ON nodes (node) WHERE visible = 0;
