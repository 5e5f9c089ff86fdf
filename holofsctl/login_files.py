# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that start a device at login: units of systemd's user manager or, without systemd, an XDG autostart entry.

Text only: `commands/installing.py` writes it. Each file begins with a line that names the device, by which `uninstall`
knows what it may remove.

There are two units, the service and the socket at which systemd waits for clients while no daemon runs (ADR 0014). A
state directory whose path is too long for a socket's address, or has a control character, has the service alone.

Mounts are made by a setuid program (fusermount3) in the mount namespace of the session. So the unit has none of these:

- NoNewPrivileges, and all that a user manager can do only together with it: LockPersonality, MemoryDenyWriteExecute,
  RestrictAddressFamilies, RestrictNamespaces, RestrictRealtime, RestrictSUIDSGID, SystemCallArchitectures,
  SystemCallFilter, Protect{Clock,Hostname,KernelLogs,KernelModules,KernelTunables} (systemd.exec(5)). With it
  fusermount3 says "mount failed: Operation not permitted" (measured with `setpriv --no-new-privs`).
- PrivateTmp, PrivateDevices, PrivateUsers, ProtectSystem, ProtectHome, ReadOnlyPaths and the like: they make a mount
  namespace, and nobody outside of it would see the mounts.
- CapabilityBoundingSet: a user manager has no capability to drop others with.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from holofs_api import utf8
from holofs_api.activation import ACTIVATION_SOCKET_NAME
from holofs_api.paths import MAX_SOCKET_PATH, default_state_dir
from holofs_api.settings import VARIABLES
from holofs_api.state_directory import MARKER


class Starter(StrEnum):
    SYSTEMD = "systemd"
    AUTOSTART = "autostart"


@dataclass(frozen=True, slots=True)
class LoginFile:
    """File that starts one device."""

    starter: Starter
    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.name

    def is_written(self) -> bool:
        """Returns whether a file of ours, for this device, is there: maybe with another text."""
        return self._present()[:1] == self.text.splitlines()[:1]

    def is_current(self) -> bool:
        return self._present() == self.text.splitlines()

    def is_foreign(self) -> bool:
        """Returns whether there is a file that `install` did not write, or not for this device."""
        return os.path.lexists(self.path) and not self.is_written()

    def _present(self) -> list[str]:
        try:
            return self.path.read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            return []


def unit_of(state: Path, environment: Mapping[str, str] = os.environ) -> LoginFile:
    """The unit that runs the daemon. Started by hand it would be the same, in the foreground."""
    path = _units(environment) / f"holofsd{_suffix(state)}.service"
    command = [sys.executable, *utf8.MODE, "-m", "holofsd.daemon.main", "--state-dir", str(state)]
    settings = "".join(f"Environment={unit_word(setting)}\n" for setting in _settings(environment))
    socket = socket_unit_name(state) if _can_have_socket(state) else ""
    text = f"{_first_line(state)}\n{_service(' '.join(map(unit_word, command)), settings, socket)}"
    return LoginFile(Starter.SYSTEMD, path, text)


def socket_unit_of(state: Path, environment: Mapping[str, str] = os.environ) -> LoginFile | None:
    """The unit of the activation socket; None where systemd cannot make one in this state directory."""
    if not _can_have_socket(state):
        return None
    folder = str(state).replace("%", "%%")
    path = _units(environment) / socket_unit_name(state)
    return LoginFile(Starter.SYSTEMD, path, f"{_first_line(state)}\n{_socket(folder)}")


def socket_unit_name(state: Path) -> str:
    return f"holofsd{_suffix(state)}.socket"


def _can_have_socket(state: Path) -> bool:
    """Returns whether systemd can bind the socket: it knows no way around the length of an address, and reads a line as
    it stands, without escapes."""
    path = str(state / ACTIVATION_SOCKET_NAME)
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH and path == _without_controls(path)


def packaged_units(program: str) -> dict[str, str]:
    """Units, by name, that a package of a distribution installs for all users: each may enable them for his own
    device, which is in the usual place."""
    begin = "# Part of the package holofs; `systemctl --user enable --now holofsd` starts it.\n"
    socket = "holofsd.socket"
    service = _service(unit_word(program), "", socket)
    return {"holofsd.service": begin + service, socket: begin + _socket("%h/.local/state/holofs")}


def _units(environment: Mapping[str, str]) -> Path:
    return config_home(environment) / "systemd" / "user"


def _socket(folder: str) -> str:
    # The condition: systemd would make missing folders, also where the disk that holds the device is not plugged in.
    return f"""[Unit]
Description=HoloFS, for clients that come before the daemon
ConditionPathExists={folder}/{MARKER}

[Socket]
ListenStream={folder}/{ACTIVATION_SOCKET_NAME}
SocketMode=0600
DirectoryMode=0700
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def _service(command: str, settings: str, socket: str) -> str:
    # `:` keeps systemd from replacing $NAME. Exit codes 2 and 6 of the daemon (settings that make no sense; one runs
    # already) do not change by trying again. `Sockets` starts the socket with the service, `Also` enables both.
    sockets, also = (f"Sockets={socket}\n", f"Also={socket}\n") if socket else ("", "")
    return f"""[Unit]
Description=HoloFS

[Service]
Type=notify
NotifyAccess=main
ExecStart=:{command}
{settings}WorkingDirectory=/
TimeoutStartSec=10min
WatchdogSec=60
Restart=on-failure
RestartSec=3
RestartPreventExitStatus=2 6
# Mounts are processes of their own: they stay while the daemon is stopped, restarted or upgraded.
KillMode=process
OOMPolicy=continue
UMask=0077
LimitCORE=0
{sockets}
[Install]
WantedBy=default.target
{also}"""


def autostart_of(state: Path, environment: Mapping[str, str] = os.environ) -> LoginFile:
    """The entry that lets a desktop without systemd run `holofsctl up`."""
    path = config_home(environment) / "autostart" / f"holofs{_suffix(state)}.desktop"
    command = [sys.executable, *utf8.MODE, "-m", "holofsctl.main", "--state-dir", str(state), "up"]
    words = ["env", *_settings(environment), *command]
    text = f"""{_first_line(state)}
[Desktop Entry]
Type=Application
Name=HoloFS
Comment=Starts HoloFS and brings its folders back
Exec={" ".join(map(desktop_word, words))}
Path=/
Terminal=false
NoDisplay=true
"""
    return LoginFile(Starter.AUTOSTART, path, text)


def config_home(environment: Mapping[str, str]) -> Path:
    told = environment.get("XDG_CONFIG_HOME", "")
    # The XDG rules: a path that is not absolute counts as not set.
    return Path(told) if os.path.isabs(told) else Path("~/.config").expanduser()


def _settings(environment: Mapping[str, str]) -> list[str]:
    """Variables that give settings, as they are now: a file keeps them."""
    return [f"{name}={environment[name]}" for name in VARIABLES if environment.get(name)]


def _suffix(state: Path) -> str:
    """Eight digits of the state directory, so that devices do not collide; empty for the user's own device."""
    return "" if state == default_state_dir() else f"-{hashlib.sha256(os.fsencode(state)).hexdigest()[:8]}"


def _first_line(state: Path) -> str:
    return f"# Written by holofsctl install for the device in {unit_word(str(state))}"


def unit_word(text: str) -> str:
    """Word in a unit file: quoted, with escapes as of C, and `%` doubled (systemd.syntax(7))."""
    plain = re.sub(r'[\\"]', r"\\\g<0>", text).replace("%", "%%")
    return f'"{_without_controls(plain)}"'


def _without_controls(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def desktop_word(text: str) -> str:
    """Word of `Exec=`: quoted, `%` doubled, and then escaped again as any string of a desktop entry."""
    quoted = re.sub(r'[\\"`$]', r"\\\g<0>", text).replace("%", "%%")
    return '"' + _in_string(quoted) + '"'


def _in_string(text: str) -> str:
    escapes: Sequence[tuple[str, str]] = (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r"))
    for character, escape in escapes:
        text = text.replace(character, escape)
    return text
