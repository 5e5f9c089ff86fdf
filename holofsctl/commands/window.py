# SPDX-License-Identifier: GPL-3.0-or-later
"""Command `ui`: a link to the window of the device, and a browser that opens it."""

from __future__ import annotations

import argparse
import html
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from holofs_api.paths import WINDOW_PAGE
from holofs_api.v1 import control_pb2 as pb
from holofsctl.output import plain
from holofsctl.session import CommandSession

_OPENER: Final = "xdg-open"
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={link}"><title>HoloFS</title></head>
<body><p><a href="{link}">Open the window of HoloFS</a></p></body></html>
"""


def ui(session: CommandSession, arguments: argparse.Namespace) -> None:
    reply = session.call("OpenWindow", pb.OpenWindowRequest())
    session.output.data(plain(reply), [reply.link], exact=True)
    session.output.remark("The link is good once, for five minutes, in a browser on this machine.")
    if arguments.no_open:
        return
    opener = shutil.which(_OPENER) if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") else None
    if opener is None:
        session.output.remark("There is no desktop here that opens it: copy it into a browser.")
        return
    _open(opener, _way_in(session.state, reply.link))


def _way_in(state: Path, link: str) -> Path:
    """A page of this user alone that leads to the link. In the words of a browser's command line every user of the
    machine could read it, and be first."""
    page = state / WINDOW_PAGE
    with suppress(FileNotFoundError):
        page.unlink()
    descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_PAGE.format(link=html.escape(link)))
    return page


def _open(opener: str, page: Path) -> None:
    """Starts the browser, and does not wait for its end."""
    quiet = subprocess.DEVNULL
    subprocess.Popen([opener, page.as_uri()], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
