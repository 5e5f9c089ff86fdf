# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions under new dots. Pure.

A new author takes over what the old one did not publish (docs/model.md#authors-clocks-and-copies), and this device
takes over what others will not take from the author that wrote it, because its device was removed (docs/members.md).
What was ignored and is to be published (docs/ignore.md) gets new dots, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from holofsd.core.context import covers
from holofsd.core.edit import link_id
from holofsd.core.ids import AuthorId, Dot
from holofsd.core.node import live_versions, placements
from holofsd.core.state import Context, Link, NodeState, Removal, Version


def restamped(state: NodeState, published: Mapping[AuthorId, int], new_dot: Callable[[Dot], Dot]) -> NodeState:
    """The state without dots that were never published.

    `published`: for each of our former authors the highest counter that its head vouches for. `new_dot` gives the
    replacement, the same whenever it is asked for the same dot. Stamps stay: they only order.
    """
    renamed: dict[Dot, Dot] = {}
    versions: dict[Dot, Version] = {}
    for dot, version in state.versions.items():
        if dot.counter > published.get(dot.author, dot.counter):
            renamed[dot] = new_dot(dot)
            version = replace(version, dot=renamed[dot], seal=b"", origin=b"")
        versions[version.dot] = version
    context = _lowered(state.context, published)
    removed = _lowered(state.removed.context, published)
    for old, new in renamed.items():
        context = _raised(context, new)
        if state.removed.context.get(old.author, 0) >= old.counter:
            removed = _raised(removed, new)
    if not renamed and context == state.context and removed == state.removed.context:
        return state
    return replace(state, context=context, versions=versions, removed=replace(state.removed, context=removed))


def redotted(state: NodeState, author: AuthorId, new_dot: Callable[[Dot], Dot]) -> NodeState:
    """The state with the live versions of `author` written anew: the same content and stamps under dots of ours.

    What the author had seen stays covered, so that its own records do not bring the old dots back.
    """
    live = [dot for dot in state.versions if dot.author == author and not covers(state.removed.context, dot)]
    return said_as_ours(state, live, new_dot)


def said_as_ours(state: NodeState, dots: Collection[Dot], new_dot: Callable[[Dot], Dot]) -> NodeState:
    """The state with these versions written anew, because their author cannot vouch for them to others."""
    versions: dict[Dot, Version] = {}
    context = state.context
    for dot, version in state.versions.items():
        if dot in dots:
            version = replace(version, dot=new_dot(dot), seal=b"", origin=b"")
            context = _raised(_raised(context, dot), version.dot)
        versions[version.dot] = version
    return state if context is state.context else replace(state, context=context, versions=versions)


def as_new(state: NodeState, new_dot: Callable[[Dot], Dot]) -> NodeState:
    """The state of a node that no other device ever heard of, as if it had been made a moment ago: what it shows, under
    new dots, and nothing of what it was before or of where it was. Stamps stay: they only order.

    A directory may have no live version, because it was removed and shows for what is in it: then it has none here.
    """
    context: Context = {}
    versions: dict[Dot, Version] = {}
    for version in live_versions(state):
        anew = replace(version, dot=new_dot(version.dot), seal=b"", origin=b"")
        versions[anew.dot] = anew
        context = _raised(context, anew.dot)
    places = placements(state, needed=True)
    links = {placement.link or link_id(state.id): Link(placement.place, placement.stamp) for placement in places}
    xattrs = {name: register for name, register in state.xattrs.items() if register.value is not None}
    return replace(state, context=context, versions=versions, links=links, removed=Removal(), xattrs=xattrs)


def _lowered(context: Context, published: Mapping[AuthorId, int]) -> dict[AuthorId, int]:
    lowered = {a: min(counter, published.get(a, counter)) for a, counter in context.items()}
    return {author: counter for author, counter in lowered.items() if counter}


def _raised(context: Context, dot: Dot) -> dict[AuthorId, int]:
    return {**context, dot.author: max(context.get(dot.author, 0), dot.counter)}
