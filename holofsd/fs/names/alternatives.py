# SPDX-License-Identifier: GPL-3.0-or-later
"""Choices where several contents stand for one name: listed, found by path, and read.

Two versions of one node and two nodes at one name are the same to a person, and so they are here. The copies inside
`.git` that no name shows are among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from blake3 import blake3

from holofsd.core.errors import ContentUnavailable, IsADirectory, NoConflict, NoSuchName
from holofsd.core.ids import NodeId
from holofsd.core.node import live_versions
from holofsd.core.project import token
from holofsd.core.state import Inline, Kind, Target, Version
from holofsd.core.text import writer_name
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.pieces import OpenPiece
from holofsd.fs.shared.scope import Scope
from holofsd.fs.types import KIND_WORDS, Alternative
from holofsd.store.nodes import EntryRow
from holofsd.store.threads import Pool, in_thread

_PIECE = 1 << 18
_ATTEMPTS = 4
_SLICE = 100


@dataclass(frozen=True, slots=True)
class Slot:
    """A name in a directory: what the copies beside it were made from."""

    parent: NodeId
    name: bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """One alternative of a name in conflict.

    `dot` is b"" for what the node itself shows, else the token of a version beside it; `name` is b"" if hidden.
    """

    node: NodeId
    dot: bytes
    name: bytes
    kind: Kind
    version: Version

    @property
    def id(self) -> str:
        """Another one as soon as the content is another."""
        return blake3(self.node + token(self.version.dot)).hexdigest(length=16)


@dataclass(frozen=True, slots=True)
class Contested:
    """A name and what there is to choose, what the name shows first."""

    path: bytes
    slot: Slot
    choices: tuple[Alternative, ...]


class Alternatives:
    """Search for the contents between which a person can choose at a name in conflict."""

    def __init__(self, scope: Scope, contents: Contents) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._contents = contents

    # ---- listing
    async def listing(self, path: bytes = b"", most: int = 0) -> list[Contested]:
        """Every conflict at this path or below it, or whose copy has this path; b"": all that can be reached.

        `most` 0: without limit. Others run meanwhile. Raises NoSuchName for a path that leads nowhere.
        """
        found: list[Contested] = []
        for number, (parent, name) in enumerate(self._nodes.conflict_slots(), start=1):
            contested = self.contested(Slot(parent, name))
            if contested is not None and _concerns(path, contested):
                found.append(contested)
            if len(found) == most > 0:
                break
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        if path and not found:
            with suppress(NoConflict):
                self.find(path)
        return found

    def contested(self, slot: Slot) -> Contested | None:
        """None if there is nothing to choose, or no path leads there (yet)."""
        choices = self.at(slot)
        directory = self._scope.tree.path_of(slot.parent)
        if len(choices) < 2 or directory is None:
            return None
        return Contested(_joined(directory, slot.name), slot, tuple(self.described(slot, choice) for choice in choices))

    def described(self, slot: Slot, choice: Choice) -> Alternative:
        directory = self._scope.tree.path_of(slot.parent)
        path = _joined(directory, choice.name) if choice.name and directory is not None else b""
        version = self._scope.tree.sized(choice.version)
        kind, here = KIND_WORDS[choice.kind], self._scope.tree.is_here(version)
        return Alternative(
            choice.id, path, writer_name(version.device_name), version.stamp.wall_ms, version.size, kind, here
        )

    # ---- finding
    def at(self, slot: Slot) -> list[Choice]:
        """Lists the choices of a slot: what the name shows, then the rest, newest first."""
        rows = [
            *self._nodes.entries_of_slot(slot.parent, slot.name),
            *self._nodes.hidden_copies_of(slot.parent, slot.name),
        ]
        choices = [choice for row in rows if (choice := self._choice(row)) is not None]
        choices.sort(key=lambda c: (c.version.stamp, c.version.dot), reverse=True)
        choices.sort(key=lambda c: c.name != slot.name)
        return choices

    def _choice(self, row: EntryRow) -> Choice | None:
        """The newest content counts, also while it is on its way and the name shows the one before."""
        state = self._scope.tree.state(row.node)
        if state is None:
            return None
        live = live_versions(state)
        version = self._scope.tree.version_of(row.node, row.dot) if row.dot or not live else live[0]
        if version is None:
            # A removed directory that is shown because of what is in it.
            version = next(iter(state.versions.values()), None)
        return Choice(row.node, row.dot, row.name, state.kind, version) if version is not None else None

    def find(self, path: bytes) -> tuple[Slot, Choice | None]:
        """Finds the slot of a path, and the choice if the path is the name of a copy. Raises NoSuchName, NoConflict."""
        entry = self._scope.tree.entry_at(path)
        if entry is None:
            raise NoSuchName("There is no such file or directory in this volume.")
        slot = Slot(entry.parent, entry.slot)
        choices = self.at(slot)
        if len(choices) < 2:
            more = "; --all settles what is below it" if entry.view.kind is Kind.DIRECTORY else ""
            raise NoConflict(f"There is nothing to choose: nothing else stands for this name{more}.")
        named = next((c for c in choices if entry.is_copy and (c.node, c.dot) == (entry.node, entry.dot)), None)
        return slot, named

    # ---- reading
    async def read(self, path: bytes, id: str) -> AsyncIterator[bytes]:
        """The content of one alternative, in pieces; fetched first if it is elsewhere."""
        slot, _ = self.find(path)
        choice = next((c for c in self.at(slot) if c.id == id), None)
        if choice is None:
            raise NoConflict("This version is not there any more: list the conflicts again.")
        body = choice.version.body
        if isinstance(body, Inline | Target):
            yield body.data if isinstance(body, Inline) else body.path
            return
        if choice.kind is not Kind.FILE:
            raise IsADirectory("Only files have content that can be compared.")
        pieces = await self._pieces(choice)
        with ExitStack() as opened:
            for piece in pieces:
                opened.enter_context(piece)
            for piece in pieces:
                while data := await in_thread(Pool.FOREGROUND, piece.read, _PIECE):
                    yield data

    async def _pieces(self, choice: Choice) -> list[OpenPiece]:
        """Open, for the name of a staging file goes when it is hashed."""
        for _ in range(_ATTEMPTS):
            version = self._scope.tree.version_of(choice.node, token(choice.version.dot)) or choice.version
            await self._contents.bring(choice.node, version)
            with ExitStack() as opened:
                try:
                    pieces = [opened.enter_context(piece.open()) for piece in self._contents.pieces(version)]
                except FileNotFoundError:
                    continue
                opened.pop_all()
                return pieces
        raise ContentUnavailable("This content moves too often to be read: try again.")

    async def bring_newest(self, slot: Slot) -> None:
        """Fetches what a name will show once it is here, so that no person chooses between contents of which one was
        never seen."""
        for choice in self.at(slot):
            row = self._nodes.get(choice.node)
            if row is not None and row.earlier is not None:
                await self.bring(choice)

    async def bring(self, choice: Choice) -> None:
        """Raises as `Contents.bring`."""
        await self._contents.bring(choice.node, choice.version)


def _joined(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _concerns(path: bytes, contested: Contested) -> bool:
    if not path:
        return True
    paths = (contested.path, *(choice.path for choice in contested.choices))
    return any(found == path or found.startswith(path + b"/") for found in paths)
