# SPDX-License-Identifier: GPL-3.0-or-later
"""A class name stands for one thing in the product: whoever searches for it finds one class."""

from __future__ import annotations

import ast
from collections import defaultdict

from support.sources import product_modules


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in product_modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module.path}:{node.lineno}")
    found = {name: where for name, where in places.items() if len(where) > 1}
    assert not found, found
