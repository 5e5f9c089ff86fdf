# SPDX-License-Identifier: GPL-3.0-or-later
"""Count of the nodes that another device lacks, by how far it says that it holds what each author published.

One query over the index of records by number, on a connection of its own that only reads. It looks at the records
beyond what the device holds, never at the whole volume, and at most at so many of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from holofsd.core.ids import ROOT_ID, AuthorId
from holofsd.core.state import Kind

MOST_RECORDS: Final = 100_000
"""Most records that one count looks at, and most nodes without a record yet: 0.5 s of a processor."""
_BUSY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Lacking:
    """Nodes that a device lacks in their present form. `bytes`: of the files whose content it lacks. `others`: folders,
    symlinks and removals. `is_part`: there may be more, for as many as may be were looked at."""

    files: int = 0
    bytes: int = 0
    others: int = 0
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class HeldUpTo:
    """Extent of what a device holds of one author: all records up to `seq`. `published`: token of the author's last
    version that a head vouches for."""

    author: AuthorId
    seq: int
    published: bytes


TABLE: Final = "CREATE TEMP TABLE held (author BLOB PRIMARY KEY, seq INTEGER, published BLOB) WITHOUT ROWID"
COUNT: Final = """
WITH told (node, author) AS MATERIALIZED (
    SELECT e.key, e.author FROM temp.held AS d
    CROSS JOIN main.envelopes AS e INDEXED BY envelopes_by_seq ON e.author=d.author AND e.seq>d.seq
    WHERE length(e.key)=:node_key LIMIT :most),
untold (node) AS MATERIALIZED (SELECT node FROM main.outbox LIMIT :most),
lacking (is_file, size, is_content) AS (
    SELECT n.kind=:file AND n.visible>0, n.size, max(CASE
        -- Content counts for the author of its version, at the record that this author has of the node.
        WHEN l.author=substr(n.shown, 1, 32) THEN 1
        -- A change that is not published yet, perhaps of the mode alone: is the version?
        WHEN l.author IS NULL THEN NOT EXISTS
            (SELECT 1 FROM temp.held AS d WHERE d.author=substr(n.shown, 1, 32) AND n.shown<=d.published)
        -- Where the author has no record of it any more, whoever says the same now stands for it.
        ELSE NOT EXISTS (SELECT 1 FROM main.envelopes AS o WHERE o.author=substr(n.shown, 1, 32) AND o.key=n.node)
        END)
    FROM (SELECT node, author FROM told UNION ALL SELECT node, NULL FROM untold) AS l
    CROSS JOIN main.nodes AS n ON n.node=l.node GROUP BY n.node)
SELECT coalesce(sum(is_file), 0), CAST(total(CASE WHEN is_file AND is_content THEN size END) AS INTEGER),
    coalesce(sum(NOT is_file), 0),
    (SELECT count(*) FROM told)>=:most OR (SELECT count(*) FROM untold)>=:most
FROM lacking
"""


class LackingCounter:
    """Counter for several devices, one after the other. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, most: int) -> None:
        self._connection = connection
        self._values = {"node_key": len(ROOT_ID), "file": int(Kind.FILE), "most": most}
        connection.execute(TABLE)

    def count(self, held: Iterable[HeldUpTo]) -> Lacking:
        """Counts what a device lacks. `held` names every author of whom there is a head."""
        run = self._connection.execute
        run("DELETE FROM temp.held")
        rows = ((item.author, item.seq, item.published) for item in held)
        self._connection.executemany("INSERT INTO temp.held VALUES (?,?,?)", rows)
        files, size, others, is_part = run(COUNT, self._values).fetchone()
        return Lacking(files, size, others, bool(is_part))


@contextmanager
def lacking_counter(index: Path, most: int = MOST_RECORDS) -> Iterator[LackingCounter]:
    """Opens a counter on the index of a volume that may be in use. Blocking: in a thread. Raises sqlite3.Error."""
    uri = f"file:{quote(str(index))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_S)) as connection:
        connection.execute("PRAGMA temp_store=MEMORY")
        yield LackingCounter(connection, most)
