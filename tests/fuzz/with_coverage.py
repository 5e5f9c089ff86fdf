# SPDX-License-Identifier: GPL-3.0-or-later
"""One target under atheris: `python -m fuzz.with_coverage NAME [options of libFuzzer] CORPUS`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["holofsd", "holofs_api"]):
    from fuzz.targets import TARGETS


def main() -> None:
    read = TARGETS[sys.argv[1]].read
    atheris.Setup([sys.argv[0], *sys.argv[2:]], read, enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
