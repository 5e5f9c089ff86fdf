# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that watch a folder hear of what another device does: files, folders and symlinks, for readers as well; also
programs that people use, and a server that is started anew at each change."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from support.device import World
from support.inotify import Inotify
from support.trees import assert_same_tree
from support.wait import until


def heard(watch: Inotify, *wanted: tuple[str, str]) -> None:
    until(lambda: set(wanted) <= set(watch.events()), f"{wanted} to be heard")


def change_all(folder: Path) -> None:
    (folder / "edited").write_text("as it is now")
    (folder / "moved").rename(folder / "here")
    (folder / "removed").unlink()
    (folder / "gone").rmdir()
    (folder / "made").mkdir()
    (folder / "link").symlink_to("edited")
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)


def test_what_another_device_does_is_heard_once_and_changes_nothing(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    b.join(a.share("docs", "--read-only"))
    here, there = a.mount() / "folder", b.mount() / "folder"
    here.mkdir()
    for name in ("edited", "moved", "removed"):
        (here / name).write_text("as it was")
    (here / "gone").mkdir()
    until(lambda: there.is_dir() and len(os.listdir(there)) == 4, "the folder")
    until(lambda: (there / "edited").read_text() == "as it was", "its content")
    with Inotify(there) as watch:
        change_all(here)
        heard(watch, ("modify", "edited"), ("close_write", "edited"), ("delete", "moved"), ("create", "here"))
        heard(watch, ("delete", "removed"), ("delete", "gone"), ("create", "made"), ("create", "link"))
        heard(watch, ("create", "program"))
        until(lambda: _same(here, there), "both to show the same")
        made = [name for what, name in watch.events() if what == "create"]
        assert len(made) == len(set(made)), made
    until(lambda: a.is_settled() and b.is_settled(), "both to rest")


SERVER = """
import http.server, sys
page = open("index.html", "rb").read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(page)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A server that reads its page when it starts, as a program of a framework does."""


def test_inotifywait_and_a_server_that_is_reloaded_hear_of_another_device(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount() / "site", b.mount() / "site"
    here.mkdir()
    (here / "index.html").write_text("first")
    until(lambda: (there / "index.html").read_text() == "first", "the page")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    heard = world.root / "heard"
    reloading = ["entr", "-n", "-r", sys.executable, "-c", SERVER, str(port)]
    listening = ["inotifywait", "-m", "-q", "--format", "%e %f", "-o", str(heard), str(there)]
    watched = subprocess.Popen(reloading, cwd=there, stdin=subprocess.PIPE, start_new_session=True)
    listener = subprocess.Popen(listening)
    try:
        assert watched.stdin is not None
        watched.stdin.write(b"index.html\n")
        watched.stdin.close()
        until(lambda: _served(port) == "first", "the server")
        (here / "index.html").write_text("second")
        until(lambda: _served(port) == "second", "the server to be started anew")
        (here / "new").write_text("third")  # as an editor saves
        (here / "new").rename(here / "index.html")
        until(lambda: _served(port) == "third", "the server to be started anew")
        (here / "picture").write_bytes(b"new")
        until(lambda: "CREATE picture" in heard.read_text(), "inotifywait to hear of the new file")
        assert {"MODIFY index.html", "CLOSE_WRITE,CLOSE index.html"} <= set(heard.read_text().splitlines())
    finally:
        os.killpg(watched.pid, signal.SIGTERM)
        listener.terminate()
        watched.wait(30)
        listener.wait(30)


def _served(port: int) -> str:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, HTTPException):  # between two servers
            return ""


def _same(here: Path, there: Path) -> bool:
    assert_same_tree(here, there)
    return True
