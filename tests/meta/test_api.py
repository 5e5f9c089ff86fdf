# SPDX-License-Identifier: GPL-3.0-or-later
"""The public API: `holofs.v1` only grows, and clients can install it without the rest of HoloFS."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from holofs_api.v1 import control_pb2, errors_pb2, filesystem_pb2
from scripts import api_docs, api_shape
from support.sources import ROOT

PROTOS = (control_pb2, errors_pb2, filesystem_pb2)


def present() -> list[FileDescriptorProto]:
    files = []
    for module in PROTOS:
        files.append(FileDescriptorProto())
        module.DESCRIPTOR.CopyToProto(files[-1])
    return files


def test_nothing_is_lost_of_the_stored_shape_and_all_that_is_new_is_in_it() -> None:
    before, now = api_shape.read(ROOT), api_shape.shape(present())
    assert len(before) > 100
    assert api_shape.losses(before, now) == []
    assert now == before, "run scripts/gen_protos"


def message(file: FileDescriptorProto, name: str) -> list[FieldDescriptorProto]:
    return list(next(found for found in file.message_type if found.name == name).field)


def _field_gone(file: FileDescriptorProto) -> None:
    del next(found for found in file.message_type if found.name == "Volume").field[1]


def _field_renamed(file: FileDescriptorProto) -> None:
    message(file, "Volume")[1].name = "title"


def _field_renumbered(file: FileDescriptorProto) -> None:
    message(file, "Volume")[1].number = 99


def _field_of_another_type(file: FileDescriptorProto) -> None:
    message(file, "Volume")[1].type = FieldDescriptorProto.TYPE_BYTES


def _field_repeated(file: FileDescriptorProto) -> None:
    message(file, "Volume")[1].label = FieldDescriptorProto.LABEL_REPEATED


def _field_no_more_optional(file: FileDescriptorProto) -> None:
    message(file, "DeviceNameRequest")[0].proto3_optional = False


def _message_gone(file: FileDescriptorProto) -> None:
    del file.message_type[0]


def _method_gone(file: FileDescriptorProto) -> None:
    del file.service[0].method[0]


def _method_that_streams(file: FileDescriptorProto) -> None:
    file.service[0].method[0].server_streaming = True


def _method_with_another_answer(file: FileDescriptorProto) -> None:
    file.service[0].method[0].output_type = ".holofs.v1.Volume"


def _value_gone(file: FileDescriptorProto) -> None:
    del file.enum_type[0].value[-1]


def _service_gone(file: FileDescriptorProto) -> None:
    del file.service[0]


LOSSES = (
    *(_field_gone, _field_renamed, _field_renumbered, _field_of_another_type, _field_repeated),
    *(_field_no_more_optional, _message_gone, _method_gone, _method_that_streams, _method_with_another_answer),
    *(_value_gone, _service_gone),
)


@pytest.mark.parametrize("change", LOSSES, ids=lambda change: change.__name__.strip("_"))
def test_each_change_that_would_break_a_client_is_refused(change: Callable[[FileDescriptorProto], None]) -> None:
    files = present()
    change(files[0])
    with pytest.raises(SystemExit, match="only grows"):
        api_docs.shape_text(ROOT, files)


def test_what_is_added_is_no_loss() -> None:
    files = present()
    before = api_shape.shape(copy.deepcopy(files))
    files[0].service[0].method.add(name="New", input_type=".holofs.v1.Volume", output_type=".holofs.v1.Volume")
    files[0].message_type.add(name="New")
    files[0].message_type[0].field.add(name="new", number=99, type=FieldDescriptorProto.TYPE_STRING)
    files[0].enum_type[0].value.add(name="ROLE_NEW", number=9)
    now = api_shape.shape(files)
    assert now != before
    assert api_shape.losses(before, now) == []


def test_a_number_that_was_given_up_stays_reserved() -> None:
    before = api_shape.shape(present())
    assert before["message holofs.v1.Change"]["4"] == "reserved"
    files = present()
    next(found for found in files[2].message_type if found.name == "Change").ClearField("reserved_range")
    assert api_shape.losses(before, api_shape.shape(files)) == ["message holofs.v1.Change: 4 (reserved) is gone."]


IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:]
import holofs_api
names = [found.name for found in pkgutil.walk_packages(holofs_api.__path__, "holofs_api.")]
for name in names:
    importlib.import_module(name)
others = {"holofsd", "holofsctl", "holofs_mount", "holofs_window", "holofs_peer"}
wrong = others & {name.partition(".")[0] for name in sys.modules}
print(holofs_api.__file__, len(names), sorted(wrong))
"""


def test_the_api_can_be_installed_and_imported_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(ROOT / "proto", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    # As pip does it: the wheel by the build backend, then its files.
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=source)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(target)
    assert {path.name for path in target.glob("holofs*")} == {"holofs_api", f"holofs_api-{_version()}.dist-info"}
    for name in ("py.typed", "v1/control.proto", "v1/control_pb2.pyi"):
        assert (target / "holofs_api" / name).exists()
    # Without the `site` module, so that nothing else of this tree is found.
    python = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(target), sysconfig.get_path("purelib")]
    done = subprocess.run(python, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file, modules, others = done.stdout.split()
    assert Path(file).is_relative_to(target)
    assert int(modules) > 20
    assert others == "[]"


def _version() -> str:
    from holofs_api import VERSION

    return VERSION


def test_the_api_alone_needs_nothing_that_holofs_does_not() -> None:
    whole, alone = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in (".", "proto")
    )
    assert {*alone["dependencies"]} < {*whole["dependencies"]}
    assert alone["requires-python"] == whole["requires-python"]
