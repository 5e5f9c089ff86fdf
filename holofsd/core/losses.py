# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgement about removed files that a person would miss: what names say about them, and how many stood at one time.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final


def _set(words: str) -> frozenset[bytes]:
    return frozenset(word.encode() for word in words.split())


TOOL_FOLDERS: Final = _set(
    "node_modules bower_components jspm_packages .pnpm-store .yarn .npm"
    " __pycache__ .venv venv site-packages .tox .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis .eggs"
    " .cache .parcel-cache .turbo .next .nuxt .svelte-kit .angular .gradle .dart_tool .terraform .bundle"
    " CMakeFiles DerivedData .build .ccache .sass-cache .ipynb_checkpoints .Trash-1000 .deps .libs"
)
"""Folders whose content a tool made and makes again."""
PROJECT_FOLDERS: Final = _set(
    "target build dist out bin obj coverage htmlcov vendor Pods env debug release Debug Release _build"
)
"""The same where the folder beside them is a project: people have folders of these names, too."""
PROJECT_MARKERS: Final = (
    b"Makefile", b"makefile", b"GNUmakefile", b"CMakeLists.txt", b"meson.build", b"SConstruct", b"BUILD.bazel",
    b"Cargo.toml", b"go.mod", b"package.json", b"pyproject.toml", b"setup.py", b"setup.cfg", b"pom.xml",
    b"build.gradle", b"build.gradle.kts", b"build.sbt", b"build.xml", b"mix.exs", b"Gemfile", b"composer.json",
    b"Rakefile", b"configure", b"configure.ac", b"justfile", b"Justfile", b"dune-project", b"stack.yaml",
    b"pubspec.yaml", b"Package.swift", b"Podfile",
)  # fmt: skip
"""Names of which one makes a folder a project."""

_LEFTOVERS: Final = (
    b".o", b".obj", b".lo", b".la", b".pyc", b".pyo", b".class", b".gcda", b".gcno", b".gch", b".rlib", b".rmeta",
    b".tmp", b".temp", b".swp", b".swo", b".swx", b".lock", b"~", b".part", b".partial", b".crdownload",
)  # fmt: skip
_LEFTOVER_NAMES: Final = _set(".DS_Store Thumbs.db desktop.ini 4913")
_LEFTOVER_BEGINNINGS: Final = (b".#", b".~lock.", b".nfs", b".goutputstream-", b".fuse_hidden")
_PRODUCTS: Final = (
    b".a", b".so", b".dylib", b".dll", b".lib", b".exe", b".pdb", b".d", b".jar", b".war", b".whl", b".map", b".stamp",
    b".aux", b".toc", b".log", b".out", b".fls", b".fdb_latexmk", b".hi", b".cmi", b".cmo", b".cmx", b".dep", b".s",
    b".i", b".min.js", b".min.css", b".tsbuildinfo", b".lst",
)  # fmt: skip
_SOURCES: Final = (
    b".c", b".cc", b".cpp", b".cxx", b".m", b".rs", b".go", b".java", b".kt", b".swift", b".hs", b".ml", b".tex", b".y",
    b".l", b".proto", b".ts", b".tsx", b".scss", b".sass", b".less", b".S", b".asm", b".f", b".f90", b".in", b".pyx",
)  # fmt: skip
_PERSONAL: Final = _set(
    "jpg jpeg png gif webp heic heif avif tif tiff bmp raw cr2 cr3 crw nef nrw arw srf sr2 orf rw2 raf dng pef srw x3f"
    " xmp psd xcf kra ai eps mp4 mov avi mkv webm m4v mpg mpeg 3gp mts m2ts wmv mp3 flac wav ogg opus m4a aac aif"
    " aiff wma mid pdf doc docx odt rtf pages xls xlsx ods numbers csv ppt pptx odp key epub mobi djvu txt md org"
    " rst tex bib eml mbox msg vcf ics one kdbx gpg asc zip 7z rar tar gz xz iso sqlite db"
)


class Missed(IntEnum):
    """Whether a person would miss a removed file. Stored."""

    NO = 0
    YES = 1
    COPIED = 2
    """Its content is there under another name: it does not count, but is part of what a person takes back."""


def is_leftover(name: bytes) -> bool:
    """Whether tools make files of this name in passing, wherever they are."""
    ends = name.endswith(_LEFTOVERS) or (name.startswith(b".") and name.endswith(b".swp"))
    return ends or name in _LEFTOVER_NAMES or name.startswith(_LEFTOVER_BEGINNINGS)


def is_product(name: bytes, executable: bool, has_sibling: Callable[[bytes], bool]) -> bool:
    """Whether a file in a project was built from others, which are there to build it again."""
    if name.endswith(_PRODUCTS) or b".so." in name or (executable and b"." not in name[1:]):
        return True
    stem = name.rpartition(b".")[0] or name
    return any(has_sibling(stem + source) for source in _SOURCES if stem + source != name)


def is_personal(name: bytes) -> bool:
    """Whether the name is that of something that people make themselves: photographs, letters, music."""
    _, dot, ending = name.rpartition(b".")
    return bool(dot) and ending.lower() in _PERSONAL


def most_at_once(lives: Iterable[tuple[int, int]]) -> int:
    """Counts how many of these lives overlap at most; each was there from the first moment to the second, both
    included."""
    moments = sorted(moment for born, died in lives for moment in ((born, 0), (max(born, died), 1)))
    standing = most = 0
    for _, ended in moments:
        standing += -1 if ended else 1
        most = max(most, standing)
    return most
