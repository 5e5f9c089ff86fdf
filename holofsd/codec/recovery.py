# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery codes: the seed of a volume's own key, as text that can be written down on paper.

`holofs-recovery-1-` and base32 of the seed and 4 bytes of checksum, in groups of six. A code is the greatest secret of
a volume: neither it nor a part of it ever appears in a message or a log.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from blake3 import blake3

from holofsd.core.errors import RecoveryInvalid

PREFIX: Final = "holofs-recovery-1"
SEED: Final = 32
_CHECKSUM: Final = 4
_GROUP: Final = 6
_MAX: Final = 4096
_WRONG: Final = "The recovery code is cut or has a mistyped character; type it again as a whole."


def encode_recovery(seed: bytes) -> str:
    digits = _digits(seed + _checksum(seed))
    return "-".join([PREFIX, *(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))])


def decode_recovery(text: str) -> bytes:
    """The seed. Raises RecoveryInvalid. White space, hyphens and case do not matter."""
    compact = "".join(text.split()).replace("-", "").lower()
    prefix = PREFIX.replace("-", "")
    if not compact.startswith(prefix):
        hint = "; this is a ticket, which `holofsctl join -` reads" if compact.startswith("holofs1") else ""
        raise RecoveryInvalid(f"A recovery code begins with '{PREFIX}'{hint}.")
    digits = compact[len(prefix) :]
    try:
        raw = base64.b32decode(digits[:_MAX].upper().encode("ascii") + b"=" * (-len(digits) % 8))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RecoveryInvalid(_WRONG) from error
    seed, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
    if len(seed) != SEED or _checksum(seed) != checksum or _digits(raw) != digits:
        raise RecoveryInvalid(_WRONG)
    return seed


def _checksum(seed: bytes) -> bytes:
    return blake3(b"holofs-recovery-1" + seed).digest(_CHECKSUM)


def _digits(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()
