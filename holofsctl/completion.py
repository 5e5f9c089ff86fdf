# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion scripts for shells, made from the parser by shtab, and what they ask `holofsctl completion` for.

Names come from other devices, so no shell may ever expand them: shtab's own way to complete by a command does that in
bash, and is not used. The functions here take each line of output as a word.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any, Final

SHELLS: Final = ("bash", "zsh", "fish")
QUESTIONS: Final = ("volumes", "devices", "members", "keep", "commands", "values")
"""Kinds of words that only the program knows."""

_BASH: Final = """
_holofs_words() {
  local word quoted
  while IFS= read -r word; do
    printf -v quoted '%q' "$word"
    if [[ $word == "$2"* || $quoted == "$2"* ]]; then
      printf '%s\\n' "${!3}"
    fi
  done < <(holofsctl completion "$1" "${COMP_WORDS[*]:0:COMP_CWORD}" </dev/null 2>/dev/null)
}
_holofs_volumes_or_file() {
  compgen -f -- "$1"
  _holofs_words volumes "$1" word
}
"""
_BASH_OF: Final = """_holofs_{0}() {{
  _holofs_words {0} "$1" quoted
}}
"""
_ZSH: Final = """
_holofs_words() {
  local -a found
  found=("${(@f)$(holofsctl completion $1 "$BUFFER" </dev/null 2>/dev/null)}")
  compadd -a -- found
}
_holofs_volumes_or_file() {
  _files
  _holofs_words volumes
}
"""
_ZSH_OF: Final = """_holofs_{0}() {{
  _holofs_words {0}
}}
"""
_FISH: Final = """
function _holofs_words
  holofsctl completion $argv[1] (commandline -cp | string collect) </dev/null 2>/dev/null
end
function _holofs_volumes_or_file
  __fish_complete_path (commandline -ct)
  _holofs_words volumes
end
"""
_FISH_OF: Final = """function _holofs_{0}
  _holofs_words {0}
end
"""
_PREAMBLES: Final = {
    shell: common + "".join(each.format(question) for question in QUESTIONS)
    for shell, common, each in (("bash", _BASH, _BASH_OF), ("zsh", _ZSH, _ZSH_OF), ("fish", _FISH, _FISH_OF))
}
_BY_METAVAR: Final = {
    "NAME": "volumes",
    "NAME|PATH": "volumes_or_file",
    "NAME[:PATH]": "volumes_or_file",
    "role DEVICE reader|writer|admin | remove DEVICE": "members",
    "shown|copy|both|newest|DEVICE": "keep",
    "COMMAND": "commands",
    "DEVICE": "devices",
    "VALUE": "values",
}
_NEW_NAMES: Final = ("create", "join", "recover")
"""Commands whose NAME is of something new."""
_FILES: Final = ("place", "to", "copy")
_FOLDERS: Final = ("path", "folder", "state_dir")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    import shtab

    for name, inner in _parsers(parser):
        for action in inner._actions:
            if (name, action.dest) == ("completion", "what"):
                action.choices = SHELLS  # the others are for scripts
            elif action.option_strings and re.fullmatch(r"[a-z]+(\|[a-z]+)+", str(action.metavar)):
                action.choices = str(action.metavar).split("|")  # its type says what is wrong, and knows them
            if complete := _completer(name, action):
                action.complete = complete  # type: ignore[attr-defined]
    made = str(shtab.complete(parser, shell, preamble={shell: _PREAMBLES[shell]}))  # type: ignore[arg-type]
    # For an argument of any number of words shtab writes what completes the first one alone.
    return made.replace('"(*)::', '"*:') if shell == "zsh" else made


def commands_of(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, by name."""
    return next(dict(action.choices) for action in top._actions if isinstance(action, argparse._SubParsersAction))


def _parsers(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from _parsers(inner, f"{name} {word}".strip())


def _completer(command: str, action: argparse.Action) -> dict[str, str] | Any:
    """Completer of an argument, as shtab takes it; None where the argument has choices or is not known here."""
    import shtab

    if action.choices is not None or action.nargs == 0:
        return None
    if action.dest in _FOLDERS:
        return shtab.DIRECTORY
    metavar = action.metavar[0] if isinstance(action.metavar, tuple) else action.metavar
    if metavar == "NAME" and command in _NEW_NAMES:
        return None
    if isinstance(metavar, str) and metavar in _BY_METAVAR:
        name = f"_holofs_{_BY_METAVAR[metavar]}"
        return {"bash": name, "zsh": name, "fish": f"({name})"}
    return shtab.FILE if action.dest in _FILES else None
