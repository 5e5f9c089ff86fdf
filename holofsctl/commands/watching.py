# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands `ping` and `events`."""

from __future__ import annotations

import argparse
from typing import Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.output import moment, plain, safe, size
from holofsctl.session import CommandSession
from holofsctl.terminal import give_up_output

_PAUSE_MS: Final = 1_000


def ping(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    measure = not arguments.no_measure
    request = pb.PingRequest(device=arguments.device, count=arguments.count, pause_ms=_PAUSE_MS, measure=measure)
    answers: list[pb.PingReply] = []
    with session.connect() as client:
        for answer in client.stream("Ping", request):
            answers.append(answer)
            session.output.line(plain(answer), _ping_line(answer))
    missing = sum(not answer.answered for answer in answers)
    if missing:
        raise CommandError(f"{count(missing, 'answer')} of {len(answers)} did not come.", Exit.TIMED_OUT, "timed-out")
    if measure and not answers[-1].throughput:
        session.output.remark("Throughput was not measured: there is no file of 1 MiB or more that both devices have.")
    return Exit.OK


def _ping_line(answer: pb.PingReply) -> str:
    way = f"{safe(answer.path)}{' at ' if answer.address else ''}{safe(answer.address)}"
    took = f"{answer.round_trip_us / 1000:.1f} ms" if answer.answered else "no answer"
    rate = f", {size(answer.throughput)}/s" if answer.throughput else ""
    return f"{safe(answer.name)}: {way}, {took}{rate}"


def events(session: CommandSession, arguments: argparse.Namespace) -> Exit:
    request = pb.EventsRequest(since=arguments.since, no_wait=arguments.no_wait)
    try:
        with session.connect() as client:
            for event in client.stream("Events", request):
                session.output.line(plain(event), event_line(event))
    except BrokenPipeError:  # as with `| head`: who reads has enough
        give_up_output()
        return Exit.OK
    if not arguments.no_wait:
        raise CommandError("holofsd has ended, and the stream with it.", Exit.NOT_RUNNING, "not-running")
    return Exit.OK


def event_line(event: pb.Event) -> str:
    """An event for a person: when, in which volume, and what."""
    volume = f"{safe(event.volume)}: " if event.volume else ""
    return f"{moment(event.at_ms)}  {volume}{_sentence(event)}"


def _sentence(event: pb.Event) -> str:
    path, device, message = safe(event.path), safe(event.device), safe(event.message)
    by = f" by {device}" if device else " by another device" if event.elsewhere else ""
    told = f" ({message})" if message else ""
    why = f": {message}" if message else ""
    sentences = {
        "begin": "listening",
        "missed": "events were missed: look at everything again",
        "changed": f"{path} changed{by}",
        "removed": f"{path} removed{by}",
        "conflict": f"{path} has a conflict copy{by}",
        "settled": f"{path}: the conflict copy{by} is settled",
        "device-up": f"{device} is connected{told}",
        "device-down": f"{device} is not connected any more{why}",
        "held": f"the brake holds removals{by}: {count(event.files, 'file')} now",
        "released": f"the brake holds less: {count(event.files, 'file')} now",
        "warning": message,
        "paused": f"{_traffic_of(event)} is paused{f' until {moment(event.until_ms)}' if event.until_ms else ''}",
        "resumed": f"{_traffic_of(event)} is not paused any more",
        "limits": f"limits: fetching {_limit(event.down)}, sending {_limit(event.up)}",
    }
    return sentences.get(event.kind, f"{safe(event.kind)} {path}{by}{told}")


def _traffic_of(event: pb.Event) -> str:
    if event.volume:
        return "the volume"
    device = safe(event.device) or event.device_id[:8]
    return f"the traffic with {device}" if device else "everything"


def _limit(rate: int) -> str:
    return f"{size(rate)}/s" if rate else "without a limit"
