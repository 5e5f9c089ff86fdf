# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs do on one device, by number: each operation picks its paths from what the device shows at that moment,
so that any part of a program is a program. Every operation tells the ledger what it acts on and what was answered.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from holofsd.codec.content import hash_bytes
from holofsd.core.errors import HoloError
from holofsd.core.ids import ROOT_ID, Ino, NodeId
from holofsd.core.project import base_of_conflict_name
from holofsd.core.state import Blob, Inline, Kind, Pending
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.fs.types import OpenHandle, RenameFlags, SetAttr
from holofsd.tree.views import Entry
from tests.model.device import ModelDevice
from tests.model.ledger import EMPTY, Ledger

SIZES = (12, 12, 12, 300, 4096, 4200, 20_000, 70_000, 200_000)
NAMES = (b"a", b"b", b"c.txt", b"d.txt", b"e")
FOLDERS = (b"x", b"y", b"z", b".git")
Numbers = tuple[int, ...]


@dataclass
class Held:
    """An open file."""

    handle: int
    ino: Ino
    write: bool
    seen: bytes
    """Token of the version it was opened with..."""
    saw: set[bytes]
    """... and the hashes of what it showed then."""
    staged: bool = False
    unanswered: bytes | None = None
    """What was written through it and not acknowledged yet."""


class Actor:
    def __init__(self, device: ModelDevice, ledger: Ledger) -> None:
        self.device = device
        self.ledger = ledger
        self.held: list[Held] = []
        self.unlinked: set[Ino] = set()
        """Inodes that an operation here took the last name from: what handles of them write is nobody's."""
        self.where = ""
        self._handles = 0

    # ---- looking
    def entries(self) -> list[tuple[bytes, Entry]]:
        """(path, entry) of everything, in order."""
        found: list[tuple[bytes, Entry]] = []
        edge: list[tuple[NodeId, bytes]] = [(ROOT_ID, b"")]
        while edge:
            node, path = edge.pop()
            for entry in self.device.local.tree.children(node):
                full = path + b"/" + entry.name if path else entry.name
                found.append((full, entry))
                if entry.view.kind is Kind.DIRECTORY and full.count(b"/") < 6:
                    edge.append((entry.node, full))
        return sorted(found, key=lambda item: item[0])

    def pick(self, number: int, *kinds: Kind, copies: bool = False) -> Entry | None:
        found = [entry for _, entry in self.entries() if entry.view.kind in kinds]
        if copies:
            found = [entry for entry in found if base_of_conflict_name(entry.name) is not None]
        return found[number % len(found)] if found else None

    def folder(self, number: int) -> Ino:
        """Mostly the root, so that devices meet."""
        folders = [entry.ino for _, entry in self.entries() if entry.view.kind is Kind.DIRECTORY]
        choices = [self.root, self.root, *folders]
        return choices[number % len(choices)]

    @property
    def root(self) -> Ino:
        return self.device.local.store.nodes.ino_of(ROOT_ID)

    def slot(self, number: int, names: tuple[bytes, ...] = NAMES) -> tuple[Ino, bytes]:
        return self.folder(number // len(names)), names[number % len(names)]

    def find(self, parent: Ino, name: bytes) -> Entry | None:
        view = self.device.local.tree.view(parent)
        return self.device.local.tree.lookup(view.node, name) if view is not None else None

    def place(self, entry: Entry) -> tuple[Ino, bytes]:
        return self.device.local.store.nodes.ino_of(entry.parent), entry.name

    def contents(self, ino: Ino) -> set[bytes]:
        """Hashes of what an inode shows: of its version, and of what is being written on top of it."""
        device, found = self.device, set()
        staged = device.fs._staged.of(ino)
        if staged is not None:
            found.add(self.ledger.made(staged.path.read_bytes()))
        version = device.local.tree.version(ino)
        body = version.body if version is not None else None
        if isinstance(body, Inline):
            found.add(hash_bytes(body.data))
        elif isinstance(body, Blob):
            found.add(body.hash)
        elif isinstance(body, Pending):
            found.add(hash_bytes(device.store.staging.path(body.staging).read_bytes()))
        return found - {EMPTY}

    # ---- the ledger
    def acts_on(self, ino: Ino) -> None:
        """What is shown there is replaced or removed now."""
        for digest in self.contents(ino):
            self.ledger.supersede(digest, self.where)

    def loses_name(self, entry: Entry) -> None:
        """A name is about to go; with the last one what it shows goes, and open files of it are nobody's."""
        for digest in self.device.hidden(entry.parent, entry.slot):
            self.ledger.supersede(digest, self.where)
        if entry.view.kind is Kind.FILE and entry.view.nlink <= 1:
            self.acts_on(entry.ino)
            self.unlinked.add(entry.ino)

    def answered(self, ino: Ino, data: bytes) -> None:
        self.ledger.made(data)
        if ino not in self.unlinked:
            self.ledger.acknowledge(data, self.where)

    # ---- files
    def new_handle(self) -> int:
        self._handles += 1
        return self._handles

    async def put(self, handle: int, ino: Ino, data: bytes, base: bytes = b"") -> None:
        """The whole content as a mount writes it. Not acknowledged before the commit or release is."""
        device = self.device
        self.ledger.made(data)
        if len(data) <= INLINE_COMMIT:
            self.acts_on(ino)
            mtime_ns = device.now_ns()
            await device.fs.commit(
                device.att, handle, data=data, mtime_ns=mtime_ns, seal=False, release=False, base=base
            )
            return
        self.acts_on(ino)
        staged = await device.fs.stage(device.att, handle, empty=True, base=base)
        self.write_file(Path(staged.path), data)

    def write_file(self, path: Path, data: bytes) -> None:
        """As the mount's process does, at its time."""
        path.write_bytes(data)
        now_ns = self.device.now_ns()
        os.utime(path, ns=(now_ns, now_ns))

    async def close(self, handle: int, ino: Ino, data: bytes | None, sealing: bool = True) -> None:
        """`data` is acknowledged by it."""
        device = self.device
        if sealing:
            await device.fs.commit(device.att, handle, data=None, mtime_ns=None, seal=True, release=True, base=b"")
        else:
            await device.fs.release(device.att, handle)
        if data is not None:
            self.answered(ino, data)

    async def save(self, parent: Ino, name: bytes, data: bytes) -> Ino:
        """open(name, 'w').write(data)"""
        device, handle = self.device, self.new_handle()
        entry = self.find(parent, name)
        if entry is not None and entry.view.kind is Kind.FILE:
            self.acts_on(entry.ino)
        made = await device.fs.create(
            device.att, parent, name, 0o644, exclusive=False, truncate=True, handle=handle, base=b""
        )
        try:
            await self.put(handle, made.attr.ino, data)
        except BaseException:
            await device.fs.release(device.att, handle)
            raise
        await self.close(handle, made.attr.ino, data, sealing=bool(len(data) % 2))
        return made.attr.ino

    async def write(self, n: Numbers) -> None:
        parent, name = self.slot(n[0])
        await self.save(parent, name, self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def write_same(self, n: Numbers) -> None:
        """Two people may well write the same."""
        parent, name = self.slot(n[0])
        await self.save(parent, name, b"the same %d" % (n[1] % 2) * (1 if n[2] % 3 else 600))

    async def rewrite(self, n: Numbers) -> None:
        """Any file that is there, conflict copies as well."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            await self.save(*self.place(entry), self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def create_new(self, n: Numbers) -> None:
        parent, name = self.slot(n[0])
        handle = self.new_handle() if n[1] % 2 else 0
        device = self.device
        await device.fs.create(device.att, parent, name, 0o600, exclusive=True, truncate=False, handle=handle, base=b"")
        if handle:
            await device.fs.release(device.att, handle)

    async def append(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        device, handle, ino = self.device, self.new_handle(), entry.ino
        await device.fs.open(device.att, ino, handle, write=True, truncate=False, base=b"")
        done = None
        try:
            staged = await device.fs.stage(device.att, handle, empty=False, base=b"")
            self.acts_on(ino)
            done = Path(staged.path).read_bytes() + self.ledger.fresh(SIZES[n[1] % 5])
            self.ledger.made(done)
            self.write_file(Path(staged.path), done)
        finally:
            await self.close(handle, ino, done)

    async def truncate(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        size = (0, 5, 100, 5000, entry.view.size // 2)[n[1] % 5]
        device, ino = self.device, entry.ino
        handle = self.new_handle()
        await device.fs.open(device.att, ino, handle, write=True, truncate=False, base=b"")
        try:
            if size and entry.view.size > 4096:
                # Copying suspends: what was copied is what is cut, not what is shown now.
                await device.fs.stage(device.att, handle, empty=False, base=b"")
            self.acts_on(ino)
            await device.fs.set_attr(device.att, ino, SetAttr(size=size))
            self.note(ino)
        finally:
            await device.fs.release(device.att, handle)

    def note(self, ino: Ino) -> None:
        """Whatever is there now is something that was written."""
        for digest in self.contents(ino):
            self.ledger.contents.setdefault(digest, b"(cut)")

    async def whole(self, handle: int) -> bytes:
        return await self.device.fs.read(self.device.att, handle, 0, 1 << 20)

    # ---- names
    async def unlink(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK)
        if entry is not None:
            await self.remove(entry)

    async def unlink_copy(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, copies=True)
        if entry is not None:
            await self.remove(entry)

    async def remove(self, entry: Entry) -> None:
        self.loses_name(entry)
        await self.device.fs.unlink(self.device.att, *self.place(entry))

    async def rename_entry(self, entry: Entry, parent: Ino, name: bytes, flags: RenameFlags = RenameFlags.NONE) -> None:
        device = self.device
        target = self.find(parent, name)
        same = target is not None and (target.node, target.dot) == (entry.node, entry.dot)
        try:
            before = dict(self.ledger.superseded), set(self.unlinked)
            if target is not None and not same and flags == RenameFlags.NONE and entry.view.kind is not Kind.DIRECTORY:
                self.loses_name(target)
            await device.fs.rename(device.att, *self.place(entry), parent, name, flags, b"")
        except HoloError:
            self.ledger.superseded, self.unlinked = before
            raise

    async def rename(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK)
        if entry is not None:
            flags = (RenameFlags.NONE, RenameFlags.NONE, RenameFlags.NO_REPLACE)[n[2] % 3]
            await self.rename_entry(entry, *self.slot(n[1]), flags)

    async def rename_copy(self, n: Numbers) -> None:
        """Over what it is a copy of, or to a name of its own."""
        entry = self.pick(n[0], Kind.FILE, copies=True)
        if entry is not None:
            base = base_of_conflict_name(entry.name) or b"a"
            await self.rename_entry(entry, self.place(entry)[0], base if n[1] % 2 else b"kept%d" % (n[1] % 7))

    async def rename_folder(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            await self.rename_entry(entry, *self.slot(n[1], FOLDERS))

    async def exchange(self, n: Numbers) -> None:
        kinds = (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK) if n[2] % 3 == 0 else (Kind.FILE,)
        one, other = self.pick(n[0], *kinds), self.pick(n[1], *kinds)
        if one is not None and other is not None:
            await self.rename_entry(one, *self.place(other), RenameFlags.EXCHANGE)

    async def mkdir(self, n: Numbers) -> None:
        await self.device.fs.make_dir(self.device.att, *self.slot(n[0], FOLDERS), 0o755)

    async def rmdir(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.remove_dir(self.device.att, *self.place(entry))

    async def remove_all(self, n: Numbers) -> None:
        """rm -r"""
        entry = self.pick(n[0], Kind.DIRECTORY)
        if entry is not None:
            await self._remove_below(entry)

    async def _remove_below(self, entry: Entry) -> None:
        # What a program lists first it removes afterwards, whatever came in between.
        for child in self.device.local.tree.children(entry.node):
            if child.view.kind is Kind.DIRECTORY:
                await self._remove_below(child)
            elif (now := self.find(entry.ino, child.name)) is not None and now.view.kind is not Kind.DIRECTORY:
                await self.remove(now)
        await self.device.fs.remove_dir(self.device.att, *self.place(entry))

    async def symlink(self, n: Numbers) -> None:
        await self.device.fs.symlink(self.device.att, *self.slot(n[0]), b"to-%d" % (n[1] % 50))

    async def link(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            await self.device.fs.link(self.device.att, entry.ino, *self.slot(n[1]))

    # ---- attributes
    async def chmod(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.set_attr(self.device.att, entry.ino, SetAttr(mode=0o400 | n[1] % 0o400))

    async def utime(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.SYMLINK, Kind.DIRECTORY)
        if entry is not None:
            await self.device.fs.set_attr(self.device.att, entry.ino, SetAttr(mtime_ns=n[1] * 1_000_000_007))

    async def xattr(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE, Kind.DIRECTORY)
        if entry is None:
            return
        device, name = self.device, b"user.%d" % (n[1] % 3)
        if n[2] % 4:
            await device.fs.set_xattr(device.att, entry.ino, name, b"v%d" % n[2], create=False, replace=False)
        else:
            await device.fs.remove_xattr(device.att, entry.ino, name)

    # ---- how editors save
    async def save_with_backup(self, n: Numbers) -> None:
        """vim: the file becomes the backup, a new one is written, the backup goes."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is None:
            return
        parent, name = self.place(entry)
        backup = name[:240] + b"~"
        await self.rename_entry(entry, parent, backup)
        await self.save(parent, name, self.ledger.fresh(SIZES[n[1] % len(SIZES)]))
        left = self.find(parent, backup)
        if left is not None and n[2] % 3 and left.view.kind is Kind.FILE:
            await self.remove(left)

    async def save_over(self, n: Numbers) -> None:
        """A temporary file, renamed over the old one."""
        entry = self.pick(n[0], Kind.FILE)
        parent, name = self.place(entry) if entry is not None else self.slot(n[0])
        await self.save(parent, b".tmp", self.ledger.fresh(SIZES[n[1] % len(SIZES)]))
        made = self.find(parent, b".tmp")
        if made is not None:
            await self.rename_entry(made, parent, name)

    async def save_anew(self, n: Numbers) -> None:
        """git checkout: unlinked, created."""
        entry = self.pick(n[0], Kind.FILE)
        if entry is not None:
            parent, name = self.place(entry)
            await self.remove(entry)
            await self.save(parent, name, self.ledger.fresh(SIZES[n[1] % len(SIZES)]))

    async def save_stale(self, n: Numbers) -> None:
        """A program that read a version some time ago writes what it made of it."""
        for held in self.some_held(n[0]):
            entry = self.pick(n[0], Kind.FILE)
            view = self.device.local.tree.view(held.ino)
            if entry is None or view is None or entry.node != view.node:
                return
            device, handle, data = self.device, self.new_handle(), self.ledger.fresh(30)
            await device.fs.open(device.att, entry.ino, handle, write=True, truncate=False, base=b"")
            self._supersede_base(entry, held)
            await device.fs.commit(
                device.att, handle, data=data, mtime_ns=device.now_ns(), seal=True, release=True, base=held.seen
            )
            self.answered(entry.ino, data)

    def _supersede_base(self, entry: Entry, held: Held) -> None:
        """What it read then; what this device itself put after it counts as seen."""
        for digest in held.saw:
            self.ledger.supersede(digest, self.where)
        shown = self.device.local.tree.version(entry.ino)
        if shown is not None and shown.dot.author in self.device.store.own_authors():
            self.acts_on(entry.ino)

    # ---- files that stay open
    def some_held(self, number: int) -> list[Held]:
        return [self.held[number % len(self.held)]] if self.held else []

    async def hold(self, n: Numbers) -> None:
        entry = self.pick(n[0], Kind.FILE)
        if entry is None or len(self.held) >= 4:
            return
        handle, device, write = self.new_handle(), self.device, bool(n[1] % 3)
        await device.fs.open(device.att, entry.ino, handle, write=write, truncate=False, base=b"")
        self.held.append(Held(handle, entry.ino, write, entry.view.version, self.contents(entry.ino)))

    async def hold_new(self, n: Numbers) -> None:
        """A file that stays open from its creation on, as of a download."""
        if len(self.held) >= 4:
            return
        (parent, name), handle, device = self.slot(n[0]), self.new_handle(), self.device
        made = await device.fs.create(
            device.att, parent, name, 0o644, exclusive=True, truncate=True, handle=handle, base=b""
        )
        self.held.append(Held(handle, made.attr.ino, True, made.attr.version, set()))

    async def held_write(self, n: Numbers) -> None:
        for held in self.some_held(n[0]):
            if not held.write:
                continue
            device, handle, ino = self.device, held.handle, held.ino
            staged = await device.fs.stage(device.att, handle, empty=False, base=b"")
            if held not in self.held:
                return
            held.staged = True
            self.acts_on(ino)
            before = Path(staged.path).read_bytes()
            data = before + self.ledger.fresh(SIZES[n[1] % len(SIZES)]) if n[2] % 2 else self.ledger.fresh(50)
            self.ledger.made(data)
            held.unanswered = data
            for other in self.held:
                if other.ino == ino:
                    other.unanswered = data
            self.write_file(Path(staged.path), data)
            if n[2] % 3 == 0:
                await device.fs.commit(
                    device.att, handle, data=None, mtime_ns=None, seal=False, release=False, base=b""
                )

    async def held_commit(self, n: Numbers) -> None:
        """A small file is written back as a whole, and stays open."""
        for held in self.some_held(n[0]):
            if not held.write or held.staged or self.device.fs._staged.of(held.ino) is not None:
                continue
            device, data = self.device, self.ledger.fresh(40)
            self.ledger.made(data)
            self.acts_on(held.ino)
            await device.fs.commit(
                device.att, held.handle, data=data, mtime_ns=device.now_ns(), seal=False, release=False, base=b""
            )
            self.answered(held.ino, data)

    async def held_sync(self, n: Numbers) -> None:
        """What fsync answered survives, also if the file is never closed."""
        for held in self.some_held(n[0]):
            data = held.unanswered
            await self.device.fs.fsync(self.device.att, held.handle, held.ino, None)
            if data is not None and held.unanswered == data:
                self.answered(held.ino, data)

    async def held_read(self, n: Numbers) -> None:
        for held in self.some_held(n[0]):
            found = await self.whole(held.handle)
            if found and hash_bytes(found) not in self.ledger.contents and len(found) < 1 << 20:
                raise AssertionError(f"a reader was given {found[:40]!r}…({len(found)}), which nobody wrote")

    async def held_close(self, n: Numbers) -> None:
        for held in self.some_held(n[0]):
            await self.let_go(held, sealing=bool(n[1] % 2))

    async def let_go(self, held: Held, sealing: bool = True) -> None:
        self.held.remove(held)
        shared = any(other.ino == held.ino and other.staged for other in self.held)
        await self.close(held.handle, held.ino, None if shared else held.unanswered, sealing)

    def known_handles(self) -> tuple[OpenHandle, ...]:
        return tuple(OpenHandle(held.handle, held.ino, held.write, held.staged, held.seen) for held in self.held)

    def forget_mount(self) -> None:
        self.held.clear()


Operation = Callable[[Actor, Numbers], Awaitable[None]]

OPERATIONS: dict[str, tuple[Operation, int]] = {
    "write": (Actor.write, 14),
    "write_same": (Actor.write_same, 3),
    "rewrite": (Actor.rewrite, 10),
    "create_new": (Actor.create_new, 2),
    "append": (Actor.append, 6),
    "truncate": (Actor.truncate, 4),
    "unlink": (Actor.unlink, 5),
    "unlink_copy": (Actor.unlink_copy, 4),
    "rename": (Actor.rename, 7),
    "rename_copy": (Actor.rename_copy, 4),
    "rename_folder": (Actor.rename_folder, 4),
    "exchange": (Actor.exchange, 2),
    "mkdir": (Actor.mkdir, 5),
    "rmdir": (Actor.rmdir, 2),
    "remove_all": (Actor.remove_all, 2),
    "symlink": (Actor.symlink, 2),
    "link": (Actor.link, 3),
    "chmod": (Actor.chmod, 2),
    "utime": (Actor.utime, 2),
    "xattr": (Actor.xattr, 3),
    "save_with_backup": (Actor.save_with_backup, 4),
    "save_over": (Actor.save_over, 6),
    "save_anew": (Actor.save_anew, 4),
    "save_stale": (Actor.save_stale, 2),
    "hold": (Actor.hold, 5),
    "hold_new": (Actor.hold_new, 2),
    "held_write": (Actor.held_write, 7),
    "held_commit": (Actor.held_commit, 3),
    "held_sync": (Actor.held_sync, 2),
    "held_read": (Actor.held_read, 2),
    "held_close": (Actor.held_close, 5),
}
