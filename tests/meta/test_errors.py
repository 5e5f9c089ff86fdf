# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of errors: every error has an errno, a code of its own, and a gRPC status."""

from __future__ import annotations

import errno
import importlib
import pkgutil
import re
from collections import Counter

import pytest

import holofsd.core.errors as errors_module
from holofsd.core.errors import HoloError


def _subclasses(cls: type[HoloError]) -> list[type[HoloError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _subclasses(sub))]


def _all_errors() -> list[type[HoloError]]:
    """Errors of the one hierarchy, and whatever other modules of the daemon derive from it."""
    import holofsd

    for module in pkgutil.walk_packages(holofsd.__path__, "holofsd."):
        importlib.import_module(module.name)
    return sorted(set(_subclasses(HoloError)), key=lambda cls: cls.__name__)


def _with_a_code() -> list[type[HoloError]]:
    """A subclass that gives no code of its own is the same to everybody outside its package."""
    return [cls for cls in _all_errors() if "code" in vars(cls)]


def test_every_error_has_a_code_of_its_own() -> None:
    counts = Counter(cls.code for cls in _with_a_code())
    assert [code for code, count in counts.items() if count > 1] == []


def test_codes_are_lower_case_words_with_hyphens() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.code) for cls in _all_errors())


def test_every_errno_is_one_of_the_system() -> None:
    for cls in _all_errors():
        assert cls.errno == 0 or cls.errno in errno.errorcode, cls


def test_all_codes_are_given_in_one_module() -> None:
    strays = [f"{cls.__module__}.{cls.__name__}" for cls in _with_a_code() if cls.__module__ != errors_module.__name__]
    assert strays == []


@pytest.mark.parametrize("cls", _subclasses(HoloError), ids=lambda cls: cls.__name__)
def test_every_error_reaches_the_other_side_with_its_errno(cls: type[HoloError]) -> None:
    api_errors = importlib.import_module("holofs_api.errors")
    assert cls.errno == 0 or cls.errno in api_errors.STATUS_OF_ERRNO
