# SPDX-License-Identifier: GPL-3.0-or-later
"""Honest work on three real daemons while a rogue process lies to them; then all agree, and nothing is missing.

scripts/soak hostile SEED DURATION

Each round the rogue is something else: a stranger, a reader, a writer, an admin; it floods, drips, lies, reconnects and
abuses the join protocol, as `model.lies` has it. Meanwhile what one device writes has to be visible on another one in
less than a second (p99), and no honest daemon may need more memory than MEMORY. After each round the founder puts the
membership right with the volume's recovery code, the devices show one tree, each file that was acknowledged is there or
can be brought back, and fsck finds nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.hostile_rogue import Orders
from campaigns.soak import duration, rounds, told
from holofsd.codec.ticket import decode_ticket
from model.lies import Chosen, chosen, family
from model.lying import GRAMMAR
from support.device import Device, World
from support.trees import assert_same_tree
from support.wait import until

ROLES = ("stranger", "reader", "writer", "admin")
OPTIONS = {"reader": ["--read-only"], "writer": [], "admin": ["--admin"]}
FAMILIES = {
    "stranger": ["wire"],
    "reader": ["wire", "member", "set"],
    "writer": ["record", "record", "set", "wire"],
    "admin": ["record", "set", "member", "member", "wire"],
}
ROUND_S = 25.0
CALM_S = 6.0
"""Before the rogue comes, to know how busy this machine is with other things."""
VISIBLE_P99_S = 1.0
BUSY_S = 0.3
"""A machine on which the p99 is that much without a rogue is too busy for a second: twice that is added."""
FAIR_SAMPLES = 100
VISIBLE_MOST_S = 60.0
"""What takes longer counts as missing."""
MEMORY = 384 << 20
"""Resident bytes of an honest daemon. One that nobody disturbs has some 120 MiB with a volume of this size."""
AGREE_S = 180.0
SIZES = (40, 3_000, 60_000, 400_000)
EXPECTED_LOG = [
    r"refused|forged|signature|violat|protocol|quarantin|disagree|frame|record|unreadable|two histories|histories"
    r"|member|certif|credential|wrong|invite|connection|peer|unreachable|slow|lie|author|held|conflict|budget|stranger",
]


@dataclass
class Written:
    """Writes that were acknowledged: path -> digest. Paths are used once."""

    files: dict[str, str] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    refused: int = 0


class Probe(threading.Thread):
    """Writes files on one device and waits until another one shows them, one after the other."""

    def __init__(self, name: str, here: Path, there: Path, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.written = Written()
        self._here, self._there = here, there
        self._chance = random.Random(f"{seed} {name}")
        self._over = threading.Event()

    def stop(self) -> Written:
        self._over.set()
        self.join(2 * VISIBLE_MOST_S)
        assert not self.is_alive(), f"{self.name} hangs"
        return self.written

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            self._one(f"{self.name}-{number}")
            self._over.wait(self._chance.uniform(0.0, 0.15))

    def _one(self, name: str) -> None:
        data = self._chance.randbytes(self._chance.choice(SIZES))
        try:
            self._here.joinpath(name).write_bytes(data)
        except OSError:
            self.written.refused += 1  # its device was removed, or may only read, for now
            return
        closed = time.monotonic()
        self.written.files[name] = hashlib.sha256(data).hexdigest()
        while time.monotonic() < closed + VISIBLE_MOST_S and not self._over.is_set():
            if self._shows(name, data):
                self.written.latencies.append(time.monotonic() - closed)
                return
            self._over.wait(0.005)
        if not self._over.is_set():
            self.written.late.append(name)

    def _shows(self, name: str, data: bytes) -> bool:
        try:
            return self._there.joinpath(name).read_bytes() == data
        except OSError:
            return False


class MemoryWatch(threading.Thread):
    """The greatest resident size of each process, looked at four times a second."""

    def __init__(self, pids: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self.most = dict.fromkeys(pids, 0)
        self._pids = pids
        self._over = threading.Event()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._over.wait(0.25):
            for name, pid in self._pids.items():
                resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
                self.most[name] = max(self.most[name], resident)

    def stop(self) -> dict[str, int]:
        self._over.set()
        self.join()
        return self.most


class Campaign:
    def __init__(self, world: World, seed: int, may_tell: Chosen, roles: Sequence[str] = ROLES) -> None:
        self._world, self._seed, self._may_tell, self._roles = world, seed, may_tell, roles
        self._devices = world.running("a", "b", "c")
        self._founder = self._devices[0]
        self._founder.create()
        for device in self._devices[1:]:
            device.join(self._founder.share("docs", "--admin"))
        for device in self._devices:
            device.allowed += EXPECTED_LOG
            device.ctl("brake", "docs", "--off")
        self._folders = [device.mount() for device in self._devices]
        self._code = self._founder.ctl("recovery", "docs").out.split()[-1]
        self._honest = {device.device_id() for device in self._devices}
        self._files: dict[str, str] = {}
        self._round = 0
        self._lies: Path = world.root / "lies"
        self.did: Counter[str] = Counter()
        self.latencies: dict[str, list[float]] = {}
        self.memory = 0

    # ---- one round
    def round(self, seconds: float = ROUND_S, calm_s: float = CALM_S) -> None:
        role = self._roles[self._round % len(self._roles)]
        self._round += 1
        self._calm(calm_s)
        probes = [self._probe(0, 1), self._probe(1, 2), self._probe(2, 0)]
        watch = MemoryWatch({device.name: device.daemon_pid() for device in self._devices})
        with self._rogue(role) as rogue:
            for thread in (watch, *probes):
                thread.start()
            time.sleep(seconds)
            assert rogue.poll() is None, f"the rogue ended by itself, with {rogue.returncode}"
            written = [probe.stop() for probe in probes]
            assert rogue.stdin is not None
            rogue.stdin.close()
            rogue.wait(60)
        self._judge(role, written, watch.stop())
        self._repair()
        self._check()

    def _calm(self, seconds: float) -> None:
        probes = [self._probe(0, 1, "-calm"), self._probe(1, 2, "-calm"), self._probe(2, 0, "-calm")]
        for probe in probes:
            probe.start()
        time.sleep(seconds)
        for probe in probes:
            found = probe.stop()
            self._files |= found.files
            self.latencies.setdefault("nobody", []).extend(found.latencies)

    def _probe(self, here: int, there: int, also: str = "") -> Probe:
        name = f"{self._devices[here].name}-to-{self._devices[there].name}-{self._round}{also}"
        return Probe(name, self._folders[here], self._folders[there], str(self._seed))

    def _rogue(self, role: str) -> subprocess.Popen[str]:
        tickets = [device.share("docs") for device in self._devices]
        invites = [decode_ticket(ticket) for ticket in tickets]
        lies = [name for part in FAMILIES[role] for name in family(part) if name in self._may_tell.names]
        orders = Orders(
            self._seed * 1000 + self._round,
            invites[0].volume.hex(),
            [(i.issuer.hex(), d.name, [*i.addresses]) for i, d in zip(invites, self._devices, strict=True)],
            self._founder.share("docs", *OPTIONS[role]) if role in OPTIONS else "",
            lies,
        )
        with self._lies.open("a") as output:
            rogue = subprocess.Popen(
                [sys.executable, "-m", "campaigns.hostile_rogue"],
                stdin=subprocess.PIPE,
                stdout=output,
                text=True,
                env={**os.environ, "HOLOFS_ROGUE_OF": str(self._world.root)},
            )
        assert rogue.stdin is not None
        rogue.stdin.write(orders.encode() + "\n")
        rogue.stdin.flush()
        return rogue

    def _judge(self, role: str, written: list[Written], memory: dict[str, int]) -> None:
        for found in written:
            self._files |= found.files
            self.did["files"] += len(found.files)
            self.did["refused"] += found.refused
        latencies = sorted(latency for found in written for latency in found.latencies)
        self.latencies.setdefault(role, []).extend(latencies)
        self.did["lies"] = len(self._lies.read_text().splitlines())
        self.memory = max(self.memory, *memory.values())
        assert max(memory.values()) <= MEMORY, f"resident bytes of honest daemons: {memory}, {MEMORY} are stated"
        if role == "admin":
            return  # whom it removed shows nothing new for a while, and rightly so
        late = [name for found in written for name in found.late]
        assert not late, f"not visible after {VISIBLE_MOST_S:.0f} s: {late}"
        assert latencies, f"nothing that was written became visible while the {role} lied"
        if len(self.latencies[role]) >= FAIR_SAMPLES:
            judge_latency(role, self.latencies[role], self.latencies["nobody"])

    # ---- afterwards
    def _repair(self) -> None:
        """The founder by the code: an admin in any case, everybody who is not honest goes, the honest are back."""
        self._founder.ctl("recover", "-", stdin=self._code + "\n")
        until(self._is_put_right, "the members to be the honest devices", AGREE_S)

    def _is_put_right(self) -> bool:
        members = {m["device_id"]: m for m in self._founder.json("members", "docs") if not m.get("removed")}
        for device in members.keys() - self._honest:
            self._founder.ctl("members", "docs", "remove", device)
        for device in self._devices[1:]:
            known = members.get(device.device_id())
            if known is None:
                device.join(self._founder.share("docs", "--admin"))
            elif known["role"] != "admin":
                self._founder.ctl("members", "docs", "role", device.device_id(), "admin")
        return all(
            {m["device_id"] for m in device.json("members", "docs") if not m.get("removed")} == self._honest
            for device in self._devices
        )

    def _check(self) -> None:
        first, *others = self._folders
        for other in others:
            until(lambda: self._agree(first, other), f"{other} to agree with {first}", AGREE_S)  # noqa: B023
        for device, folder in zip(self._devices, self._folders, strict=True):
            self._nothing_lost(device, folder)
        for device in self._devices:
            found = device.ctl("fsck", "docs", check=False)
            assert found.code == 0, f"fsck on {device.name}: {found.out}{found.err}"
        assert self._world.root.exists()

    @staticmethod
    def _agree(one: Path, other: Path) -> bool:
        assert_same_tree(one, other)
        return True

    def _nothing_lost(self, device: Device, folder: Path) -> None:
        """Check that files which a writer took away can be brought back."""
        shown = {_digest(path) for path in folder.rglob("*") if path.is_file()}
        gone = {name: digest for name, digest in self._files.items() if digest not in shown}
        for name, digest in gone.items():
            if self._brought_back(device, folder, name, digest):
                self.did["brought back"] += 1
                shown.add(digest)
            else:
                raise AssertionError(f"{name} is not shown on {device.name}, and not to be brought back")

    def _brought_back(self, device: Device, folder: Path, name: str, digest: str) -> bool:
        back = folder / f"{name}-back-{device.name}-{self._round}"
        device.ctl("restore", folder / name, "--to", back, check=False)
        if back.exists() and _digest(back) == digest:
            return True
        listed = device.ctl("history", folder / name, "--json", check=False)
        if listed.code:
            return False
        for version in device.json("history", folder / name):
            target = back.with_name(f"{back.name}-{version['id'][:12]}")
            device.ctl("restore", folder / name, "--version", version["id"], "--to", target, check=False)
            if target.exists() and _digest(target) == digest:
                return True
        return False

    def figures(self) -> str:
        visible = ", ".join(f"{role} {_told_ms(found)}" for role, found in self.latencies.items() if found)
        return f"{told(self.did)}; write to visible: {visible}; most memory {self.memory >> 20} MiB"

    def last_lies(self) -> str:
        return "\n".join(self._lies.read_text().splitlines()[-40:]) if self._lies.exists() else ""


def percentile(latencies: Sequence[float], part: float) -> float:
    return latencies[min(int(len(latencies) * part), len(latencies) - 1)]


def judge_latency(role: str, latencies: Sequence[float], calm: Sequence[float]) -> None:
    """`calm`: without a rogue. Raises AssertionError."""
    worst, undisturbed = (percentile(sorted(found), 0.99) for found in (latencies, calm))
    allowed = VISIBLE_P99_S if undisturbed < BUSY_S else VISIBLE_P99_S + 2 * undisturbed
    told_calm = f"{undisturbed:.2f} s without a rogue"
    assert worst < allowed, f"p99 of write to visible is {worst:.2f} s with a {role} that lies, {told_calm}"


def _told_ms(latencies: Sequence[float]) -> str:
    p50, p99 = (percentile(sorted(latencies), part) * 1000 for part in (0.5, 0.99))
    return f"p50 {p50:.0f} ms p99 {p99:.0f} ms"


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak hostile", description="Real daemons, and a process that lies.")
    parser.add_argument("seed", type=int)
    parser.add_argument("duration", type=duration)
    parser.add_argument("--lies", default="", metavar="NAME,...", help="these lies only")
    parser.add_argument("--without", default="", metavar="NAME,...", help="without these lies")
    parser.add_argument("--as", dest="role", choices=ROLES, help="the rogue is this in every round")
    options = parser.parse_args()
    try:
        options.chosen = chosen(options.lies, options.without)
    except KeyError as error:
        parser.error(error.args[0])
    return options


def main() -> int:
    assert GRAMMAR
    options = asked_for()
    ends = time.monotonic() + options.duration
    with World() as world:
        campaign = Campaign(world, options.seed, options.chosen, (options.role,) if options.role else ROLES)
        try:
            return rounds("hostile", options.seed, ends, campaign.round, campaign.figures)
        except BaseException:
            print(f"the last lies:\n{campaign.last_lies()}")
            raise


if __name__ == "__main__":
    sys.exit(main())
