# SPDX-License-Identifier: GPL-3.0-or-later
"""A version belongs to its author: whatever a member says, in whatever order it is heard."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from holofsd.codec.records import decode_state, encode_device, encode_state
from holofsd.codec.signing import SigningKey, sign_version
from holofsd.codec.ticket import decode_ticket
from holofsd.core import edit
from holofsd.core.context import covers
from holofsd.core.document import DeviceInfo
from holofsd.core.ids import Dot, VolumeId
from holofsd.core.state import Inline, Kind
from holofsd.net.fake import FakeNetwork
from holofsd.sync.config import KEY_DEVICE
from holofsd.sync.create import prepare_joined
from holofsd.sync.invites import redeem
from holofsd.sync.sealing_again import DUE, seal_again
from holofsd.sync.stored_credentials import store_credentials
from holofsd.sync.vetting import FORGED, TWO_CONTENTS, UNSEALED
from holofsd.sync.volume import VolumeSync
from holofsd.tree.local import LocalVolume
from tests.sync.devices import devices, settled, share, until
from tests.sync.forging import SEAL, forged, lies, resealed, said, shown
from tests.sync.rawpeer import Author, RawPeer
from tests.sync.test_folding import FOLDING, is_gone
from tests.sync.test_hostile import scene


# ---- what devices of ours say
async def test_what_others_pass_on_has_the_seal_of_its_author(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork()) as (ann, bob):
        await share(ann, bob)
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        state = bob.volume.tree.state(node)
        assert state is not None
        with bob.store.db.transaction():
            bob.volume.write([edit.with_mode(state, 0o600, bob.volume.stamp())])
        await settled(ann, bob)
        (version,) = said(bob, node).versions.values()
        assert (version.dot.author, len(version.seal)) == (ann.volume.author, SEAL)
        assert version.seal == next(iter(said(ann, node).versions.values())).seal
        assert lies(ann) == lies(bob) == {}


async def test_a_copy_that_was_split_off_is_proven_to_whoever_comes_when_its_author_is_gone(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "new", config=FOLDING) as (ann, bob, cid, new):
        await share(ann, bob, cid)
        node = ann.write("file", b"0")
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(cid.id, bob.id)
        ann.write("file", b"by ann")
        bob.write("file", b"by bob, and later")
        ann.network.heal_all()
        await settled(ann, bob, cid)
        state = cid.volume.tree.state(node)
        assert state is not None
        assert len(state.versions) == 2
        with cid.store.db.transaction():
            kept, copies = edit.materialise(state, cid.volume.next_dot(), cid.volume.stamp())
            cid.volume.write([kept, *copies])
        await settled(ann, bob, cid)
        ann.sync.remove_member(bob.id)
        former = bob.volume.author
        await until(lambda: is_gone(former, ann, cid), "the records of the removed device to go")
        await new.join(ann.ticket())
        await settled(ann, cid, new)
        assert sorted(filter(None, new.files().values())) == [b"by ann", b"by bob, and later"]
        assert lies(new) == lies(ann) == lies(cid) == {}


# ---- the forged dot
@pytest.mark.parametrize("seal", ["the true one", "none", "its own"])
async def test_nobody_gives_other_content_to_a_version_of_somebody_else(tmp_path: Path, seal: str) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        true = said(ann, node)
        (dot,) = true.versions
        lie = forged(true, dot, b"forged", **({} if seal == "the true one" else {"seal": b""}))
        if seal == "its own":
            lie = resealed(lie, dot, author.key, ann)
        await raw.push(author, author.say(lie), after=0)
        await until(lambda: lies(bob) and lies(ann))
        await settled(ann, bob)
        for device in (ann, bob):
            assert device.files() == {"file": b"by ann"}
            assert lies(device) == {("raw", FORGED): 1}
            assert [lie.example for lie in device.sync.status().lies] == ["file"]
            assert device.store.history.of_node(node) == []
            assert shown(device, node).stamp == true.versions[dot].stamp
        # An edit of it replaces the honest version alone, and that one is what the history has.
        bob.write("file", b"edited")
        await settled(ann, bob)
        assert ann.files() == {"file": b"edited"}


async def test_whoever_comes_later_sees_the_true_content_whatever_it_hears_first(tmp_path: Path) -> None:
    """Also where nobody has the author's own record any more."""
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", "new", network=network, config=FOLDING) as (ann, bob, new):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = bob.write("file", b"by bob")
        await settled(ann, bob)
        true = said(bob, node)
        (dot,) = true.versions
        for number, lie in enumerate((forged(true, dot, b"forged", seal=b""), forged(true, dot, b"forged"))):
            await raw.push(author, author.say(lie), after=number)
            await raw.hear("confirm")
        former = bob.volume.author
        ann.sync.remove_member(bob.id)
        await until(lambda: is_gone(former, ann), "the records of the removed device to go")
        await new.join(ann.ticket())
        await settled(ann, new)
        assert new.files() == ann.files() == {"file": b"by bob"}
        await raw.endpoint.close()


async def test_a_counter_that_was_given_but_not_published_belongs_to_its_author(tmp_path: Path) -> None:
    """Else an edit of what somebody else claims it to be would replace, unseen, what its author publishes later."""
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(bob.id, joined, author)
        node = ann.write("file", b"first")
        with ann.store.db.transaction():
            coming = ann.volume.new_version(Inline(b"by ann, hashed later"), 20, 0)
        ann.write("more", b"")
        await settled(ann, bob)
        true = said(ann, node)
        claim = replace(coming, body=Inline(b"forged"), size=6)
        lie = replace(true, versions={coming.dot: claim}, context={coming.dot.author: coming.dot.counter})
        await raw.push(author, author.say(lie), after=0)
        await until(lambda: lies(bob) and lies(ann))
        assert bob.files()["file"] == b"first"
        bob.write("file", b"by bob")
        await settled(ann, bob)
        state = ann.volume.tree.state(node)
        assert state is not None
        assert not covers(state.context, coming.dot)
        with ann.store.db.transaction():
            ann.volume.write([edit.with_version(state, coming, [])])
        await settled(ann, bob)
        assert {b"by ann, hashed later", b"by bob"} <= set(bob.files().values())
        assert lies(bob) == {("raw", UNSEALED): 1}


async def test_content_that_is_not_hashed_yet_is_not_replaced_by_what_somebody_claims_it_to_be(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = ann.write("file", b"first")
        await settled(ann, bob)
        state = ann.volume.tree.state(node)
        assert state is not None
        ann.write("more", b"")  # its head goes on, as it does while something is hashed
        with ann.store.db.transaction():
            coming = ann.volume.new_version(Inline(b"by ann"), 6, 0)
        ann.write("and more", b"")
        await settled(ann, bob)
        with ann.store.db.transaction():
            ann.volume.tree.apply([edit.with_version(state, coming, list(state.versions))])
        lie = replace(said(ann, node), versions={coming.dot: replace(coming, body=Inline(b"forged"))})
        lie = replace(lie, context={coming.dot.author: coming.dot.counter})
        await raw.push(author, author.say(lie), after=0)
        await raw.hear("confirm")
        assert shown(ann, node).body == Inline(b"by ann")
        with ann.store.db.transaction():
            ann.volume.say_again([node])
        await settled(ann, bob)
        assert bob.files()["file"] == b"by ann"


async def test_a_sealed_version_counts_only_in_its_node(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        one, other = ann.write("one", b"1"), ann.write("other", b"2")
        await settled(ann, bob)
        (version,) = said(ann, one).versions.values()
        for number, moved in enumerate((version, replace(version, origin=one))):
            target = said(ann, other)
            lie = replace(target, versions={**target.versions, version.dot: moved})
            lie = replace(lie, context={**lie.context, version.dot.author: 99})
            await raw.push(author, author.say(lie), after=number)
            await raw.hear("confirm")
        await settled(ann, bob)
        assert ann.files() == bob.files() == {"one": b"1", "other": b"2"}


async def test_the_history_keeps_what_a_version_with_the_same_stamp_replaced(tmp_path: Path) -> None:
    """Same stamp, other content, a dot of its own: no new name of the same write."""
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        true = said(ann, node)
        (version,) = true.versions.values()
        author.dots = 1
        other = replace(version, dot=Dot(author.id, 1), body=Inline(b"by raw"), seal=b"")
        written = edit.with_version(true, other, [version.dot])
        await raw.push(author, author.say(written), after=0)
        await until(lambda: bob.files() == ann.files() == {"file": b"by raw"})
        assert len(bob.store.history.of_node(node)) == 1
        ann.write("file", b"by ann again")
        await settled(ann, bob)


# ---- two contents by one author
async def test_an_author_that_publishes_two_contents_as_one_version_harms_only_itself(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        honest = ann.write("honest", b"by ann")
        await settled(ann, bob)
        state = author.file("mine", b"one")
        (dot,) = state.versions
        seal = sign_version(author.key, joined.volume, state.id, Kind.FILE, state.versions[dot])
        first = replace(state, versions={dot: replace(state.versions[dot], seal=seal)})
        await raw.push(author, author.say(first), after=0)
        await until(lambda: bob.files().get("mine") == b"one")
        second = forged(state, dot, b"two")
        second = resealed(second, dot, author.key, ann)
        await raw.push(author, author.say(second), after=1)
        await until(lambda: lies(bob) == lies(ann) == {("raw", TWO_CONTENTS): 1})
        # A third device that is told the other one by a relay of its making ends with the same.
        await settled(ann, bob)
        assert bob.files()["mine"] in (b"one", b"two")
        assert bob.files()["honest"] == b"by ann"
        assert bob.store.history.of_node(honest) == []


@pytest.mark.parametrize(("first", "second"), [(b"one", b"two"), (b"two", b"one")])
async def test_an_author_without_seals_cannot_show_two_contents_to_two_devices(
    tmp_path: Path, first: bytes, second: bytes
) -> None:
    """A device that joins later cannot be shown the first content, and is not counted as a liar for having heard it."""
    async with devices(tmp_path, "ann", "bob", "new", network=FakeNetwork()) as (ann, bob, new):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        state = author.file("theirs", first)
        (dot,) = state.versions
        await raw.push(author, author.say(state), after=0)
        await until(lambda: "theirs" in bob.files())
        known = bob.volume.tree.state(state.id)
        assert known is not None
        with bob.store.db.transaction():
            bob.volume.write([edit.with_mode(known, 0o600, bob.volume.stamp())])
        await settled(ann, bob)
        assert list(said(bob, state.id).versions) == [dot]
        other = replace(state.versions[dot], body=Inline(second))
        await raw.push(author, author.say(replace(state, versions={dot: other})), after=1)
        # Bob may hear first what ann says as hers: for him the other content is then of a version that was replaced.
        await until(lambda: lies(ann))
        await until(lambda: (author.id in bob.heads()) and bob.heads()[author.id][0] == author.seq)
        await settled(ann, bob)
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert new.files() == {"theirs": first}
        assert {name for device in (ann, bob, new) for name, _ in lies(device)} - {""} == {"raw"}
        await raw.endpoint.close()


async def test_what_was_passed_on_is_said_again_where_its_author_claims_to_have_sealed_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        state = author.file("theirs", b"by raw")
        info = DeviceInfo(raw.id, "raw", "an earlier one")
        await raw.push(author, author.say(state), author.say_bytes(KEY_DEVICE, encode_device(info)), after=0)
        await until(lambda: "theirs" in bob.files())
        known = bob.volume.tree.state(state.id)
        assert known is not None
        with bob.store.db.transaction():
            bob.volume.write([edit.with_mode(known, 0o600, bob.volume.stamp())])
        await settled(ann, bob)
        assert list(said(bob, state.id).versions) == list(state.versions)
        info = replace(info, sealed_from=1)
        await raw.push(author, author.say_bytes(KEY_DEVICE, encode_device(info)), after=2)
        await until(lambda: bob.store.meta(DUE) is not None or list(said(bob, state.id).versions) != [*state.versions])
        await seal_again(bob.volume, bob.sync.members, bob.sync.merger.told.vetting)
        await settled(ann, bob)
        (version,) = said(bob, state.id).versions.values()
        assert (version.dot.author, version.body) == (bob.volume.author, Inline(b"by raw"))


async def test_all_show_the_same_of_an_author_whose_records_went(tmp_path: Path) -> None:
    """Versions without a seal were refused because their author makes seals: no record says so any more."""
    async with devices(tmp_path, "ann", "bob", "cid", "new", network=FakeNetwork(), config=FOLDING) as all_devices:
        ann, bob, cid, new = all_devices
        await share(ann, bob, cid)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = bob.write("file", b"first")
        with bob.store.db.transaction():
            coming = bob.volume.new_version(Inline(b"second"), 6, 0)
        bob.write("more", b"")
        await settled(ann, bob, cid)
        claim = replace(said(bob, node), versions={coming.dot: coming}, context={bob.volume.author: coming.dot.counter})
        await raw.push(author, author.say(claim), after=0)
        await until(lambda: lies(ann) and lies(cid))
        former = bob.volume.author
        ann.sync.remove_member(bob.id)
        await until(lambda: is_gone(former, ann, cid), "the records of the removed device to go")
        await settled(ann, cid)
        await new.join(ann.ticket())
        await settled(ann, cid, new)
        await raw.endpoint.close()


def test_a_record_cannot_make_its_author_the_one_that_vouched_for_others() -> None:
    """The remark that a version was vouched for is this device's own: from outside it means nothing."""
    state = Author(VolumeId(b"v" * 32)).file("f", b"")
    (dot,) = state.versions
    marked = replace(state, versions={dot: replace(state.versions[dot], seal=b"\x01")})
    assert decode_state(encode_state(marked)).versions[dot].seal == b""


async def test_a_flood_of_forgeries_of_one_file_is_counted_and_costs_no_history(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        true = said(ann, node)
        (dot,) = true.versions
        for number in range(40):
            await raw.push(author, author.say(forged(true, dot, b"%d" % number)), after=number)
        await until(lambda: lies(ann).get(("raw", FORGED)) == 40)
        assert ann.store.documents.envelope(ann.volume.author, KEY_DEVICE) is not None
        assert ann.files() == {"file": b"by ann"}
        assert ann.store.history.of_node(node) == []


@pytest.mark.parametrize("order", list(permutations(("ann", "bob", "raw"))))
async def test_the_order_in_which_records_are_heard_makes_no_difference(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Ann wrote, bob passes it on and wrote something beside it, the liar says something else of both."""
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        state = bob.volume.tree.state(node)
        assert state is not None
        version = bob.volume.new_version(Inline(b"by bob"), 6, 0)
        with bob.store.db.transaction():
            bob.volume.write([edit.with_mode(edit.with_version(state, version, []), 0o600, version.stamp)])
        await settled(ann, bob)
        lie = said(bob, node)
        for dot in lie.versions:
            lie = forged(lie, dot, b"forged", seal=b"")
        author.dots = 1
        await raw.push(author, author.say(lie), after=0)
        await until(lambda: lies(bob) and lies(ann))
        await settled(ann, bob)
        heads, everything = ann.store.documents.heads(), ann.store.documents.about(node)
        expected = ann.volume.tree.state(node)
        authors = {"ann": ann.volume.author, "bob": bob.volume.author, "raw": author.id}
        described = [ann.store.documents.envelope(authors[name], KEY_DEVICE) for name in ("ann", "bob")]
        folder = tmp_path / "newcomer"
        newcomer = prepare_joined(folder, joined.volume, joined.credentials, SigningKey(b"newcomer".ljust(32, b".")))
        with newcomer.db.transaction():
            store_credentials(newcomer, ann.sync.members.credentials)
        sync = VolumeSync(LocalVolume(newcomer, "new", ann.now_ms), raw.key, ann.hub.describe, ann.now_ms)
        for name in order:
            with newcomer.db.transaction():
                said_by = [e for e in (*described, *everything) if e is not None and e.author == authors[name]]
                for envelope in said_by:
                    newcomer.documents.put(envelope)
                newcomer.documents.set_head(heads[authors[name]])
                sync.merger.merge(said_by)
                newcomer.documents.requeue_waiting(authors[name])
            while sync.merger._slice():
                pass
        while sync.merger._slice():
            pass
        found = sync.volume.tree.state(node)
        assert found is not None
        assert found == expected
        assert sorted(v.body.data for v in found.versions.values() if isinstance(v.body, Inline)) == [
            b"by ann",
            b"by bob",
        ]
        newcomer.close()
