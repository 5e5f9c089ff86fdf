# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery codes survive paper: read back in any case and grouping, and every slip is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.codec.recovery import PREFIX, decode_recovery, encode_recovery
from holofsd.core.errors import RecoveryInvalid
from holofsd.daemon.logging import HIDDEN, redact

SEEDS = st.binary(min_size=32, max_size=32)


@given(SEEDS)
def test_a_code_is_read_back_however_it_was_written_down(seed: bytes) -> None:
    code = encode_recovery(seed)
    assert code.startswith(PREFIX)
    for written in (code, code.upper(), code.replace("-", " "), code.replace("-", ""), f" {code}\n"):
        assert decode_recovery(written) == seed


@given(SEEDS, st.data())
def test_a_changed_character_is_noticed_and_nothing_of_the_code_is_told(seed: bytes, data: st.DataObject) -> None:
    code = encode_recovery(seed)
    digits = [at for at in range(len(PREFIX), len(code)) if code[at] != "-"]
    at = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([c for c in "abcdefghijklmnopqrstuvwxyz234567890!" if c != code[at]]))
    with pytest.raises(RecoveryInvalid) as caught:
        decode_recovery(code[:at] + other + code[at + 1 :])
    assert code[len(PREFIX) + 1 :][:6] not in caught.value.message


@pytest.mark.parametrize("text", ["", "holofs-recovery-1", "holofs-recovery-1-aaaa", "x" * 9999, "holofs-recovery-1-é"])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(RecoveryInvalid):
        decode_recovery(text)


def test_a_ticket_is_said_to_be_one() -> None:
    with pytest.raises(RecoveryInvalid, match="this is a ticket"):
        decode_recovery("holofs1abcdefgh")


def test_a_code_is_hidden_in_logs() -> None:
    code = encode_recovery(b"s" * 32)
    for text in (f"asked with {code}", code.replace("-", "")):
        assert redact(None, "info", {"event": text})["event"].endswith(HIDDEN)
