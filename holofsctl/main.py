# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry point: parse, run one command, and answer with an exit code; never with a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from holofs_api.paths import state_dir
from holofs_api.private_process import become_private
from holofs_api.shell import shell_word
from holofs_api.state_directory import StateDirError
from holofs_api.utf8 import require_utf8
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import Output, flush
from holofsctl.parser import parse, wants_json
from holofsctl.session import CommandSession
from holofsctl.terminal import give_up_output, prepare_streams


def main(arguments: Sequence[str] | None = None) -> int:
    if arguments is None:
        require_utf8("holofsctl.main")
        become_private()
    prepare_streams()
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    output = Output(wants_json(words))
    try:
        code = _run(words, output)
        flush()
        return int(code)
    except CommandError as error:
        output.failure(error)
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); a second error at interpreter exit would be noise.
        give_up_output()
        return int(Exit.FAILED)
    except KeyboardInterrupt:
        if sys.stderr is not None:
            with contextlib.suppress(OSError):
                sys.stderr.write("\n")
        return int(Exit.INTERRUPTED)


def _run(words: Sequence[str], output: Output) -> Exit:
    """Raises CommandError, BrokenPipeError and KeyboardInterrupt only."""
    try:
        arguments = parse(words)
        if isinstance(arguments, Exit):  # `--help`, `--version`: printed already
            return arguments
        output.as_json = getattr(arguments, "json", False)
        told = getattr(arguments, "state_dir", None)
        session = CommandSession(state_dir(told), output)
        if told is not None:
            output.program = f"holofsctl --state-dir {shell_word(str(session.state))}"
        result: Exit | None = arguments.run(session, arguments)
    except (CommandError, BrokenPipeError):
        raise
    except StateDirError as error:
        code = Exit.USAGE if error.usage else Exit.FAILED
        raise CommandError(error.message, code, "state-dir-unusable") from None
    except OSError as error:
        # For example a state directory of somebody else: what and why, without a traceback.
        where = f" ({error.filename})" if error.filename else ""
        raise CommandError(f"{error.strerror or error}{where}.") from None
    except Exception as error:
        # The outermost edge: a person gets a sentence, never a traceback.
        if os.environ.get("HOLOFS_DEBUG"):
            raise
        sentence = f"Internal error: {type(error).__name__}: {error}. HOLOFS_DEBUG=1 shows where."
        raise CommandError(sentence, code="internal") from None
    return Exit.OK if result is None else result


if __name__ == "__main__":
    sys.exit(main())
