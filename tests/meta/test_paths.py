# SPDX-License-Identifier: GPL-3.0-or-later
"""No path that a person named is looked at where that could wait: such looks go through `holofs_api.places`.

Read from the syntax tree: which functions of the daemon's shell and of the command line touch a filesystem by path.
Each is listed here with the reason why it may.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from support.sources import Module, product_modules

OF_OS = frozenset(
    {"access", "chmod", "listdir", "lstat", "makedirs", "mkdir", "open", "readlink", "remove", "rename", "rmdir"}
    | {"scandir", "stat", "statvfs", "unlink", "walk"}
)
OF_OS_PATH = frozenset({"exists", "isdir", "isfile", "islink", "ismount", "lexists", "realpath", "samefile", "getsize"})
OF_SHUTIL = frozenset({"copy", "copyfile", "copytree", "disk_usage", "move", "rmtree"})
OF_PATHS = frozenset(
    {"absolute", "chmod", "exists", "expanduser", "glob", "is_dir", "is_file", "is_mount", "is_symlink", "iterdir"}
    | {
        "lstat",
        "mkdir",
        "open",
        "read_bytes",
        "read_text",
        "readlink",
        "rename",
        "resolve",
        "rglob",
        "rmdir",
        "samefile",
    }
    | {"stat", "symlink_to", "touch", "unlink", "write_bytes", "write_text"}
)
STATE = "the state directory: looked at by `check_state_dir` before anything else"
SYSTEM = "a fixed place of the system"
NO_LIST = "only where the kernel has no list of mounts"
PROC = "/proc, by the number of a process"
CONFIG = "the folder of settings: looked at by `holofs_api.places` before anything else"
NAMED = "a folder that `holofs_api.places` has looked at; only the process of the command waits, and Ctrl-C ends it"
OTHER = "no path: a method of the same name"
ALLOWED = {
    "holofsctl.checks": {"_fuse": SYSTEM, "_state_directory": STATE, "_daemon": STATE},
    "holofsctl.client": {"_lock_holder": STATE},
    "holofsctl.commands.config": {"_take": STATE},
    "holofsctl.commands.installing": {"_write": CONFIG, "_remove": CONFIG},
    "holofsctl.commands.transfers": {"_looked_at": NAMED, "_kept_out": STATE},
    "holofsctl.transfer.exporting": {"*": NAMED},
    "holofsctl.transfer.handover": {"*": NAMED},
    "holofsctl.transfer.importing": {"*": NAMED},
    "holofsctl.transfer.source": {"*": NAMED},
    "holofsctl.transfer.taking": {"*": NAMED},
    "holofsctl.settings_editor": {"*": STATE},
    "holofsctl.login_files": {"is_foreign": CONFIG, "_present": CONFIG, "config_home": "only the name"},
    "holofsctl.commands.window": {"_way_in": STATE},
    "holofsctl.daemon_log": {"*": STATE},
    "holofsctl.launcher": {
        "_private_remarks": STATE,
        "_last_words": STATE,
        "_unmount_leftovers": STATE,
        "is_mounted": NO_LIST,
    },
    "holofsctl.mount_helper": {"_take_environment": SYSTEM, "_require_ours_alone": "the program's own files"},
    "holofsctl.terminal": {"prepare_streams": SYSTEM, "give_up_output": SYSTEM},
    "holofsd.daemon.activation": {"_objection": "the state directory, and where the service manager bound a socket"},
    "holofsd.daemon.fsck": {"*": STATE},
    "holofsd.daemon.fsck_device": {"*": STATE},
    "holofsd.daemon.history_budget": {"_least": STATE},
    "holofsd.daemon.logging": {"*": STATE},
    "holofsd.daemon.mount_paths": {"mounted_at": NO_LIST, "check_mount_path": SYSTEM, "_failed": SYSTEM},
    "holofsd.daemon.mount_process": {"_started": STATE, "_last_line": STATE},
    "holofsd.daemon.mount_users": {"*": PROC},
    "holofsd.daemon.device": {"device_name": OTHER},
    "holofsd.daemon.mounts": {"_drop": STATE, "_write_file": STATE},
    "holofsd.daemon.orphans": {"*": STATE},
    "holofsd.daemon.processes": {"*": PROC},
    "holofsd.daemon.settings": {"*": STATE},
    "holofsd.daemon.state_folder": {"*": STATE},
    "holofsd.daemon.status": {"space": STATE, "_arrived": STATE},
    "holofsd.daemon.vitals": {"*": STATE},
    "holofsd.daemon.volumes": {"*": STATE},
    "holofsd.daemon.window": {"_log_file": STATE},
    "holofsctl.parser": {"_conflicts": OTHER},
    "holofsd.rpc.control_service": {"Resolve": OTHER},
    "holofsd.rpc.fs_calls": {"_open": OTHER, "_rename": OTHER, "_unlink": OTHER},
    "holofsd.rpc.server": {"*": STATE},
}


def touches(call: ast.Call) -> str:
    """The name of a call that touches a filesystem by path, as far as the syntax tells; else empty."""
    called = ast.unparse(call.func)
    owner, _, name = called.rpartition(".")
    if called == "open" or (owner == "os" and name in OF_OS) or (owner == "os.path" and name in OF_OS_PATH):
        return called
    if owner == "shutil" and name in OF_SHUTIL:
        return called
    return called if owner and owner not in ("os", "os.path", "shutil") and name in OF_PATHS else ""


def looks(module: Module) -> Iterator[tuple[str, str, int]]:
    """Function, call and line of each look at a path; also where the function itself is handed to a thread."""
    for function in ast.walk(module.tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                called = touches(node)
                handed = [ast.unparse(argument) for argument in node.args if isinstance(argument, ast.Attribute)]
                for name in [called, *(each for each in handed if touches(ast.parse(f"{each}()").body[0].value))]:  # type: ignore[attr-defined]
                    if name:
                        yield function.name, name, node.lineno


@pytest.mark.parametrize("package", ["holofsd.daemon", "holofsd.rpc", "holofsctl"])
def test_every_look_at_a_path_is_known_and_has_its_reason(package: str) -> None:
    unknown = []
    for module in product_modules(package):
        allowed = ALLOWED.get(module.name, {})
        for function, called, line in looks(module):
            if function not in allowed and "*" not in allowed:
                unknown.append(f"{module.path}:{line}: {function} calls {called}")
    assert unknown == [], "use holofs_api.places, or say here why this path always answers"


def test_what_is_allowed_is_still_there() -> None:
    there = {module.name: {function for function, _, _ in looks(module)} for module in product_modules()}
    for name, functions in ALLOWED.items():
        for function in functions:
            assert there.get(name), name
            assert function == "*" or function in there[name], f"{name}: {function}"


@pytest.mark.parametrize(
    "line",
    [
        "os.stat(path)",
        "os.path.realpath(path)",
        "open(path)",
        "Path(path).exists()",
        "target.iterdir()",
        "shutil.disk_usage(path)",
        "asyncio.to_thread(os.statvfs, path)",
    ],
)
def test_such_a_look_is_found(line: str) -> None:
    module = Module.parse(f"async def look(path):\n    {line}\n", "holofsd.daemon.new")
    assert [function for function, _, _ in looks(module)] == ["look"]
