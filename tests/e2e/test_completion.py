# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion in a real bash, with a real daemon, or with one that is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from support.device import Device, World

COMPLETE = """
eval "$(holofsctl completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_holofsctl
printf '%s\\n' "${COMPREPLY[@]}"
"""
LOUD = "x $(touch was-here) `touch was-here`"


def completed(device: Device, *words: str) -> list[str]:
    """Words that bash offers for the last of these."""
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", "holofsctl", *words],
        env=device.environment,
        cwd=device.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return [word for word in done.stdout.split("\n") if word]


def test_bash_completes_commands_options_and_names(world: World) -> None:
    laptop, desktop = world.sharing("laptop", "desktop", volume="docs")
    laptop.create("dogs and cats")
    laptop.create(LOUD)
    assert completed(laptop, "uns") == []
    assert completed(laptop, "unm") == ["unmount"]
    assert completed(laptop, "mount", "--read") == ["--read-only"]
    assert completed(laptop, "mount", "docs", ".", "--binding", "pyf") == ["pyfuse3"]
    assert sorted(completed(laptop, "leave", "do")) == ["docs", "dogs\\ and\\ cats"]
    assert completed(laptop, "leave", "dogs\\ a") == ["dogs\\ and\\ cats"]
    assert completed(laptop, "completion", "z") == ["zsh"]
    assert completed(laptop, "config", "unset", "mount.pa") == ["mount.patience"]
    assert completed(laptop, "config", "set", "log.level", "de") == ["debug"]
    assert completed(laptop, "limit", "--metered", "") == ["ignore", "wait"]
    assert "desktop" in completed(laptop, "members", "role", "docs", "")
    assert completed(laptop, "members", "role", "docs", "desktop", "wr") == ["writer"]
    assert completed(laptop, "resolve", "x", "--keep", "d") == ["desktop"]
    (laptop.home / "folder").mkdir()
    assert completed(laptop, "mount", "docs", "fol") == ["folder"]
    # The name of a volume is nothing that a shell obeys.
    assert len(completed(laptop, "leave", "x")) == 1
    assert not (laptop.home / "was-here").exists()
    # The other device, by its state directory.
    assert completed(laptop, "--state-dir", str(desktop.state), "leave", "") == ["docs"]


def test_a_daemon_that_is_stopped_or_absent_does_not_hold_the_shell(world: World) -> None:
    (device,) = world.running("a")
    device.create("docs")
    pid = device.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert completed(device, "leave", "do") == []
        assert time.monotonic() - begun < 12
    finally:
        os.kill(pid, signal.SIGCONT)
    device.down()
    assert completed(device, "leave", "do") == []
