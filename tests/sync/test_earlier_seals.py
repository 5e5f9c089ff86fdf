# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of programs before seals: what they pass on, and what devices after an upgrade make of it."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from holofsd.codec.ticket import decode_ticket
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, AuthorId, VolumeId
from holofsd.core.state import Inline, Place
from holofsd.net.fake import FakeNetwork
from holofsd.store.database import Database, scripts
from holofsd.store.volume import VolumeStore
from holofsd.sync.invites import redeem
from holofsd.sync.sealing_again import DUE, seal_again
from holofsd.sync.vetting import DISPUTED, FORGED
from tests.sync.devices import Device, devices, settled, share, until
from tests.sync.forging import SEAL, forged, lies, said
from tests.sync.rawpeer import Author, RawPeer
from tests.sync.test_folding import FOLDING, is_gone
from tests.sync.test_hostile import scene


# ---- authors of earlier programs
def without_seals(device: Device) -> None:
    """Records like those of a program that knows no seals: nobody can prove what it says, and it says so."""
    device.sync.publisher._sealer.sealed = lambda state, encoded: encoded  # type: ignore[method-assign]
    device.store.seals.sealed_from = lambda author: 0  # type: ignore[method-assign]


@pytest.mark.parametrize("has_own_record", [True, False])
async def test_unsealed_versions_are_not_replaced_by_what_others_say(tmp_path: Path, has_own_record: bool) -> None:
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", "new", network=network, config=FOLDING) as (ann, bob, new):
        ann.create()
        without_seals(ann)
        await bob.join(ann.ticket())
        without_seals(bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = bob.write("file", b"by bob")
        await settled(ann, bob)
        true = said(bob, node)
        (dot,) = true.versions
        assert true.versions[dot].seal == b""
        if not has_own_record:
            former = bob.volume.author
            ann.sync.remove_member(bob.id)
            await until(lambda: is_gone(former, ann), "the records of the removed device to go")
        await raw.push(author, author.say(forged(true, dot, b"forged")), after=0)
        await raw.hear("confirm")
        assert ann.files() == {"file": b"by bob"}
        assert lies(ann) == {("", DISPUTED): 1}
        await new.join(ann.ticket())
        await settled(ann, new)
        assert new.files() == ann.files() == {"file": b"by bob"}
        await raw.endpoint.close()


async def test_what_a_device_of_an_earlier_program_passes_on_counts_where_it_is_what_the_author_says(
    tmp_path: Path,
) -> None:
    async with devices(tmp_path, "ann", "bob", "new") as (ann, bob, new):
        await share(ann, bob)
        without_seals(bob)
        bob.sync.merger.told.vetting.should_be_sealed = lambda dot: False  # type: ignore[method-assign]
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        state = bob.volume.tree.state(node)
        assert state is not None
        plain = {dot: replace(version, seal=b"") for dot, version in state.versions.items()}
        moved = edit.moved(
            replace(state, versions=plain), next(iter(state.links)), Place(ROOT_ID, b"x"), bob.volume.stamp()
        )
        with bob.store.db.transaction():
            bob.volume.write([moved])
        await settled(ann, bob)
        assert next(iter(said(bob, node).versions.values())).seal == b""
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert new.files() == {"x": b"by ann"}
        assert lies(new) == lies(ann) == {}


async def test_a_version_that_cannot_be_proven_is_said_as_ones_own(tmp_path: Path) -> None:
    """The author's record had a false seal: whoever passes that on would be taken for a liar."""
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        state = author.file("theirs", b"by raw")
        (dot,) = state.versions
        bad = replace(state, versions={dot: replace(state.versions[dot], seal=os.urandom(SEAL))})
        await raw.push(author, author.say(bad), after=0)
        await until(lambda: "theirs" in bob.files())
        known = bob.volume.tree.state(state.id)
        assert known is not None
        with bob.store.db.transaction():
            bob.volume.write([edit.with_mode(known, 0o600, bob.volume.stamp())])
        await settled(ann, bob)
        (version,) = said(bob, state.id).versions.values()
        assert version.dot.author == bob.volume.author
        assert version.body == Inline(b"by raw")
        assert ("bob", FORGED) not in lies(ann)
        head = bob.store.documents.head(bob.volume.author)
        assert head is not None
        assert version.dot.counter <= head.dots, "others wait for a dot that its head does not count"


def test_a_volume_of_an_earlier_program_says_from_where_on_its_versions_have_seals(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    directory.mkdir()
    old = Database(directory / "index.db", list(takewhile(lambda t: "TABLE lies" not in t, scripts("volume_formats"))))
    former, other = AuthorId(b"a" * 32), AuthorId(b"b" * 32)
    with old.transaction():
        old.run("INSERT INTO authors VALUES (?,?,41,1)", (former, b"s" * 32))
    old.close()
    opened = VolumeStore(VolumeId(b"v" * 32), directory)
    assert opened.seals.sealed_from(former) == 42
    assert opened.seals.sealed_from(other) == 1
    opened.close()


async def test_what_an_earlier_program_split_off_is_shown_once_it_is_upgraded(tmp_path: Path) -> None:
    """A device that cannot prove whose the copy is. Until then the others say which device it is, and keep it in their
    history."""
    async with devices(tmp_path, "ann", "bob", "new") as (ann, bob, new):
        await share(ann, bob)
        sealer, vetting = bob.sync.publisher._sealer, bob.sync.merger.told.vetting
        sealed, provable, sealed_from = sealer.sealed, sealer.provable, bob.store.seals.sealed_from
        without_seals(bob)
        sealer.provable = lambda state: state  # type: ignore[method-assign]
        node = ann.write("file", b"0")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        ann.write("file", b"by ann")
        bob.clock_off_ms = 1000  # both write within one millisecond, now and then
        bob.write("file", b"by bob, and later")
        ann.network.heal_all()
        await settled(ann, bob)
        state = bob.volume.tree.state(node)
        assert state is not None
        with bob.store.db.transaction():
            kept, copies = edit.materialise(state, bob.volume.next_dot(), bob.volume.stamp())
            plain = [
                replace(copy, versions={dot: replace(v, seal=b"", origin=b"") for dot, v in copy.versions.items()})
                for copy in copies
            ]
            bob.volume.write([kept, *plain])
        await until(lambda: bob.is_settled() and ann.is_settled() and ann.heads() == bob.heads())
        assert set(ann.files().values()) == {b"by bob, and later"}
        assert set(bob.files().values()) == {b"by ann", b"by bob, and later"}
        assert [warning for warning in ann.sync.status().warnings if "bob has an older version" in warning]
        await ann.restart()
        assert [warning for warning in ann.sync.status().warnings if "bob has an older version" in warning]
        assert lies(ann) == {}
        # Now the upgrade.
        sealer.sealed, sealer.provable, bob.store.seals.sealed_from = sealed, provable, sealed_from  # type: ignore[method-assign]
        with bob.store.db.transaction():
            bob.store.set_meta(DUE, b"")
        await seal_again(bob.volume, bob.sync.members, vetting)
        bob.sync.publisher.changed()
        await settled(ann, bob)
        assert set(ann.files().values()) == {b"by ann", b"by bob, and later"}
        assert not [warning for warning in ann.sync.status().warnings if "bob has an older version" in warning]
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert set(new.files().values()) == {b"by ann", b"by bob, and later"}
        assert lies(new) == lies(ann) == lies(bob) == {}
