# SPDX-License-Identifier: GPL-3.0-or-later
"""`device.db`: its volumes against their directories, and mounts, invites, tickets and addresses against its volumes.

A damaged one is made anew from what can be read of it. What cannot be read comes from its backup, where an older row
does no harm: an invite that was revoked since, or a ticket that was redeemed, must not come back. Volumes that are in
neither are taken up from their directories, as at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from holofsd.check.mending import backup_path, backup_time, finish, replace, work_directory
from holofsd.check.report import Report
from holofsd.codec.signing import SigningKey
from holofsd.core.document import Role
from holofsd.core.ids import VolumeId
from holofsd.store.copies import complaint_about, rows_of, salvage
from holofsd.store.database import scripts
from holofsd.store.device import DeviceStore, VolumeRow

DEVICE: Final = "device.db"
_FROM_BACKUP: Final = ("volumes", "mounts", "addresses", "meta")
_MISSED: Final = {
    "volumes": "volumes (their recovery codes, where no backup had them)",
    "invites": "invites (share again)",
    "joins": "tickets that were not redeemed yet (join again)",
    "mounts": "mounts (those of the backup come back)",
}
"""What a person misses of a table whose rows are lost; the others fill by themselves."""
_ID_BYTES: Final = 32
_SECRET_BYTES: Final = 16


# ---- the database itself
def device_complaint(state: Path) -> str:
    """Returns why `device.db` cannot be used; empty if it can, or if the device is new. Finishes a stopped repair."""
    finish(state, DEVICE)
    if (state / DEVICE).exists():
        return complaint_about(state / DEVICE)
    return "the file is gone" if backup_time(state, DEVICE) else ""


def remade(state: Path) -> tuple[str, ...]:
    """A new `device.db` of what can be read; returns what is lost, in a person's words. Nobody else uses it."""
    work = work_directory(state, DEVICE)
    formats = scripts("device_formats")
    problems = salvage(state / DEVICE, work / DEVICE, formats)
    backup = backup_path(state, DEVICE)
    with closing(DeviceStore(work)) as store:
        known = {row.id for row in store.volumes()}
        for table in _FROM_BACKUP:
            if table in problems and backup.exists():
                _take(store, table, backup)
        # One that was left since the backup does not come back.
        for row in store.volumes():
            if row.id not in known and not _directory(state, row).exists():
                with store.db.transaction():
                    store.delete_volume(row.id)
    replace(state, DEVICE)
    return tuple(words for table, words in _MISSED.items() if table in problems)


def _take(store: DeviceStore, table: str, source: Path) -> None:
    columns = [row[1] for row in store.db.all(f"PRAGMA table_info({table})")]
    rows, _ = rows_of(source, table, columns)
    with store.db.transaction():
        marks = ", ".join("?" * len(columns))
        store.db.run_many(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def _directory(state: Path, row: VolumeRow) -> Path:
    return state / "volumes" / row.id.hex()


# ---- what it says
@dataclass(slots=True)
class _Case:
    store: DeviceStore
    state: Path
    report: Report
    known: dict[VolumeId, VolumeRow]
    repairs: list[Callable[[], object]] = field(default_factory=list)

    def found(self, code: str, subject: str, sentence: str, repair: Callable[[], object] | None) -> None:
        self.report.add(code, subject, sentence, fixable=repair is not None)
        if repair is not None:
            self.repairs.append(repair)

    def delete(self, code: str, subject: str, sentence: str, table: str, key: str, value: object) -> None:
        """The right answer is that the row goes."""
        self.found(code, subject, sentence, lambda: self.store.db.run(f"DELETE FROM {table} WHERE {key}=?", (value,)))


def examine_device(store: DeviceStore, state: Path, report: Report) -> None:
    """Blocking. Repairs what has one right answer if the report says so; then nobody else uses the database."""
    case = _Case(store, state, report, {row.id: row for row in store.volumes()})
    for check in (_volumes, _joins, _invites, _mounts, _addresses):
        check(case)
    if report.repair:
        with store.db.transaction():
            for change in case.repairs:
                change()
        store.db.sync_now()


def _volumes(case: _Case) -> None:
    tickets = {row.volume for row in case.store.joins()}
    for row in case.known.values():
        case.report.count("volumes")
        if row.secret is not None and not _opens(row):
            case.found(
                "recovery-code-wrong",
                row.name,
                "The recovery code that is kept is not that of the volume: it is worth nothing and goes.",
                lambda row=row: case.store.put_volume(  # type: ignore[misc]
                    VolumeRow(row.id, row.name, row.state, None, row.added_ms)
                ),
            )
        if row.state == "joining":
            if row.id not in tickets:
                told = "The volume is to be joined, and no ticket for it is kept: join it again, or leave it."
                case.found("ticket-missing", row.name, told, None)
        elif row.state != "ready":
            case.found("volume-state-unknown", row.name, "Nobody knows what this volume is: leave it.", None)
        elif not _directory(case.state, row).is_dir():
            told = "The volume's directory is gone: leave it, and join it again from another device."
            case.found("volume-directory-missing", row.name, told, None)


def _opens(row: VolumeRow) -> bool:
    return row.secret is not None and len(row.secret) == _ID_BYTES and SigningKey(row.secret).public == row.id


def _joins(case: _Case) -> None:
    names = {row.name for row in case.known.values()}
    for join in case.store.joins():
        case.report.count("tickets")
        row = case.known.get(join.volume)
        if row is None and len(join.volume) == _ID_BYTES and join.name not in names:
            told = "A ticket is kept for a volume that is not written down: it is, again."
            fresh = VolumeRow(join.volume, join.name, "joining", None, 0)
            case.found("ticket-alone", join.name, told, lambda fresh=fresh: case.store.put_volume(fresh))  # type: ignore[misc]
        elif row is None:
            told = "A ticket is kept for a volume whose name another one has: join it under another name."
            case.found("ticket-name-taken", join.name, told, None)


def _invites(case: _Case) -> None:
    secrets = set()
    for invite in case.store.all_invites():
        case.report.count("invites")
        secrets.add(invite.secret)
        sound = len(invite.secret) == _SECRET_BYTES and invite.role in set(Role) and invite.uses_left >= -1
        if invite.volume not in case.known or not sound:
            told = "An invite that nobody can redeem is kept: it goes."
            case.delete("invite-useless", invite.volume.hex()[:8], told, "invites", "secret", invite.secret)
    for secret in sorted(case.store.redeemed_secrets() - secrets):
        told = "It is kept who redeemed an invite that is not: that goes."
        case.delete("redemption-alone", "", told, "redemptions", "secret", secret)


def _mounts(case: _Case) -> None:
    for mount in case.store.mounts():
        case.report.count("mounts")
        if mount.volume not in case.known or not mount.path.startswith(b"/"):
            subject = mount.path.decode("utf-8", "replace")
            told = "A mount of a volume that is not here, or at no place, is kept: it goes."
            case.delete("mount-useless", subject, told, "mounts", "path", mount.path)


def _addresses(case: _Case) -> None:
    for device in case.store.devices_with_addresses():
        case.report.count("peers")
        if len(device) != _ID_BYTES:
            told = "Addresses are kept of what is no device: they go."
            case.delete("address-useless", device.hex()[:8], told, "addresses", "device", device)
