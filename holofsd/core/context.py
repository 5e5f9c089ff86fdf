# SPDX-License-Identifier: GPL-3.0-or-later
"""Causal contexts: which dots somebody has seen. Laws: `merge` is commutative, associative and idempotent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from holofsd.core.ids import AuthorId, Dot
from holofsd.core.state import Context, NodeState, Version


def covers(context: Context, dot: Dot) -> bool:
    return context.get(dot.author, 0) >= dot.counter


def merge(a: Context, b: Context) -> Context:
    """The smallest context that covers both; one of the arguments itself where that is enough."""
    if a is b or not b:
        return a
    if not a:
        return b
    if all(a.get(author, 0) >= counter for author, counter in b.items()):
        return a
    merged = dict(a)
    for author, counter in b.items():
        if merged.get(author, 0) < counter:
            merged[author] = counter
    return merged


def add(context: Context, dot: Dot) -> Context:
    if covers(context, dot):
        return context
    return {**context, dot.author: dot.counter}


def clip(context: Context, limits: Mapping[AuthorId, int]) -> Context:
    """Entries above their author's limit are lowered to it; an author without a limit is dropped."""
    if all(limits.get(author, 0) >= counter for author, counter in context.items()):
        return context
    lowered = {author: min(counter, limits.get(author, 0)) for author, counter in context.items()}
    return {author: counter for author, counter in lowered.items() if counter}


def clip_state(
    state: NodeState, writer: AuthorId, limits: Mapping[AuthorId, int]
) -> tuple[NodeState, frozenset[AuthorId]]:
    """Splits `writer`'s record into what counts now, and the authors whose heads the rest of it waits for.

    `limits` is the dot counter of the head that we hold of each author, the writer among them: what others say of dots
    that its head does not vouch for would not count, so nobody could remove them. Registers and links carry stamps, not
    counters, and always count. A version that has to wait takes the place of nothing: what it replaces stays until it
    counts.
    """
    waiting = _beyond(state.context, limits) | _beyond(state.removed.context, limits)
    if not waiting:
        return state, waiting
    versions: dict[Dot, Version] = {d: v for d, v in state.versions.items() if limits.get(d.author, 0) >= d.counter}
    context = clip(state.context, limits)
    if len(versions) < len(state.versions):
        context = covering(context, writer, versions)
    clipped = replace(
        state,
        context=context,
        versions=versions,
        removed=replace(state.removed, context=clip(state.removed.context, limits)),
    )
    return clipped, waiting


def covering(context: Context, writer: AuthorId, versions: Iterable[Dot]) -> Context:
    """Context of a record of which some versions do not count yet: it covers the counters of those that do, and the
    writer's. Those that do not count may stand in the place of anything else."""
    covered: dict[AuthorId, int] = {}
    for dot in versions:
        covered[dot.author] = max(covered.get(dot.author, 0), dot.counter)
    if covered and writer in context:
        covered[writer] = context[writer]
    return covered


def _beyond(context: Context, limits: Mapping[AuthorId, int]) -> frozenset[AuthorId]:
    return frozenset(author for author, counter in context.items() if limits.get(author, 0) < counter)
