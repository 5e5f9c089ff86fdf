# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry point: parse, run one command, and answer with an exit code; never with a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from holofs_api.paths import state_dir
from holofs_api.state_directory import StateDirError
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import Output
from holofsctl.parser import build
from holofsctl.session import Session


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        code = int(_run(build().parse_args(arguments)))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away (`| head`); a second error at interpreter exit would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return Exit.INTERRUPTED


def _run(arguments: argparse.Namespace) -> Exit:
    output = Output(getattr(arguments, "json", False))
    try:
        session = Session(state_dir(getattr(arguments, "state_dir", None)), output)
        result: Exit | None = arguments.run(session, arguments)
    except CommandError as error:
        output.failure(error)
        return error.exit_code
    except StateDirError as error:
        code = Exit.USAGE if error.usage else Exit.FAILED
        output.failure(CommandError(error.message, code, "state-dir-unusable"))
        return code
    except BrokenPipeError:
        raise
    except OSError as error:
        # For example a state directory of somebody else: what and why, without a traceback.
        where = f" ({error.filename})" if error.filename else ""
        output.failure(CommandError(f"{error.strerror or error}{where}."))
        return Exit.FAILED
    except Exception as error:
        # The outermost edge: a person gets a sentence, never a traceback.
        if os.environ.get("HOLOFS_DEBUG"):
            raise
        output.failure(CommandError(f"internal error: {type(error).__name__}: {error} (HOLOFS_DEBUG=1 shows where)."))
        return Exit.FAILED
    return Exit.OK if result is None else result


if __name__ == "__main__":
    sys.exit(main())
