# SPDX-License-Identifier: GPL-3.0-or-later
"""version: what this program, the daemon and its mounts are, and whether they fit."""

from __future__ import annotations

import json
import platform
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
import pytest

from holofs_api import API_VERSION, VERSION
from holofs_api.v1 import filesystem_pb2
from holofs_api.v1.filesystem_pb2_grpc import FilesystemStub
from holofs_mount import options
from holofsctl.fuse_binding import FuseBinding
from holofsd.daemon import main as daemon
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_stands_in_one_place_and_the_package_has_it() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert told["project"]["dynamic"] == ["version"]
    assert told["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "holofs_api.VERSION"}
    assert metadata.version("holofs") == VERSION


@pytest.fixture(autouse=True)
def binding(monkeypatch: pytest.MonkeyPatch) -> list[FuseBinding]:
    """Answers of the mount's program about FUSE, the last one counts; a test may add another."""
    told = [FuseBinding("pyfuse3", "3.5.0", "Mounts use pyfuse3 3.5.0.")]
    monkeypatch.setattr("holofsctl.fuse_binding.find", lambda: told[-1])
    return told


async def test_version_tells_of_the_daemon_and_of_each_mount(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("version")
    assert code == 0
    assert [line.split("  ", maxsplit=1)[0] for line in out.splitlines()] == [
        "holofsctl",
        "Python",
        "FUSE binding",
        "holofsd",
        "/mnt/docs",
    ]
    assert [line.split("  ")[-1].strip() for line in out.splitlines()] == [
        VERSION,
        platform.python_version(),
        "pyfuse3 3.5.0",
        "9",
        "9 (mount of docs)",
    ]
    assert "They work together" in err


async def test_version_as_json(run: Run, device: FakeDevice) -> None:
    told = json.loads((await run("version", "--json"))[1])
    assert (told["version"], told["api_version"]) == (VERSION, API_VERSION)
    assert (told["binding"]["name"], told["binding"]["version"]) == ("pyfuse3", "3.5.0")
    assert told["daemon"]["program"] == "holofsd 9"
    (mount,) = told["mounts"]
    assert (mount["path"], mount["program"], mount["api_version"]) == ("/mnt/docs", "holofs-mount 9", API_VERSION)


async def test_version_needs_no_daemon(run: Run) -> None:
    code, out, err = await run("version")
    assert (code, err) == (0, "")
    assert "does not run" in out
    code, out, _ = await run("version", "--json")
    assert (code, json.loads(out)["daemon"], json.loads(out)["mounts"]) == (0, None, [])


async def test_a_slower_binding_is_said_with_its_reason(run: Run, binding: list[FuseBinding]) -> None:
    binding.append(FuseBinding("fusepy", "3.0.1", "Mounts use fusepy 3.0.1, which is slower, because of that."))
    code, out, err = await run("version")
    assert (code, err) == (0, "Mounts use fusepy 3.0.1, which is slower, because of that.\n")
    assert "fusepy 3.0.1" in out
    binding.append(FuseBinding("", "", "Nothing can be mounted here."))
    code, out, err = await run("version")
    assert (code, err) == (0, "Nothing can be mounted here.\n")
    assert "none" in out


async def test_a_mount_that_does_not_fit_is_said_in_one_sentence(run: Run, device: FakeDevice) -> None:
    device.heard = ("holofs-mount 12", API_VERSION + 1)
    code, out, err = await run("version", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (1, "version-mismatch")
    assert "/mnt/docs is of holofs-mount 12" in err
    assert json.loads(out)["version"] == VERSION


async def test_a_daemon_that_does_not_fit_is_said_after_our_own_version(
    run: Run, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holofsctl.client.API_VERSION", API_VERSION + 1)
    code, out, err = await run("version")
    assert (code, out.split()[:2]) == (1, ["holofsctl", VERSION])
    assert "upgrade" in err
    assert "does not run" not in out


async def test_the_daemon_hears_of_a_mount_also_when_it_refuses_it(channel: Any, device: FakeDevice) -> None:
    request = filesystem_pb2.AttachRequest(api_version=API_VERSION + 1, program="holofs-mount 12", volume="docs")
    with pytest.raises(grpc.aio.AioRpcError):
        await FilesystemStub(channel).Attach(request)
    assert device.heard == ("holofs-mount 12", API_VERSION + 1)


@pytest.mark.parametrize(("program", "main"), [("holofsd", daemon.main), ("holofs-mount", options.parse)])
def test_every_program_says_its_version(program: str, main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{program} {VERSION}\n"
