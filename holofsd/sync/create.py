# SPDX-License-Identifier: GPL-3.0-or-later
"""Beginning of a volume on this device: it makes one, or prepares to hold one that it was invited to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from holofsd.codec.records import encode_volume
from holofsd.codec.signing import SigningKey, generate, sign_grant
from holofsd.core.document import Credentials, Role, VolumeInfo
from holofsd.core.ids import AuthorId, DeviceId, Hlc, VolumeId
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import KEY_VOLUME
from holofsd.sync.members import Members
from holofsd.sync.publication import publish
from holofsd.sync.stored_credentials import store_credentials


@dataclass(frozen=True, slots=True)
class CreatedVolume:
    """A volume that was just made."""

    store: VolumeStore
    secret: bytes
    """The seed of the volume's own key, the recovery code."""

    def __repr__(self) -> str:
        return f"CreatedVolume({self.store.volume.hex()[:8]}, secret=<hidden>)"


def create_volume(
    directory_for: Callable[[VolumeId], Path], name: str, node_key: SigningKey, device_name: str, now_ms: int
) -> CreatedVolume:
    """A new volume with this device as its first admin. The caller owns the store. Nothing leaves the device."""
    volume_key = generate()
    volume = VolumeId(volume_key.public)
    grant = sign_grant(volume_key, volume, DeviceId(node_key.public), Role.ADMIN, 1, device_name)
    store = prepare_joined(directory_for(volume), volume, Credentials(grants=(grant,)), node_key)
    author_key = active_key(store)
    assert author_key is not None
    info = VolumeInfo(name, Hlc(now_ms, 0, AuthorId(author_key.public)))
    with store.db.transaction():
        publish(store, author_key, 0, [(KEY_VOLUME, encode_volume(info))])
    return CreatedVolume(store, volume_key.seed)


def prepare_joined(directory: Path, volume: VolumeId, credentials: Credentials, node_key: SigningKey) -> VolumeStore:
    """The store of a volume that this device has become a member of: credentials, an author of its own, a certificate.

    `credentials` were verified (`invites.redeem` does). Doing it again on the same directory changes nothing.
    """
    store = VolumeStore(volume, directory)
    with store.db.transaction():
        store_credentials(store, credentials)
        author_key = active_key(store)
        if author_key is None:
            author_key = generate()
            store.add_author(AuthorId(author_key.public), author_key.seed)
    Members(store, node_key).certify(author_key)
    return store


def active_key(store: VolumeStore) -> SigningKey | None:
    """The key of our active author."""
    active = store.active_author()
    return SigningKey(active[1]) if active else None
