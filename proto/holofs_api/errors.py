# SPDX-License-Identifier: GPL-3.0-or-later
"""Transport of an error: the one table between errno and gRPC status, and the ErrorDetail in the trailing metadata.

The daemon writes it in one place (`holofsd.rpc.errors`), clients read it with `detail_of`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from holofs_api.v1.errors_pb2 import ErrorDetail

ERROR_KEY: Final = "holofs-error-bin"
"""Trailing metadata: a serialised ErrorDetail."""
ATTACHMENT_KEY: Final = "holofs-attachment"
"""Request metadata: the attachment id that `Attach` answered."""

_S = grpc.StatusCode

STATUS_OF_ERRNO: Final = MappingProxyType(
    {
        errno.ENOENT: _S.NOT_FOUND,
        errno.ENODATA: _S.NOT_FOUND,
        errno.EEXIST: _S.ALREADY_EXISTS,
        errno.EACCES: _S.PERMISSION_DENIED,
        errno.EPERM: _S.PERMISSION_DENIED,
        errno.EROFS: _S.PERMISSION_DENIED,
        errno.EINVAL: _S.INVALID_ARGUMENT,
        errno.ENAMETOOLONG: _S.INVALID_ARGUMENT,
        errno.E2BIG: _S.INVALID_ARGUMENT,
        errno.EBADMSG: _S.INVALID_ARGUMENT,
        errno.ERANGE: _S.OUT_OF_RANGE,
        errno.EFBIG: _S.OUT_OF_RANGE,
        errno.ENOTDIR: _S.FAILED_PRECONDITION,
        errno.EISDIR: _S.FAILED_PRECONDITION,
        errno.ENOTEMPTY: _S.FAILED_PRECONDITION,
        errno.EMLINK: _S.FAILED_PRECONDITION,
        errno.EBADF: _S.FAILED_PRECONDITION,
        errno.ESTALE: _S.FAILED_PRECONDITION,
        errno.EBUSY: _S.FAILED_PRECONDITION,
        errno.EXDEV: _S.FAILED_PRECONDITION,
        errno.ELOOP: _S.FAILED_PRECONDITION,
        errno.EPROTO: _S.FAILED_PRECONDITION,
        errno.ENOSPC: _S.RESOURCE_EXHAUSTED,
        errno.EDQUOT: _S.RESOURCE_EXHAUSTED,
        errno.EOPNOTSUPP: _S.UNIMPLEMENTED,
        errno.ENOSYS: _S.UNIMPLEMENTED,
        errno.EHOSTUNREACH: _S.UNAVAILABLE,
        errno.ECONNRESET: _S.UNAVAILABLE,
        errno.EAGAIN: _S.UNAVAILABLE,
        errno.ETIMEDOUT: _S.DEADLINE_EXCEEDED,
        errno.ECANCELED: _S.CANCELLED,
        errno.EINTR: _S.CANCELLED,
        errno.EIO: _S.INTERNAL,
        0: _S.UNKNOWN,
    }
)
"""Every errno that an error of ours may carry."""

# Where a status came without a detail (gRPC itself failed the call), the errno that says it best.
_ERRNO_OF_STATUS: Final = MappingProxyType(
    {
        _S.NOT_FOUND: errno.ENOENT,
        _S.ALREADY_EXISTS: errno.EEXIST,
        _S.PERMISSION_DENIED: errno.EACCES,
        _S.UNAUTHENTICATED: errno.EACCES,
        _S.INVALID_ARGUMENT: errno.EINVAL,
        _S.OUT_OF_RANGE: errno.ERANGE,
        _S.RESOURCE_EXHAUSTED: errno.ENOSPC,
        _S.UNIMPLEMENTED: errno.ENOSYS,
        _S.UNAVAILABLE: errno.EHOSTUNREACH,
        _S.DEADLINE_EXCEEDED: errno.ETIMEDOUT,
        _S.CANCELLED: errno.ECANCELED,
    }
)


def status_of(number: int) -> grpc.StatusCode:
    """The gRPC status of an errno; UNKNOWN for one that is not in the table."""
    return STATUS_OF_ERRNO.get(number, _S.UNKNOWN)


def errno_of(status: grpc.StatusCode) -> int:
    """The errno of a status that came without a detail; EIO where nothing fits better."""
    return _ERRNO_OF_STATUS.get(status, errno.EIO)


def error_metadata(number: int, code: str, message: str) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of a failed call."""
    return ((ERROR_KEY, ErrorDetail(errno=number, code=code, message=message).SerializeToString()),)


def parse_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> ErrorDetail | None:
    """The detail in some trailing metadata, or None where there is none that can be read."""
    for key, value in metadata or ():
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                return ErrorDetail.FromString(value)
            except DecodeError:
                return None
    return None


def detail_of(error: Any) -> ErrorDetail:
    """Detail of a failed call (`grpc.RpcError` or `grpc.aio.AioRpcError`) says: its detail, or a guess from its status.

    The guessed detail has the code `grpc-<status>`, for example `grpc-unavailable` where no daemon answers.
    """
    detail = parse_metadata(error.trailing_metadata())
    if detail is not None:
        return detail
    status = error.code()
    name = status.name.lower().replace("_", "-")
    return ErrorDetail(errno=errno_of(status), code=f"grpc-{name}", message=error.details() or "")
