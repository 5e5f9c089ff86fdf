# SPDX-License-Identifier: GPL-3.0-or-later
"""Two daemons with one node key: told from a restart, heard of on each side, and neither is shut out."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

import pytest

from holofsd.codec.signing import SigningKey
from holofsd.core.ids import DeviceId
from holofsd.daemon.same_machine import SameMachine
from holofsd.net.fake import FakeNetwork
from holofsd.sync import twins as module
from holofsd.sync.twins import Twins
from tests.sync import devices as harness
from tests.sync.devices import Device, devices, settled, share, until

US, THEM = DeviceId(b"u" * 32), DeviceId(b"t" * 32)
X, Y, Z = (letter * 16 for letter in (b"x", b"y", b"z"))


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def twins(clock: Clock) -> Twins:
    return Twins(US, clock)


def said(twins: Twins) -> list[str]:
    return twins.sentences(lambda device: device[:1].decode())


@pytest.mark.parametrize(
    ("runs", "doubled"),
    [
        ([X, X, X], False),
        ([X, Y, Z], False),
        ([X, X, Y, Y, Z, Z], False),
        ([X, Y, X], True),
        ([X, Y, Z, Y], True),
        ([X, Y, Z, X], True),
        ([X, b"", X], False),
        ([b"", b"short", b""], False),
        ([X, b"long" * 9, X], False),
    ],
)
def test_only_a_run_that_is_met_again_after_another_proves_two(twins: Twins, runs: list[bytes], doubled: bool) -> None:
    for instance in runs:
        twins.met(THEM, instance, told=False)
    assert twins.is_doubled(THEM) is doubled
    assert [sentence.partition(" runs")[0] for sentence in said(twins)] == (["t"] if doubled else [])
    assert not twins.is_doubled(US)


def test_a_device_that_restarts_for_ever_is_remembered_in_bounds(twins: Twins) -> None:
    for number in range(1000):
        twins.met(THEM, number.to_bytes(16, "big"), told=False)
    assert len(twins._met[THEM]) <= 8
    assert said(twins) == []


def test_what_is_over_is_not_said_for_long(twins: Twins, clock: Clock) -> None:
    for instance in (X, Y, X):
        twins.met(THEM, instance, told=True)
    twins.found_here("/elsewhere")
    assert len(said(twins)) == 2
    assert "/elsewhere" in said(twins)[0]
    clock.now += module.FORGET_MS
    assert said(twins) == []
    twins.met(THEM, X, told=False)
    assert said(twins) == []


def test_what_is_seen_to_end_on_this_machine_is_over_at_once(twins: Twins, clock: Clock) -> None:
    twins.found_here("/elsewhere")
    twins.met(THEM, X, told=True)
    twins.gone_here("/elsewhere")
    assert said(twins) == []
    twins.met(THEM, X, told=True)  # of a peer that met both before
    assert said(twins) == []
    twins.found_here("/elsewhere")
    assert len(said(twins)) == 1
    twins.gone_here("/elsewhere")
    clock.now += module.FORGET_MS
    twins.met(THEM, X, told=True)
    assert len(said(twins)) == 1, "there is one more, elsewhere"


def test_every_run_has_an_instance_of_its_own(clock: Clock) -> None:
    assert len({Twins(US, clock).instance for _ in range(100)}) == 100


def _two_names(peer_is_lower: bool) -> tuple[str, str]:
    first, second = sorted("ab", key=lambda name: SigningKey(name.encode().ljust(32, b".")).public)
    return (first, second) if peer_is_lower else (second, first)


@pytest.mark.parametrize("peer_is_lower", [True, False])
async def test_two_daemons_with_one_key_take_turns_and_hear_of_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer_is_lower: bool
) -> None:
    monkeypatch.setattr(harness, "HASTY", partial(harness.HASTY, turn=0.5))
    network = FakeNetwork(discovery=True)
    async with devices(tmp_path, *_two_names(peer_is_lower), network=network) as (peer, original):
        await share(peer, original)
        await settled(peer, original)
        await original.restart()
        await settled(peer, original)
        assert not peer.hub.twins.is_doubled(original.id), "a restart is none"
        await original.down()
        shutil.copytree(original.folder, tmp_path / "copy")
        copy = Device(network, tmp_path / "copy", original.name)
        copy.volume_id = original.volume_id
        await original.up()
        network._endpoints.pop(original.id)  # it stays, though another one comes under its key
        await copy.up()
        try:
            copy.sync.rotate_author()
            await until(lambda: peer.hub.twins.is_doubled(original.id), "the peer to meet both")
            for one in (original, copy):
                await until(lambda one=one: one.hub.twins.sentences(bytes.hex), "it to be told")  # type: ignore[misc]
            original.write("by the original", b"1")
            copy.write("by the copy", b"2")
            both = {"by the original": b"1", "by the copy": b"2"}
            await until(lambda: peer.files() == both, "the peer to have what either wrote")
            await until(lambda: original.files() == both and copy.files() == both, "each to have what the other wrote")
        finally:
            await copy.down()


async def test_daemons_on_one_machine_find_each_other_also_after_one_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holofsd.daemon.same_machine.LOOK_AGAIN_S", 0.05)
    device = DeviceId(SigningKey(b"one machine".ljust(32, b".")).public)
    found: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    running = {
        name: asyncio.create_task(SameMachine(device, tmp_path / name, found[name].append).run()) for name in "ab"
    }
    await until(lambda: found["a"] and found["b"])
    assert (set(found["a"]), set(found["b"])) == ({str(tmp_path / "b")}, {str(tmp_path / "a")})
    for name in "ab":  # whichever of them had the name
        running["c"] = asyncio.create_task(SameMachine(device, tmp_path / "c", found["c"].append).run())
        await until(lambda: found["c"])
        running.pop("c").cancel()
        running.pop(name).cancel()
        found["c"].clear()
        running[name] = asyncio.create_task(SameMachine(device, tmp_path / name, found[name].append).run())
        found[name].clear()
        await until(lambda name=name: found[name], "the one that began anew to find the other")  # type: ignore[misc]
    for task in running.values():
        task.cancel()
    await asyncio.gather(*running.values(), return_exceptions=True)


async def test_a_stranger_who_has_the_name_is_not_believed_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holofsd.daemon.same_machine._is_ours", lambda connection: False)
    device = DeviceId(SigningKey(b"a stranger".ljust(32, b".")).public)
    found: list[str] = []
    server = await asyncio.start_unix_server(_says("/lies\n"), path=f"\0holofs-device-{device.hex()}")
    task = asyncio.create_task(SameMachine(device, tmp_path, found.append)._ask())
    await asyncio.wait_for(task, 30)
    server.close()
    assert found == []


def _says(text: str) -> object:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())
        writer.close()

    return answer
