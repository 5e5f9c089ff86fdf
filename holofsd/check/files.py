# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows against files, both ways: the content store and the staging directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from holofsd.check.case import Case
from holofsd.core.ids import BlobHash
from holofsd.store.content import hash_file
from holofsd.store.staging import StagingRow


def check_content(case: Case, read_all: bool) -> None:
    """Comes before the tree is derived: what is not here is wanted. `read_all`: every file is hashed, too."""
    db, content = case.store.db, case.store.content
    for blob, size in db.all("SELECT hash, size FROM content WHERE hash NOT IN (SELECT cid FROM bodies)"):
        case.report.count("content files")
        if _has_another_size(content.path(blob), blob, size):
            sentence = "A content file is right, and the index is wrong about its size; that is corrected."
            case.report.add("content-size", blob.hex(), sentence, fixable=True)
            size = content.path(blob).stat().st_size
            case.lost_content.add(blob)
            case.found_content[blob] = size
            case.sql("UPDATE content SET size=? WHERE hash=?", size, blob)
        elif not _is_whole(content.path(blob), blob, size, read_all):
            sentence = "A content file is gone or damaged; it is fetched again from a device that has it."
            case.report.add("content-lost", blob.hex(), sentence, fixable=True)
            case.lost_content.add(blob)
            case.sql("DELETE FROM content WHERE hash=?", blob)
            path = content.path(blob)
            case.after.append(lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]
    known = {row[0] for row in db.all("SELECT hash FROM content")}
    for path in _files(case.store.directory / "content"):
        blob = _named(path)
        if blob not in known:
            _stray(case, path, blob)


def _has_another_size(path: Path, blob: BlobHash, size: int) -> bool:
    """Whether the bytes are those of the hash, and more or less than was written down."""
    try:
        return path.stat().st_size != size and hash_file(path)[0] == blob
    except OSError:
        return False


def _is_whole(path: Path, blob: BlobHash, size: int, read_all: bool) -> bool:
    try:
        return path.stat().st_size == size and (not read_all or hash_file(path)[0] == blob)
    except OSError:
        return False


def _stray(case: Case, path: Path, blob: BlobHash | None) -> None:
    """A file without a row: taken if somebody wants it and it is what its name says, else rubbish of a crash."""
    wanted = blob is not None and case.store.db.one("SELECT 1 FROM wanted WHERE hash=?", (blob,)) is not None
    if wanted and blob is not None:
        found, size = hash_file(path)
        if found == blob:
            sentence = "A content file that is wanted is here already; it is taken."
            case.report.add("content-unlisted", path.name, sentence, fixable=True)
            case.found_content[blob] = size
            case.sql("INSERT OR IGNORE INTO content VALUES (?,?,0)", blob, size)
            return
    case.report.add(
        "content-stray", path.name, "A content file that nothing names is left over; it goes.", fixable=True
    )
    case.after.append(lambda: path.unlink(missing_ok=True))


def _named(path: Path) -> BlobHash | None:
    try:
        raw = bytes.fromhex(path.name)
    except ValueError:
        return None
    return BlobHash(raw) if len(raw) == 32 and path.parent.name == path.name[:2] else None


def _files(root: Path) -> Iterator[Path]:
    for folder in sorted(root.iterdir()):
        if folder.is_dir():
            yield from sorted(folder.iterdir())
        else:
            yield folder


def check_staging(case: Case) -> None:
    rows = case.store.db.all("SELECT id, ino, node, base, mount_id, sealed, made_ms FROM staging")
    names = set()
    for row in (StagingRow(*row) for row in rows):
        names.add(row.id)
        case.report.count("staging files")
        if not case.store.staging.path(row.id).exists():
            _without_file(case, row)
    for path in sorted((case.store.directory / "staging").iterdir()):
        if path.name not in names:
            sentence = "A staging file that nothing names is left over from a crash; it goes."
            case.report.add("staging-stray", path.name, sentence, fixable=True)
            case.after.append(lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]


def _without_file(case: Case, row: StagingRow) -> None:
    if row.version and _is_needed(case, row):
        sentence = (
            "What was written to a file is gone from the staging directory; `history` may have an earlier version."
        )
        case.report.add("staging-lost", f"{row.id} of {row.node.hex()}", sentence, fixable=False)
    else:
        case.report.add("staging-empty", row.id, "A staging file was never written; its row goes.", fixable=True)
        case.sql("DELETE FROM staging WHERE id=?", row.id)


def _is_needed(case: Case, row: StagingRow) -> bool:
    """Whether the version that it was finalized as still has it as its content: the name is in the state's bytes."""
    nodes = {row.node, *case.store.nodes.pending_in(row.id)}
    states = [case.store.nodes.state(node) for node in nodes]
    return any(state is not None and row.id.encode() in state for state in states)
