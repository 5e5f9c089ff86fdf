-- SPDX-License-Identifier: GPL-3.0-or-later
-- Versions have seals of their authors.

CREATE TABLE sealing (            -- our authors of before: from which counter on their versions have seals; others: from 1
    author      BLOB PRIMARY KEY,
    sealed_from INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO sealing SELECT author, counter + 1 FROM authors;

CREATE TABLE unproven (           -- records of which some claim about another author's version was not believed
    node   BLOB NOT NULL,
    author BLOB NOT NULL,         -- of the record
    PRIMARY KEY (node, author)
) WITHOUT ROWID;

-- What was said before of versions that have seals may lack them: it is said once more (sync/sealing_again.py).
INSERT INTO meta SELECT 'seal-again', x'' WHERE EXISTS (SELECT 1 FROM envelopes);
