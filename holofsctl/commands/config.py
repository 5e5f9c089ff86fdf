# SPDX-License-Identifier: GPL-3.0-or-later
"""Command `config`: shows settings and where they come from, and changes the settings file. Also without the daemon."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from holofs_api import settings_file
from holofs_api.setting_kinds import BadValue, Value, as_plain
from holofs_api.settings import BY_KEY, Applies, Setting, SettingSource
from holofs_api.settings_file import SettingsFile
from holofs_api.state_directory import standing
from holofsctl import terminal
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe, table
from holofsctl.session import CommandSession
from holofsctl.settings_editor import Edited, begin_with, change, edited, locked, refused
from holofsctl.settings_view import SettingsView, ShownSetting, told_by_daemon, told_here

_START_AGAIN = "`holofsctl down`, then `holofsctl up`"


def path(session: CommandSession, arguments: argparse.Namespace) -> None:
    standing(session.state)
    file = settings_file.path_of(session.state)
    exists = settings_file.read(file).exists
    session.output.data({"path": str(file), "exists": exists}, [safe(str(file))], exact=True)
    if not exists:
        session.output.remark("It does not exist yet: `holofsctl config edit` makes it.")


def list_settings(session: CommandSession, arguments: argparse.Namespace) -> None:
    view = _view(session)
    session.output.data(
        [shown.plain() for shown in view.settings], table([shown.row(view.path) for shown in view.settings])
    )
    _tell_problems(session, view)
    waiting = [shown.setting.key for shown in view.settings if shown.is_waiting]
    if waiting:
        session.output.remark(f"The daemon has yet to start again for {', '.join(waiting)}: {_START_AGAIN}.")


def get(session: CommandSession, arguments: argparse.Namespace) -> None:
    view = _view(session)
    shown = view.of(BY_KEY[arguments.key])
    session.output.data(shown.plain(), [safe(line) for line in shown.lines()], exact=True)
    _tell_problems(session, view)
    if shown.is_waiting:
        session.output.remark(f"The daemon has yet to start again for what is set now: {_START_AGAIN}.")


def set_value(session: CommandSession, arguments: argparse.Namespace) -> None:
    setting = BY_KEY[arguments.key]
    change(session.state, {setting.key: _value(setting, arguments.values)})
    _tell_change(session, setting)


def unset(session: CommandSession, arguments: argparse.Namespace) -> None:
    setting = BY_KEY[arguments.key]
    change(session.state, {setting.key: None})
    _tell_change(session, setting)


def edit(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    standing(session.state)
    before = settings_file.read(settings_file.path_of(session.state))
    after = edited(session, begin_with(session, before))
    while after.file.problems:
        for problem in after.file.problems:
            session.output.remark(safe(problem))
        if not _wants_another_try():
            raise refused(after)
        after = edited(session, after.file)
    return _take(session, before, after)


def _take(session: CommandSession, before: SettingsFile, after: Edited) -> Exit:
    if after.file.text == before.text and before.exists:
        after.draft.unlink()
        session.output.data(_changed_keys(before, after.file), [])
        session.output.remark("Nothing was changed.")
        return Exit.OK
    with locked(session.state):
        if settings_file.read(before.path).text != before.text:
            raise CommandError(
                f"The settings file was changed by another program meanwhile. Your text is in {after.draft}.",
                code="settings-changed",
            )
        settings_file.write(before.path, after.file.text)
    after.draft.unlink()
    changed = _changed_keys(before, after.file)
    session.output.data(changed, [safe(key) for key in changed["changed"]])
    view = told_by_daemon(session, reload=True)
    for key in changed["changed"]:
        _remark_on(session, BY_KEY[key], view)
    return Exit.OK


def reload(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    with session.connect():  # says it where no daemon runs
        pass
    view = _of_a_newer_daemon(told_by_daemon(session, reload=True))
    session.output.data(
        {"problems": [*view.problems], "waiting": [shown.setting.key for shown in view.settings if shown.is_waiting]},
        [shown.setting.key for shown in view.settings if shown.is_waiting],
    )
    if view.problems:
        raise CommandError(f"{view.problems[0]} Nothing was changed.", code="settings-bad")
    waiting = any(shown.is_waiting for shown in view.settings)
    session.output.remark(
        f"The settings above are in use when the daemon starts again: {_START_AGAIN}." if waiting else "Done."
    )
    return Exit.OK


# ---- what is shown
def _view(session: CommandSession) -> SettingsView:
    standing(session.state)
    return told_by_daemon(session) or told_here(session.state)


def _of_a_newer_daemon(view: SettingsView | None) -> SettingsView:
    if view is None:
        sentence = "The daemon that runs is older and reads no settings file: " + _START_AGAIN + "."
        raise CommandError(sentence, code="version-mismatch")
    return view


def _tell_problems(session: CommandSession, view: SettingsView) -> None:
    for problem in view.problems:
        session.output.remark(safe(problem))
    if view.problems:
        session.output.remark("The file is not used until it is mended: `holofsctl config edit`.")


# ---- what is changed
def _value(setting: Setting, words: Sequence[str]) -> Value:
    """The value that these words are, checked as the file will be. Raises CommandError."""
    try:
        value = setting.kind.of_text(",".join(words) if isinstance(setting.default, tuple) else words[0])
        if len(words) > 1 and not isinstance(setting.default, tuple):
            raise CommandError(f"{safe(words[1])!r} is one too many: {setting.key} takes one value.", Exit.USAGE, _BAD)
        plain = as_plain(value)
        return setting.kind.of_toml(plain)
    except BadValue as error:
        raise CommandError(f"The value of {setting.key} {error}.", Exit.USAGE, _BAD) from None


_BAD = "bad-argument"


def _changed_keys(before: SettingsFile, after: SettingsFile) -> dict[str, list[str]]:
    def value_of(file: SettingsFile, key: str) -> Value | None:
        return file.values[key].value if key in file.values else None

    return {"changed": [key for key in BY_KEY if value_of(before, key) != value_of(after, key)]}


def _tell_change(session: CommandSession, setting: Setting) -> None:
    view = told_by_daemon(session, reload=True)
    shown = (view or told_here(session.state)).of(setting)
    session.output.data(shown.plain(), [])
    _remark_on(session, setting, view)


def _remark_on(session: CommandSession, setting: Setting, view: SettingsView | None) -> None:
    """Says when the change is in use, and what goes before it. `view`: as the daemon has it, if one answers."""
    if view is None:
        here = told_here(session.state).of(setting)
        session.output.remark(
            f"{overridden(here)}No daemon that reads it runs now; {setting.key} is in use once one does."
        )
        return
    shown = view.of(setting)
    if shown.source in (SettingSource.OPTION, SettingSource.ENVIRONMENT):
        session.output.remark(overridden(shown).strip())
    elif shown.is_waiting:
        session.output.remark(f"{setting.key} is in use when the daemon starts again: {_START_AGAIN}.")
    elif shown.source is SettingSource.DEFAULT:
        session.output.remark(f"{setting.key} has its default.")
    elif setting.applies is Applies.FIRST_START:
        session.output.remark("This device has a name already: `holofsctl device name NAME` changes it.")
    elif setting.applies is Applies.NEXT_MOUNT:
        session.output.remark(f"{setting.key} is in use for each folder that is mounted from now on.")
    else:
        session.output.remark(f"{setting.key} is in use.")


def overridden(shown: ShownSetting) -> str:
    """Sentence about what goes before the file, with a space behind it; empty where nothing does."""
    if shown.source is SettingSource.OPTION:
        return f"The daemon was started with {shown.where}, which goes before the file. "
    if shown.source is SettingSource.ENVIRONMENT:
        return f"{shown.where} in the environment goes before the file. "
    return ""


def _wants_another_try() -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    answer = terminal.ask("Edit it again? Else nothing is saved. [Y/n] ")
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")
