# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are told a wrong time, by libfaketime. Their monotonic clocks stay right, as on real machines."""

from __future__ import annotations

from pathlib import Path

from support.processes import is_alive


class WrongClock:
    """`environment` is for the process; `set` may change its clock while it runs. Offsets as `+90`, seconds."""

    def __init__(self, folder: Path, offset: str = "+0") -> None:
        self._file = folder / "clock"
        self.set(offset)

    def set(self, offset: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # what older versions call it
        }


def leave_nothing() -> None:
    """The library forgets its shared memory where a process is killed, or its child goes on as another program."""
    for path in Path("/dev/shm").glob("*faketime_s[eh]m_*"):
        if not is_alive(int(path.name.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def _library() -> Path:
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is missing: scripts/setup --dev installs it"
    return found[0]
