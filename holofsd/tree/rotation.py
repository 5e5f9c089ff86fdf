# SPDX-License-Identifier: GPL-3.0-or-later
"""A new author takes over what the old one did not publish: its dots are given again (design 4.7). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from holofsd.core.ids import AuthorId, Dot
from holofsd.core.state import Context, NodeState, Removal, Version


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
            version = replace(version, dot=renamed[dot])
        versions[version.dot] = version
    context = _lowered(state.context, published)
    removed = _lowered(state.removed.context, published)
    for old, new in renamed.items():
        context = _raised(context, new)
        if state.removed.context.get(old.author, 0) >= old.counter:
            removed = _raised(removed, new)
    if not renamed and context == state.context and removed == state.removed.context:
        return state
    return replace(state, context=context, versions=versions, removed=Removal(removed, state.removed.links))


def _lowered(context: Context, published: Mapping[AuthorId, int]) -> dict[AuthorId, int]:
    lowered = {a: min(counter, published.get(a, counter)) for a, counter in context.items()}
    return {author: counter for author, counter in lowered.items() if counter}


def _raised(context: Context, dot: Dot) -> dict[AuthorId, int]:
    return {**context, dot.author: max(context.get(dot.author, 0), dot.counter)}
