# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that live in another process: there they may hold files of a mount open, and nobody who forks inherits them.

A process that forks closes what it inherited before it runs a program. A file of a mount whose daemon was killed is not
closed before the daemon is back: who has to start it must not have such a file open.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Elsewhere:
    """Makes `maker(*arguments)` in a process of its own and calls its methods there, one at a time."""

    def __init__(self, maker: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, maker, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, method: str, *arguments: Any) -> Any:
        """Raises what the method raises."""
        self._pipe.send((method, arguments))
        answer, error = self._pipe.recv()
        if error is not None:
            raise error
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.join(10)
        self._pipe.close()


def _serve(pipe: Connection, maker: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    made = maker(*arguments)
    while True:
        try:
            method, given = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[Any, Exception | None] = (getattr(made, method)(*given), None)
        except Exception as error:  # noqa: BLE001 - the caller raises it
            answer = (None, error)
        pipe.send(answer)
