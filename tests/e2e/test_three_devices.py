# SPDX-License-Identifier: GPL-3.0-or-later
"""Three devices: what one wrote reaches another through the third; an admin invites while the founder is away."""

from __future__ import annotations

from pathlib import Path

from support.device import World
from support.trees import contents
from support.wait import until


def test_what_a_wrote_reaches_c_from_b_while_a_is_away(world: World) -> None:
    a, b, c = world.sharing("a", "b", "c")
    here, middle, far = a.mount(), b.mount(), c.mount()
    # Known as a member is not met: c has to know where b is, when it comes back.
    until(lambda: sorted(p["name"] for p in c.json("peers") if p["connected"]) == ["a", "b"], "c to have met both")
    c.down()
    here.joinpath("small").write_text("small")
    here.joinpath("large").write_bytes(b"0123456789abcdef" * 40_000)
    until(lambda: contents(middle) == contents(here), "b to have what a wrote")
    until(lambda: b.is_settled(), "b to have everything")
    expected = contents(middle)
    a.down()
    c.up()
    until(lambda: contents(far) == expected, "c to have what a wrote, from b")


def test_b_made_an_admin_invites_c_while_a_is_away(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, middle = a.mount(), b.mount()
    a.ctl("members", "docs", "role", b.device_id(), "admin")
    until(lambda: _own_role(b.json("members", "docs")) == "admin", "b to be an admin")
    here.joinpath("from a").write_text("a")
    until(lambda: contents(middle) == {"from a": b"a"}, "b to have it")
    a.down()

    (c,) = world.running("c")
    c.join(b.share("docs"))
    far = c.mount()
    until(lambda: contents(far) == {"from a": b"a"}, "c to have it from b")
    far.joinpath("from c").write_text("c")
    until(lambda: contents(middle) == {"from a": b"a", "from c": b"c"}, "b to have what c wrote")

    # And a, back again, takes what a device wrote that it has never heard of.
    a.up()
    until(lambda: contents(here) == {"from a": b"a", "from c": b"c"}, "a to have what c wrote")


def test_a_removed_member_gets_nothing_new_and_its_later_writes_stay_with_it(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    there.joinpath("before").write_text("b")
    until(lambda: contents(here) == {"before": b"b"}, "a to have it")
    a.ctl("members", "docs", "remove", b.device_id())
    here.joinpath("after").write_text("a")
    a_only = contents(here)
    until(lambda: not _connected(a.json("members", "docs")), "a to have closed on b")
    _try_to_write(there / "by b after")
    assert contents(here) == a_only
    assert "after" not in contents(there)


def _try_to_write(path: Path) -> None:
    """A removed device may keep its files to itself or refuse to write; both are right."""
    try:
        path.write_text("b")
    except OSError:
        return


def _own_role(members: list[dict[str, object]]) -> object:
    return next(member["role"] for member in members if member.get("is_self"))


def _connected(members: list[dict[str, object]]) -> bool:
    return any(member.get("connected") for member in members if not member.get("is_self"))
