# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses and limits with two real daemons: held over a restart, told by `status` and `wait`, and without loss."""

from __future__ import annotations

import tomllib

from support.device import World
from support.wait import until


def test_a_pause_holds_over_a_restart_and_limits_are_used_at_once(world: World) -> None:
    a, b = world.sharing("a", "b")
    a.create("pics")
    b.join(a.share("pics"))
    here, there, pictures = a.mount(), b.mount(), a.mount("pics")
    (here / "before").write_text("1")
    until(lambda: (there / "before").read_text() == "1", "the first file on b")

    # One volume is paused, the other one goes on.
    told = b.json("pause", "docs", "--for", "2h")
    assert [(one["volume"], one["until_ms"] > 0) for one in told["pauses"]] == [("docs", True)]
    (here / "of a").write_bytes(b"a" * 100_000)
    (there / "of b").write_bytes(b"b" * 100_000)
    (pictures / "picture").write_bytes(b"p" * 100_000)
    until(lambda: b.volume_status("pics")["files"] == 1 and b.is_settled("pics"), "the other volume on b")
    assert not (there / "of a").exists()
    b.stop_daemon()
    b.up()
    assert "Paused until " in b.ctl("status").out
    waited = b.ctl("wait", "docs", "--timeout", "1s", check=False)
    assert waited.code == 5
    assert "This volume is paused here until " in waited.err
    assert (there / "of b").read_bytes() == b"b" * 100_000
    assert not (there / "of a").exists()

    # What was written meanwhile arrives, under limits that were set meanwhile.
    shown = b.json("limit", "--down", "2M", "--timetable", "00:00,3M:off", "--lan-exempt", "off")
    assert (shown["down"], shown["up"], shown["metered"]) == (2 << 20, 3 << 20, "")
    limits = tomllib.loads((b.state / "config.toml").read_text())["limit"]
    assert limits == {"down": "2M", "timetable": "00:00,3M:off", "lan_exempt": "off"}
    assert b.ctl("resume").err == "Nothing is paused.\n"
    until(lambda: (there / "of a").read_bytes() == b"a" * 100_000, "what a wrote on b")
    until(lambda: (here / "of b").read_bytes() == b"b" * 100_000, "what b wrote on a")
    assert b.json("limit", "--off")["down"] == 0
    assert b.json("status")["traffic"]["pauses"] == []
