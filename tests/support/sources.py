# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own tree as data, for tests about the tree itself."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "holofsd": "holofsd",
    "holofs_mount": "holofs_mount",
    "holofs_window": "holofs_window",
    "holofsctl": "holofsctl",
    "holofs_api": "proto/holofs_api",
    "holofs_peer": "proto/holofs_peer",
}


@dataclass(frozen=True, slots=True)
class Import:
    name: str
    line: int

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Module:
    path: str
    name: str
    source: str
    tree: ast.Module

    @staticmethod
    def parse(source: str, name: str, path: str = "<test>") -> Module:
        return Module(path, name, source, ast.parse(source))

    @property
    def imports(self) -> list[Import]:
        """Every module named in an import statement anywhere in the file; `from a import b` names a and a.b."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [Import(alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                found.append(Import(base, node.lineno))
                found += [Import(f"{base}.{alias.name}", node.lineno) for alias in node.names]
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        if not self.path.endswith("__init__.py"):
            package = package[:-1]
        kept = package[: len(package) - node.level + 1]
        return ".".join([*kept, *([node.module] if node.module else [])])


@cache
def product_modules(prefix: str = "") -> tuple[Module, ...]:
    """Hand-written modules of the product whose dotted name is `prefix` or starts with `prefix.`."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if is_generated(path):
                continue
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            name = ".".join(parts)
            if not prefix or name == prefix or name.startswith(prefix + "."):
                found.append(Module.parse(path.read_text(), name, str(path.relative_to(ROOT))))
    return tuple(found)


def is_generated(path: Path) -> bool:
    return "_pb2" in path.name


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files under version control, and new ones that are not ignored; absolute paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    paths = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    return tuple(path for path in paths if path.is_file())
