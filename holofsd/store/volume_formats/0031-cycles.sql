-- SPDX-License-Identifier: GPL-3.0-or-later
-- Directories in a cycle go to the root only where no other place is known of any of them.

-- In a volume of the format before, others of them may have fallen back: `Tree` resolves them once again.
INSERT INTO meta SELECT 'cycles-anew', x'01' WHERE EXISTS (SELECT 1 FROM overrides);
