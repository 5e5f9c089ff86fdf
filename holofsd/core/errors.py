# SPDX-License-Identifier: GPL-3.0-or-later
"""One hierarchy of errors: each has an errno (0 where none fits), a stable code, and a message for a person.

The message says what happened and what to do, or what happens next. `holofs_api.errors` maps an errno to a gRPC status;
a test proves that every subclass is covered.
"""

from __future__ import annotations

import errno as _errno
from typing import ClassVar


class HoloError(Exception):
    """An error for a person, with its errno and stable code."""

    errno: ClassVar[int] = _errno.EIO
    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


# ---- filesystem ----
class NoSuchName(HoloError):
    errno, code = _errno.ENOENT, "no-such-name"


class NameExists(HoloError):
    errno, code = _errno.EEXIST, "name-exists"


class NotADirectory(HoloError):
    errno, code = _errno.ENOTDIR, "not-a-directory"


class IsADirectory(HoloError):
    errno, code = _errno.EISDIR, "is-a-directory"


class DirectoryNotEmpty(HoloError):
    errno, code = _errno.ENOTEMPTY, "directory-not-empty"


class NameTooLong(HoloError):
    errno, code = _errno.ENAMETOOLONG, "name-too-long"


class BadArgument(HoloError):
    errno, code = _errno.EINVAL, "bad-argument"


class TooManyLinks(HoloError):
    errno, code = _errno.EMLINK, "too-many-links"


class NotPermitted(HoloError):
    errno, code = _errno.EPERM, "not-permitted"


class ReadOnly(HoloError):
    errno, code = _errno.EROFS, "read-only"


class StaleHandle(HoloError):
    errno, code = _errno.ESTALE, "stale-handle"


class BadHandle(HoloError):
    errno, code = _errno.EBADF, "bad-handle"


class NotYet(HoloError):
    """The operation has to wait for something else. The caller asks again."""

    errno, code = _errno.EAGAIN, "not-yet"


class NoSpace(HoloError):
    errno, code = _errno.ENOSPC, "no-space"


class NoAttribute(HoloError):
    errno, code = _errno.ENODATA, "no-attribute"


class NotSupported(HoloError):
    errno, code = _errno.EOPNOTSUPP, "not-supported"


class TooBig(HoloError):
    errno, code = _errno.E2BIG, "too-big"


class FileTooBig(HoloError):
    errno, code = _errno.EFBIG, "file-too-big"


class ContentUnavailable(HoloError):
    """The bytes are on no device that can be reached in time."""

    errno, code = _errno.EHOSTUNREACH, "content-unavailable"


class ContentTimeout(HoloError):
    errno, code = _errno.ETIMEDOUT, "content-timeout"


class ContentDamaged(HoloError):
    """The bytes here are not what was written, and no device in reach has them."""

    errno, code = _errno.EIO, "content-damaged"


class DamagedIndex(HoloError):
    errno, code = _errno.EIO, "damaged-index"


# ---- volumes, members, tickets ----
class VolumeUnknown(HoloError):
    errno, code = _errno.ENOENT, "volume-unknown"


class VolumeExists(HoloError):
    errno, code = _errno.EEXIST, "volume-exists"


class NotAMember(HoloError):
    errno, code = _errno.EACCES, "not-a-member"


class RoleTooLow(HoloError):
    errno, code = _errno.EACCES, "role-too-low"


class TicketInvalid(HoloError):
    errno, code = _errno.EINVAL, "ticket-invalid"


class TicketRefused(HoloError):
    """Expired, used up, revoked or unknown at the issuer."""

    errno, code = _errno.EACCES, "ticket-refused"


class DeviceUnknown(HoloError):
    errno, code = _errno.ENOENT, "device-unknown"


# ---- network ----
class Unreachable(HoloError):
    errno, code = _errno.EHOSTUNREACH, "unreachable"


class ConnectionLost(HoloError):
    errno, code = _errno.ECONNRESET, "connection-lost"


class ProtocolViolation(HoloError):
    """The other side broke the protocol; the connection is closed."""

    errno, code = _errno.EPROTO, "protocol-violation"


class Refused(HoloError):
    """A record, frame or credential from outside that does not count; it is quarantined and counted."""

    errno, code = _errno.EBADMSG, "refused"


class NotUnderstood(Refused):
    """Well formed, but of a newer format: kept, counted, and tried again after an upgrade."""

    code = "not-understood"


class OtherKind(Refused):
    """Makes something else of a node: a folder of a file, say."""

    code = "other-kind"


# ---- daemon, mounts, start-up ----
class AlreadyRunning(HoloError):
    errno, code = _errno.EBUSY, "already-running"


class StateDirUnusable(HoloError):
    errno, code = _errno.EACCES, "state-dir-unusable"


class MountPathUnusable(HoloError):
    errno, code = _errno.EINVAL, "mount-path-unusable"


class MountFailed(HoloError):
    errno, code = _errno.EIO, "mount-failed"


class MountBusy(HoloError):
    """A program still uses files or folders of a mount that a person wants to take away."""

    errno, code = _errno.EBUSY, "mount-busy"


class MountUnknown(HoloError):
    errno, code = _errno.ENOENT, "mount-unknown"


class WindowFailed(HoloError):
    """The window is switched off, or its process does not start."""

    errno, code = _errno.EIO, "window-failed"


class VersionMismatch(HoloError):
    errno, code = _errno.EPROTO, "version-mismatch"


class BadConfiguration(HoloError):
    errno, code = _errno.EINVAL, "bad-configuration"


# ---- conflicts ----
class NoConflict(HoloError):
    errno, code = _errno.ENOENT, "no-conflict"


class ContentMoved(HoloError):
    """A mount hands over what it appended to, and another mount of this device has written the file meanwhile."""

    errno, code = _errno.EBUSY, "content-moved"


class FileBusy(HoloError):
    """A program has it open for writing: what it writes would be nobody's afterwards."""

    errno, code = _errno.EBUSY, "file-busy"


# ---- taking a share back ----
class InviteUnknown(HoloError):
    errno, code = _errno.ENOENT, "invite-unknown"


class RecoveryInvalid(HoloError):
    errno, code = _errno.EINVAL, "recovery-invalid"


class RecoveryUnknown(HoloError):
    """This device does not have the recovery code."""

    errno, code = _errno.ENOENT, "recovery-unknown"
