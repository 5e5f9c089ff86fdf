# SPDX-License-Identifier: GPL-3.0-or-later
"""A member says whatever it likes of the files of two honest ones: these show the same, and nothing of theirs is lost.

What it says is made of true versions, present and past, of versions of its own, and of contexts, links and removals
without any rule. (Versions that it forges in the name of others, and other kinds of a node, are for other tests.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holofsd.core.context import add
from holofsd.core.ids import ROOT_ID, Dot, Hlc, LinkId, NodeId
from holofsd.core.node import is_alive
from holofsd.core.shrinking import shrunk
from holofsd.core.state import Inline, Link, NodeState, Place, Register, Removal, Version
from holofsd.tree.past import Past
from holofsd.tree.states import decode_version
from tests.sync.devices import Device, agree, devices, share, until

NOWHERE = NodeId(b"no such folder..")
FILES = ("one", "two", "folder/three")


@dataclass(frozen=True)
class Honest:
    """A device writes a file, or removes it where it is."""

    device: int
    file: int
    remove: bool


@dataclass(frozen=True)
class Lie:
    """Next record of the liar about a node."""

    file: int
    versions: tuple[bool, bool, bool]
    """Whether it brings what is there, what was there, and something of its own."""
    context: str
    links: str
    removed: str
    ahead: int


@dataclass(frozen=True)
class Cable:
    """A connection is cut, or put back."""

    pair: int
    cut: bool


STEPS = st.lists(
    st.one_of(
        st.builds(Honest, st.integers(0, 1), st.integers(0, 2), st.booleans()),
        st.builds(
            Lie,
            st.integers(0, 2),
            st.tuples(st.booleans(), st.booleans(), st.booleans()),
            st.sampled_from(["known", "all", "own", "beyond"]),
            st.sampled_from(
                ["known", "none", "nowhere", "before", "unknown", "file", "itself", "bad", "root", "other id", "twice"]
            ),
            st.sampled_from(["known", "nothing", "versions", "links", "all", "shrunk"]),
            st.sampled_from([-1, 1, 1 << 40]),
        ),
        st.builds(Cable, st.integers(0, 2), st.booleans()),
    ),
    min_size=2,
    max_size=9,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_whatever_a_member_says_nothing_of_the_others_is_lost_and_they_show_the_same(
    steps: Sequence[Honest | Lie | Cable],
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_run(Path(folder), steps))


async def _run(folder: Path, steps: Sequence[Honest | Lie | Cable]) -> None:
    async with devices(folder, "ann", "bob", "liar") as (ann, bob, liar):
        await share(ann, bob, liar)
        ann.mkdir("folder")
        written: list[tuple[Device, bytes]] = []
        nodes = []
        for device, path in zip((ann, bob, ann), FILES, strict=True):
            await until(lambda: agree(ann, bob, liar))
            content = b"first of " + path.encode()
            nodes.append(device.write(path, content))
            written.append((device, content))
        await until(lambda: agree(ann, bob, liar))
        for number, step in enumerate(steps):
            if isinstance(step, Honest):
                await _work((ann, bob)[step.device], nodes, step, number, written)
            elif isinstance(step, Lie):
                await _lie(liar, nodes[step.file], step, number)
            else:
                one, other = ((ann, bob), (ann, liar), (bob, liar))[step.pair]
                (ann.network.partition if step.cut else ann.network.heal)(one.id, other.id)
        ann.network.heal_all()
        await until(lambda: agree(ann, bob) and ann.names() == bob.names(), f"ann and bob to agree: {steps}")
        for device, content in written:
            await until(lambda: content in _kept(device, nodes), f"{device.name}'s {content!r}: {steps}", 5)  # noqa: B023
        # A file in an unknown folder is out of sight for a while, counted by each from when it heard of it.
        await until(lambda: ann.names() == bob.names(), f"ann and bob to show the same: {steps}")


async def _work(
    device: Device, nodes: Sequence[NodeId], step: Honest, number: int, written: list[tuple[Device, bytes]]
) -> None:
    """Work on the node, wherever the liar has put it."""
    path = device.volume.tree.path_of(nodes[step.file])
    if path is None:
        return
    if step.remove:
        device.remove(path.decode())
    else:
        content = b"%d" % number
        device.write(path.decode(), content)
        written.append((device, content))
    await until(lambda: device.store.outbox.count() == 0, "it to be published")


def _kept(device: Device, nodes: Sequence[NodeId]) -> set[bytes]:
    """Contents that are shown, in the history, or in the trash."""
    past = Past(device.volume.tree)
    # The history of what is neither shown nor in the trash is out of reach.
    reached = [node for node in nodes if device.volume.tree.path_of(node) is not None or past.trashed(node) is not None]
    bodies = [known.version.body for node in reached for known in past.versions(node)]
    bodies += [item.version.body for items in past.trash() for item in items if item.version is not None]
    found = {body.data for body in bodies if isinstance(body, Inline)}
    return found.union(content for content in device.files().values() if content is not None)


async def _lie(liar: Device, node: NodeId, step: Lie, number: int) -> None:
    with liar.store.db.transaction():
        known = liar.volume.tree.state(node)
        assert known is not None
        liar.volume.tree.apply([_said(liar, known, step, number)])
        liar.store.outbox.add(node, liar.now_ms())
    liar.sync.publisher.outbox_changed()
    await until(lambda: liar.store.outbox.count() == 0, "the lie to be published")


def _said(liar: Device, known: NodeState, step: Lie, number: int) -> NodeState:
    stamp = Hlc(liar.now_ms() + step.ahead, 0, liar.volume.author)
    there, before, own = step.versions
    versions: dict[Dot, Version] = dict(known.versions) if there else {}
    if before:
        past = [decode_version(row.version) for row in liar.store.history.of_node(known.id)]
        versions |= {version.dot: version for version in past}
    if own:
        dot = liar.volume.next_dot()
        versions[dot] = Version(
            dot, stamp, Inline(b"lie %d" % number), len(b"lie %d" % number), Register(0, stamp), "x"
        )
    limits = {author: dots for author, dots in liar.volume.limits().items() if dots}
    context = {
        "known": dict(known.context),
        "all": limits,
        "own": {},
        "beyond": {author: dots + 1000 for author, dots in limits.items() if author != liar.volume.author},
    }[step.context]
    for dot in versions:
        context = dict(add(context, dot))
    links = _links(known, step.links, stamp)
    seen = {id: link.stamp for id, link in links.items()}
    removed = {
        "known": known.removed,
        "nothing": Removal(),
        "versions": Removal(limits),
        "links": Removal(links=seen),
        "all": Removal(limits, seen),
        "shrunk": Removal(limits, seen),
    }[step.removed]
    said = replace(known, context=context, versions=versions, links=links, removed=removed)
    return shrunk(said) if step.removed == "shrunk" and not is_alive(said) else said


def _links(known: NodeState, how: str, stamp: Hlc) -> dict[LinkId, Link]:
    place = {
        "unknown": Place(NOWHERE, b"name"),
        "file": Place(known.id, b"name"),
        "itself": Place(known.id, b"name"),
        "bad": Place(ROOT_ID, b".."),
        "root": Place(ROOT_ID, b"name"),
    }.get(how)
    if how == "known":
        return dict(known.links)
    if how == "none":
        return {}
    if how == "other id":
        return {LinkId(b"another link....")[:16]: Link(Place(ROOT_ID, b"another"), stamp)}  # type: ignore[dict-item]
    links = {id: Link(place, stamp, Place(ROOT_ID, b"before") if how == "before" else None) for id in known.links}
    return links if how != "twice" else {**known.links, **links}
