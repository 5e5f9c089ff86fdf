# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the `.holofsignore` files in a tree, and what they say of a name (docs/ignore.md).

A name is looked at from the root down, as git does: what is in an ignored folder is ignored, and the last pattern of
the nearest file of rules that matches a name decides. Answers for folders are remembered until rules or folders change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.ignoring import (
    MOST_BYTES,
    RULES_NAME,
    Rule,
    Rules,
    as_text,
    decision,
    is_about_rules,
    meant_name,
    parse_rules,
)
from holofsd.core.state import Blob, Inline, Kind, Pending, Version
from holofsd.store.nodes import PlacementRow
from holofsd.tree.changes import TreeChange
from holofsd.tree.tree import Tree

log = structlog.get_logger(__name__)

_MOST_FOLDERS: Final = 10_000
_MOST_PARSED: Final = 64


@dataclass(frozen=True, slots=True)
class IgnoreMatch:
    """Pattern by which a name is ignored, and the path of the file of rules that has it."""

    file: bytes
    rule: Rule

    def __str__(self) -> str:
        return f"{as_text(self.file)}:{self.rule.line}: {self.rule.text}"


@dataclass(frozen=True, slots=True)
class _Source:
    """One file of rules. `depth`: components in the path of its folder."""

    depth: int
    path: bytes
    alternatives: tuple[Rules, ...]


@dataclass(frozen=True, slots=True)
class _FolderRules:
    """Rules that apply in a directory. `by`: the directory is ignored; `is_sure`: all files of rules could be read.

    `names`: its path; `sources`: the nearest first.
    """

    names: tuple[bytes, ...] = ()
    by: IgnoreMatch | None = None
    sources: tuple[_Source, ...] = ()
    is_sure: bool = True


_UNREACHABLE: Final = _FolderRules(is_sure=False)


class Ignoring:
    """Reader of rules. `note` is called inside the transaction of each change of the tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._store = tree.store
        self._nodes = tree.store.nodes
        self._loaded = False
        self._with_rules: frozenset[NodeId] = frozenset()
        self._rule_nodes: frozenset[NodeId] = frozenset()
        self._folders: dict[NodeId, _FolderRules] = {}
        self._parsed: dict[bytes, Rules] = {}
        self._unreadable: set[bytes] = set()
        self.on_changed: Callable[[], None] = lambda: None
        """Called after the commit of a change by which ignored nodes may be ignored no more."""
        tree.store.db.on_rollback.append(self._forget)

    # ---- what changes
    @property
    def is_active(self) -> bool:
        """Whether there are any rules or ignored nodes. If not, nothing else has to be asked."""
        if not self._loaded:
            self._load()
        return bool(self._with_rules) or self._store.ignored.is_any

    def note(self, change: TreeChange) -> None:
        """Notices changes of rules, and of where folders are."""
        if not self._loaded:
            self._load()
        if any(is_about_rules(entry.name) for entry in change.entries) or (
            self._rule_nodes and not self._rule_nodes.isdisjoint(change.nodes)
        ):
            self._forget()
            self._look_anew()
        elif change.entries and self.is_active and self._is_directory_moved(change):
            self._folders.clear()
            self._look_anew()

    def _is_directory_moved(self, change: TreeChange) -> bool:
        """Whether a directory that was there may have another place now."""
        glances = map(self._nodes.glance, {*change.nodes}.difference(change.new))
        return any(glance is not None and glance[0] == Kind.DIRECTORY and glance[1] for glance in glances)

    def _kind(self, node: NodeId) -> int:
        glance = self._nodes.glance(node)
        return glance[0] if glance is not None else 0

    def _look_anew(self) -> None:
        if self._store.ignored.is_any:
            self._store.ignored.doubt_all()
            self.look_soon()

    def look_soon(self) -> None:
        """Has doubtful nodes looked at, some time after the commit."""
        self._store.db.after_commit(lambda: self.on_changed())

    def _forget(self) -> None:
        self._loaded = False
        self._folders.clear()

    def _load(self) -> None:
        self._loaded = True
        self._with_rules = frozenset(self._store.ignored.folders_with_rules())
        entries = (entry for folder in self._with_rules for entry in self._nodes.entries_of_slot(folder, RULES_NAME))
        self._rule_nodes = frozenset(entry.node for entry in entries)

    # ---- what is ignored
    def match(self, parent: NodeId, name: bytes, is_directory: bool) -> IgnoreMatch | None:
        """Returns the pattern by which a name in a directory is ignored; None if none does."""
        return self._match(self._folder(parent), name, is_directory)

    def match_of(self, node: NodeId) -> IgnoreMatch | None:
        """Returns the pattern by which a node is ignored, or would be if it were new: one that matches a name of it,
        if all its names are matched."""
        is_directory = self._kind(node) == Kind.DIRECTORY
        found = [self._match_row(row, is_directory) for row in self._nodes.placements(node)]
        return found[0] if found and None not in found else None

    def stays(self, node: NodeId) -> bool:
        """Whether an ignored node is to stay so: every name of it is matched, or rules about it cannot be read now."""
        is_directory = self._kind(node) == Kind.DIRECTORY
        for row in self._nodes.placements(node):
            folder = self._folder(row.parent)
            if folder.is_sure and self._match(folder, row.name, is_directory) is None:
                return False
        return True

    def _match_row(self, row: PlacementRow, is_directory: bool) -> IgnoreMatch | None:
        return self.match(row.parent, row.name, is_directory)

    @staticmethod
    def _match(folder: _FolderRules, name: bytes, is_directory: bool) -> IgnoreMatch | None:
        if folder.by is not None or not folder.sources:
            return folder.by
        meant = meant_name(name)
        if meant == RULES_NAME:
            return None  # the rules travel, whatever they say
        for source in folder.sources:
            path = as_text(b"/".join((*folder.names[source.depth :], meant)))
            rule = decision(source.alternatives, path, is_directory)
            if rule is not None:
                return IgnoreMatch(source.path, rule) if rule.ignores else None
        return None

    # ---- folders
    def _folder(self, node: NodeId) -> _FolderRules:
        """Rules in a directory. Folders above that are not remembered are looked at first, without recursion."""
        if not self._loaded:
            self._load()
        way: list[tuple[NodeId, bytes]] = []
        node = self._nodes.aliases.shown_as(node)
        seen: set[NodeId] = set()
        while (above := self._folders.get(node)) is None:
            if node == ROOT_ID:
                above = self._remember(ROOT_ID, self._with_own(_FolderRules(), ROOT_ID))
                break
            placed = self._nodes.placed_under(node)
            if placed is None or node in seen:
                return _UNREACHABLE
            seen.add(node)
            way.append((node, placed[1]))
            node = self._nodes.aliases.shown_as(placed[0])
        for node, name in reversed(way):
            above = self._remember(node, self._below(above, node, name))
        return above

    def _below(self, above: _FolderRules, node: NodeId, name: bytes) -> _FolderRules:
        by = self._match(above, name, is_directory=True)
        found = _FolderRules((*above.names, name), by, above.sources, above.is_sure)
        return found if by is not None else self._with_own(found, node)

    def _with_own(self, folder: _FolderRules, node: NodeId) -> _FolderRules:
        """Adds the directory's own file of rules, if there is one."""
        if node not in self._with_rules:
            return folder
        path = b"/".join((*folder.names, RULES_NAME))
        alternatives: list[Rules] = []
        is_sure = folder.is_sure
        for entry in self._tree.siblings(node, RULES_NAME):
            if entry.view.kind is Kind.FILE:
                rules = self._rules(path, self._tree.version_of(entry.node, entry.dot))
                is_sure = is_sure and rules is not None
                alternatives += [rules] if rules is not None else []
        source = _Source(len(folder.names), path, tuple(alternatives))
        return _FolderRules(folder.names, folder.by, (source, *folder.sources), is_sure)

    def _remember(self, node: NodeId, folder: _FolderRules) -> _FolderRules:
        if len(self._folders) >= _MOST_FOLDERS:
            self._folders.clear()
        self._folders[node] = folder
        return folder

    # ---- files of rules
    def _rules(self, path: bytes, version: Version | None) -> Rules | None:
        """Rules of one version; None if they are not here, too large, or cannot be read."""
        data = self._content(version) if version is not None else None
        if data is None:
            if path not in self._unreadable:
                log.warning("rules cannot be read", file=as_text(path))
            self._unreadable.add(path)
            return None
        self._unreadable.discard(path)
        rules = self._parsed.get(data)
        if rules is None:
            if len(self._parsed) >= _MOST_PARSED:
                self._parsed.clear()
            rules = self._parsed[data] = parse_rules(data)
            if rules.left_out:
                log.warning("lines of rules are left out", file=as_text(path), lines=list(rules.left_out[:20]))
        return rules

    def _content(self, version: Version) -> bytes | None:
        body = version.body
        if isinstance(body, Inline):
            return body.data if len(body.data) <= MOST_BYTES else None
        if isinstance(body, Blob) and self._store.content.has(body.hash):
            return _read(self._store.content.path(body.hash))
        return _read(self._store.staging.path(body.staging)) if isinstance(body, Pending) else None


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError:
        return None
    return data if len(data) <= MOST_BYTES else None
