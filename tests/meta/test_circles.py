# SPDX-License-Identifier: GPL-3.0-or-later
"""No module imports itself by way of others, also not for its types alone: one of two that need each other is split."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from support.sources import product_modules


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns the names of one circle in a graph, the first again at its end; none if there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = product_modules()
    known = {module.name for module in modules}
    graph = {module.name: {imported.name for imported in module.imports} & known for module in modules}
    found = circle_in(graph)
    assert not found, " is imported by ".join(found)


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    found = circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    assert {*found} == {"b", "c"}
    assert found[0] == found[-1]
