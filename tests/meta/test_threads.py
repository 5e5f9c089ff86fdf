# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocking work of the daemon goes to one of two pools, by its owner alone, and the foreground is for few."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from support.sources import Module, product_modules

OWNER = "holofsd.store.threads"
OTHER_WAYS = {"to_thread", "run_in_executor", "set_default_executor", "ThreadPoolExecutor", "ProcessPoolExecutor"}

# Who may take the foreground pool: a program or a person waits, and no other device decides how often.
FOREGROUND = {
    "holofsd.daemon.mount_paths": "holofsctl waits: a path is looked at, or a mount taken away",
    "holofsd.daemon.mounts": "programs hang in a killed mount, and are freed",
    "holofsd.daemon.rescue": "mounts wait for a damaged volume, of which what can be read is copied",
    "holofsd.daemon.volumes": "mounts wait for a volume that is opened, or mended",
    "holofsd.fs.content.browsing": "a program reads",
    "holofsd.fs.content.opening": "fsync",
    "holofsd.fs.content.writing": "fsync, and a copy at open",
    "holofsd.fs.names.alternatives": "a program reads",
    "holofsd.fs.past.budget": "on a full disk a write waits for room; one sync at a time",
    "holofsd.sync.care": "a program could not read content; a scrub names the background",
    "holofsd.sync.marks": "`wait` waits for it; one sync at a time for each volume",
    "holofsd.sync.publisher": "what is written shows elsewhere; one sync at a time for each volume",
    "holofsd.sync.content_threads": "only while a program waits for a job",
    "holofsd.sync.to_send": "`status` waits; one count at a time, which ends after a moment",
    "holofsd.sync.turns": "only where the request says that a program waits; one piece at a time for each stream",
}


def named(module: Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.alias):
            yield node.name, getattr(node, "lineno", 0)


def other_ways(module: Module) -> list[str]:
    return [f"{module.path}:{line}: {name}" for name, line in named(module) if name in OTHER_WAYS]


def test_only_one_module_of_the_daemon_hands_work_to_threads() -> None:
    found = [way for module in product_modules("holofsd") if module.name != OWNER for way in other_ways(module)]
    assert found == [], f"use in_thread of {OWNER}, and say which pool"


def test_who_takes_the_foreground_is_known_and_has_a_reason() -> None:
    found = {
        module.name
        for module in product_modules("holofsd")
        if module.name != OWNER and any(name == "FOREGROUND" for name, _line in named(module))
    }
    assert found == {*FOREGROUND}, "is it something that a program or a person waits for? Then say so here"


@pytest.mark.parametrize(
    "line",
    [
        "await asyncio.to_thread(work)",
        "await loop.run_in_executor(None, work)",
        "from asyncio import to_thread",
        "pool = ThreadPoolExecutor(4)",
    ],
)
def test_another_way_is_found(line: str) -> None:
    assert other_ways(Module.parse(f"async def do(loop, work):\n    {line}\n", "holofsd.sync.new"))
