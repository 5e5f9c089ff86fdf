# SPDX-License-Identifier: GPL-3.0-or-later
"""Import rules: the direction of dependencies is a promise, read from the syntax tree."""

from __future__ import annotations

import pytest

from support.sources import Module, product_modules

OURS = {"holofsd", "holofs_mount", "holofs_window", "holofsctl", "holofs_api", "holofs_peer"}

# What each layer of holofsd may import from the other layers. net and store never import each other.
BELOW_NET_AND_STORE = {"codec", "core"}
MAY_IMPORT = {
    "core": set[str](),
    "codec": {"core"},
    "store": BELOW_NET_AND_STORE,
    "net": BELOW_NET_AND_STORE,
    "tree": {"store", "codec", "core"},
    "sync": {"tree", "net", "store", "codec", "core"},
    "check": {"sync", "tree", "store", "codec", "core"},
    "fs": {"sync", "tree", "net", "store", "codec", "core"},
    "rpc": {"fs", "sync", "tree", "net", "store", "codec", "core"},
    "daemon": {"check", "rpc", "fs", "sync", "tree", "net", "store", "codec", "core"},
}
# core is pure: decisions only.
IMPURE = {
    *("asyncio", "threading", "concurrent", "subprocess", "socket", "select", "selectors", "multiprocessing"),
    *("os", "io", "pathlib", "shutil", "tempfile", "sqlite3", "time", "random", "secrets", "logging"),
    *("grpc", "google", "iroh", "structlog", "pyfuse3", "fuse"),
}


def test_core_imports_nothing_impure_and_nothing_of_ours_above_it() -> None:
    for module in product_modules("holofsd.core"):
        for imported in module.imports:
            assert imported.top not in IMPURE, f"{module.path}:{imported.line} imports {imported.name}"
            assert imported.top not in OURS or imported.name.startswith("holofsd.core"), (
                f"{module.path}:{imported.line} imports {imported.name}"
            )


def test_layers_of_the_daemon_import_only_downwards() -> None:
    for module in product_modules("holofsd"):
        layer = _layer(module.name)
        for imported in module.imports:
            below = _layer(imported.name)
            if layer and below and below != layer:
                assert below in MAY_IMPORT[layer], f"{module.path}:{imported.line}: {layer} imports {below}"


# The rooms of holofsd.fs, and which others each may import. The modules beside them are the contract, which imports no
# room and is all that rpc sees of fs, and the composition of all.
FS = "holofsd.fs"
FS_CONTRACT = {"api", "types", "transfers", "settings", "ports", "decoding", "journalled_calls"}
FS_COMPOSITION = {"filesystem", "present_reading", "past_mount", "census"}
FS_ROOMS = {
    "shared": set[str](),
    "nodes": {"shared"},
    "changes": {"shared"},
    "content": {"nodes", "changes", "shared"},
    "names": {"content", "nodes", "shared"},
    "past": {"content", "nodes", "shared"},
    "transfer": {"content", "nodes", "shared"},
    "mounts": {"names", "content", "nodes", "changes", "shared"},
}


def test_rooms_of_the_filesystem_import_only_the_rooms_below_them() -> None:
    found = {_room(module.name) for module in product_modules(FS)} - {""}
    assert found == {*FS_ROOMS} | FS_CONTRACT | FS_COMPOSITION
    for module in product_modules(FS):
        room = _room(module.name)
        if room in FS_COMPOSITION:
            continue
        allowed = FS_ROOMS.get(room, set()) | FS_CONTRACT | {room, ""}
        for imported in module.imports:
            if imported.name.startswith(FS):
                assert _room(imported.name) in allowed, f"{module.path}:{imported.line} imports {imported.name}"


def test_rpc_sees_only_the_contract_of_the_filesystem() -> None:
    for module in product_modules("holofsd.rpc"):
        for imported in module.imports:
            if imported.name.startswith(FS):
                assert _room(imported.name) in FS_CONTRACT | {""}, f"{module.path}:{imported.line} {imported.name}"


def _room(name: str) -> str:
    """The room of a module of `holofsd.fs`, or the module itself where it stands beside the rooms."""
    parts = name.split(".")
    return parts[2] if name.startswith(FS + ".") else ""


def test_every_folder_of_the_daemon_is_a_known_layer() -> None:
    assert {_layer(module.name) for module in product_modules("holofsd")} - {""} <= set(MAY_IMPORT)


def test_write_behind_imports_nothing_of_the_mount_but_its_bounds() -> None:
    """The core calls it, so it must not call back but through the protocols that it is given."""
    package = "holofs_mount.write_behind"
    modules = product_modules(package)
    assert {module.name.removeprefix(package + ".") for module in modules} >= {"queue", "journal", "creates"}
    for module in modules:
        for imported in module.imports:
            if imported.top in OURS - {"holofs_api"}:
                assert imported.name.startswith((package, "holofs_mount.patience")), (
                    f"{module.path}:{imported.line} imports {imported.name}"
                )


def test_eligibility_for_write_behind_is_decided_without_looking_anywhere() -> None:
    (module,) = product_modules("holofs_mount.write_behind.eligibility")
    for imported in module.imports:
        assert imported.top not in IMPURE, f"{module.path}:{imported.line} imports {imported.name}"
        assert not imported.name.startswith("holofs_mount"), f"{module.path}:{imported.line} imports {imported.name}"


def test_only_the_core_of_a_mount_uses_write_behind() -> None:
    for module in product_modules("holofs_mount"):
        if not module.name.startswith(("holofs_mount.core", "holofs_mount.write_behind")):
            for imported in module.imports:
                assert not imported.name.startswith("holofs_mount.write_behind"), f"{module.path}:{imported.line}"


@pytest.mark.parametrize("program", ["holofsd", "holofs_mount", "holofs_window", "holofsctl"])
def test_programs_import_the_contract_and_never_each_other(program: str) -> None:
    modules = product_modules(program)
    assert modules, f"{program} has no modules"
    others = {"holofsd", "holofs_mount", "holofs_window", "holofsctl"} - {program}
    for module in modules:
        for imported in module.imports:
            assert imported.top not in others, f"{module.path}:{imported.line} imports {imported.name}"


def test_the_contract_imports_nothing_of_ours() -> None:
    for module in product_modules("holofs_api"):
        for imported in module.imports:
            assert imported.top not in OURS - {"holofs_api"}, f"{module.path}:{imported.line} imports {imported.name}"


def test_what_devices_say_to_each_other_is_known_to_the_daemon_only() -> None:
    for program in ("holofs_mount", "holofs_window", "holofsctl", "holofs_api"):
        for module in product_modules(program):
            for imported in module.imports:
                assert imported.top != "holofs_peer", f"{module.path}:{imported.line} imports {imported.name}"


@pytest.mark.parametrize(
    ("package", "only_in"),
    [
        ("iroh", "holofsd.net."),
        ("pyfastcdc", "holofsd.store."),
        ("pyfuse3", "holofs_mount."),
        ("fuse", "holofs_mount."),
        ("uvicorn", "holofs_window."),
    ],
)
def test_a_foreign_binding_is_imported_by_one_module_only(package: str, only_in: str) -> None:
    users = {module.name for module in product_modules() if any(imported.top == package for imported in module.imports)}
    assert len(users) == 1, f"{package} is imported by {sorted(users)}"
    assert users.pop().startswith(only_in)


def test_sqlite_is_the_business_of_the_store() -> None:
    """Others may name its exceptions; nobody else makes a connection."""
    users = {m.name for m in product_modules("holofsd") if "sqlite3.connect" in m.source}
    assert all(name.startswith("holofsd.store") for name in users), sorted(users)


def _layer(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "holofsd" and len(parts) > 1 else ""


def test_an_import_is_found_wherever_it_stands() -> None:
    module = Module.parse("def f():\n    from holofsd.net import api\n    import iroh.x\n", name="holofsd.fs.x")
    assert [imported.name for imported in module.imports] == ["holofsd.net", "holofsd.net.api", "iroh.x"]
