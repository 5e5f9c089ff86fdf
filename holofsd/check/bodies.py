# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of large content against its lists and segments, both ways. Comes before the tree is derived."""

from __future__ import annotations

from collections.abc import Container
from functools import partial

from holofsd.check.case import Case
from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import HoloError
from holofsd.core.ids import BlobHash
from holofsd.core.runs import count_here, segments_of
from holofsd.store.bodies import Body
from holofsd.store.body_checks import BadPlaces, altered, chunk_places, too_short
from holofsd.store.body_remaking import found_in_files, remake
from holofsd.store.cutting import Cutter
from holofsd.store.segments import name_of_whole, parse_name


def check_bodies(case: Case, read_all: bool) -> None:
    """`read_all`: every chunk is hashed, too."""
    needed, is_any_bad = set[int](), False
    for (cid,) in case.store.db.all("SELECT cid FROM bodies"):
        try:
            body = case.store.bodies.get(cid)
        except ValueError:
            is_any_bad = True
            continue
        if body is None:
            continue
        case.report.count("large contents")
        used = segments_of(body.layout)
        needed.update(used)
        if any(case.store.bodies.segments.get(id) is None for id in used):
            is_any_bad = True
            continue
        if case.store.bodies.chunk_list(cid) is None:
            _without_list(case, body)
        else:
            _check_rows(case, body)
            _check_chunks(case, body, read_all)
    sql = "SELECT 1 FROM body_segments WHERE cid NOT IN (SELECT cid FROM bodies) LIMIT 1"
    if is_any_bad or case.store.db.one(sql) is not None:
        _make_rows_anew(case)
    else:
        _check_segments(case, needed)
    _check_files(case)


def _without_list(case: Case, body: Body) -> None:
    """Segments stay, whatever happens: they may be all that there is of the content."""
    case.lost_content.add(body.cid)
    chunks = _cut_again(case, body)
    if chunks is not None:
        sentence = "The list of a large file is gone or damaged; it is made anew from the file."
        case.report.add("list-lost", body.cid.hex(), sentence, fixable=True)
        case.repairs.append(lambda: case.store.bodies.place_list(chunks))
        if body.is_whole:
            case.found_content[body.cid] = body.size
            case.sql("INSERT OR REPLACE INTO content VALUES (?,?,0)", body.cid, body.size)
        return
    if not case.store.content.has(body.cid):
        return  # that is known: the list is fetched
    sentence = "The list of a large file is gone or damaged; it is fetched again."
    case.report.add("list-lost", body.cid.hex(), sentence, fixable=True)

    def lose() -> None:
        case.store.bodies.list_lost(body.cid)

    case.repairs.append(lose)


def _cut_again(case: Case, body: Body) -> ChunkList | None:
    """The list of content that is one file, as it was written here."""
    path = case.store.bodies.segments.files.path(name_of_whole(body.cid))
    try:
        with path.open("rb", buffering=0) as file:
            chunks = Cutter(case.store.volume).cut(file, body.size)
    except (OSError, HoloError):
        return None
    return chunks if chunks.cid() == body.cid else None


def _make_rows_anew(case: Case) -> None:
    """Rows of all bodies, from names and lists: what some of them say cannot be read, or is gone."""
    sentence = "What the index says of large files cannot be read, or is gone; it is made anew from the files."
    case.report.add("body-rows", "all", sentence, fixable=True)
    for (cid,) in case.store.db.all("SELECT DISTINCT cid FROM body_segments UNION SELECT cid FROM bodies"):
        case.lost_content.add(cid)
    case.found_content.update(found_in_files(case.store.bodies))

    def make() -> None:
        for cid in case.lost_content:
            case.store.db.run("DELETE FROM content WHERE hash=?", (cid,))
        for table in ("bodies", "body_segments", "segments"):
            case.store.db.run(f"DELETE FROM {table}")
        remake(case.store.bodies)

    case.repairs.append(make)


def _check_rows(case: Case, body: Body) -> None:
    """Look at what follows from the layout: which segments it uses, how many chunks are here, whether it is whole."""
    bodies, size = case.store.bodies, case.store.content.size(body.cid)
    used = set(segments_of(body.layout))
    presence = {id: segment.places for id in used if (segment := bodies.segments.get(id)) is not None}
    here = count_here(body.layout, presence, body.count)
    is_whole = here == body.count
    if used != bodies.presence(body.cid).keys() or here != body.here or size != (body.size if is_whole else None):
        sentence = "The index is wrong about how much of a large file is here; that is corrected."
        case.report.add("body-rows", body.cid.hex(), sentence, fixable=True)
        case.repairs.append(lambda: bodies.count_anew(body.cid))
        case.lost_content.add(body.cid)
        if is_whole:
            case.found_content[body.cid] = body.size


def _check_chunks(case: Case, body: Body, read_all: bool) -> None:
    places = chunk_places(case.store.bodies, body.cid)
    bad = altered(places) if read_all else too_short(places)
    if bad:
        sentence = (
            "Some chunks of a large file are gone or damaged; they are fetched again from a device that has them."
        )
        case.report.add("chunks-lost", body.cid.hex(), sentence, fixable=True)
        case.lost_content.update(user for id in bad for user in case.store.bodies.segments.users(id))
        case.repairs.append(partial(_lose, case, bad))


def _lose(case: Case, bad: BadPlaces) -> None:
    case.store.bodies.lost(bad, 0)


def _check_segments(case: Case, needed: Container[int]) -> None:
    sql = "SELECT id, name FROM segments WHERE id NOT IN (SELECT segment FROM body_segments)"
    for id, name in case.store.db.all(sql):
        if id in needed:
            continue
        case.report.add("segment-unused", name, "Part of a large file that nothing needs is left over.", fixable=True)
        case.sql("DELETE FROM segments WHERE id=?", id)


def _check_files(case: Case) -> None:
    """A file without a row is rubbish of a crash, unless somebody wants what it is a part of: then it stays for the
    fetcher, which makes the row."""
    bodies = case.store.bodies
    for files in bodies.files:
        for name in list(files.names()):
            parsed = parse_name(name) or _of_list(name)
            if parsed is None or not (files.is_known(name) or _is_needed(case, parsed[0])):
                sentence = "A file of large content that nothing names is left over; it goes."
                case.report.add("segment-stray", name, sentence, fixable=True)
                case.after.append(partial(files.path(name).unlink, missing_ok=True))


def _of_list(name: str) -> tuple[BlobHash, int] | None:
    return parse_name(f"{name}.whole") if "." not in name else None


def _is_needed(case: Case, cid: BlobHash) -> bool:
    """Whether a file without a row stays: its content is wanted, or will be, or nothing says what is in it."""
    is_wanted = case.store.db.one("SELECT 1 FROM wanted WHERE hash=?", (cid,)) is not None
    return is_wanted or cid in case.lost_content or case.store.bodies.chunk_list(cid) is None
