# SPDX-License-Identifier: GPL-3.0-or-later
"""A state directory that was copied and runs beside the original: said on each side, and nothing is lost by either."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.device import Device, World
from support.trees import contents
from support.wait import until

EXPECTED = ["our key", "with one key", "newer records were shown to us", "an invite was refused", "went away"]


def _copied(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


def _copies(device: Device) -> list[str]:
    status = device.status()
    found = status.get("copies", [])
    assert all(sentence in status["warnings"] for sentence in found)
    return [str(sentence) for sentence in found]


def _has_all(folder: Path, files: dict[str, bytes]) -> bool:
    return {name: data for name, data in contents(folder).items() if name in files} == files


@pytest.mark.timeout(300)
def test_a_copy_beside_the_original_is_said_on_each_side_and_made_a_device_of_its_own(world: World) -> None:
    a, b = world.sharing("a", "b")
    there = b.mount()
    a.down()
    c = world.device("c")
    _copied(a.state, c.state)
    for device in (a, b, c):
        device.allowed += EXPECTED
    a.up()
    c.up()

    # On one machine at once, on each side, with the place of the other and what to do.
    said = until(lambda: _copies(a), "the original to know")[0]
    assert str(c.state) in said
    assert "new-key" in said
    assert str(a.state) in until(lambda: _copies(c), "the copy to know")[0]
    # The peer meets both, in turns, and tells them: that is how it is noticed on two machines.
    seen = until(lambda: _copies(b), "the peer to meet both", 100)
    assert seen[0].startswith("a runs twice")
    assert "new-key" in seen[0]
    for device, where in ((a, c), (b, a), (c, a)):
        doctor = device.ctl("doctor", check=False)
        assert doctor.code == 1
        assert "new-key" in doctor.out, where
    assert "runs twice" in b.ctl("status").out

    # It is over as soon as the copy has ended, and begins with the next one.
    c.down()
    until(lambda: not _copies(a), "the original to know that the copy has ended")
    c.up()
    until(lambda: _copies(a) and _copies(c), "both to know again")

    # Both go on, and everything that either writes arrives.
    here, copy = a.mount(), c.mount()
    here.joinpath("original").write_bytes(b"by the original")
    copy.joinpath("copy").write_bytes(b"by the copy")
    files = {"original": b"by the original", "copy": b"by the copy"}
    until(lambda: _has_all(there, files), "the edits of both", 100)

    # What nobody has heard of yet is there after the key was changed, too.
    refused = c.ctl("device", "new-key", check=False)
    assert (refused.code, "down` first" in refused.err) == (1, True)
    b.down()
    a.down()
    copy.joinpath("late").write_bytes(b"by the copy, while it was alone")
    c.unmount(copy)
    c.down()
    renewed = c.ctl("device", "new-key").out.strip()
    a.up()
    b.up()
    c.up()
    assert c.device_id() == renewed != a.device_id()
    c.join(a.share())
    copy = c.mount()
    copy.joinpath("anew").write_bytes(b"under a key of its own")
    files = {**files, "late": b"by the copy, while it was alone", "anew": b"under a key of its own"}
    here = a.mount()
    for folder in (here, there, copy):
        until(lambda folder=folder: _has_all(folder, files), f"everything in {folder}", 100)  # type: ignore[misc]
    assert len(a.json("members", "docs")) == 3
    assert not _copies(c)


def test_a_directory_that_was_moved_or_restored_goes_on_without_a_word(world: World) -> None:
    a, b = world.sharing("a", "b")
    there = b.mount()
    for device in (a, b):
        device.allowed += ["newer records were shown to us"]
    here = a.mount()
    here.joinpath("first").write_bytes(b"1")
    until(lambda: _has_all(there, {"first": b"1"}), "the first file")
    a.unmount(here)
    a.down()

    a.state.rename(a.home / "moved")
    a.state = a.home / "moved"
    a.environment["HOLOFS_STATE_DIR"] = str(a.state)
    a.up()
    a.down()
    _copied(a.state, a.home / "backup")
    a.up()
    here = a.mount()
    here.joinpath("second").write_bytes(b"2")
    until(lambda: _has_all(there, {"second": b"2"}), "the second file")
    a.unmount(here)
    a.down()

    a.state.rename(a.home / "lost")
    _copied(a.home / "backup", a.state)
    a.up()
    here = a.mount()
    here.joinpath("third").write_bytes(b"3")
    files = {"first": b"1", "second": b"2", "third": b"3"}
    for folder in (here, there):
        until(lambda folder=folder: _has_all(folder, files), f"all files in {folder}")  # type: ignore[misc]
    for _ in range(3):  # also after it restarts, which is another run each time
        a.stop_daemon()
        a.start_daemon()
        until(lambda: b.status()["volumes"][0]["devices"][0].get("connected"), "the devices to meet again")
    for device in (a, b):
        assert not _copies(device)
        assert device.ctl("doctor").code == 0


def test_a_copy_that_starts_first_has_the_mount_until_it_lets_go(world: World) -> None:
    a = world.device("a")
    a.up()
    a.create()
    here = a.mount()
    a.down()
    c = world.device("c")
    _copied(a.state, c.state)
    for device in (a, c):
        device.allowed += [*EXPECTED, "a mount could not be brought back"]
    c.up()
    (held,) = c.status()["mounts"]
    assert (held["path"], held["state"]) == (str(here), "up")
    a.ctl("up", check=False)
    mount = a.status()["mounts"][0]
    assert mount["state"] == "down"
    assert "another device (a copy of this state directory) has it" in mount["explanation"].lower()
    assert str(c.state) in a.ctl("status").out

    # `down` of the one leaves the mount of the other alone, also where no daemon runs any more.
    a.down()
    a.ctl("down", check=False)
    here.joinpath("file").write_bytes(b"by the copy")
    assert c.status()["mounts"][0]["state"] == "up"
    a.ctl("up", check=False)
    c.down()
    until(lambda: [mount["state"] for mount in a.status()["mounts"]] == ["up"], "the mount to come back", 60)
