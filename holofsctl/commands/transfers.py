# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands `import` and `export`."""

from __future__ import annotations

import argparse
import os

from holofs_api import places as api
from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import safe
from holofsctl.places import VolumePlace, locate, refused_plainly
from holofsctl.progress import Progress
from holofsctl.session import CommandSession
from holofsctl.transfer.exporting import Exporter
from holofsctl.transfer.handover import Handover, Orders
from holofsctl.transfer.importing import Importer
from holofsctl.transfer.report import TransferReport


def import_folder(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    orders, report = Orders(arguments.move, arguments.verify), TransferReport(session.output.remark)
    with session.connect() as client:
        source, keep_out = _looked_at(session, arguments.folder), _kept_out(session)
        place = locate(client, arguments.place)
        with Progress("Importing") as bar, client.exchange("Import") as exchange:
            try:
                handover = Handover(exchange, report, orders, place.volume)
                importer = Importer(handover, report, orders, bar, keep_out)
                importer.run(os.fsencode(source), place.path)
            except (KeyboardInterrupt, CommandError):
                _broken_off(session, report, "imported")
                raise
    return _reported(session, report, place, source, "imported")


def export_folder(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    report = TransferReport(session.output.remark)
    with session.connect() as client:
        place = locate(client, arguments.place)
        folder = _looked_at(session, arguments.folder, make=True)
        name = place.path.rpartition(b"/")[2]
        with Progress("Exporting") as bar:
            exporter = Exporter(os.fsencode(folder), report, bar, verify=arguments.verify, name=name)
            try:
                exporter.run(client.stream("Export", pb.ExportRequest(volume=place.volume, path=place.path)))
            except (KeyboardInterrupt, CommandError):
                _broken_off(session, report, "exported")
                raise
    return _reported(session, report, place, folder, "exported")


def _broken_off(session: CommandSession, report: TransferReport, did: str) -> None:
    if not report.is_empty:
        session.output.remark(f"Not all of it: {report.sentence(did)} The same command goes on from here.")


def _reported(session: CommandSession, report: TransferReport, place: VolumePlace, folder: str, did: str) -> Exit:
    session.output.data(report.plain(place.volume, place.path, folder), [])
    session.output.remark(report.sentence(did))
    return Exit.FAILED if report.problems else Exit.OK


def _looked_at(session: CommandSession, told: str, *, make: bool = False) -> str:
    """The folder as an absolute path without symlinks, and outside of every volume and of the state directory. With
    `make` it may be missing. Raises CommandError."""
    path = os.path.abspath(told)
    with refused_plainly():
        walked = api.refuse_inside(path)
        if walked.mount is not None and walked.mount.is_holofs:
            raise api.InsideMount(f"{path} is a mounted volume: its files are in HoloFS already.")
        seen = api.look(path)
        if make and seen.error and not os.path.lexists(path):
            os.mkdir(path)
            seen = api.look(path)
    name, state = safe(told), os.path.realpath(session.state)
    if seen.error:
        raise CommandError(f"{name} cannot be read: {os.strerror(seen.error)}.", Exit.USAGE, "bad-argument")
    if not seen.is_directory:
        sentence = f"{name} is no folder: put the file into a folder, or copy it into the mounted volume."
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    if os.path.commonpath((seen.real, state)) == state:
        sentence = f"{name} is inside the state directory of this device: name another folder."
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    return seen.real


def _kept_out(session: CommandSession) -> dict[bytes, str]:
    """Folders that are no part of what is imported, with the reason."""
    mounts = (api.mount_points() or {}).values()
    found = {os.fsencode(m.path): "it is a mounted volume, and left out" for m in mounts if m.is_holofs}
    state = os.path.realpath(session.state)
    found[os.fsencode(state)] = "it is the state directory of this device, and left out"
    return found
