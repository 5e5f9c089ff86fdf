# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a settings file: written from the table of settings, and changed in one place with all comments kept.

Each change is read again before it is given back: it has to say exactly what it said before, but for the one key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from typing import Any, Final

from holofs_api.setting_kinds import Value, as_plain
from holofs_api.settings import SETTINGS, Setting
from holofs_api.settings_file import Statement, statements
from holofsctl.errors import CommandError
from holofsctl.terminal import wrapped

_WIDTH: Final = 98
_HEAD: Final = (
    "Settings of this HoloFS device.",
    "A line that begins with # is a comment. Each setting is shown with its default: take the # away to choose another"
    " value, or run a command like `holofsctl config set log.level debug`. `holofsctl config list` shows what counts.",
    "A command-line option goes before an environment variable, and that goes before this file.",
)


class _NotDone(Exception):
    """This way to change the text does not lead where it should."""


# ---- a new file
def template() -> str:
    """A file in which every setting is explained and none is set."""
    lines = [comment for paragraph in _HEAD for comment in _comment(paragraph)]
    for section in dict.fromkeys(setting.section for setting in SETTINGS):
        lines += ["", f"[{section}]"]
        for number, setting in enumerate(one for one in SETTINGS if one.section == section):
            lines += [*([""] if number else []), *_explained(setting), _unset_line(setting)]
    return "\n".join(lines) + "\n"


def _explained(setting: Setting) -> Iterator[str]:
    default = f" Default: {setting.unset}." if setting.unset else ""
    yield from _comment(f"{setting.help[0].upper()}{setting.help[1:]}: {setting.kind.allowed}.{default}")
    if setting.more:
        yield from _comment(setting.more)
    yield from _comment(f"Environment: {', '.join(setting.variables)}. It is in use {setting.applies.value}.")


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrapped(text, _WIDTH, 0)]


def _unset_line(setting: Setting) -> str:
    return f"# {_line(setting, setting.default)}"


def _line(setting: Setting, value: Value) -> str:
    import tomlkit

    return f"{setting.name} = {tomlkit.item(as_plain(value)).as_string()}"


# ---- one change
def with_value(text: str, setting: Setting, value: Value) -> str:
    """The text in which the setting has this value. The text is TOML. Raises CommandError."""
    wanted = tomllib.loads(text)
    section = wanted.setdefault(setting.section, {})
    if not isinstance(section, dict):
        raise _not_changed(setting)
    section[setting.name] = as_plain(value)
    ways = (lambda: _uncommented(text, setting, value), lambda: _set(text, setting, value))
    return _changed(text, wanted, setting, ways)


def without(text: str, setting: Setting) -> str:
    """The text in which the setting has no value. The text is TOML. Raises CommandError."""
    wanted = tomllib.loads(text)
    section = wanted.get(setting.section)
    if not isinstance(section, dict) or setting.name not in section:
        return text
    del section[setting.name]
    return _changed(text, wanted, setting, (lambda: _commented(text, setting), lambda: _removed(text, setting)))


def _changed(text: str, wanted: dict[str, Any], setting: Setting, ways: tuple[Callable[[], str], ...]) -> str:
    for way in ways:
        try:
            new = way()
            if _same(tomllib.loads(new), wanted):
                return new
        except (_NotDone, tomllib.TOMLDecodeError):  # for example two values of one key
            continue
    raise _not_changed(setting)


def _not_changed(setting: Setting) -> CommandError:
    sentence = f"The file writes {setting.key} in a way that no program can change: `holofsctl config edit` opens it."
    return CommandError(sentence, code="settings-bad")


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Returns whether both say the same; a section that says nothing does not count."""
    return {key: told for key, told in found.items() if told != {}} == {
        key: told for key, told in wanted.items() if told != {}
    }


def _uncommented(text: str, setting: Setting, value: Value) -> str:
    """Puts the value where the file has the setting as a comment."""
    lines = text.split("\n")
    place = _only(number for number, line in enumerate(lines) if line.strip() == _unset_line(setting))
    lines[place] = _line(setting, value)
    return "\n".join(lines)


def _commented(text: str, setting: Setting) -> str:
    """Puts the comment that a new file has where the value is; a remark behind the value gets a line of its own."""
    import tomlkit

    statement = _statement(text, setting)
    value: Any = tomlkit.parse(text)
    for key in statement.path:
        value = value[key]
    remark = value.trivia.comment
    lines = text.split("\n")
    lines[statement.first - 1 : statement.last] = [*([remark] if remark else []), _unset_line(setting)]
    return "\n".join(lines)


def _statement(text: str, setting: Setting) -> Statement:
    """The statement that gives the setting, if it does nothing else: no dotted key, and no inline table."""
    found = [one for one in statements(text) if one.path == (setting.section, setting.name)]
    if len(found) != 1:
        raise _NotDone
    lines = text.split("\n")[found[0].first - 1 : found[0].last]
    if [*tomllib.loads("\n".join(lines))] != [setting.name]:
        raise _NotDone
    return found[0]


def _only(found: Iterator[int]) -> int:
    numbers = [*found]
    if len(numbers) != 1:
        raise _NotDone
    return numbers[0]


def _set(text: str, setting: Setting, value: Value) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        if setting.section not in document:
            document[setting.section] = tomlkit.table()
        section: Any = document[setting.section]
        section[setting.name] = as_plain(value)
        return tomlkit.dumps(document)
    except TOMLKitError:
        raise _NotDone from None


def _removed(text: str, setting: Setting) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        section: Any = document[setting.section]
        del section[setting.name]
        return tomlkit.dumps(document)
    except TOMLKitError:
        raise _NotDone from None
