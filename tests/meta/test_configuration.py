# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of settings: documented row by row, and the only place where a setting's variable is read."""

from __future__ import annotations

import ast
import re

from holofs_api.setting_kinds import as_text
from holofs_api.settings import DAEMON_KEYS, ENVIRONMENT_ONLY, SETTINGS, VARIABLES, Applies, Setting
from support.sources import ROOT, product_modules

VARIABLE = re.compile(r"\bHOLOFS_[A-Z_]+\b")
OF_SCRIPTS = {"HOLOFS_UNLOCKED", "HOLOFS_FOLDER"}
"""Variables of scripts/setup and scripts/run."""
OF_TESTS = {"HOLOFS_EXAMPLES"}


def row(setting: Setting) -> str:
    """The row of docs/configuration.md."""
    default = f"`{as_text(setting.default)}`" if setting.default else setting.unset
    program = "`holofsctl up`" if setting.key in DAEMON_KEYS else "`holofs-mount`"
    applies = "at once" if setting.applies is Applies.NOW else setting.applies.name.lower().replace("_", " ")
    variables = ", else ".join(f"`{variable}`" for variable in setting.variables)
    option = f"`{setting.option}` of {program}"
    cells = (f"`{setting.key}`", setting.help, setting.kind.allowed, default, variables, option, applies)
    return f"| {' | '.join(cells)} |"


def test_every_setting_is_in_the_manual_as_it_is() -> None:
    manual = (ROOT / "docs" / "configuration.md").read_text()
    wanted = "|---|---|---|---|---|---|---|\n" + "".join(f"{row(setting)}\n" for setting in SETTINGS)
    assert wanted in manual, f"docs/configuration.md has to have this table:\n{wanted}"


def test_every_variable_is_in_the_manual() -> None:
    manual = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in (*VARIABLES, *ENVIRONMENT_ONLY) if f"`{name}`" not in manual] == []


def test_every_variable_that_the_tree_names_is_in_the_table() -> None:
    known = {*VARIABLES, *ENVIRONMENT_ONLY, *OF_SCRIPTS}
    named: dict[str, str] = {}
    for path in (*ROOT.glob("docs/**/*.md"), *ROOT.glob("scripts/*"), ROOT / "README.md"):
        if path.is_file():
            named |= dict.fromkeys(VARIABLE.findall(path.read_text()), path.name)
    for module in product_modules():
        named |= dict.fromkeys(VARIABLE.findall(module.source), module.path)
    assert {name: where for name, where in named.items() if name not in known | OF_TESTS} == {}


def test_a_setting_is_read_by_the_table_alone() -> None:
    """A literal that is exactly a variable's name stands in no other module: it would be read there."""
    found = [
        f"{module.path}:{node.lineno}"
        for module in product_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and node.value in VARIABLES and module.name != "holofs_api.settings"
    ]
    assert found == []
