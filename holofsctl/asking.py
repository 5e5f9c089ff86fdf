# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a person which content of a conflict to keep: on standard error, answered on standard input."""

from __future__ import annotations

from enum import Enum

from holofsctl import terminal
from holofsctl.client import Client
from holofsctl.comparing import compare
from holofsctl.conflict_view import ConflictChoices, lines_of
from holofsctl.session import CommandSession


class Answer(Enum):
    ONE = 1
    BOTH = 2
    SKIP = 3
    STOP = 4


_WORDS = {"b": Answer.BOTH, "s": Answer.SKIP, "q": Answer.STOP, "": Answer.SKIP}


def ask(session: CommandSession, client: Client, conflict: ConflictChoices) -> tuple[Answer, str]:
    """The answer, and for ONE the id of the content to keep. The end of standard input is STOP."""
    labels = [str(number) for number in range(1, len(conflict.choices) + 1)]
    session.output.remark("\n".join(lines_of(conflict, labels)))
    while True:
        line = terminal.ask(f"Keep which? 1-{len(labels)}, b both, d what differs, s skip, q quit: ")
        told = line.strip().lower()
        if not line:
            session.output.remark("")
            return Answer.STOP, ""
        if told in labels:
            return Answer.ONE, conflict.choices[labels.index(told)].id
        if told in _WORDS:
            return _WORDS[told], ""
        if told == "d":
            for copy in conflict.choices[1:]:
                comparison = compare(client, conflict, copy, session.output.remark)
                session.output.remark("\n".join(comparison.lines()), exact=not comparison.explanation)
