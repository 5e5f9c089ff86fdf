-- SPDX-License-Identifier: GPL-3.0-or-later
-- `history.blob` is the id of every content that has one: the hash of a `Blob`, or of the list of a `Manifest`. NULL means
-- that the bytes are in `version`: only then does the size of a row count as it is, for any other one is a claim (0042).
-- Meta value 'history-anew': rows of `history` were made before this format; `Tree` makes some of them again, once.

INSERT INTO meta VALUES ('history-anew', x'01');
