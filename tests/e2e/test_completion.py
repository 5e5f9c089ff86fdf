# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion in a real bash, with a real daemon, or with one that is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support.device import Device, World
from support.wait import until

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


def offers(device: Device, *words: str, names: list[str]) -> None:
    """A shell gets names from the daemon within half a second or not at all, and asks again at the next key."""
    until(lambda: sorted(completed(device, *words)) == names, f"the names after {words}")


def test_bash_completes_commands_options_and_names(world: World) -> None:
    laptop, desktop = world.sharing("laptop", "desktop", volume="docs")
    laptop.create("dogs and cats")
    laptop.create(LOUD)
    assert completed(laptop, "uns") == []
    assert completed(laptop, "unm") == ["unmount"]
    assert completed(laptop, "mount", "--read") == ["--read-only"]
    assert completed(laptop, "mount", "docs", ".", "--binding", "pyf") == ["pyfuse3"]
    offers(laptop, "leave", "do", names=["docs", "dogs\\ and\\ cats"])
    offers(laptop, "leave", "dogs\\ a", names=["dogs\\ and\\ cats"])
    assert completed(laptop, "completion", "z") == ["zsh"]
    assert completed(laptop, "config", "unset", "mount.pa") == ["mount.patience"]
    assert completed(laptop, "config", "set", "log.level", "de") == ["debug"]
    assert completed(laptop, "limit", "--metered", "") == ["ignore", "wait"]
    until(lambda: "desktop" in completed(laptop, "members", "role", "docs", ""), "the name of a member")
    assert completed(laptop, "members", "role", "docs", "desktop", "wr") == ["writer"]
    offers(laptop, "resolve", "x", "--keep", "d", names=["desktop"])
    (laptop.home / "folder").mkdir()
    assert completed(laptop, "mount", "docs", "fol") == ["folder"]
    # The name of a volume is nothing that a shell obeys.
    until(lambda: len(completed(laptop, "leave", "x")) == 1, "the name of a volume")
    assert not (laptop.home / "was-here").exists()
    # The other device, by its state directory.
    offers(laptop, "--state-dir", str(desktop.state), "leave", "", names=["docs"])


def test_a_daemon_that_is_stopped_or_absent_does_not_hold_the_shell(world: World) -> None:
    (device,) = world.running("a")
    device.create("docs")
    pid = device.daemon_pid()
    with ThreadPoolExecutor(1) as pool:
        os.kill(pid, signal.SIGSTOP)
        try:
            asked = pool.submit(device.ctl, "status", check=False)
            assert completed(device, "leave", "do") == []
            assert not asked.done(), "it waited as long as commands do"
        finally:
            os.kill(pid, signal.SIGCONT)
    device.down()
    assert completed(device, "leave", "do") == []
