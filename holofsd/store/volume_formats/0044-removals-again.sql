-- SPDX-License-Identifier: GPL-3.0-or-later
-- A program from before 0030 that merged the record of a later one left out when each device removed a node, and what
-- becomes of what is in a removed directory goes by that. Records of others about removed nodes are merged once more.

INSERT OR IGNORE INTO merge_queue (author, key, seq)
    SELECT e.author, e.key, e.seq FROM envelopes AS e JOIN nodes AS n ON n.node=e.key
    WHERE n.visible!=1 AND e.author NOT IN (SELECT author FROM authors);
