# SPDX-License-Identifier: GPL-3.0-or-later
"""A user manager for tests: `systemctl --user` and `loginctl` that note what is asked and run the units of a folder.

    fake = FakeSystemd(folder, config_home)
    environment["PATH"] = f"{fake.bin}:{environment['PATH']}"

It reads units by itself, as systemd.syntax(7) says, so that it does not take over a mistake of what wrote them. Each
program ends at once, so nobody listens at a socket unit without its service: a test does that itself (`listening_at`).
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

READY_S = 60.0
PROGRAMS = ("systemctl", "loginctl")


def words_of(text: str) -> list[str]:
    """Words of a line of a unit, without their quotes and escapes."""
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
    return [re.sub(r"\\(x[0-9a-f]{2}|.)", _character, word).replace("%%", "%") for word in quoted]


def _character(escape: re.Match[str]) -> str:
    return escape[1] if len(escape[1]) == 1 else chr(int(escape[1][1:], 16))


def values_of(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def command_of(unit: str) -> list[str]:
    return words_of(values_of(unit, "ExecStart")[0].removeprefix(":"))


def settings_of(unit: str) -> dict[str, str]:
    found = [word for line in values_of(unit, "Environment") for word in words_of(line)]
    return dict(setting.split("=", 1) for setting in found)


def address_of(unit: str) -> str:
    """Path of the socket that a socket unit makes: a line as it stands, but for `%`."""
    return values_of(unit, "ListenStream")[0].replace("%%", "%")


def listening_at(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    Path(address).unlink(missing_ok=True)
    listener.bind(address)
    os.chmod(address, 0o600)
    listener.listen()
    return listener


def handed_over(command: list[str]) -> list[str]:
    """The command that gives its standard input to `command` as the one socket that is handed over."""
    return ["/bin/sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0 </dev/null', "sh", *command]


class FakeSystemd:
    def __init__(self, folder: Path, config_home: Path) -> None:
        self.folder = folder
        self.units = config_home / "systemd" / "user"
        self.bin = folder / "bin"

    def install(self) -> None:
        """Makes the two programs."""
        self.bin.mkdir(parents=True)
        for name in PROGRAMS:
            script = self.bin / name
            words = [sys.executable, __file__, name, str(self.folder), str(self.units)]
            script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            script.chmod(0o755)

    def orders(self) -> list[str]:
        """Orders since the last time, without questions."""
        log = self.folder / "orders"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if line.split()[2:3] not in (["show"], ["is-enabled"])]

    def refuse(self, what: str) -> None:
        """Let every order with that word in it fail from now on."""
        (self.folder / "refused").write_text(what)

    # ---- inside of the programs
    def obey(self, program: str, words: list[str]) -> int:
        with (self.folder / "orders").open("a") as log:
            log.write(" ".join([program, *words]) + "\n")
        refused = self.folder / "refused"
        if refused.exists() and refused.read_text() in words:
            print("Access denied.", file=sys.stderr)
            return 1
        return self._systemctl(words[1:]) if program == "systemctl" else 0

    def _systemctl(self, words: list[str]) -> int:
        unit = words[-1]
        link = self._link(unit)
        match words[0]:
            case "show" if "--property=MainPID" in words:
                print(self._pid(unit))
            case "show":
                print("252")
            case "is-enabled":
                print("enabled" if link.exists() else "disabled")
                return 0 if link.exists() else 1
            case "enable":
                for name in (unit, *values_of((self.units / unit).read_text(), "Also")):
                    self._link(name).parent.mkdir(exist_ok=True)
                    if not self._link(name).is_symlink():
                        self._link(name).symlink_to(self.units / name)
                return self._start(unit)
            case "restart":
                self._stop(unit)
                return self._start(unit)
            case "stop":
                self._stop(unit)
            case "disable":
                for name in words[2:]:
                    self._link(name).unlink(missing_ok=True)
                    self._stop(name)
        return 0

    def _link(self, unit: str) -> Path:
        target = "sockets.target" if unit.endswith(".socket") else "default.target"
        return self.units / f"{target}.wants" / unit

    def _pid(self, unit: str) -> int:
        try:
            pid = int((self.folder / f"{unit}.pid").read_text())
            return pid if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX" else 0
        except OSError:
            return 0

    def _start(self, unit: str) -> int:
        if self._pid(unit):
            return 0
        text = (self.units / unit).read_text()
        command, listener = command_of(text), None
        for name in values_of(text, "Sockets"):
            listener = listening_at(address_of((self.units / name).read_text()))
            command = handed_over(command)
        environment = {key: os.environ[key] for key in ("HOME", "PATH")}
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(address))
            manager.settimeout(READY_S)
            process = subprocess.Popen(
                command,
                env={**environment, **settings_of(text), "NOTIFY_SOCKET": str(address)},
                cwd="/",
                stdin=subprocess.DEVNULL if listener is None else listener.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            (self.folder / f"{unit}.pid").write_text(str(process.pid))
            return 0 if manager.recv(100) == b"READY=1" else 1

    def _stop(self, unit: str) -> None:
        if unit.endswith(".socket"):
            Path(address_of((self.units / unit).read_text())).unlink(missing_ok=True)
        pid = self._pid(unit)
        if pid:
            handle = os.pidfd_open(pid)
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            subprocess.run(["tail", f"--pid={pid}", "-s", "0.05", "-f", "/dev/null"], check=False, timeout=READY_S)


if __name__ == "__main__":
    name, state, units, *rest = sys.argv[1:]
    sys.exit(FakeSystemd(Path(state), Path(units).parents[1]).obey(name, rest))
