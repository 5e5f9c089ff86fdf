# SPDX-License-Identifier: GPL-3.0-or-later
"""Settling a conflict: one of the contents stays at the name, or all stay as files of their own.

It is done with what a person could do by hand, so that history keeps what goes and other devices understand it: the
copies become files, then those that are not wanted are removed or replaced. What stays is written anew, under a dot
that no other device has seen. So when two devices settle differently at the same time, neither's choice is among what
the other removed: both contents are there again when they meet, as a new conflict or as two files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

from holofsd.core.clock import above
from holofsd.core.edit import moved, reasserted, split_id, with_version
from holofsd.core.errors import BadArgument, ContentUnavailable, FileBusy, HoloError, IsADirectory, NoConflict, ReadOnly
from holofsd.core.ids import NodeId
from holofsd.core.project import token
from holofsd.core.state import Kind, Place, Version
from holofsd.core.text import writer_name
from holofsd.fs.names.alternatives import Alternatives, Choice, Slot
from holofsd.fs.names.renaming import Renaming
from holofsd.fs.nodes.conflicts import Conflicts
from holofsd.fs.nodes.drafts import Draft, shown_of
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.types import Alternative
from holofsd.store.nodes import EntryRow

SHOWN: Final = "shown"
COPY: Final = "copy"
BOTH: Final = "both"
NEWEST: Final = "newest"
DEVICE: Final = "device"
ID: Final = "id"


@dataclass(frozen=True, slots=True)
class Keep:
    """Choice of what is to stay. `how`: one of the words above; `what`: the device's name, or the id."""

    how: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """Outcome of settling one conflict.

    `kept` is None where all were kept: `files` are the copies' paths then. `problem`: why it was not settled.
    """

    path: bytes
    kept: Alternative | None = None
    replaced: tuple[Alternative, ...] = ()
    files: tuple[bytes, ...] = ()
    problem: str = ""


class Settling:
    """Settling of conflicts as a person chose: one transaction for each name."""

    def __init__(
        self,
        scope: Scope,
        alternatives: Alternatives,
        conflicts: Conflicts,
        unlinking: Unlinking,
        renaming: Renaming,
        staged: StagedFiles,
    ) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._alternatives = alternatives
        self._conflicts = conflicts
        self._unlinking = unlinking
        self._renaming = renaming
        self._staged = staged

    async def one(self, path: bytes, keep: Keep) -> Settled:
        """`path`: of the name, or of a copy, which `copy` then means. May wait for content that is on its way."""
        slot, named = self._alternatives.find(path)
        return await self._settle(slot, keep, named.id if named is not None else "")

    async def all_below(self, path: bytes, keep: Keep) -> AsyncIterator[Settled]:
        """One after the other; one that cannot be settled says why and stays."""
        for contested in await self._alternatives.listing(path):
            try:
                yield await self._settle(contested.slot, keep)
            except NoConflict:
                continue  # another one of these settled it, as with a file of two names
            except HoloError as error:
                yield Settled(contested.path, problem=error.message)

    async def _settle(self, slot: Slot, keep: Keep, named: str = "") -> Settled:
        self._require_writer()
        await self.bring(slot, keep, named)
        with self._scope.change(None, needs_space=False):
            before = self._alternatives.contested(slot)
            choices = self._alternatives.at(slot)
            if before is None:
                raise NoConflict("There is nothing to choose: nothing else stands for this name.")
            if any(self._is_on_its_way(choice) for choice in choices):
                raise ContentUnavailable("A newer version is on its way here: try again in a moment.")
            kept = _chosen(choices, keep, named)
            if not all(self._scope.tree.is_here(choice.version) for choice in _staying(choices, kept)):
                raise ContentUnavailable("The content that is to stay is on its way here: try again in a moment.")
            losing = [choice for choice in choices if choice is not kept] if kept is not None else []
            for choice in losing:
                self._require_replaceable(choice)
            files = self._settle_now(slot, choices, kept)
        if kept is None:
            directory = before.path[: len(before.path) - len(slot.name)]
            return Settled(before.path, files=tuple(directory + name for name in files))
        told = {alternative.id: alternative for alternative in before.choices}
        return Settled(before.path, told[kept.id], tuple(told[choice.id] for choice in losing))

    async def bring(self, slot: Slot, keep: Keep, named: str = "") -> None:
        """Waits for what has to be here first: newer versions that are not shown yet, and the content that stays."""
        await self._alternatives.bring_newest(slot)
        choices = self._alternatives.at(slot)
        if len(choices) > 1:
            for choice in _staying(choices, _chosen(choices, keep, named)):
                await self._alternatives.bring(choice)

    # ---- may it be done?
    def _require_writer(self) -> None:
        if not self._scope.remote.can_write:
            raise ReadOnly("This volume can only be read here: settle it on a device that may write.")

    def _is_on_its_way(self, choice: Choice) -> bool:
        row = self._nodes.get(choice.node)
        return row is not None and row.earlier is not None

    def _require_replaceable(self, choice: Choice) -> None:
        if choice.kind is Kind.DIRECTORY:
            raise IsADirectory(
                "One of those that would go is a directory, with all that is in it: keep both, then remove what you"
                " do not need."
            )
        ino = self._nodes.find_ino(choice.node, choice.dot)
        if ino is None:
            return
        if self._staged.of(ino) is not None or self._scope.files.is_open_for_writing(ino):
            raise FileBusy("A program has one of those that would go open for writing: close it there, then settle it.")

    # ---- doing it
    def _settle_now(self, slot: Slot, choices: list[Choice], kept: Choice | None) -> list[bytes]:
        """Returns what the copies are called that stay as files. Inside the transaction."""
        origin, shown = Origin(None), choices[0]
        rows = [EntryRow(slot.parent, choice.name, choice.node, choice.dot, slot.name) for choice in choices]
        own = kept.version if kept is not None and kept.node == shown.node else None
        names = self._conflicts.split(rows, own, origin)
        files = _files(choices, names, own)
        if kept is None:
            for file in files:
                self._assert(file, origin)
            return names[1:]
        for file in files:
            if file.choice is not kept and file.choice is not shown:
                self._end(slot, file, origin)
        if own is None:
            self._take_name(slot, files[0], files[choices.index(kept)], origin)
        elif kept is shown:
            self._assert(files[0], origin)
        else:
            self._end(slot, files[0], origin)
        return []

    def _assert(self, file: _File, origin: Origin) -> None:
        """Writes anew what a file contains, so that a device that removes it at this moment has not seen this
        version."""
        draft = Draft(self._scope)
        state, row = draft.state(file.node), self._nodes.get(file.node)
        shown = shown_of(row, state) if row is not None else None
        if shown is None or shown.dot != file.choice.version.dot:
            return  # a removed directory that is needed; or it was written anew when the copies became files
        stamp = above(self._scope.volume.stamp(), shown.stamp)
        anew = replace(shown, dot=self._scope.volume.next_dot(), stamp=stamp)
        if state.kind is Kind.DIRECTORY:
            draft.put(reasserted(state, anew, stamp))
        else:
            self._conflicts.rewritten(shown.dot, anew.dot)
            draft.put(with_version(state, anew, [shown.dot]))
        draft.write(origin)

    def _take_name(self, slot: Slot, shown: _File, kept: _File, origin: Origin) -> None:
        target = self._scope.tree.lookup(slot.parent, slot.name)
        source = self._scope.tree.lookup(slot.parent, kept.name)
        if target is None or source is None:
            raise NoConflict("One of them went while it was settled: list the conflicts again.")
        if target.view.version == token(shown.choice.version.dot):
            self._renaming.take_name(source, target, origin)
        else:
            # It was written anew a moment ago, so it goes as a whole: a version that is made and replaced at once
            # leaves no trace, and what it contains would be nowhere.
            self._end(slot, shown, origin)
            draft = Draft(self._scope)
            link = self._unlinking.link_at(kept.node, slot.parent, kept.name)
            stamp = self._scope.volume.stamp()
            draft.put(moved(draft.state(kept.node), link, Place(slot.parent, slot.name), stamp))
            draft.write(origin)
        if self._nodes.slot(slot.parent, slot.name)[0].node == kept.node:
            self._assert(kept, origin)

    def _end(self, slot: Slot, file: _File, origin: Origin) -> None:
        """A version that stood beside the name ends under all its names, a file of its own under this one."""
        for entry in self._nodes.entries_of_node(file.node):
            mine = file.split or (entry.parent, entry.name) == (slot.parent, file.name)
            if mine and not entry.dot and self._is_unchanged(file):
                draft = Draft(self._scope)
                self._unlinking.end_name(draft, file.node, entry.parent, entry.slot)
                draft.write(origin)

    def _is_unchanged(self, file: _File) -> bool:
        """False for a copy that another device made a file of before and that was written to since."""
        version = self._scope.tree.version_of(file.node)
        return version is not None and version.body == file.choice.version.body


@dataclass(frozen=True, slots=True)
class _File:
    """File that a choice became, once all of them are files of their own."""

    choice: Choice
    node: NodeId
    name: bytes
    split: bool
    """It is a node that was made for it."""


def _files(choices: list[Choice], names: list[bytes], own: Version | None) -> list[_File]:
    """`own`: the version with which the node of the name goes on, where that is one of its own."""
    found = []
    for choice, name in zip(choices, names, strict=True):
        stays = choice.version.dot == own.dot if own is not None and choice.node == choices[0].node else not choice.dot
        node = choice.node if stays else split_id(choice.node, choice.version.dot)
        found.append(_File(choice, node, name, split=not stays))
    return found


def _staying(choices: list[Choice], kept: Choice | None) -> list[Choice]:
    return choices if kept is None else [kept]


def _chosen(choices: list[Choice], keep: Keep, named: str) -> Choice | None:
    """None: all of them. Raises BadArgument where the word says too little."""
    shown, *others = choices
    if keep.how == BOTH:
        return None
    if keep.how == SHOWN:
        return shown
    if keep.how == NEWEST:
        return max(choices, key=lambda c: (c.version.stamp, c.version.dot))
    if keep.how == COPY:
        found = [choice for choice in others if choice.id == named] or others
        if len(found) > 1:
            raise BadArgument(f"There are {len(found)} copies: say the path of the one to keep, or whose it is.")
        return found[0]
    if keep.how == ID:
        for choice in choices:
            if choice.id == keep.what:
                return choice
        raise NoConflict("This version is not there any more: list the conflicts again.")
    if keep.how != DEVICE:
        raise BadArgument("What is kept is one of shown, copy, both, newest, or what a device wrote.")
    by_device = [choice for choice in choices if writer_name(choice.version.device_name) == keep.what]
    if not by_device:
        writers = ", ".join(
            sorted({writer_name(choice.version.device_name) or "an unknown device" for choice in choices})
        )
        raise BadArgument(f"None of them was written by {keep.what!r}; there are those of {writers}.")
    return max(by_device, key=lambda c: (c.version.stamp, c.version.dot))
