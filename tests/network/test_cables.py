# SPDX-License-Identifier: GPL-3.0-or-later
"""Real daemons on a real network that fails: whatever happened to the cables, afterwards all devices agree."""

from __future__ import annotations

import os

from network.machines import Machine, Machines
from support import lan
from support.trees import names
from support.wait import until


def work(machines: list[Machine], label: str, apart: bool = False) -> None:
    """Each writes a small file and one with a staging file; if they are `apart`, all of them also one common name."""
    for machine in machines:
        name = machine.device.name
        machine.write(f"{label} by {name}")
        machine.write(f"{label} large by {name}", os.urandom(200_000))
    for machine in machines if apart else []:
        machine.write(f"{label} fought for", f"{label}: {machine.device.name} was here".encode())


def everything_is_there(machines: list[Machine], label: str, apart: bool = False) -> None:
    """Also the losers of the common name, beside it."""
    expected = {f"{label}: {machine.device.name} was here".encode() for machine in machines if apart}
    for machine in machines:
        found = {path.read_bytes() for path in machine.folder.iterdir() if path.name.startswith(f"{label} fought for")}
        assert found == expected
        for other in machines:
            assert machine.sees(f"{label} by {other.device.name}")


def test_machines_on_one_switch_agree(machines: Machines) -> None:
    a, b = machines.sharing("a", "b")
    a.write("hello")
    until(lambda: b.sees("hello"), "the first file")
    machines.agree()


def test_a_cable_that_is_cut_silently_and_mended(machines: Machines) -> None:
    a, b, c = machines.sharing("a", "b", "c")
    machines.agree()
    b.host.ports[0].cut()
    work([a, b], "cut", apart=True)
    until(lambda: c.sees("cut by a"), "those that still reach each other")
    assert not c.folder.joinpath("cut by b").exists()
    b.host.ports[0].heal()
    machines.agree()
    everything_is_there([a, b], "cut", apart=True)


def test_a_cable_that_is_pulled_and_put_back(machines: Machines) -> None:
    a, b = machines.sharing("a", "b")
    machines.agree()
    b.host.ports[0].pull()
    work([a, b], "pulled", apart=True)
    b.host.ports[0].heal()
    machines.agree()
    everything_is_there([a, b], "pulled", apart=True)


def test_islands_of_two_work_on_and_meet_again(machines: Machines) -> None:
    a, b, c, d = machines.sharing("a", "b", "c", "d")
    machines.agree()
    with lan.islands(c.host, d.host):
        work([a, c], "islands", apart=True)
        until(lambda: b.sees("islands by a"), "a to reach b")
        until(lambda: d.sees("islands by c"), "c to reach d")
        assert "islands by c" not in names(a.folder)
    machines.agree()
    everything_is_there([a, c], "islands", apart=True)


def test_a_device_that_hears_and_is_not_heard(machines: Machines) -> None:
    a, b, c = machines.sharing("a", "b", "c")
    machines.agree()
    b.host.cannot_reach(a.host)
    work([a, b, c], "one way")
    # By way of c, although what b says to a is lost.
    machines.agree()
    b.host.cannot_reach(c.host)
    work([a, b, c], "no way")
    until(lambda: c.sees("no way by a"), "those that still reach each other")
    b.host.can_reach_all()
    machines.agree()
    everything_is_there([a, b, c], "no way")


def test_a_device_that_is_heard_and_hears_nothing(machines: Machines) -> None:
    a, b = machines.sharing("a", "b")
    machines.agree()
    b.host.ports[0].trouble(deaf=True)
    work([a, b], "deaf")
    until(b.knows_that_it_is_alone, "b to notice", 60)
    b.host.ports[0].calm()
    machines.agree()
    everything_is_there([a, b], "deaf")


def test_a_slow_and_lossy_cable_costs_time_only(machines: Machines) -> None:
    a, b = machines.sharing("a", "b")
    b.host.ports[0].trouble(delay_ms=40, jitter_ms=30, loss=0.05)
    work([a, b], "slow")
    machines.agree()
    everything_is_there([a, b], "slow")
    assert not b.knows_that_it_is_alone()


def test_much_content_over_a_lossy_cable_comes_over_more_connections(machines: Machines) -> None:
    a, b = machines.sharing("a", "b")
    machines.agree()
    b.device.ctl("config", "set", "log.level", "debug")
    b.host.ports[0].trouble(delay_ms=40, loss=0.02)
    for number in range(24):
        a.write(f"photograph {number}", os.urandom(400_000))
    until(
        lambda: any("connections for content" in log.read_text() for log in b.device.log_files()),
        "more connections",
        60,
    )
    b.host.ports[0].calm()
    machines.agree()


def test_a_machine_that_changes_its_address_is_found_again(machines: Machines) -> None:
    a, b = machines.sharing("a", "b")
    machines.agree()
    b.host.readdress("10.77.0.202")
    work([a, b], "moved")
    machines.agree()
    everything_is_there([a, b], "moved")


def test_machines_that_both_change_their_address_while_apart_are_found_by_a_third(machines: Machines) -> None:
    a, b, c = machines.sharing("a", "b", "c")
    machines.agree()
    a.host.readdress("10.77.0.201")
    b.host.readdress("10.77.0.202")
    work([a, b, c], "all moved")
    machines.agree()
    everything_is_there([a, b, c], "all moved")


def test_a_machine_behind_another_is_reached_through_it(machines: Machines) -> None:
    """A and C share no network: what one writes reaches the other by way of B, records and content."""
    a = machines.add(machines.lan.host("a"))
    between = machines.lan.host("b")
    between.plug("other", "10.78.0")
    b = machines.add(between, a)
    c = machines.add(machines.lan.host("c", "other", "10.78.0"), b)
    work([a, b, c], "behind")
    machines.agree()
    everything_is_there([a, b, c], "behind")

    # B becomes a router; then its daemon goes, and A and C find each other through the machine.
    a.host.route("10.78.0", between.addresses[0])
    c.host.route("10.77.0", between.addresses[1])
    between.forward()
    b.device.stop_daemon()
    work([a, c], "through")
    machines.agree(a, c)
    b.device.up()
    machines.agree()
    everything_is_there([a, c], "through")
