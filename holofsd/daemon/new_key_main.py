# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m holofsd.daemon.new_key_main`: another node key for a device whose daemon does not run.

For a copy that is to live beside the original. Started by `holofsctl device new-key`; writes the new device's id to
standard output, or one sentence to standard error. Everything that is in the volumes stays, also what nobody has heard
of yet: it is published when the volumes are joined again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from holofs_api.private_process import become_private
from holofsd.codec.signing import SigningKey
from holofsd.core.errors import AlreadyRunning, HoloError
from holofsd.daemon import state_folder
from holofsd.daemon.config import read_state_dir
from holofsd.daemon.main import EXIT_ALREADY_RUNNING, EXIT_FAILED
from holofsd.store import faults


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="new-key", description="See holofsctl device new-key.")
    parser.add_argument("--state-dir", required=True)
    told = parser.parse_args(arguments)
    if arguments is None:
        become_private()
    try:
        faults.arm_from(os.environ)
        state = read_state_dir(told.state_dir)
        state_folder.require(state)
        with state_folder.locked(state):
            seed = state_folder.new_seed(state)
    except AlreadyRunning as error:
        return _fail(error.message, EXIT_ALREADY_RUNNING)
    except HoloError as error:
        return _fail(error.message, EXIT_FAILED)
    except OSError as error:
        return _fail(f"The key could not be changed: {error.strerror}.", EXIT_FAILED)
    sys.stdout.write(SigningKey(seed).public.hex() + "\n")
    return 0


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(sentence + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
