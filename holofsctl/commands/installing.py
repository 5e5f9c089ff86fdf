# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands `install` and `uninstall`: a device that starts at login."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holofs_api import places
from holofs_api.settings import VARIABLES
from holofs_api.shell import shell_word
from holofs_api.state_directory import FolderContent, prepare, standing
from holofsctl import activation, launcher, user_manager
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.login_files import LoginFile, Starter, autostart_of, config_home, socket_unit_of, unit_of
from holofsctl.output import safe
from holofsctl.places import refused_plainly
from holofsctl.session import CommandSession
from holofsctl.user_manager import LINGER, SYSTEMCTL

_RELOAD: Final = (*SYSTEMCTL, "daemon-reload")
_Files = Sequence[LoginFile]
"""Files of one starter: the service and, where there can be one, its socket; or the autostart entry."""


def install(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    standing(session.state)
    units, entry = _files_of(session.state)
    files = units if user_manager.answers() else [entry]
    for file in files:
        _check(file)
    if arguments.dry_run:
        return _show(session, files, arguments.linger)
    prepare(session.state)
    is_unit = files is units
    changed, handed_over = _install_units(session.state, units) if is_unit else _install_entry(session.state, entry)
    lingers = arguments.linger and is_unit and user_manager.lingers()
    told = {"changed": changed, "handed_over": handed_over, "linger": lingers}
    session.output.data({**_facts(session.state, files), **told}, [safe(str(file.path)) for file in files])
    if handed_over:
        session.output.remark("The daemon that ran was handed over to systemd; the mounts stayed.")
    said = "is installed: the device starts when you log in." if changed else "was installed already."
    session.output.remark(f"{files[0].name} {said}")
    if is_unit and len(files) == 1:
        session.output.remark("No client can start it: the path of the state directory is too long for a socket.")
    return _told_about_linger(session, is_unit, arguments.linger, lingers)


def _told_about_linger(session: CommandSession, is_unit: bool, wanted: bool, lingers: bool) -> Exit:
    if not is_unit:
        session.output.remark("No systemd answers here, so this is for your desktop: an XDG autostart entry.")
        if wanted:
            session.output.remark("Without systemd nothing can start the device before you log in.")
    elif lingers:
        session.output.remark("It starts with the machine, and goes on when you log out.")
    elif wanted:
        command = f"sudo {' '.join(LINGER)} {shell_word(getpass.getuser())}"
        session.output.remark(f"Starting with the machine was not allowed: run `{command}`.")
    else:
        session.output.remark(
            "It ends when you log out. `holofsctl install --linger` lets it start with the machine and go on."
        )
    return Exit.FAILED if wanted and not lingers else Exit.OK


def _files_of(state: Path) -> tuple[_Files, LoginFile]:
    """Units and autostart entry. Raises CommandError where their folder does not answer, or is in a mounted volume:
    there nobody could read them before the daemon runs, and every device would have them."""
    with refused_plainly():
        places.look(str(config_home(os.environ)))
    socket = socket_unit_of(state)
    return [unit_of(state), *([] if socket is None else [socket])], autostart_of(state)


def _check(file: LoginFile) -> None:
    """Raises CommandError for what cannot be written, or may not be written over."""
    try:
        file.text.encode()
    except UnicodeEncodeError:
        sentence = f"A setting in the environment ({', '.join(VARIABLES)}) is not UTF-8."
        raise CommandError(sentence, Exit.USAGE, "bad-argument") from None
    if file.is_foreign():
        sentence = f"{file.path} was not written by `holofsctl install` for this device: move it away first."
        raise CommandError(sentence, code="file-exists")


def _show(session: CommandSession, files: _Files, linger: bool) -> Exit:
    """Shows the files that `install` would write, and the commands that it would run."""
    file = files[0]
    commands = _commands(session.state, files)
    commands += [LINGER] if linger and file.starter is Starter.SYSTEMD else []
    lines = [line for found in files for line in (f"# {found.path}", *found.text.splitlines(), "")]
    lines += [f"# would run: {' '.join(command)}" for command in commands]
    told = {
        "changed": not _are_current(files),
        "content": file.text,
        "socket_content": "".join(socket.text for socket in files[1:]),
        "commands": [[*command] for command in commands],
    }
    session.output.data({**_facts(session.state, files), **told}, lines, exact=True)
    pid = launcher.running_pid(session.state)
    if file.starter is Starter.SYSTEMD and pid not in (0, user_manager.main_pid(file.name)):
        session.output.remark(f"The daemon that runs (process {pid}) would be ended before; its mounts would stay.")
    return Exit.OK


def _facts(state: Path, files: _Files) -> dict[str, str]:
    socket = "".join(str(found.path) for found in files[1:])
    return {
        "starter": files[0].starter.value,
        "file": str(files[0].path),
        "socket_file": socket,
        "state_dir": str(state),
    }


def _are_current(files: _Files) -> bool:
    return all(file.is_current() for file in files)


def _commands(state: Path, files: _Files) -> list[Sequence[str]]:
    file = files[0]
    if file.starter is Starter.AUTOSTART:
        return [("holofsctl", "--state-dir", shell_word(str(state)), "up")]
    started: list[Sequence[str]] = [_RELOAD, (*SYSTEMCTL, "enable", "--now", file.name)]
    # `--now` leaves alone what runs, with the settings and without the socket of before.
    restarts = not _are_current(files) and user_manager.main_pid(file.name)
    return [*started, (*SYSTEMCTL, "restart", file.name)] if restarts else started


def _install_units(state: Path, files: _Files) -> tuple[bool, bool]:
    """Returns whether there was something to do, and whether a daemon was handed over."""
    file = files[0]
    unit_pid, pid = user_manager.main_pid(file.name), launcher.running_pid(state)
    by_hand = pid not in (0, unit_pid)
    if _are_current(files) and user_manager.is_enabled(file.name) and unit_pid and not by_hand:
        return False, False
    commands = _commands(state, files)
    for written in files:
        _write(written)
    _remove(autostart_of(state))
    if by_hand:
        launcher.stop_daemon(state)
    try:
        for command in commands:
            user_manager.order(command)
    except CommandError:
        if by_hand:  # the mounts need a daemon, whoever starts it
            with contextlib.suppress(CommandError):
                launcher.ensure_running(state)
        raise
    return True, by_hand


def _install_entry(state: Path, file: LoginFile) -> tuple[bool, bool]:
    changed = not file.is_current()
    _write(file)
    started = launcher.ensure_running(state)
    return changed or started, False


def _write(file: LoginFile) -> None:
    if file.is_current():
        return
    file.path.parent.mkdir(parents=True, exist_ok=True)
    partial = file.path.with_name(f".{file.name}.new")
    partial.write_text(file.text, "utf-8")
    os.replace(partial, file.path)


def _remove(file: LoginFile) -> bool:
    """Removes what `install` wrote, and nothing else; whether it was there."""
    if not file.is_written():
        return False
    file.path.unlink()
    if file.starter is Starter.SYSTEMD:
        # Made by `systemctl enable`, and left over where no systemd answers now.
        for target in ("default.target", "sockets.target"):
            link = file.path.parent / f"{target}.wants" / file.name
            if link.is_symlink():
                link.unlink()
    return True


def uninstall(session: CommandSession, arguments: argparse.Namespace) -> None:
    is_there = standing(session.state) is FolderContent.DEVICE
    units, entry = _files_of(session.state)
    files = [file for file in (*units, entry) if file.is_written()]
    removed = [str(file.path) for file in files]
    stopped = bool(files) and not arguments.dry_run and _uninstall(session.state, files)
    told = {"removed": removed, "stopped": stopped, "state_dir": str(session.state)}
    session.output.data(told, [safe(path) for path in removed])
    if not removed:
        session.output.remark("Nothing was installed for this device.")
    elif arguments.dry_run:
        session.output.remark("Nothing was removed: this is what would be.")
    elif stopped:
        session.output.remark("The device is stopped, and does not start at login any more.")
    else:
        session.output.remark("The device does not start at login any more.")
        if launcher.running_pid(session.state):
            session.output.remark("Its daemon goes on: `holofsctl down` ends it.")
    if is_there:
        session.output.remark(f"{safe(str(session.state))} stays: this device's files, keys and history are there.")


def _uninstall(state: Path, files: _Files) -> bool:
    """Returns whether a daemon was stopped: the unit's own, whose mounts are taken away before, as by `down`."""
    names = [file.name for file in files if file.starter is Starter.SYSTEMD]
    has_manager = bool(names) and user_manager.answers()
    unit = unit_of(state).name
    pid = user_manager.main_pid(unit) if has_manager and unit in names else 0
    if pid and launcher.running_pid(state) == pid:
        activation.switch_off(state)
        launcher.stop(state)
    try:
        if has_manager:
            user_manager.order((*SYSTEMCTL, "disable", "--now", *names))
    finally:  # a manager that reads its units elsewhere refuses for ever
        for file in files:
            _remove(file)
    if has_manager:
        user_manager.order(_RELOAD)
    return pid != 0
