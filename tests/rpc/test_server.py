# SPDX-License-Identifier: GPL-3.0-or-later
"""The socket: for its owner only, one daemon, health and reflection, an orderly end."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from holofs_api import API_VERSION, handshake, paths
from holofs_api.errors import ATTACHMENT_KEY
from holofs_api.v1 import control_pb2, filesystem_pb2
from holofs_api.v1.control_pb2_grpc import ControlStub
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub
from holofsd.core.errors import StateDirUnusable
from holofsd.rpc.server import serving
from support.fake_device import FakeDevice


async def test_the_socket_is_for_its_owner_only(state: Path, device: FakeDevice) -> None:
    assert stat.S_IMODE((state / "holofsd.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


async def test_a_folder_of_somebody_else_is_not_used_for_the_socket(state: Path) -> None:
    elsewhere = state / "elsewhere"
    elsewhere.mkdir()
    (state / "link").symlink_to(elsewhere)
    with pytest.raises(StateDirUnusable):
        async with serving(FakeDevice(), state / "link" / "holofsd.sock"):
            pass


async def test_health_and_reflection_answer(channel: Any) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "holofs.v1.Control", "holofs.v1.Filesystem"):
        reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert {"holofs.v1.Control", "holofs.v1.Filesystem", "grpc.health.v1.Health"} <= listed
    call.cancel()


async def test_stopping_tells_watchers_ends_their_streams_and_takes_the_socket_away(state: Path) -> None:
    socket = state / "holofsd.sock"
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        async with serving(FakeDevice(), socket):
            stub = FilesystemStub(channel)
            attached = await stub.Attach(filesystem_pb2.AttachRequest(api_version=API_VERSION, volume="docs"))
            metadata = [(ATTACHMENT_KEY, attached.attachment)]
            watch = stub.Watch(filesystem_pb2.WatchRequest(), metadata=metadata)
            await watch.read()
            calls = stub.Calls(metadata=metadata)
            await calls.write(filesystem_pb2.CallRequest(id=1, release=filesystem_pb2.ReleaseRequest()))
            await calls.read()
        assert (await watch.read()).going_down
    assert not socket.exists()


async def test_a_dead_socket_file_is_replaced(state: Path) -> None:
    socket = state / "holofsd.sock"
    socket.touch()
    async with serving(FakeDevice(), socket), grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        reply = await ControlStub(channel).Handshake(control_pb2.HandshakeRequest(api_version=API_VERSION))
        assert reply.pid == 4711


def test_versions_that_differ_are_refused_in_a_sentence_that_says_what_to_upgrade() -> None:
    assert handshake.mismatch(3, "holofsd 3", "holofsctl 3", ours=3) is None
    sentence = handshake.mismatch(2, "holofsd 2", "holofsctl 3", ours=3)
    assert sentence is not None
    assert "upgrade holofsd 2 to match holofsctl 3" in sentence
    assert "this program" not in sentence
    with pytest.raises(handshake.ApiMismatchError):
        handshake.check(4, "holofsd 4", "holofsctl 3", ours=3)


def test_the_state_directory_is_the_one_told_before_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("HOLOFS_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert paths.state_dir() == Path("/home/somebody/.local/state/holofs")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert paths.state_dir() == Path("/home/somebody/.local/state/holofs")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert paths.state_dir() == Path("/xdg/holofs")
    monkeypatch.setenv("HOLOFS_STATE_DIR", "~/there")
    assert paths.state_dir() == Path("/home/somebody/there")
    monkeypatch.chdir(tmp_path)
    assert paths.state_dir("here") == tmp_path / "here"


def test_the_socket_is_in_the_state_directory_however_long_its_path_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    for state in (Path("/short"), Path("/" + "é" * 60)):
        assert paths.socket_path(state) == state / "holofsd.sock"
        assert paths.calls_socket_beside(paths.socket_path(state)) == state / "calls.sock"
