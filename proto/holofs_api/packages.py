# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the system that a message asks for, by Debian's names, and the command that installs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable


def installing(packages: Iterable[str]) -> str:
    """End of a sentence: what to run where apt-get is there, else what to install."""
    names = " ".join(dict.fromkeys(packages))
    if shutil.which("apt-get") is None:
        return f"install with your package manager what Debian calls {names}"
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"run `{sudo}apt-get install {names}`"
