# SPDX-License-Identifier: GPL-3.0-or-later
"""Saving a settings file: one writer at a time, never with a fault in it, and by a person's own editor if asked for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holofs_api import settings_file
from holofs_api.setting_kinds import Value
from holofs_api.settings import BY_KEY
from holofs_api.settings_file import SettingsFile
from holofs_api.state_directory import prepare, standing
from holofsctl import settings_text
from holofsctl.errors import CommandError
from holofsctl.session import CommandSession

DRAFT: Final = "config.edit.toml"
"""File in the state directory that the editor gets; it stays where its text was refused."""
_BAD: Final = "settings-bad"
_EDITORS: Final = ("editor", "vi", "nano")
"""In this order; the first one is the person's choice on Debian."""


@dataclass(frozen=True, slots=True)
class Edited:
    """Result of an editor: the text as it would be in the settings file, and the draft that holds it."""

    file: SettingsFile
    draft: Path


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keeps other `config` commands from changing the file meanwhile. Makes a state directory where there is none, so
    that settings can come before the first start. Raises StateDirError."""
    prepare(state)
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def source_text(file: SettingsFile) -> str:
    """The text to change: of the file, or of a new one. Raises CommandError where it is no TOML."""
    if not file.is_toml:
        raise CommandError(f"{file.problems[0]} `holofsctl config edit` opens it.", code=_BAD)
    return file.text if file.exists else settings_text.template()


def save(file: SettingsFile, text: str) -> None:
    """Replaces the file's text. Raises CommandError where the new one has a fault."""
    new = settings_file.parsed(text, file.path)
    if new.problems:
        raise CommandError(f"{new.problems[0]} Nothing was saved: `holofsctl config edit` opens it.", code=_BAD)
    if text != file.text or not file.exists:
        settings_file.write(file.path, text)


def change(state: Path, values: Mapping[str, Value | None]) -> None:
    """Writes values into the settings file by their keys, all or none; None takes one out, so that its default counts.
    Where there is nothing to take out, no file is made. Raises CommandError, StateDirError."""
    standing(state)
    path = settings_file.path_of(state)
    if all(value is None for value in values.values()) and not settings_file.read(path).exists:
        return
    with locked(state):
        file = settings_file.read(path)
        text = source_text(file)
        for key, value in values.items():
            setting = BY_KEY[key]
            text = (
                settings_text.without(text, setting)
                if value is None
                else settings_text.with_value(text, setting, value)
            )
        save(file, text)


# ---- with an editor
def begin_with(session: CommandSession, file: SettingsFile) -> SettingsFile:
    """The text to edit: one that was refused after the file was last changed, so that nobody writes it twice; else the
    file."""
    draft = settings_file.read(session.state / DRAFT)
    if not draft.exists or (file.exists and file.path.lstat().st_mtime_ns > draft.path.lstat().st_mtime_ns):
        return file
    session.output.remark(f"This goes on with the text that was refused: delete {draft.path} to begin anew.")
    return draft


def edited(session: CommandSession, file: SettingsFile) -> Edited:
    """Lets the person edit the text. Raises CommandError where the editor fails, or leaves nothing that is text."""
    prepare(session.state)
    draft = session.state / DRAFT
    if file.exists and not file.text and not file.is_toml:
        draft_text = _raw(file)
    else:
        draft_text = file.text if file.exists else settings_text.template()
    settings_file.write(draft, draft_text)
    try:
        _run_editor(draft)
    except CommandError:
        draft.unlink(missing_ok=True)
        raise
    found = settings_file.read(draft)
    if not found.exists:
        raise CommandError("The editor took the file away: nothing was saved.", code=_BAD)
    return Edited(found, draft)


def _raw(file: SettingsFile) -> str:
    """Text of a file that is not UTF-8, with the bytes that are not shown as marks. Raises CommandError, where it is no
    file at all."""
    if not file.path.is_file() or file.path.is_symlink():
        raise CommandError(file.problems[0], code=_BAD)
    with file.path.open("rb") as opened:
        return opened.read(settings_file.MOST_BYTES).decode("utf-8", "replace")


def _run_editor(path: Path) -> None:
    """Run the editor by the shell, as git does: $VISUAL and $EDITOR may hold options."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _usual_editor()
    done = subprocess.run(["/bin/sh", "-c", f'{editor} "$@"', editor, os.fspath(path)], check=False)
    if done.returncode:
        sentence = f"The editor ({editor}) failed with exit code {done.returncode}: nothing was saved."
        raise CommandError(f"{sentence} $EDITOR chooses another one.", code="editor-failed")


def _usual_editor() -> str:
    """Editor of a person who chose none. Raises CommandError where there is none, or no terminal for it."""
    if sys.stdin is None or not (sys.stdin.isatty() and os.isatty(1)):
        raise CommandError(
            "There is no terminal for an editor here: `holofsctl config path` says where the file is; edit it with any"
            " program, and then `holofsctl config reload`.",
            code="editor-failed",
        )
    found = next(filter(shutil.which, _EDITORS), None)
    if found is None:
        raise CommandError("No editor is installed: $EDITOR chooses one.", code="editor-failed")
    return found


def refused(after: Edited) -> CommandError:
    sentence = f"{after.file.problems[0]} Nothing was saved; your text is in {after.draft}."
    return CommandError(sentence, code=_BAD)
