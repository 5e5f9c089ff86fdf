# SPDX-License-Identifier: GPL-3.0-or-later
"""An author belongs to one uninterrupted directory: copies and restored backups get a new one and lose nothing."""

from __future__ import annotations

from pathlib import Path

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.signing import sign_head
from holofsd.codec.ticket import decode_ticket
from holofsd.sync import frames
from holofsd.sync.invites import redeem
from tests.sync.devices import devices, settled, share, until
from tests.sync.rawpeer import RawPeer


async def test_a_restored_backup_takes_a_new_author_and_both_histories_live(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("old", b"1")
        await settled(ann, bob)
        await ann.back_up(tmp_path / "backup")
        ann.write("after the backup", b"2")
        ann.write("old", b"1 edited")
        await settled(ann, bob)
        former = ann.volume.author
        await ann.put_back(tmp_path / "backup")
        ann.network.partition(ann.id, bob.id)
        await ann.up()
        ann.write("written on the restored one", b"3")
        ann.network.heal(ann.id, bob.id)
        await settled(ann, bob)
        assert ann.volume.author != former
        assert bob.files() == {
            "old": b"1 edited",
            "after the backup": b"2",
            "written on the restored one": b"3",
        }


async def test_numbers_given_twice_are_found_out_and_nothing_is_lost(tmp_path: Path) -> None:
    """A copy that published already, with the same numbers as the original: the worst case."""
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        ann.write("old", b"1")
        await settled(ann, bob, cid)
        await ann.back_up(tmp_path / "backup")
        ann.network.partition(ann.id, cid.id)
        ann.network.partition(bob.id, cid.id)
        ann.write("original", b"2")
        await settled(ann, bob)
        await ann.put_back(tmp_path / "backup")
        ann.network.partition(ann.id, bob.id)
        ann.network.heal(ann.id, cid.id)
        await ann.up()
        ann.write("copy", b"3")
        await settled(ann, cid)
        assert cid.files() == {"old": b"1", "copy": b"3"}
        ann.network.heal_all()
        await until(lambda: ann.files() == bob.files() == cid.files() and len(bob.files()) == 3)
        assert bob.files() == {"old": b"1", "original": b"2", "copy": b"3"}
        said = (warning for device in (bob, cid) for warning in device.sync.status().warnings)
        assert any(warning.startswith("ann wrote two histories: ") for warning in said)


async def test_a_bare_claim_to_know_more_of_us_changes_nothing(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        await raw.endpoint.close()
        raw = RawPeer(ann.network, "raw")
        ann.network.partition(ann.id, raw.id)
        ann.network.heal(ann.id, raw.id)
        author = ann.volume.author
        claimed = sign_head(raw.key, joined.volume, 10**6, 10**6, b"\1" * 32)
        forged = type(claimed)(author, claimed.seq, claimed.dots, claimed.set_hash, claimed.signature)
        accepting = await raw.endpoint.accept()
        stream = await accepting.accept_stream()
        raw.stream, raw.connection = stream, accepting
        await raw.hear("hello")
        await stream.send(frames.welcome("raw", 0))
        await raw.hear("have")
        await stream.send(frames.have([forged], first=True))
        assert await raw.is_thrown_out()
        assert ann.volume.author == author
        assert isinstance(raw.heard[0], pb.Frame)
        await raw.endpoint.close()
