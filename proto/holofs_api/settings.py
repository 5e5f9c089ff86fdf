# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of settings: what a person can choose for a device, and where each value may come from.

A setting is a key of the settings file (`settings_file`), an environment variable and an option. An option goes before
the environment, the environment before the file, and the file before the default. Programs read settings here only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from holofs_api.setting_kinds import (
    Address,
    BadValue,
    DeviceName,
    OneOf,
    Port,
    Rate,
    Seconds,
    Urls,
    Value,
    ValueKind,
    WeekRates,
)
from holofs_api.setting_kinds import as_text as as_text  # for those who pass options on

_LEVELS: Final = ("debug", "info", "warning", "error")
_DESTINATION: Final = "setting_"
"""Beginning of the names under which argparse keeps options of this table; shells see them in completion scripts."""


class Applies(StrEnum):
    """Moment from which a changed value is in use."""

    NOW = "at once"
    NEXT_START = "when the daemon starts the next time"
    NEXT_MOUNT = "when a folder is mounted the next time"
    FIRST_START = "when the device starts for the first time"


@dataclass(frozen=True, slots=True)
class Setting:
    """Setting of a device. `help` is a fragment; `more` has sentences; `unset` says what the default means if it is
    empty."""

    key: str
    kind: ValueKind
    default: Value
    applies: Applies
    variables: tuple[str, ...]
    """Environment variables that give it; the first one that is set and not empty counts."""
    option: str
    help: str
    more: str = ""
    unset: str = ""

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """The key within its section."""
        return self.key.partition(".")[2]


SETTINGS: Final = (
    Setting(
        "device.name",
        DeviceName(),
        "",
        Applies.FIRST_START,
        ("HOLOFS_DEVICE_NAME",),
        "--device-name",
        "name of a device that has none yet",
        "A device has a name from its first start on; `holofsctl device name NAME` changes it.",
        "the name of the machine",
    ),
    Setting(
        "network.bind",
        Address(),
        "",
        Applies.NEXT_START,
        ("HOLOFS_BIND",),
        "--bind",
        "address and port to listen on",
        "127.0.0.1:0 stays on this machine. Other devices dial no port below 1024 but 443.",
        "all addresses, and any port",
    ),
    Setting(
        "network.discovery",
        OneOf(("default", "none"), "default|none"),
        "default",
        Applies.NEXT_START,
        ("HOLOFS_DISCOVERY",),
        "--discovery",
        "how devices find each other",
        "default: publish and look up addresses, on the local network and on the internet. none: neither that nor"
        " relays.",
    ),
    Setting(
        "network.relays",
        Urls(),
        (),
        Applies.NEXT_START,
        ("HOLOFS_RELAYS",),
        "--relays",
        "relays of your own, instead of the public ones",
        unset="the public ones, or none if `network.discovery` is none",
    ),
    Setting(
        "network.allowed_relays",
        Urls("any"),
        (),
        Applies.NOW,
        ("HOLOFS_ALLOWED_RELAYS",),
        "--allowed-relays",
        "relays of others that may be used to reach their devices",
        "A relay that a record or ticket names is not used unless it is here, in `network.relays`, or (without"
        " `network.relays`) public: it would learn this device's address.",
        "none",
    ),
    Setting(
        "limit.down",
        Rate(),
        "",
        Applies.NOW,
        ("HOLOFS_LIMIT_DOWN",),
        "--limit-down",
        "how fast this device fetches at most",
        "`holofsctl limit` shows and sets all limits. Units are of 1024 bytes: 5M is 5 MiB a second.",
        "no limit",
    ),
    Setting(
        "limit.up",
        Rate(),
        "",
        Applies.NOW,
        ("HOLOFS_LIMIT_UP",),
        "--limit-up",
        "how fast this device sends at most",
        unset="no limit",
    ),
    Setting(
        "limit.timetable",
        WeekRates(),
        "",
        Applies.NOW,
        ("HOLOFS_LIMIT_TIMETABLE",),
        "--limit-timetable",
        "limits by time of day and week",
        "Each time has the limit from then on: 512K for both directions, 1M:5M to send 1 MiB and to fetch 5 MiB a"
        " second. Mon-08:00 is of one day of the week. Where `limit.down` or `limit.up` is lower, that holds.",
        "none",
    ),
    Setting(
        "limit.lan_exempt",
        OneOf(("on", "off"), "on|off"),
        "off",
        Applies.NOW,
        ("HOLOFS_LIMIT_LAN_EXEMPT",),
        "--limit-lan-exempt",
        "whether devices in the local network are not limited",
    ),
    Setting(
        "limit.metered",
        OneOf(("ignore", "wait"), "ignore|wait"),
        "ignore",
        Applies.NOW,
        ("HOLOFS_LIMIT_METERED",),
        "--limit-metered",
        "whether background fetching waits while NetworkManager says that the network is metered",
        "wait: only content that a program reads is fetched then. Without NetworkManager no network is metered.",
    ),
    Setting(
        "log.level",
        OneOf(_LEVELS, "LEVEL"),
        "info",
        Applies.NOW,
        ("HOLOFS_LOG",),
        "--log",
        "how much the daemon logs",
        "`holofsctl log` shows the log.",
    ),
    Setting(
        "metrics.port",
        Port(),
        "",
        Applies.NEXT_START,
        ("HOLOFS_METRICS_PORT",),
        "--metrics-port",
        "serve metrics for Prometheus on this port of 127.0.0.1 and ::1",
        "0: any port that is free; `holofsctl status --json` tells which.",
        "nowhere",
    ),
    Setting(
        "window.port",
        Port("off"),
        "0",
        Applies.NOW,
        ("HOLOFS_WINDOW_PORT",),
        "--window-port",
        "serve the window of `holofsctl ui` on this port of 127.0.0.1",
        "off: there is no window. A change ends the window that is open.",
    ),
    Setting(
        "mount.log",
        OneOf(_LEVELS, "LEVEL"),
        "warning",
        Applies.NEXT_MOUNT,
        ("HOLOFS_MOUNT_LOG", "HOLOFS_LOG"),
        "--log",
        "how much a mount logs",
        "Each mount has a file of its own in the folder `log` of the state directory.",
    ),
    Setting(
        "mount.binding",
        OneOf(("auto", "pyfuse3", "fusepy"), "auto|pyfuse3|fusepy"),
        "auto",
        Applies.NEXT_MOUNT,
        ("HOLOFS_MOUNT_BINDING",),
        "--binding",
        "FUSE binding to mount with",
        "auto: pyfuse3 where it is installed, else fusepy. A mount that was made with `--binding` keeps its own.",
    ),
    Setting(
        "mount.watching",
        OneOf(("on", "off"), "on|off"),
        "on",
        Applies.NEXT_MOUNT,
        ("HOLOFS_MOUNT_WATCHING",),
        "--watching",
        "whether programs that watch a folder hear of changes from elsewhere",
        "off: a program hears only of what is done on this device.",
    ),
    Setting(
        "mount.patience",
        Seconds(),
        30.0,
        Applies.NEXT_MOUNT,
        ("HOLOFS_MOUNT_PATIENCE",),
        "--patience",
        "how many seconds operations in a mount wait for a daemon that is away",
    ),
)
BY_KEY: Final[Mapping[str, Setting]] = MappingProxyType({setting.key: setting for setting in SETTINGS})
DAEMON_KEYS: Final = tuple(setting.key for setting in SETTINGS if setting.section != "mount")
MOUNT_KEYS: Final = tuple(setting.key for setting in SETTINGS if setting.section == "mount")
VARIABLES: Final = tuple(dict.fromkeys(variable for setting in SETTINGS for variable in setting.variables))

ENVIRONMENT_ONLY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HOLOFS_STATE_DIR": "the state directory, and so the device",
        "HOLOFS_DEBUG": "set to anything: an internal error of `holofsctl` shows its traceback, and debuggers can look"
        " into the processes that are started with it",
        "HOLOFS_FAULTS": "for tests: die or stop at a fault point, like `hashing.placed=kill@3`",
        "HOLOFS_LISTS": "for tests: set to anything, large files get lists of chunks, where all members' programs read"
        " them",
    }
)
"""Variables that are no settings: a file that they lead to, or that a process reads too late, cannot hold them."""


# ---- where values come from
class SettingSource(StrEnum):
    OPTION = "option"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class FileValue:
    """A value of the settings file and the line at which it begins, from 1."""

    value: Value
    line: int


@dataclass(frozen=True, slots=True)
class Effective:
    """The value of a setting that counts, and where it is from: an option, a variable, or a line of the file."""

    value: Value
    source: SettingSource
    where: str = ""


def resolve(
    options: Mapping[str, Value], environment: Mapping[str, str], file: Mapping[str, FileValue]
) -> tuple[dict[str, Effective], list[str]]:
    """The value of every setting by its key, and a sentence for each variable that is bad and was passed over."""
    found, complaints = {}, []
    for setting in SETTINGS:
        try:
            found[setting.key] = _resolved(setting, options, environment, file)
        except BadValue as error:
            complaints.append(str(error))
            found[setting.key] = _resolved(setting, options, {}, file)
    return found, list(dict.fromkeys(complaints))


def _resolved(
    setting: Setting, options: Mapping[str, Value], environment: Mapping[str, str], file: Mapping[str, FileValue]
) -> Effective:
    """Raises BadValue with a whole sentence."""
    if setting.key in options:
        return Effective(options[setting.key], SettingSource.OPTION, setting.option)
    for variable in setting.variables:
        if text := environment.get(variable):
            try:
                return Effective(setting.kind.of_environment(text), SettingSource.ENVIRONMENT, variable)
            except BadValue as error:
                raise BadValue(f"{variable} {error}.") from None
    if setting.key in file:
        told = file[setting.key]
        return Effective(told.value, SettingSource.FILE, str(told.line))
    return Effective(setting.default, SettingSource.DEFAULT)


# ---- options
def add_options(parser: argparse.ArgumentParser, keys: Iterable[str]) -> None:
    """An option for each of these settings; `options_told` reads them."""
    for key in keys:
        setting = BY_KEY[key]
        parser.add_argument(
            setting.option,
            dest=_destination(setting),
            type=_type_of(setting),
            metavar=setting.kind.metavar,
            help=f"{setting.help} (the setting {key})",
        )


def _destination(setting: Setting) -> str:
    return _DESTINATION + setting.key.replace(".", "_")


def _type_of(setting: Setting) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        try:
            return setting.kind.of_text(text)
        except BadValue as error:
            raise argparse.ArgumentTypeError(f"the value {error}") from None

    return parse


def options_told(arguments: argparse.Namespace) -> dict[str, Value]:
    """Values of settings that stand on the command line, by key."""
    told = {setting.key: getattr(arguments, _destination(setting), None) for setting in SETTINGS}
    return {key: value for key, value in told.items() if value is not None}


def option_words(told: Mapping[str, Value]) -> list[str]:
    """The words of a command line that say the same."""
    return [f"{BY_KEY[key].option}={as_text(value)}" for key, value in told.items()]
