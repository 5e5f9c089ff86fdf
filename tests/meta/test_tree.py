# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree itself: licences, docstrings, no machine paths, generated code that is current, small modules."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from support.sources import ROOT, is_generated, product_modules, tracked_files

SPDX = "SPDX-License-Identifier: GPL-3.0-or-later"
SOURCE_SUFFIXES = {".py", ".proto", ".sql", ".sh"}
# Written in two halves, so that this file does not contain what it looks for.
MACHINE_PATHS = re.compile(
    "|".join(["/wo" + "rk/", "/ro" + "ot/", "/Us" + "ers/", "/home/" + r"(?!you\b|USER\b|somebody\b)\w+"])
)
SECRETS = re.compile("BEGIN [A-Z ]*PRIVATE " + "KEY|" + r"\bholofs1[a-z2-7]{60,}")


def _sources() -> list[Path]:
    scripts = [p for p in tracked_files() if p.parent.name in ("scripts", ".ci")]
    sources = [p for p in tracked_files() if p.suffix in SOURCE_SUFFIXES and not is_generated(p)]
    return sorted({*scripts, *sources})


def test_every_source_file_names_its_licence_at_the_top() -> None:
    bare = [p for p in _sources() if p.stat().st_size and SPDX not in "\n".join(p.read_text().splitlines()[:3])]
    assert not bare, [str(p.relative_to(ROOT)) for p in bare]


def test_the_licence_is_the_gpl_in_full() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text
    assert len(text) > 30_000


def test_every_module_says_what_it_is() -> None:
    silent = [m.path for m in product_modules() if m.source.strip() and not ast.get_docstring(m.tree)]
    silent += [
        str(p.relative_to(ROOT))
        for p in tracked_files()
        if p.suffix == ".py"
        and "tests" in p.parts
        and p.stat().st_size
        and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not silent, silent


def test_every_folder_of_the_product_says_what_lives_there() -> None:
    packages = [m for m in product_modules() if m.path.endswith("__init__.py") and "/v1/" not in m.path]
    silent = [m.path for m in packages if not ast.get_docstring(m.tree)]
    assert not silent, silent


def test_modules_stay_small_enough_to_read() -> None:
    long = {m.path: m.source.count("\n") for m in product_modules() if m.source.count("\n") > 500}
    assert not long, long


def test_nothing_names_a_place_on_somebodys_machine() -> None:
    assert not _matches(MACHINE_PATHS)


def test_no_secret_is_in_the_tree() -> None:
    assert not _matches(SECRETS)


def _matches(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {hit.group()[:20]}" for hit in pattern.finditer(text)]
    return found


def test_generated_code_is_current() -> None:
    done = subprocess.run([ROOT / "scripts" / "gen_protos", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    [
        *("setup", "run", "test", "check", "bench", "soak", "gen_protos"),
        *("release", "man", "lock", "first_run", "window_pictures"),
    ],
)
def test_a_script_can_be_run_and_is_valid_shell_or_python(name: str) -> None:
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    first = script.read_text().splitlines()[0]
    if "bash" in first:
        subprocess.run(["bash", "-n", script], check=True)
    else:
        ast.parse(script.read_text())


def test_swallowing_every_exception_happens_only_where_it_is_marked() -> None:
    """ruff's BLE001 refuses it unless marked; each mark has to say why beside it."""
    bare = []
    for module in product_modules():
        lines = module.source.splitlines()
        for number, line in enumerate(lines):
            if "noqa: BLE001" in line and "#" not in lines[number - 1] and "BLE001 " not in line:
                bare.append(f"{module.path}:{number + 1}")
    assert len(bare) < 40, bare
