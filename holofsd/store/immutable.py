# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a sealed staging file immutable, whoever has it open.

A descriptor that was opened for writing goes on writing whatever the file's mode is, and into every hard link. The
kernel knows whether there is one: it grants a read lease (fcntl(2), F_SETLEASE) only on a file without writers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_PIECE: Final = 1 << 20


def freeze(path: Path, size: int) -> Path:
    """The file with the first `size` bytes of `path` that no process can write to: `path` itself, or a copy beside it
    where it has a writer or is longer. Blocking. Raises FileNotFoundError, OSError."""
    os.chmod(path, 0o400)  # from here on nobody opens it for writing; then those who have are looked for
    found = path.stat().st_size
    if found < size:
        log.error("a sealed file is shorter than its version", file=path.name, size=found, expected=size)
    if found > size:
        log.warning("a file was written to after it was sealed: its version is copied", file=path.name, size=found)
    elif not has_writer(path):
        return path
    return copied(path, size)


def has_writer(path: Path) -> bool:
    """Whether some process has the file open for writing. False where the filesystem cannot tell."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Whoever opens the file while the lease is held is announced by this signal; SIGIO would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def copied(path: Path, size: int) -> Path:
    """Copies a file's content without a row in the index. If the daemon dies before the copy is placed, it is swept at
    the next start."""
    target = path.with_name(secrets.token_hex(12))
    try:
        with open(path, "rb", buffering=0) as source, open(target, "xb", buffering=0) as out:
            while size and (data := source.read(min(size, _PIECE))):
                size -= out.write(data)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return target
