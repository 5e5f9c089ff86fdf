# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl fsck`: with the daemon and without it, on a volume that is well, harmed, and damaged."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from support.device import Device, World
from support.trees import contents
from support.wait import until


def _index(device: Device) -> Path:
    (found,) = device.state.glob("volumes/*/index.db")
    return found


def _codes(told: object) -> set[str]:
    assert isinstance(told, dict)
    return {finding["code"] for volume in told["volumes"] for finding in volume["findings"]}


def _filled(world: World) -> tuple[Device, Path, dict[str, bytes]]:
    (a,) = world.running("a")
    a.create()
    a.allowed += ["the daemon went away", "refuses this mount .* being repaired"]
    here = a.mount()
    files = {f"file {number}": f"{number} ".encode() * 4000 for number in range(20)}
    for name, data in files.items():
        here.joinpath(name).write_bytes(data)
    until(a.is_settled, "everything to be hashed and published")
    return a, here, files


def test_a_volume_that_is_well_is_said_to_be_with_the_daemon_and_without(world: World) -> None:
    a, here, files = _filled(world)
    for _ in range(2):
        told = a.ctl("fsck", "--content")
        assert told.out.startswith("docs: all is well\n")
        assert "20 nodes" in told.out
        assert a.json("fsck", "docs")["volumes"][0]["findings"] == []
        a.down()
    a.up()
    a.ctl("fsck", "--repair")
    assert contents(here) == files, "a repair leaves mounts as they are"


def test_harm_is_found_and_repaired_under_a_mount_in_use(world: World) -> None:
    a, here, files = _filled(world)
    with here.joinpath("file 3").open("rb") as opened:
        a.stop_daemon()
        with closing(sqlite3.connect(_index(a), isolation_level=None)) as db:
            db.execute("DELETE FROM entries WHERE name=?", (b"file 7",))
        told = a.ctl("fsck", check=False)
        assert told.code == 1
        assert "--repair" in told.err
        a.up()
        until(lambda: not here.joinpath("file 7").exists(), "the mount to have met the daemon")
        assert a.ctl("fsck", check=False).code == 1
        assert "entries-wrong" in _codes(a.json("fsck", "docs", "--repair"))
        until(lambda: contents(here) == files, "the name to be back")
        assert a.ctl("fsck").code == 0
        assert opened.read() == files["file 3"]


def test_a_damaged_index_is_readable_and_mended(world: World) -> None:
    a, here, files = _filled(world)
    a.allowed += ["read-only", "refuses this mount", "damaged"]
    a.stop_daemon()
    with closing(sqlite3.connect(_index(a))) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name='placements_by_slot'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    with _index(a).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    a.up()
    until(lambda: contents(here) == files, "what can be read")
    assert "fsck docs --repair" in a.ctl("status").out
    with pytest.raises(OSError, match="Read-only"):
        here.joinpath("new").write_bytes(b"x")
    assert a.ctl("fsck", check=False).code == 1
    assert "index-rebuilt" in _codes(a.json("fsck", "docs", "--repair"))
    until(lambda: here.joinpath("new").write_bytes(b"x") == 1, "the volume to take writes again")
    assert contents(here) == {**files, "new": b"x"}


def _work(here: Path, stop: threading.Event) -> None:
    """Small and large files that come, are saved again, move and go."""
    turn = 0
    while not stop.is_set():
        path = here / f"work {turn % 40}"
        path.write_bytes(os.urandom(300_000 if turn % 3 else 20_000))
        if turn % 5 == 0:
            path.rename(here / f"moved {turn % 40}")
        if turn % 7 == 0:
            (here / f"moved {(turn - 35) % 40}").unlink(missing_ok=True)
        turn += 1


@pytest.mark.timeout(300)
def test_a_volume_at_work_has_no_problems_but_those_that_are_there(world: World) -> None:
    a, b = world.sharing("a", "b")
    here = a.mount()
    for number in range(5):
        here.joinpath(f"quiet {number}").write_bytes(f"{number} ".encode() * 40_000)
    until(lambda: b.is_settled() and b.volume_status()["files"] == 5, "the other device to have the files")
    stop = threading.Event()
    worker = threading.Thread(target=_work, args=(here, stop))
    worker.start()
    try:
        for _ in range(6):
            for device in (a, b):
                assert _codes(device.json("fsck")) == set()
        b.stop_daemon()
        with closing(sqlite3.connect(_index(b), isolation_level=None)) as db:
            blob, node = db.execute(
                "SELECT c.hash, e.node FROM content AS c, entries AS e JOIN nodes AS n ON n.node=e.node"
                " WHERE e.name=x'71756965742033' AND instr(n.state, c.hash)"
            ).fetchone()
            db.execute("UPDATE nodes SET mode=7 WHERE node=?", (node,))
        name = blob.hex()
        (found,) = b.state.glob(f"volumes/*/content/{name[:2]}/{name}")
        found.unlink()
        b.start_daemon()
        until(lambda: b.volume_status()["devices"][0]["connected"], "the devices to meet again")
        told = json.loads(b.ctl("fsck", "--json", check=False).out)
        assert {"content-lost", "nodes-wrong"} <= _codes(told)
        (lost,) = (f for f in told["volumes"][0]["findings"] if f["code"] == "content-lost")
        assert lost["subjects"] == [name]
        assert not {"content-unlisted", "content-stray", "staging-stray", "staging-empty"} & _codes(told)
    finally:
        stop.set()
        worker.join()


def test_fsck_says_what_it_cannot_do(world: World) -> None:
    a = world.device("a")
    assert a.ctl("fsck", check=False).code == 1
    a.up()
    assert a.ctl("fsck", "nowhere", check=False).code == 1
    assert a.ctl("fsck", "--from-backup", check=False).code == 2
    a.create()
    told = a.ctl("fsck", "docs", "--from-backup", check=False)
    assert told.code == 1
    assert "backup" in told.err


def test_a_damaged_database_of_the_device_is_made_anew_without_losing_a_volume(world: World) -> None:
    a, here, files = _filled(world)
    assert a.json("fsck")["device"]["checked"][0] == {"what": "volumes", "number": 1}
    a.down()
    a.state.joinpath("device.db").write_bytes(b"rubbish" * 1000)
    refused = a.ctl("up", check=False)
    assert refused.code == 1
    assert "holofsctl fsck --repair" in refused.err
    told = a.ctl("fsck", "--repair", check=False)
    assert told.code == 1, "what was lost is listed"
    assert "docs: all is well" in told.out
    a.up()
    assert contents(a.mount(path=here)) == files
    assert a.ctl("fsck").code == 0
