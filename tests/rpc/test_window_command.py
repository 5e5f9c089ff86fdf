# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl ui` against a fake device: what it prints, and how it hands the link to a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.fake_device import FakeDevice
from support.wait import until
from tests.rpc.conftest import Run

LINK = "http://127.0.0.1:9/?link=secret"


async def test_the_link_is_printed_first_and_alone(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("ui", "--no-open")
    assert (code, out) == (0, f"{LINK}\n")
    assert "good once" in err
    told = json.loads((await run("ui", "--no-open", "--json"))[1])
    assert told == {"schema": 1, "link": LINK, "expires_at_ms": 5}


async def test_without_a_desktop_a_person_opens_it(
    run: Run, device: FakeDevice, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, out, err = await run("ui")
    assert (code, out) == (0, f"{LINK}\n")
    assert "no desktop" in err
    assert not (state / "window.html").exists()


async def test_a_browser_gets_the_link_in_a_file_and_not_in_its_command_line(
    run: Run, device: FakeDevice, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    opener = tmp_path / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$@" > {told}.new && mv {told}.new {told}\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DISPLAY", ":9")
    (state / "window.html").write_text("of an earlier link")
    assert (await run("ui"))[0] == 0
    page = state / "window.html"
    assert until(lambda: told.exists() and told.read_text(), "the browser to be started") == f"{page.as_uri()}\n"
    assert page.stat().st_mode & 0o777 == 0o600
    assert f'content="0;url={LINK}"' in page.read_text()
