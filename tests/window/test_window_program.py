# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the window where it cannot serve: it says why on standard output, and ends."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from holofs_window.main import main


def test_a_port_that_is_taken_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--state-dir", str(tmp_path), "--port", str(port)]) == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told.startswith(f"Port {port} of 127.0.0.1 cannot be used")
    assert "window.port" in told


def test_without_a_daemon_it_does_not_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o700)
    assert main(["--state-dir", str(tmp_path)]) == 1
    assert "holofsctl up" in json.loads(capsys.readouterr().out)["error"]
