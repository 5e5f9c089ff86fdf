# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl record-budget`, and what `status` says of devices whose records wait."""

from __future__ import annotations

import json

import pytest

from holofs_api.v1 import control_pb2 as pb
from holofsctl.commands.safety import excess_sentence
from holofsctl.status_view import status_lines
from holofsd.rpc import safety_api as api
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run

BOB = api.DeviceRecords("bb" * 32, "bob's laptop", 6 << 30, 6 << 30, 5 << 20, 61 << 20, "records", False)


@pytest.fixture
def told(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    asked: list[int | None] = []

    async def record_budget(self: FakeDevice, volume: str, max_bytes: int | None) -> api.RecordBudgetReply:
        asked.append(max_bytes)
        return api.RecordBudgetReply(bool(max_bytes and max_bytes > 0), (BOB,))

    monkeypatch.setattr(FakeDevice, "record_budget", record_budget, raising=False)
    return asked


async def test_the_budget_is_shown_set_and_given_back(run: Run, told: list[int | None]) -> None:
    code, out, err = await run("record-budget", "docs")
    assert (code, told) == (0, [None])
    assert "bob's laptop" in out
    assert "6.0 GiB" in out
    assert "record-budget docs` with --max 12G takes more" in err
    await run("record-budget", "docs", "--max", "20G")
    _, out, _ = await run("record-budget", "docs", "--max", "auto", "--json")
    assert told == [None, 20 << 30, api.DEFAULT_MAX]
    reply = json.loads(out)
    assert reply["devices"][0]["bytes"] == 6 << 30
    assert reply["devices"][0]["excess"] == "records"


@pytest.mark.parametrize("name", ["bob", "aaaaaaaa"])
@pytest.mark.parametrize("excess", ["records", "not understood", "disk"])
def test_status_names_the_device_and_says_what_to_do_by_its_key(excess: str, name: str) -> None:
    """A device is called what it likes: as another one's key begins, for example."""
    records = pb.DeviceRecords(
        device_id="bb" * 32, name=name, bytes=1 << 30, max_bytes=1 << 30, strange_bytes=5, excess=excess
    )
    volume = pb.VolumeStatus(volume=pb.Volume(id="1", name="docs", state="ready"), record_budgets=[records])
    lines = "\n".join(status_lines(pb.StatusReply(volumes=[volume])))
    assert excess_sentence(records, "docs") in lines
    assert name in excess_sentence(records, "docs")
    if excess != "disk":
        assert f"`holofsctl members remove docs {'b' * 16}`" in lines


def test_a_device_whose_records_fit_is_not_mentioned() -> None:
    records = pb.DeviceRecords(device_id="bb" * 32, name="bob", bytes=1, max_bytes=1 << 30)
    volume = pb.VolumeStatus(volume=pb.Volume(id="1", name="docs", state="ready"), record_budgets=[records])
    assert "bob" not in "\n".join(status_lines(pb.StatusReply(volumes=[volume])))
