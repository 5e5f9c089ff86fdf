# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies about sets of records: pages, heads, marks, and what is served to whom."""

from __future__ import annotations

from dataclasses import replace

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.content import hash_bytes
from holofsd.codec.records import encode_state
from holofsd.codec.signing import SigningKey, sign_head, sign_mark
from holofsd.core.document import LEFT, AuthorSeq, Head
from holofsd.core.ids import AuthorId
from holofsd.core.state import Inline, Kind, NodeState
from model.liar import Honest, Liar
from model.lies import lie
from model.lies_records import END, NAMES, node
from model.looking import Numbers


# ---- pages
@lie("set")
async def replays_pages(liar: Liar, device: Honest, n: Numbers) -> None:
    """Repeat what honest devices said once: with the heads of that time, in another order, over and over."""
    talk = await liar.talk(device)
    if talk is None or not liar.log:
        return
    pages = liar.log[n[0] % len(liar.log) :][:10]
    if n[1] % 2:
        pages.reverse()
    for head, envelopes, after in pages:
        await talk.records(head.author, after if n[1] % 3 else 0, envelopes, head, n[1] % 5 == 0)
        await talk.show(head)


@lie("set")
async def pages_out_of_order(liar: Liar, device: Honest, n: Numbers) -> None:
    talk = await liar.talk(device)
    if talk is None:
        return
    author = liar.author
    before = author.seq
    made = author.publish([(s.id, encode_state(s)) for s in (_file(liar, n) for _ in range(4))])
    orders = (made[::-1], [made[0], made[2]], [*made, *made], [made[3]])
    await talk.records(author.id, before, orders[n[1] % 4], author.head())


@lie("set")
async def pages_without_a_head(liar: Liar, device: Honest, n: Numbers) -> None:
    """A run that never ends: what waits for its head takes room."""
    talk = await liar.talk(device)
    if talk is None:
        return
    author = liar.author
    await talk.show(replace_head(liar, author.seq + 100_000))
    for _ in range(3 + n[1] % 5):
        before = author.seq
        made = author.publish([(s.id, encode_state(s)) for s in (_file(liar, n, 15_000) for _ in range(20))])
        await talk.records(author.id, before, made, None)


@lie("set")
async def forged_records_of_others(liar: Liar, device: Honest, n: Numbers) -> None:
    """Records and heads in the name of an honest author, with signatures of the liar's."""
    talk = await liar.talk(device)
    if talk is None or not liar.heads:
        return
    victim = liar.heads[sorted(liar.heads)[n[0] % len(liar.heads)]]
    made = liar.author.copy().publish([(s.id, encode_state(s)) for s in (_file(liar, n),)])
    forged = [replace(envelope, author=victim.author, seq=victim.seq + 1) for envelope in made]
    false = replace(victim, seq=victim.seq + 1, signature=bytes(64))
    if n[1] % 2:
        await talk.show(false)
    else:
        await talk.records(victim.author, victim.seq, forged, false)


@lie("set")
async def serves_nothing(liar: Liar, device: Honest, n: Numbers) -> None:
    """Show heads, and answer no question for records."""
    liar.pages_manner = "mute" if n[1] % 3 else ""
    await liar.talk(device)
    await liar.publish((_file(liar, n).id, encode_state(_file(liar, n))))


# ---- heads
def replace_head(liar: Liar, seq: int, dots: int | None = None, set_hash: bytes | None = None) -> Head:
    author = liar.author
    digest = author.set_hash() if set_hash is None else set_hash
    return sign_head(author.key, author.volume, seq, author.dots if dots is None else dots, digest)


@lie("set")
async def wrong_set_hash(liar: Liar, device: Honest, n: Numbers) -> None:
    """A head that its records do not add up to, for good or until the next publication."""
    talk = await liar.talk(device)
    if talk is None:
        return
    author = liar.author
    before = author.seq
    state = _file(liar, n)
    made = author.publish([(state.id, encode_state(state))])
    false = replace_head(liar, author.seq, set_hash=liar.random_bytes())
    if n[1] % 2:
        liar.false_heads[author.id] = false
    await talk.records(author.id, before, made, false)
    await talk.show(false)


@lie("set")
async def heads_at_the_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """A number of records, or of dots, at the end of the range."""
    talk = await liar.talk(device)
    if talk is None:
        return
    head = replace_head(liar, (END, liar.author.seq)[n[1] % 2], END if n[1] % 3 else None)
    if n[1] % 5 == 0:
        liar.false_heads[liar.author.id] = head
    await talk.show(head)
    await talk.records(liar.author.id, liar.author.seq, [], head)


@lie("set")
async def numbers_at_the_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """Publish under the last numbers there are; nothing can follow."""
    liar.author.seq = max(liar.author.seq, END - 3 + n[1] % 3)
    liar.author.dots = max(liar.author.dots, END - 4)
    state = _file(liar, n)
    await liar.talk(device)
    await liar.publish((state.id, encode_state(state)))
    liar.new_author()


@lie("set")
async def two_histories(liar: Liar, device: Honest, n: Numbers) -> None:
    """One author says one thing to this device and another thing, under the same numbers, to the others."""
    author = liar.author
    other = liar.apart[author.id, device.id] = author.copy()
    one, two = (_file(liar, n) for _ in range(2))
    target = liar.pick(n[0], Kind.FILE)
    if target is not None and n[1] % 2:
        two = replace(two, id=target.id, kind=target.kind)
    before = author.seq
    mine, theirs = author.publish([(one.id, encode_state(one))]), other.publish([(two.id, encode_state(two))])
    for honest in liar.devices:
        talk = await liar.talk(honest)
        if talk is not None:
            history, made = (other, theirs) if honest is device else (author, mine)
            await talk.records(author.id, before, made, history.head())
            await talk.show(history.head())


@lie("set")
async def goes_back(liar: Liar, device: Honest, n: Numbers) -> None:
    """A history that is shorter than what it said before."""
    author = liar.author
    newest = sorted(author.newest.values(), key=lambda e: e.seq)
    for envelope in newest[len(newest) // 2 :]:
        del author.newest[envelope.key]
    author.seq = max((e.seq for e in author.newest.values()), default=0)
    talk = await liar.talk(device)
    if talk is not None and author.seq:
        await talk.show(author.head(), first=bool(n[1] % 2))
    await liar.publish((_file(liar, n).id, encode_state(_file(liar, n))))


@lie("set")
async def another_author(liar: Liar, device: Honest, n: Numbers) -> None:
    """A new author, with what another one had said: the same nodes under new numbers."""
    former = liar.author
    liar.new_author()
    await liar.talk(device)
    if (talk := liar.talks.get(device.id)) is not None:
        await talk.say(pb.Frame(credentials=wire.to_credentials(liar.shown_credentials())))
    await liar.publish(*((e.key, e.payload) for e in list(former.newest.values())[: n[1] % 50]))


@lie("set")
async def heads_of_nobody(liar: Liar, device: Honest, n: Numbers) -> None:
    """Thousands of authors that nobody ever certified."""
    talk = await liar.talk(device)
    if talk is None:
        return
    heads = [Head(AuthorId(hash_bytes(b"head %d %d" % (n[1], i))), END, END, bytes(32), bytes(64)) for i in range(4096)]
    for _ in range(1 + n[1] % 3):
        await talk.show(*heads)


# ---- marks
@lie("set")
async def marks_without_having(liar: Liar, device: Honest, n: Numbers) -> None:
    """A promise to hold everything of everybody, or more than there is, now or at the end of all times."""
    talk = await liar.talk(device)
    if talk is None:
        return
    held = [AuthorSeq(head.author, head.seq, head.set_hash) for _, head in sorted(liar.heads.items())]
    if n[1] % 3 == 0:
        held = [AuthorSeq(item.author, END, bytes(32)) for item in held]
    if n[1] % 5 == 0:
        held += [AuthorSeq(AuthorId(hash_bytes(b"mark %d" % i)), END, bytes(32)) for i in range(4000)]
    at_ms = (liar.now_ms(), END, 1)[n[1] % 3]
    mark = sign_mark(liar.key, liar.volume, at_ms, held)
    await talk.say(pb.Frame(marks=pb.Marks(marks=[wire.to_mark(mark)])))


@lie("set")
async def marks_of_nobody(liar: Liar, device: Honest, n: Numbers) -> None:
    """Marks of devices that are no members, well signed, by the thousand."""
    talk = await liar.talk(device)
    if talk is None:
        return
    keys = [SigningKey(hash_bytes(b"marker %d" % i)) for i in range(20 + n[1] % 200)]
    marks = [wire.to_mark(sign_mark(key, liar.volume, END, ())) for key in keys]
    await talk.say(pb.Frame(marks=pb.Marks(marks=marks)))


@lie("set")
async def forged_marks(liar: Liar, device: Honest, n: Numbers) -> None:
    """Sign marks in the name of an honest device."""
    talk = await liar.talk(device)
    if talk is None:
        return
    other = liar.devices[n[0] % len(liar.devices)]
    mark = replace(sign_mark(liar.key, liar.volume, liar.now_ms(), ()), device=other.id)
    await talk.say(pb.Frame(marks=pb.Marks(marks=[wire.to_mark(mark)])))


@lie("set")
async def leaves_and_stays(liar: Liar, device: Honest, n: Numbers) -> None:
    talk = await liar.talk(device)
    if talk is None:
        return
    mark = sign_mark(liar.key, liar.volume, (liar.now_ms(), END)[n[1] % 2], LEFT)
    await talk.say(pb.Frame(marks=pb.Marks(marks=[wire.to_mark(mark)])))


@lie("set")
async def confirms_what_it_has_not(liar: Liar, device: Honest, n: Numbers) -> None:
    talk = await liar.talk(device)
    if talk is None:
        return
    for _author, head in sorted(liar.heads.items()):
        seq = head.seq if n[1] % 2 else END
        await talk.say(pb.Frame(confirm=pb.Confirm(author=head.author, seq=seq)))
    await talk.say(pb.Frame(confirm=pb.Confirm(author=b"short", seq=1)))


# ---- content
@lie("set")
async def serves_content_badly(liar: Liar, device: Honest, n: Numbers) -> None:
    """Wrong bytes for a hash, too few, too many, none at all, drop by drop, or the answer to another question."""
    liar.content_manner = ("wrong", "short", "long", "silent", "drip", "other id")[n[1] % 6]
    talk = await liar.talk(device)
    if talk is not None:
        held = [AuthorSeq(head.author, head.seq, head.set_hash) for _, head in sorted(liar.heads.items())]
        mark = sign_mark(liar.key, liar.volume, liar.now_ms(), held)
        await talk.say(pb.Frame(marks=pb.Marks(marks=[wire.to_mark(mark)])))


@lie("set")
async def fewer_dots(liar: Liar, device: Honest, n: Numbers) -> None:
    """A head that vouches for fewer versions than the one before it, to one device or to all."""
    state = _file(liar, n)
    if await liar.talk(device) is None:
        return
    await liar.publish((state.id, encode_state(state)))
    author, before = liar.author, liar.author.seq
    other = _file(liar, n)
    made = author.publish([(other.id, encode_state(other))])
    head = replace_head(liar, author.seq, author.dots * (n[1] % 4) // 4)
    for honest in liar.devices if n[1] % 2 else [device]:
        talk = await liar.talk(honest)
        if talk is not None:
            await talk.records(author.id, before, made, head)


@lie("set")
async def serves_content_well(liar: Liar, device: Honest, n: Numbers) -> None:
    """No lie: as before."""
    liar.content_manner = liar.pages_manner = liar.chunks.manner = ""
    liar.clock_off = 0
    liar.false_heads.clear()
    await liar.talk(device)


def _file(liar: Liar, n: Numbers, size: int = 20) -> NodeState:
    data = liar.fresh("set", size)
    return node(liar, Kind.FILE, Inline(data), len(data), NAMES[n[0] % len(NAMES)])
