# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings file of a device, `config.toml` in its state directory: read, checked, and never an obstacle.

It lies in the state directory because that names the device for every program. In a folder of the user it would be
shared by accident, or be another one for a daemon that a service manager starts with other XDG variables.

A file with any fault is not used as a whole. The daemon keeps a copy of the last file without one, and that counts
until the file is repaired: a default could put a device on the network that was told to stay off it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holofs_api.setting_kinds import BadValue, shown
from holofs_api.settings import BY_KEY, FileValue
from holofs_api.words import printable, quoted

NAME: Final = "config.toml"
LAST_GOOD: Final = "config.last-good.toml"
"""Copy of the last file without a fault, written by the daemon."""
MOST_BYTES: Final = 64 << 10
_AT: Final = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_ENDS: Final = ("]", "}", '"""', "'''")
"""Ends of what goes on over several lines."""
_SECTIONS: Final = tuple(dict.fromkeys(setting.section for setting in BY_KEY.values()))


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file as it was found. `problems`: sentences with path and line, in the order of the lines."""

    path: Path
    text: str = ""
    exists: bool = False
    values: Mapping[str, FileValue] = field(default_factory=dict)
    """The good values by key, also where others are bad."""
    problems: tuple[str, ...] = ()
    is_toml: bool = True
    """True if the text can be read at all; what it says may be bad."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Key with its value, or head of a table: its lines, from 1, both included."""

    path: tuple[str, ...]
    first: int
    last: int


class _Unreadable(Exception):
    """The file cannot be read. The text is a fragment that goes on after the path."""


def path_of(state: Path) -> Path:
    """The settings file of the device with this state directory."""
    return state / NAME


def read(path: Path) -> SettingsFile:
    """The file, whatever is there: raises nothing, and waits for nothing."""
    try:
        data = _bytes_of(path)
    except _Unreadable as error:
        return SettingsFile(path, exists=True, problems=(f"{path} {error}.",), is_toml=False)
    except OSError as error:
        if not os.path.lexists(path):  # or its folder is no state directory: who needs one says so
            return SettingsFile(path)
        return SettingsFile(path, exists=True, problems=(f"{path} cannot be read: {error.strerror}.",), is_toml=False)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        sentence = _problem(path, line, f"The byte {printable(data[error.start : error.start + 1])} is not UTF-8")
        return SettingsFile(path, exists=True, problems=(sentence,), is_toml=False)
    return parsed(text, path)


def usable(state: Path) -> tuple[Mapping[str, FileValue], tuple[str, ...], bool]:
    """Values that count for this device, the problems of its file, and whether a last good copy stands in for it.

    Without a copy, the good values of a bad file count.
    """
    file = read(path_of(state))
    if not file.problems:
        return file.values, (), False
    copy = read(state / LAST_GOOD)
    return (copy.values, file.problems, True) if copy.exists else (file.values, file.problems, False)


def write(path: Path, text: str) -> None:
    """Replaces the file at once and durably; its owner alone can read it. Raises OSError."""
    partial = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        partial.unlink()  # what a crash left, or a link
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
            os.fsync(descriptor)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def parsed(text: str, path: Path) -> SettingsFile:
    """The settings that the text holds; raises nothing."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = _syntax_problem(path, text, str(error))
    except (ValueError, RecursionError) as error:  # numbers beyond what Python reads, brackets beyond its stack
        problem = _problem(path, _line_that_fails(text), _why_not_read(error))
    else:
        return _checked(told, text, path)
    return SettingsFile(path, text, True, problems=(problem,), is_toml=False)


def statements(text: str) -> Iterator[Statement]:
    """Every statement of a text that is TOML, with its lines. tomllib gives no positions, so it reads one at a time."""
    table: tuple[str, ...] = ()
    chunk: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        chunk.append(line)
        if len(chunk) > 1 and not any(end in line for end in _ENDS):
            continue
        try:
            told = tomllib.loads("\n".join(chunk))
        except tomllib.TOMLDecodeError:
            continue  # goes on in the next line
        first, chunk = number - len(chunk) + 1, []
        if line.lstrip().startswith("[") and first == number:
            table = _path_of_head(told)
            yield Statement(table, first, number)
        elif told:
            yield Statement((*table, *_path_of_head(told)[:2]), first, number)


def _path_of_head(told: Any) -> tuple[str, ...]:
    """Keys that lead to the innermost table, or to the one value."""
    keys: list[str] = []
    while isinstance(told, dict | list) and len(told) == 1:
        if isinstance(told, list):
            told = told[0]
        else:
            key, told = next(iter(told.items()))
            keys.append(key)
    return tuple(keys)


# ---- reading
def _bytes_of(path: Path) -> bytes:
    """Raises OSError, and _Unreadable for what is no plain file. A link is not followed: it may lead into a mount that
    waits for the very program that reads."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise _Unreadable(
                "is a link, which may lead to a place that needs this device: put the file there"
            ) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _Unreadable("is not a file: move it away")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MOST_BYTES:
        raise _Unreadable(f"has more than {MOST_BYTES:,} bytes, which no settings need: shorten it")
    return data


# ---- what is wrong
def _problem(path: Path, line: int, fragment: str) -> str:
    return f"{path}, line {line}: {fragment}{'' if fragment.endswith('?') else '.'}"


def _syntax_problem(path: Path, text: str, complaint: str) -> str:
    at = _AT.search(complaint)
    line = int(at["line"]) if at and at["line"] else text.rstrip("\n").count("\n") + 1
    return _problem(path, line, f"{printable(_AT.sub('', complaint))}; this is not TOML")


def _why_not_read(error: Exception) -> str:
    return "There are too many brackets" if isinstance(error, RecursionError) else "A number has too many digits"


def _line_that_fails(text: str) -> int:
    """Line of the statement that tomllib cannot take, though it is TOML."""
    chunk: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        chunk.append(line)
        try:
            tomllib.loads("\n".join(chunk))
        except tomllib.TOMLDecodeError:
            continue
        except (ValueError, RecursionError):
            return number
        chunk = []
    return 1


def _checked(told: Mapping[str, Any], text: str, path: Path) -> SettingsFile:
    values: dict[str, FileValue] = {}
    complaints: dict[tuple[str, ...], str] = {}
    for section, content in told.items():
        if section not in _SECTIONS:
            complaints[section,] = _unknown(section)
        elif not isinstance(content, dict):
            complaints[section,] = f"{section} is {shown(content)}; it has to be a section, [{section}]"
        else:
            for name, value in content.items():
                try:
                    values[f"{section}.{name}"] = _value(f"{section}.{name}", value)
                except BadValue as error:
                    complaints[section, name] = str(error)
    if not complaints and not values:
        return SettingsFile(path, text, True)
    lines = _lines(text)
    problems = sorted((_line_of(place, lines), told) for place, told in complaints.items())
    found = {key: FileValue(told.value, _line_of((*key.split("."),), lines)) for key, told in values.items()}
    return SettingsFile(path, text, True, found, tuple(_problem(path, line, told) for line, told in problems))


def _line_of(place: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int:
    """Line of a key, or of its section where that is written as one value."""
    return lines.get(place) or lines.get(place[:1], 1)


def _value(key: str, told: object) -> FileValue:
    """Raises BadValue with the key in it."""
    if key not in BY_KEY:
        raise BadValue(_unknown(key))
    try:
        return FileValue(BY_KEY[key].kind.of_toml(told), 0)
    except BadValue as error:
        raise BadValue(f"{key} {error}") from None


def _unknown(key: str) -> str:
    from difflib import get_close_matches  # takes longer to import than most files to read

    known = (*BY_KEY, *_SECTIONS)
    near = get_close_matches(key, known, n=1, cutoff=0.65) or get_close_matches(
        key.rpartition(".")[2], [name.rpartition(".")[2] for name in BY_KEY], n=1, cutoff=0.65
    )
    meant = next((name for name in known if near and name.rpartition(".")[2] == near[0].rpartition(".")[2]), "")
    return f"There is no setting {quoted(key[:100])}" + (f"; did you mean {meant}?" if meant else "")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """First line of each statement by its path: of a section, and of a key within one."""
    found: dict[tuple[str, ...], int] = {}
    for statement in statements(text):
        for length in range(1, len(statement.path) + 1):
            found.setdefault(statement.path[:length], statement.first)
    return found
