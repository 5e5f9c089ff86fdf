# SPDX-License-Identifier: GPL-3.0-or-later
"""Meaning of a path that a person gave: a file in a mounted folder, `VOLUME:path/in/it`, or a volume's name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from holofs_api import places as api
from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Client
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.mistakes import did_you_mean
from holofsctl.output import safe


@dataclass(frozen=True, slots=True)
class VolumePlace:
    volume: str
    """Name of the volume on this device; empty: all volumes."""
    path: bytes = b""
    """Path inside the volume, without a slash at either end; empty: its root."""


def locate(client: Client, told: str) -> VolumePlace:
    """Raises CommandError for a path that is in no volume of this device. A name without `/` is first a volume's."""
    if not told:
        return VolumePlace("")
    status = client.call("Status", pb.StatusRequest())
    return place_of(told, [v.volume.name for v in status.volumes], status.mounts)


def place_of(told: str, volumes: Sequence[str], mounts: Iterable[pb.MountInfo]) -> VolumePlace:
    if told in volumes:
        return VolumePlace(told)
    # Without looking at the disk first: a dead mount somewhere on the way would let us wait.
    for path in (os.path.abspath(told), _followed(told)):
        found = _below(path, mounts)
        if found is not None:
            return found
    volume, colon, inside = told.partition(":")
    if colon and volume in volumes:
        return VolumePlace(volume, _inside(inside))
    near = did_you_mean(volume if colon and "/" not in volume else told, volumes)
    name = safe(told)
    sentence = f"{name} is neither in a mounted volume nor one: say PATH, VOLUME or VOLUME:PATH.{near}"
    raise CommandError(sentence, Exit.USAGE, "bad-argument")


def _below(path: str, mounts: Iterable[pb.MountInfo]) -> VolumePlace | None:
    around = [m for m in mounts if path == m.path or path.startswith(m.path.rstrip("/") + "/")]
    if not around:
        return None
    nearest = max(around, key=lambda m: len(m.path))
    if nearest.at_ms:
        sentence = f"{safe(nearest.path)} shows the volume as it was: say the file's path in the volume of today."
        raise CommandError(sentence, Exit.USAGE, "bad-argument")
    return VolumePlace(nearest.volume, _inside(path[len(nearest.path) :]))


def _followed(told: str) -> str:
    """The last part is not followed: it may itself be a symlink that is meant."""
    parent, name = os.path.split(os.path.abspath(told))
    return os.path.join(real(parent), name)


def real(path: str) -> str:
    """An absolute path with its symlinks resolved, but for those inside mounted volumes, which are not looked at.

    Raises CommandError where a filesystem on the way does not answer.
    """
    walked = api.walk(path)
    if walked.mount is None or walked.mount.is_holofs or walked.real == walked.mount.path:
        return walked.real
    with refused_plainly():
        return api.look(path).real


def mount_point(told: str) -> str:
    """A path as the kernel names a mount there. Raises CommandError for a place inside a mounted volume."""
    path = os.path.abspath(told)
    if path in (api.mount_points() or ()):
        return path
    with refused_plainly():
        api.refuse_inside(path)
    return real(path)


@contextmanager
def refused_plainly() -> Iterator[None]:
    """A path that is not looked at leaves as a CommandError with one sentence."""
    try:
        yield
    except api.PathRefused as refused:
        raise CommandError(safe(str(refused)), Exit.USAGE, "bad-argument") from None


def _inside(path: str) -> bytes:
    return os.fsencode(os.path.normpath("/" + path).strip("/"))
