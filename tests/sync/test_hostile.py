# SPDX-License-Identifier: GPL-3.0-or-later
"""Distrust of everything from outside: what strangers, readers and dishonest writers say changes nothing for others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.check.fsck import FileCheck, examine_copy
from holofsd.codec.records import encode_state
from holofsd.codec.signing import generate, sign_grant, sign_head
from holofsd.codec.ticket import decode_ticket
from holofsd.core import edit
from holofsd.core.document import Credentials, Role
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import ROOT_ID, Dot, Hlc, VolumeId
from holofsd.core.state import Inline, Kind, NodeState, Register, Removal, Version
from holofsd.net.api import CloseCode
from holofsd.net.fake import FakeNetwork
from holofsd.sync import frames
from holofsd.sync.invites import RedeemResult, redeem
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author, RawPeer

Scene = tuple[Device, Device, RawPeer, RedeemResult]


@asynccontextmanager
async def scene(folder: Path, role: Role = Role.WRITER) -> AsyncIterator[Scene]:
    """Two honest devices in session, and a third member that is up to something."""
    async with devices(folder, "ann", "bob", network=FakeNetwork()) as (ann, bob):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket(role)), "raw")
        try:
            yield ann, bob, raw, joined
            await still_works(ann, bob)
        finally:
            await raw.endpoint.close()


async def still_works(ann: Device, bob: Device) -> None:
    ann.write("after all", b"fine")
    await until(lambda: bob.files().get("after all") == b"fine")
    await settled(ann, bob)


async def test_an_honest_writer_of_frames_is_heard(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await raw.push(author, author.say(author.file("raw", b"hello")), after=0)
        confirm = (await raw.hear("confirm")).confirm
        assert (confirm.author, confirm.seq) == (author.id, 1)
        await until(lambda: bob.files().get("raw") == b"hello")


# ---- strangers
@pytest.mark.parametrize("purpose", [pb.PURPOSE_SESSION, pb.PURPOSE_CONTENT, 7])
@pytest.mark.parametrize("known_volume", [True, False])
async def test_a_stranger_is_closed_with_one_code_whatever_it_asks(
    tmp_path: Path, purpose: int, known_volume: bool
) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.connect(ann.id)
        volume = ann.sync.id if known_volume else VolumeId(generate().public)
        stream = await connection.open_stream()
        await stream.send(frames.hello(volume, purpose, Credentials(), "stranger", 0))
        reason = await connection.wait_closed()
        assert (reason.code, reason.reason) == (CloseCode.REFUSED, "")
        await raw.endpoint.close()


@pytest.mark.parametrize("first", [b"", b"\xff\xff garbage", frames.ping(1, 1), b"x" * 600_000])
async def test_a_stranger_that_sends_anything_else_gets_the_same_code(tmp_path: Path, first: bytes) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.connect(ann.id)
        stream = await connection.open_stream()
        await stream.send(first)
        assert (await connection.wait_closed()).code == CloseCode.REFUSED
        await raw.endpoint.close()


async def test_a_stranger_that_says_nothing_is_closed_too(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.connect(ann.id)
        assert (await connection.wait_closed()).code == CloseCode.REFUSED
        await raw.endpoint.close()


async def test_a_grant_that_no_admin_issued_opens_no_door(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        forged = sign_grant(raw.key, ann.sync.id, raw.id, Role.ADMIN, 1, "stranger")
        stolen = replace(ann.sync.members.credentials.grants[0], device=raw.id)
        for grant in (forged, stolen):
            connection = await raw.connect(ann.id)
            stream = await connection.open_stream()
            offered = Credentials(grants=(*ann.sync.members.credentials.grants, grant))
            await stream.send(frames.hello(ann.sync.id, pb.PURPOSE_SESSION, offered, "stranger", 0))
            assert (await connection.wait_closed()).code == CloseCode.REFUSED
        assert not ann.sync.members.is_member(raw.id)
        assert len(ann.sync.members.credentials.grants) == 1
        await raw.endpoint.close()


# ---- readers
async def test_a_reader_reads_and_what_it_writes_counts_nowhere(tmp_path: Path) -> None:
    async with scene(tmp_path, Role.READER) as (ann, bob, raw, joined):
        ann.write("public", b"read me")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await raw.push(author, author.say(author.file("forged", b"by a reader")), after=0)
        await raw.send(frames.want(ann.volume.author, 0, True))
        records = (await raw.hear("records")).records
        assert records.head.seq == len(records.envelopes) or records.envelopes
        await still_works(ann, bob)
        assert "forged" not in ann.files()
        assert ann.store.documents.head(author.id) is None
        assert bob.store.documents.head(author.id) is None


async def test_a_reader_device_publishes_nothing(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=Role.READER)
        ann.write("a", b"1")
        await until(lambda: bob.files() == {"a": b"1"})
        assert not bob.sync.can_write
        assert bob.store.documents.head(bob.volume.author) is None


# ---- dishonest writers
async def test_a_record_in_another_authors_name_ends_the_session(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        forged = replace(author.say(author.file("forged", b"x")), author=bob.volume.author, seq=99)
        head = sign_head(author.key, joined.volume, 99, 1, b"\0" * 32)
        await settled(ann, bob)
        held = ann.store.documents.head(bob.volume.author)
        await raw.send(
            frames.records(
                bob.volume.author, held.seq if held else 0, False, [forged], replace(head, author=forged.author)
            )
        )
        assert await raw.is_thrown_out()
        assert ann.sync.violations[raw.id] == 1
        assert "forged" not in ann.files()


async def test_an_altered_record_ends_the_session_and_changes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        envelope = author.say(author.file("altered", b"original"))
        await raw.push(author, replace(envelope, payload=envelope.payload.replace(b"original", b"0riginal")), after=0)
        assert await raw.is_thrown_out()
        assert "altered" not in ann.files()


async def test_a_set_that_does_not_fit_its_head_is_not_taken_over(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        hidden, shown = author.say(author.file("hidden", b"1")), author.say(author.file("shown", b"2"))
        assert hidden.seq == 1
        await raw.push(author, shown, after=0)
        want = (await raw.hear("want")).want
        assert (want.author, want.after, want.whole) == (author.id, 0, True)
        assert "shown" not in ann.files()
        await raw.send(frames.records(author.id, 0, True, [hidden, shown], author.head()))
        await until(lambda: {"shown", "hidden"} <= ann.files().keys())


async def test_old_records_shown_again_change_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        first = author.file("file", b"first")
        old, old_head = author.say(first), author.head()
        await raw.push(author, old, after=0)
        await raw.hear("confirm")
        author.dots += 1
        stamp = Hlc(1_700_000_000_001, 0, author.id)
        version = Version(Dot(author.id, author.dots), stamp, Inline(b"second"), 6, Register(0, stamp), "raw")
        await raw.push(author, author.say(edit.with_version(first, version, first.versions)), after=1)
        await raw.hear("confirm")
        for after in (0, 1):
            await raw.send(frames.records(author.id, after, False, [old] if after == 0 else [], old_head))
        await until(lambda: ann.files().get("file") == b"second")
        await raw.send(frames.ping(77, 0))
        await raw.hear("pong")
        assert ann.files()["file"] == b"second"
        assert ann.store.documents.head(author.id) == author.head()


async def test_a_bad_record_among_good_ones_is_counted_and_the_others_count(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        good = author.say(author.file("good", b"1"))
        garbage = author.say_bytes(b"g" * 16, b"\xff\xff\xff not a record")
        wrong_key = author.say_bytes(b"k" * 16, encode_state(author.file("wrong key", b"2")))
        future = author.say_bytes(b"f" * 16, pb.NodeRecord(format=99, id=b"f" * 16).SerializeToString())
        unknown = author.say_bytes(b"what is this", b"?")
        await raw.push(author, good, garbage, wrong_key, future, unknown, after=0)
        await until(lambda: "good" in bob.files())
        await until(lambda: bob.sync.status().quarantined == 4)
        assert ann.sync.status().quarantined == 4
        assert "wrong key" not in ann.files()


async def test_what_a_member_says_of_the_root_is_not_merged_and_leaves_the_volume_well(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        root = NodeState(ROOT_ID, Kind.DIRECTORY, 0, mode=Register(0, Hlc(1, 0, author.id)))
        await raw.push(author, author.say(root), author.say(author.file("file", b"1")), after=0)
        await until(lambda: "file" in bob.files())
        await until(lambda: bob.sync.status().quarantined == 1)
        for device in (ann, bob):
            store = device.store
            assert store.db.number("SELECT count(*) FROM envelopes WHERE key=?", (ROOT_ID,)) == 1
            with store.db.transaction():  # as after an earlier program, which had nothing against it
                store.documents.release(author.id, ROOT_ID)
            assert examine_copy(store.volume, store.directory, device.id, files=FileCheck.SIZES).findings == {}


async def test_a_removal_that_claims_to_have_seen_the_future_means_the_same_everywhere(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = ann.write("target", b"first")
        ann.write("other", b"untouched")
        await settled(ann, bob)
        state = ann.volume.tree.state(node)
        assert state is not None
        far = {ann.volume.author: 10**9}
        wipe = replace(state, context=far, versions={}, removed=Removal(far, {}))
        await raw.push(author, author.say(wipe), after=0)
        await raw.hear("confirm")
        await settled(ann, bob)
        assert ann.files()["other"] == b"untouched"
        ann.write("target", b"second")
        await settled(ann, bob)


async def test_a_removed_writer_is_not_heard_through_others_whatever_it_makes_up(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        outlaw = Author(joined.volume)
        await raw.session(ann.id, joined, outlaw)
        await raw.push(outlaw, outlaw.say(outlaw.file("before", b"1")), after=0)
        await raw.hear("confirm")
        await settled(ann, bob)
        expected = ann.files()
        ann.sync.remove_member(raw.id)
        await until(lambda: bob.sync.members.was_removed(raw.id))
        await raw.hear("credentials")
        await raw.is_thrown_out()

        # A reader brings its later records, and another history under the numbers that it had used before.
        later = [outlaw.say(outlaw.file("later", b"2")), outlaw.say(outlaw.file("before", b"changed"))]
        other = Author(joined.volume, outlaw.key)
        forged = other.say(other.file("forged", b"3"))
        carrier = RawPeer(ann.network, "carrier")
        try:
            entered = await redeem(carrier.endpoint, decode_ticket(ann.ticket(Role.READER)), "carrier")
            await carrier.session(ann.id, entered)
            for author, envelopes, after in ((outlaw, later, 1), (other, [forged], 0)):
                await carrier.send(frames.have([author.head()], first=False))
                await carrier.push(author, *envelopes, after=after)
            carrier.heard.clear()
            await carrier.send(frames.ping(7, 0))
            await carrier.hear("pong")
            assert not [frame for frame in carrier.heard if frame.WhichOneof("frame") == "want"]
        finally:
            await carrier.endpoint.close()
        assert ann.files() == bob.files() == expected
        assert ann.sync.violations == {}


async def test_a_field_of_a_newer_program_is_kept_and_passed_on_whatever_we_say_of_the_node(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        state = author.file("file", b"first")
        newer = encode_state(state) + b"\xfa\x3f\x05newer"  # field 1023, of which this program knows nothing
        assert pb.NodeRecord.FromString(newer).versions
        await raw.push(author, author.say_bytes(state.id, newer), after=0)
        await until(lambda: bob.files().get("file") == b"first")
        ann.write("file", b"second")
        await until(lambda: bob.files().get("file") == b"second")
        for device in (ann, bob):
            kept = device.store.documents.envelope(author.id, state.id)
            assert kept is not None
            assert kept.payload == newer
        await ann.restart()
        await until(lambda: ann.files().get("file") == b"second")


async def test_what_a_record_says_of_another_author_waits_for_that_author(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        first, second = Author(joined.volume), Author(joined.volume)
        await raw.session(ann.id, joined, first, second)
        made = first.file("file", b"first")
        second.dots = 1
        stamp = Hlc(1_700_000_000_001, 0, second.id)
        version = Version(Dot(second.id, 1), stamp, Inline(b"second"), 6, Register(0, stamp), "raw")
        later = edit.with_version(made, version, made.versions)
        await raw.push(second, second.say(later), after=0)
        await raw.hear("confirm")
        assert ann.store.db.number("SELECT count(*) FROM waiting") == 1
        await raw.push(first, first.say(made), after=0)
        await until(lambda: ann.store.db.number("SELECT count(*) FROM waiting") == 0)
        await until(lambda: ann.files().get("file") == b"second")
        assert len(ann.files()) == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff",
        frames.welcome("again", 0),
        frames.blob(1, b"", True, 0),
        pb.Frame(have=pb.Have(heads=[pb.Head(author=b"short")])).SerializeToString(),
        pb.Frame(records=pb.Records(author=b"a" * 32, envelopes=[pb.Envelope(author=b"b" * 32)])).SerializeToString(),
        pb.Frame(marks=pb.Marks(marks=[pb.Mark(device=b"d")])).SerializeToString(),
        pb.Frame(want=pb.Want(author=b"")).SerializeToString(),
        pb.Frame(have=pb.Have(heads=[pb.Head(author=b"a" * 32)] * 5000)).SerializeToString(),
    ],
)
async def test_a_frame_that_breaks_the_protocol_ends_that_session_only(tmp_path: Path, frame: bytes) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        await raw.session(ann.id, joined)
        await raw.send(frame)
        assert await raw.is_thrown_out()
        assert ann.sync.violations[raw.id] == 1
        assert not raw.connection.closed if raw.connection else False


async def test_a_frame_above_the_limit_is_never_read(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        stream = await raw.session(ann.id, joined)
        # The length of a frame of 3.9 GB, and nothing behind it.
        await stream._write(b"\xf0\x00\x00\x00" + b"x" * 1000)  # type: ignore[attr-defined]
        assert await raw.is_thrown_out()


async def test_somebody_who_never_reads_costs_bounded_memory(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        await raw.session(ann.id, joined)
        for number in range(300):
            ann.write(f"file{number}", os.urandom(4000))
        await settled(ann, bob)
        outgoing = ann.sync.sessions[raw.id].outgoing
        assert len(outgoing._pushes) <= ann.config.pushes_most
        assert len(outgoing._haves) <= 3


async def test_a_flood_of_what_nobody_asked_for_ends_the_session(tmp_path: Path) -> None:
    config = replace(QUICK, ignored_most=50)
    async with devices(tmp_path, "ann", config=config, network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        await raw.session(ann.id, joined)
        nobody = Author(joined.volume)
        envelope = nobody.say(nobody.file("x", b"y"))
        with contextlib.suppress(ConnectionLost):
            for _ in range(100):
                await raw.push(nobody, envelope, after=0)
        assert await raw.is_thrown_out()
        await raw.endpoint.close()


@pytest.mark.parametrize(("ahead", "whole"), [(100, False), (0, True)], ids=["beyond", "another history"])
async def test_a_head_with_nothing_behind_it_is_asked_for_once(tmp_path: Path, ahead: int, whole: bool) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        liar = Author(joined.volume)
        await raw.session(ann.id, joined, liar)
        true = liar.say(liar.file("true", b"true"))
        await raw.push(liar, true, after=0)
        await raw.hear("confirm")
        held = liar.head()
        promised = sign_head(liar.key, joined.volume, held.seq + ahead, held.dots, b"\xff" * 32)
        await raw.send(frames.have([promised], first=False))
        for number in range(50):
            await raw.send(frames.ping(number, 0))
            while (frame := await raw.hear_any()).WhichOneof("frame") != "pong" or frame.pong.id != number:
                if frame.WhichOneof("frame") == "want":
                    envelopes = [true] if frame.want.whole else []
                    page = frames.records(liar.id, 0 if envelopes else held.seq, frame.want.whole, envelopes, held)
                    await raw.send(page)
        wants = [frame for frame in raw.heard if frame.WhichOneof("frame") == "want" and frame.want.author == liar.id]
        assert [frame.want.whole for frame in wants] == [whole]
        # What it publishes in truth is taken nevertheless.
        await raw.push(liar, liar.say(liar.file("more", b"more")), after=held.seq)
        await until(lambda: ann.files().get("more") == b"more")


async def test_a_member_of_one_volume_learns_nothing_of_another(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        connection = await raw.connect(ann.id)
        await raw.session(ann.id, joined)
        stream = await connection.open_stream()
        raw.stream = stream
        elsewhere = VolumeId(generate().public)
        await stream.send(frames.hello(elsewhere, pb.PURPOSE_SESSION, joined.credentials, "raw", 0))
        assert await raw.is_thrown_out()
        assert not connection.closed
