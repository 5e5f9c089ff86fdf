# SPDX-License-Identifier: GPL-3.0-or-later
"""Two Syncthing instances that share a folder over loopback.

Discovery, relays, NAT traversal, usage and crash reports and upgrades are off, and neither gives way to other processes
(`setLowPriority`), so that nothing but the work is measured. All else is as it comes, `fsWatcherDelayS` above all.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from typing import Any, Final
from xml.etree import ElementTree

from benchmarks.contenders.folders import free_port
from benchmarks.contenders.pairs import HoloPair, Pair, Rsync, count_below
from benchmarks.stage import Stage
from benchmarks.work import wait_for

_OFF: Final = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "urAccepted": "-1",
    "crashReportingEnabled": "false",
    "autoUpgradeIntervalH": "0",
    "startBrowser": "false",
    "setLowPriority": "false",
    "announceLANAddresses": "false",
}


class Instance:
    """One of the two: a home, a folder, and what its API says."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._name = name
        self._home = stage.root / name
        self.folder = stage.root / f"{name}-folder"
        self.folder.joinpath(".stfolder").mkdir(parents=True)
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._api = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        options = (f"--home={self._home}", "--no-default-folder", "--skip-port-probing")
        environment = {**os.environ, "HOME": str(stage.root)}
        subprocess.run(["syncthing", "generate", *options], check=True, capture_output=True, env=environment)
        config = self._config()
        self.id = config.findall("device")[0].attrib["id"]
        self._key = config.findtext("gui/apikey", "")

    def _config(self) -> ElementTree.Element:
        return ElementTree.fromstring((self._home / "config.xml").read_bytes())

    def configure(self, both: list[Instance]) -> None:
        root = self._config()
        options = root.find("options")
        assert options is not None
        for name, value in {**_OFF, "listenAddress": self.address}.items():
            _child(options, name).text = value
        _child(_child(root, "gui"), "address").text = self._api
        for device in root.findall("device"):
            root.remove(device)
        defaults = root.find("defaults/folder")
        assert defaults is not None
        folder = ElementTree.SubElement(root, "folder", {**defaults.attrib, "id": "bench", "path": str(self.folder)})
        for instance in both:
            device = ElementTree.SubElement(root, "device", {"id": instance.id, "compression": "metadata"})
            _child(device, "address").text = instance.address
            ElementTree.SubElement(folder, "device", {"id": instance.id})
        ElementTree.ElementTree(root).write(self._home / "config.xml")

    def start(self) -> None:
        options = (f"--home={self._home}", "--no-browser", "--no-restart", "--no-upgrade", "--skip-port-probing")
        self._process = self._stage.spawn(self._name, ["syncthing", "serve", *options])

    def stop(self) -> None:
        assert self._process is not None
        self.ask("POST", "system/shutdown")
        self._process.wait(60)

    def ask(self, method: str, what: str) -> Any:
        request = urllib.request.Request(
            f"http://{self._api}/rest/{what}", method=method, headers={"X-API-Key": self._key}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read() or b"null")

    def is_connected_to(self, other: Instance) -> bool:
        try:
            known = self.ask("GET", "system/connections")["connections"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return bool(known.get(other.id, {}).get("connected"))

    def is_idle(self, files: int) -> bool:
        """Whether it knows of so many files, has all, and does nothing."""
        try:
            found = self.ask("GET", "db/status?folder=bench")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return (
            found["state"] == "idle"
            and not found["needTotalItems"]
            and found["localFiles"] == found["globalFiles"] == files
        )

    def look(self, name: str = "") -> None:
        """Scans now what is at that place in its folder; returns when it has."""
        self.ask("POST", f"db/scan?folder=bench&sub={name}")


def _child(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    found = parent.find(name)
    return found if found is not None else ElementTree.SubElement(parent, name)


class Syncthing(Pair):
    name = "syncthing"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._a, self._b = Instance(stage, f"{self.name}-a"), Instance(stage, f"{self.name}-b")
        self.here, self.there = self._a.folder, self._b.folder
        for instance in (self._a, self._b):
            instance.configure([self._a, self._b])
            instance.start()
        wait_for(self._meet, "the two Syncthing instances to meet", 120, every_s=0.1)
        self.settle()

    def _meet(self) -> bool:
        return self._a.is_connected_to(self._b) and self._b.is_connected_to(self._a)

    def arrived(self, folder: str, files: int) -> bool:
        return count_below(self.there / folder) == files

    def settle(self) -> None:
        """Wait until both instances are idle. The database is written a little after the last file.

        A file that lies here has been looked at.
        """
        files = count_below(self.here)
        wait_for(lambda: all(i.is_idle(files) for i in (self._a, self._b)), "Syncthing to be idle", every_s=0.2)

    def stop_there(self) -> None:
        self.settle()
        self._b.stop()

    def start_there(self) -> None:
        """The other side has looked at all its files before: only fetching them is measured."""
        self._a.look()
        files = count_below(self.here)
        wait_for(lambda: self._a.is_idle(files), "Syncthing to know its files", every_s=0.2)
        self._b.start()


class SyncthingTold(Syncthing):
    name = "syncthing-told"

    def push(self, name: str) -> None:
        self._a.look(name)


PAIRS: Final[dict[str, type[Pair]]] = {found.name: found for found in (HoloPair, Syncthing, SyncthingTold, Rsync)}
