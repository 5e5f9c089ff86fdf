# SPDX-License-Identifier: GPL-3.0-or-later
"""Members that sign more than anybody needs: it is dropped, counted against them, and stops nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.check.fsck import FileCheck, examine
from holofsd.codec.signing import SigningKey, generate, make_certificate, sign_grant, sign_removed
from holofsd.core.credentials import CERTIFICATES_KEPT
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Role
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.core.members import CERTIFICATES_COUNTED
from holofsd.store.volume import VolumeStore
from holofsd.sync import frames
from holofsd.sync.config import MAX_HELLO
from holofsd.sync.create import prepare_joined
from holofsd.sync.members import Members
from holofsd.sync.signers import TOO_MANY_AUTHORS, TOO_MANY_STATEMENTS
from holofsd.sync.stored_credentials import messages_of
from tests.sync.devices import Device, devices, settled, share, until
from tests.sync.rawpeer import Author
from tests.sync.test_hostile import scene


def certificates(device_key: SigningKey, volume: VolumeId, number: int) -> Credentials:
    return Credentials(certificates=tuple(make_certificate(generate(), device_key, volume) for _ in range(number)))


def stored_as_before(device: Device, credentials: Credentials) -> None:
    """Store into the index of a device that is down, as an earlier program stored whatever it was shown."""
    assert device.volume_id is not None
    store = VolumeStore(device.volume_id, device.directory(device.volume_id))
    with store.db.transaction():
        for number, (kind, message) in enumerate(messages_of(credentials)):
            store.add_credential(kind, b"%032d" % number, message)
    store.close()


def blamed(device: Device) -> dict[bytes, str]:
    return {lie.who: lie.what for lie in device.store.lies.all()}


@pytest.mark.parametrize("role", [Role.READER, Role.WRITER])
async def test_two_devices_that_hold_different_forged_certificates_still_meet(tmp_path: Path, role: Role) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        await share(ann, cid, role=role)
        await until(lambda: bob.sync.members.is_member(cid.id))
        for device in (ann, bob, cid):
            await device.down()
        for device in (ann, bob):
            stored_as_before(device, certificates(cid.key, ann.sync.id, 2500))
        for device in (ann, bob):
            await device.up()
        ann.write("by ann", b"1")
        bob.write("by bob", b"2")
        await settled(ann, bob)
        assert ann.files() == {"by ann": b"1", "by bob": b"2"}
        # Both know the same ones now: as many as a device may have, and none of a reader.
        await until(lambda: ann.sync.members.credentials == bob.sync.members.credentials)
        most = CERTIFICATES_KEPT if role is Role.WRITER else 0
        assert sum(c.device == cid.id for c in ann.sync.members.credentials.certificates) == most
        assert ann.sync.membership.authors == bob.sync.membership.authors


async def test_a_reader_that_makes_certificates_without_end_stops_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, Role.READER) as (ann, bob, raw, joined):
        await raw.session(ann.id, joined)
        await raw.send(frames.credentials(certificates(raw.key, joined.volume, 4090)))
        await until(lambda: blamed(ann) == {raw.id: TOO_MANY_AUTHORS})
        assert not any(c.device == raw.id for c in ann.sync.members.credentials.certificates)
        ann.sync.set_member(bob.id, Role.ADMIN)
        await until(lambda: bob.sync.role is Role.ADMIN)
        bob.sync.set_member(raw.id, Role.WRITER)
        await until(lambda: ann.sync.membership.roles[raw.id] is Role.WRITER)
        ann.sync.remove_member(raw.id)
        await until(lambda: not bob.sync.members.is_member(raw.id))


async def test_whoever_passes_on_too_much_is_not_to_blame_and_keeps_its_session(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        liar = generate()
        name = DeviceId(liar.public)
        ann.sync.members.grant(name, Role.WRITER, "liar")
        await raw.session(ann.id, joined)
        await raw.send(frames.credentials(certificates(liar, joined.volume, 1000)))
        await raw.send(frames.ping(77, 0))
        while (await raw.hear("pong")).pong.id != 77:
            pass
        await until(lambda: blamed(ann) == {name: TOO_MANY_AUTHORS})
        assert not ann.sync.violations
        assert ann.sync.is_connected(raw.id)


async def test_an_admin_that_lets_in_thousands_stops_nobody_and_all_of_it_is_undone_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path, Role.ADMIN) as (ann, bob, raw, joined):
        await raw.session(ann.id, joined)
        made = tuple(
            sign_grant(raw.key, joined.volume, DeviceId(generate().public), Role.WRITER, 1, f"made up {n}")
            for n in range(4000)
        )
        await raw.send(frames.credentials(Credentials(grants=made)))
        await until(lambda: blamed(ann) == {raw.id: TOO_MANY_STATEMENTS})
        await until(lambda: len(ann.sync.membership.roles) > 500)
        await until(lambda: ann.sync.members.credentials == bob.sync.members.credentials)
        ann.sync.set_member(bob.id, Role.ADMIN)  # one's own is never refused
        await until(lambda: bob.sync.role is Role.ADMIN)
        ann.sync.remove_member(raw.id, undo=True)
        await until(lambda: set(bob.sync.membership.roles) == {ann.id, bob.id})


async def test_a_writer_with_too_many_authors_takes_nothing_back_that_it_wrote(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        said = max((Author(joined.volume) for _ in range(20)), key=lambda author: author.id)
        await raw.session(ann.id, joined, said)
        await raw.push(said, said.say(said.file("raw", b"hello")), after=0)
        await until(lambda: bob.files().get("raw") == b"hello")
        await raw.send(frames.credentials(certificates(raw.key, joined.volume, 1000)))
        for device in (ann, bob):
            await until(lambda device=device: not device.sync.members.counts(said.id, 1))  # type: ignore[misc]
        await until(lambda: ann.store.documents.head(ann.volume.author) is not None)
        await settled(ann, bob)
        assert ann.files()["raw"] == bob.files()["raw"] == b"hello"
        # Whoever joins now, and never counted the author, sees it too.
        async with devices(tmp_path, "new", network=ann.network) as (new,):
            await new.join(ann.ticket())
            await until(lambda: new.files().get("raw") == b"hello")


async def test_a_device_that_takes_author_after_author_is_always_heard(tmp_path: Path) -> None:
    """Authors of a device that is restored from a copy again and again."""
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for number in range(CERTIFICATES_COUNTED + 5):
            bob.sync.rotate_author()
            assert bob.sync.members.counts(bob.volume.author, 1)
            bob.write(f"file {number}", b"%d" % number)
            await until(lambda number=number: f"file {number}" in ann.files())  # type: ignore[misc]
        await settled(ann, bob)
        assert len(ann.files()) == CERTIFICATES_COUNTED + 5


async def test_a_device_with_too_many_authors_of_an_earlier_program_takes_one_that_is_heard(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        bob.write("early", b"1")
        await settled(ann, bob)
        await bob.down()
        authors = sorted((generate() for _ in range(CERTIFICATES_COUNTED + 8)), key=lambda key: key.public)
        made = tuple(make_certificate(author, bob.key, ann.sync.id) for author in authors)
        stored_as_before(bob, Credentials(certificates=made))
        store = VolumeStore(ann.sync.id, bob.directory(ann.sync.id))
        with store.db.transaction():
            store.add_author(AuthorId(authors[-1].public), authors[-1].seed)
        store.close()
        await bob.up()
        bob.write("late", b"2")
        await until(lambda: ann.files() == {"early": b"1", "late": b"2"})
        await settled(ann, bob)


# ---- who is to blame
async def test_who_only_was_not_known_yet_as_what_it_is_is_not_blamed(tmp_path: Path) -> None:
    """A member passes on what others signed, before what makes it count, and again and again."""
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        reader, writer, stranger = generate(), generate(), generate()
        ann.sync.members.grant(DeviceId(reader.public), Role.READER, "reader")
        ann.sync.members.grant(DeviceId(writer.public), Role.WRITER, "writer")
        await raw.session(ann.id, joined)
        one = certificates(reader, joined.volume, 1).certificates
        let_in = sign_grant(writer, joined.volume, DeviceId(stranger.public), Role.READER, 1, "guest")
        await raw.send(frames.credentials(Credentials(grants=(let_in,), certificates=one * 200)))
        await raw.send(frames.ping(77, 0))
        while (await raw.hear("pong")).pong.id != 77:
            pass
        assert blamed(ann) == {}


async def test_false_certificates_that_push_out_a_true_one_do_not_blame_its_signer(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        honest = generate()
        ann.sync.members.grant(DeviceId(honest.public), Role.WRITER, "honest")
        await raw.session(ann.id, joined)
        last = Certificate(AuthorId(b"\xff" * 32), DeviceId(honest.public), b"s" * 64, b"s" * 64)
        (true,) = certificates(honest, joined.volume, 1).certificates
        forged = tuple(replace(last, author=AuthorId(bytes(31) + bytes([n]))) for n in range(CERTIFICATES_KEPT))
        await raw.send(frames.credentials(Credentials(certificates=(true, *forged))))
        await until(lambda: not ann.sync.is_connected(raw.id))
        assert blamed(ann) == {}


# ---- hellos
async def test_what_an_admin_signs_about_a_device_does_not_make_its_hello_too_large(tmp_path: Path) -> None:
    async with scene(tmp_path, Role.ADMIN) as (ann, bob, raw, joined):
        heads = [AuthorSeq(AuthorId(b"%032d" % n), 1, bytes(32)) for n in range(1800)]
        large = sign_removed(raw.key, joined.volume, ann.id, 5, heads)  # counts for nothing: there is no generation 4
        await raw.session(ann.id, joined)
        await raw.send(frames.credentials(Credentials(removals=(large,))))
        for device in (ann, bob):
            await until(lambda device=device: large in device.sync.members.credentials.removals)  # type: ignore[misc]
            proof = device.sync.members.proof(bob.id if device is ann else ann.id)
            assert len(frames.hello(joined.volume, 1, proof, "n" * 200, 0)) <= MAX_HELLO
        await ann.restart()
        await until(lambda: ann.sync.is_connected(bob.id))


# ---- what is stored and cannot be read
async def test_a_stored_credential_that_cannot_be_read_damages_nothing(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=Role.ADMIN)
        ann.write("file", b"1")
        await settled(ann, bob)
        await ann.down()
        volume = ann.volume_id
        assert volume is not None
        # What `recover` of a program of before stored after a removal of generation 2^62 - 1.
        far = sign_grant(SigningKey(ann.secret), volume, ann.id, Role.ADMIN, 2**62, "ann")
        removal = sign_removed(bob.key, volume, ann.id, 2**62 - 1)
        stored_as_before(ann, Credentials(grants=(far,), removals=(removal,)))
        store = VolumeStore(volume, ann.directory(volume))
        with store.db.transaction():
            store.add_credential("grant", b"x", b"\xff\xff no message")
        assert Members(store, ann.key).role is Role.ADMIN
        store.close()
        await ann.up()
        ann.write("more", b"2")
        await settled(ann, bob)
        ann.sync.remove_member(bob.id)
        await until(lambda: bob.sync.role is None)
        await ann.down()
        report = examine(volume, ann.directory(volume), ann.id, repair=True, files=FileCheck.IGNORED)
        assert set(report.findings) == {"false-credential"}
        await ann.up()
        assert ann.sync.role is Role.ADMIN
        assert not ann.sync.members.is_member(bob.id)


def test_what_could_not_be_read_again_is_not_stored(tmp_path: Path) -> None:
    key, owner = generate(), generate()
    volume = VolumeId(key.public)
    good = sign_grant(key, volume, DeviceId(owner.public), Role.ADMIN, 1, "ann")
    store = prepare_joined(tmp_path, volume, Credentials(grants=(good,)), owner)
    members = Members(store, owner)
    before = store.credentials()
    far = sign_grant(key, volume, DeviceId(generate().public), Role.READER, 2**62, "far")
    with pytest.raises(Exception, match="out of range"):
        members._keep(Credentials(grants=(far,)))
    assert store.credentials() == before
    assert members.credentials.size() == len(before)
    assert AuthorId(store.own_authors()[0]) in members.membership.authors
    store.close()
