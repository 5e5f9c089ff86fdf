# SPDX-License-Identifier: GPL-3.0-or-later
"""The program `mount.fuse.holofs`: what mount(8) and fstab call for the type `fuse.holofs`.

    mount -t fuse.holofs NAME PATH -o uid=USER          and in fstab: NAME PATH fuse.holofs uid=USER,nofail 0 0

mount(8) runs `/sbin/mount.fuse.holofs NAME PATH [-sfnv] [-o OPTIONS]`: as root, or with the rights of the user who
mounts a line that has the option `user`. This program then asks the daemon of that user, as `holofsctl mount` does, and
starts it if none runs. As root, `uid=` says whose device it is: from then on the program is that user, for good.
It does not remember the mount, because fstab does.
"""

from __future__ import annotations

import argparse
import os
import pwd
import stat
import sys
from pathlib import Path
from typing import Any, Final

from holofs_api import VERSION
from holofs_api.paths import state_dir
from holofs_api.private_process import become_private
from holofs_api.settings import VARIABLES
from holofs_api.shell import shell_word
from holofs_api.state_directory import StateDirError, require_device
from holofs_api.utf8 import require_utf8
from holofs_api.v1 import control_pb2 as pb
from holofsctl import launcher, user_manager
from holofsctl.client import Client
from holofsctl.commands.mounts import absolute, mounted
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.fstab_options import FstabOptions, parse_options
from holofsctl.login_files import unit_of
from holofsctl.output import Output, safe

EXIT_USAGE: Final = 1
EXIT_MOUNT: Final = 32
"""Both as of mount(8), which passes them on."""
_RESTORE_TIMEOUT_S: Final = 120.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME: Final = "mount.fuse.holofs"


class _HelperParser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise CommandError(f"{safe(message[:1].upper() + message[1:])}.", Exit.USAGE, "bad-argument")


def main(arguments: list[str] | None = None) -> int:
    """The console script. Says nothing where it succeeds; else one sentence, and an exit code of mount(8)."""
    if arguments is None:
        require_utf8("holofsctl.mount_helper")
    become_private()
    output = Output(as_json=False, name=_NAME)
    try:
        _run(sys.argv[1:] if arguments is None else arguments, output)
    except CommandError as error:
        output.failure(error)
        return EXIT_USAGE if error.exit_code is Exit.USAGE else EXIT_MOUNT
    except StateDirError as error:
        output.failure(CommandError(error.message))
        return EXIT_USAGE if error.usage else EXIT_MOUNT
    return 0


def _run(words: list[str], output: Output) -> None:
    arguments = build().parse_args(words)
    options = parse_options(arguments.o, sloppy=arguments.s)
    if arguments.f:
        return
    account = become(options.uid)
    state = state_dir(options.state_dir)
    if account is not None:  # a command that is advised is for that user
        output.program = f"sudo -Hu {shell_word(account.pw_name)} {output.program}"
    if options.state_dir is not None:
        output.program += f" --state-dir {shell_word(str(state))}"
    _require_device(state, options)
    _start(state)
    with Client(state) as client:
        _mount(client, arguments.name, absolute(arguments.path), options)


def build() -> argparse.ArgumentParser:
    """The parser of `mount.fuse.holofs`; its options are those with which mount(8) calls a helper."""
    parser = _HelperParser(
        prog=_NAME,
        description="Mount a volume of a HoloFS device for mount(8) and fstab.",
        epilog="Options of -o: ro, allow_other, allow_root, noexec, uid=USER, state_dir=DIR, at=TIME, binding=NAME",
    )
    parser.add_argument("name", metavar="NAME", help="volume, by its name on the device")
    parser.add_argument("path", metavar="PATH", help="an empty directory of the device's user")
    parser.add_argument("-o", action="append", default=[], metavar="OPTIONS", help="options, separated by commas")
    parser.add_argument("-r", dest="o", action="append_const", const="ro", help="as -o ro")
    parser.add_argument("-w", dest="o", action="append_const", const="rw", help="as -o rw")
    parser.add_argument("-s", action="store_true", help="leave unknown options out")
    parser.add_argument("-f", action="store_true", help="only look at the options")
    parser.add_argument("-n", action="store_true", help="nothing, for mount(8) gives it")
    parser.add_argument("-v", action="store_true", help="nothing, for mount(8) gives it")
    parser.add_argument("-t", metavar="TYPE", help="nothing, for mount(8) gives it")
    parser.add_argument("--version", action="version", version=f"{_NAME} {VERSION}")
    return parser


# ---- whose device
def become(uid: str) -> pwd.struct_passwd | None:
    """Makes this process one of that user, for good. None, and no change: no user was said, or the one that it is."""
    account = _account(uid) if uid else None
    if account is None or account.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise CommandError(f"Only root may mount with uid={safe(uid)}: leave it out.", Exit.USAGE, "bad-argument")
    _require_ours_alone()
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    become_private()  # a change of the user made this process one that can be looked into
    os.chdir("/")
    _take_environment(account)
    return account


def _account(uid: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(uid)) if uid.isascii() and uid.isdigit() else pwd.getpwnam(uid)
    except (KeyError, OverflowError):
        raise CommandError(f"There is no user {safe(uid)}.", Exit.USAGE, "bad-argument") from None


def _take_environment(account: pwd.struct_passwd) -> None:
    """The environment of a login of that user, as far as daemon and systemd look at it."""
    kept = {name: os.environ[name] for name in (*VARIABLES, "LANG", "LC_ALL") if name in os.environ}
    home = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "PATH": _PATH}
    runtime = f"/run/user/{account.pw_uid}"
    os.environ.clear()
    os.environ.update({**kept, **home, **({"XDG_RUNTIME_DIR": runtime} if os.path.isdir(runtime) else {})})


def _require_ours_alone() -> None:
    """Raises CommandError where another user could change the program, and by that become root at the next mount."""
    for place in (Path(__file__), Path(sys.prefix), Path(sys.executable)):
        for path in (place, place.resolve(), *place.resolve().parents):
            facts = path.lstat()
            shared = facts.st_mode & stat.S_IWOTH and not (stat.S_ISLNK(facts.st_mode) or facts.st_mode & stat.S_ISVTX)
            if facts.st_uid != 0 or shared:
                raise CommandError(
                    f"{path} can be changed by others than root, who would be root with the next mount: install HoloFS"
                    " for the whole system, or let the user mount by `user` in fstab."
                )


# ---- the mount
def _require_device(state: Path, options: FstabOptions) -> None:
    try:
        require_device(state)
    except StateDirError as error:
        if os.geteuid() == 0 and not options.uid and not error.usage:
            raise CommandError(f"{error.message} For the device of a user, say uid=USER in the options.") from None
        raise


def _start(state: Path) -> None:
    """Starts the daemon unless it runs: by the user's systemd where `holofsctl install` was run, so that it does not
    end with the mount for which it was started."""
    if launcher.running_pid(state):
        return
    unit = unit_of(state)
    if unit.is_written() and user_manager.answers():
        user_manager.order((*user_manager.SYSTEMCTL, "start", unit.name))
    else:
        launcher.ensure_running(state)


def _mount(client: Client, name: str, path: str, options: FstabOptions) -> None:
    request = pb.MountRequest(
        volume=name,
        path=path,
        read_only=options.read_only or bool(options.at_ms),
        binding=options.binding,
        no_remember=True,
        at_ms=options.at_ms,
        allow=options.allow.value,
        no_exec=options.no_exec,
    )
    for known in client.call("Status", pb.StatusRequest()).mounts:
        if known.path == path:
            _keep(client, known, request)
            return
    mounted(client, request)


def _keep(client: Client, known: pb.MountInfo, request: pb.MountRequest) -> None:
    """Takes a mount for done that is there as it is asked for, so that `mount -a` can be repeated."""
    if any(getattr(known, name) != getattr(request, name) for name in _WHAT_MATTERS):
        sentence = f"{safe(known.path)} shows {safe(known.volume)} already, or with other options: unmount it first."
        raise CommandError(sentence, code="mount-path-unusable")
    if known.state == "up":
        return
    for mount in client.call("RestoreMounts", pb.RestoreMountsRequest(), _RESTORE_TIMEOUT_S).mounts:
        if mount.path == known.path and mount.state != "up":
            raise CommandError(f"{safe(mount.path)} is not mounted: {safe(mount.explanation)}", code="mount-failed")


_WHAT_MATTERS: Final = ("volume", "read_only", "at_ms", "allow", "no_exec")


if __name__ == "__main__":
    sys.exit(main())
