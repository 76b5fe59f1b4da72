"""What became of a call on a rig, in the words of trials.

The one rule: the sender and the workloads say what arrived and who answered; proxies say how it was carried.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshwright.trials.seen import Attempt, CallSeen, SpanSeen
from meshwright.trials.trial import Encryption

if TYPE_CHECKING:
    from meshwright.lab.collector import Record, Span, Trace
    from meshwright.lab.exchange import Arrival
    from meshwright.lab.rig import Rig, Sent

KINDS = {2: "server", 3: "client"}
"""Source: https://github.com/open-telemetry/opentelemetry-proto, `Span.SpanKind`"""
_HEARING = 2.0
"""Seconds that a workload has to hear that an attempt was given up, after its caller did."""
_PAUSE = 0.02
_NONE = "-"
"""What an access log writes where there is nothing."""


def seen(sent: Sent) -> CallSeen:
    """What the sender and the workloads know."""
    reply = sent.reply
    answered = [one.port for one in sent.attempts if one.instance == reply.instance]
    onward = {one.instance for one in reply.walk()} - {reply.instance}
    return CallSeen(
        id=sent.trace,
        status=reply.status,
        elapsed=sent.seconds * 1_000,
        began=sent.began_at * 1_000,
        grpc_status=reply.grpc_status,
        fault=reply.fault,
        node=reply.node,
        instance=reply.instance,
        path=(*(() if sent.call.straight else (sent.at.name,)), *(one.node for one in reply.walk() if one.node)),
        headers=reply.returned,
        arrived={
            **reply.headers,
            ":path": reply.path,
            ":method": reply.method,
            ":authority": reply.service,
            **({":port": str(answered[-1])} if answered else {}),
            ":protocol": reply.protocol,
        },
        attempts=tuple(_attempt(one, sent.began_at) for one in sent.attempts if one.instance not in onward),
    )


async def left_alone(rig: Rig, sent: Sent) -> Sent:
    """`sent` once every attempt of it was answered or given up, as far as that is known in time."""
    end = time.monotonic() + _HEARING
    while (attempts := rig.attempts(sent.trace)) and time.monotonic() < end:
        # Where somebody answered, that was the last of them.
        if all(one.given_up_at is not None for one in (attempts[:-1] if sent.reply.node else attempts)):
            break
        await asyncio.sleep(_PAUSE)
    return replace(sent, attempts=attempts)


def told_by_proxies(one: CallSeen, sent: Sent, trace: Trace) -> CallSeen:
    """`one`, which is about `sent`, with what `trace` has of it."""
    records = sorted(trace.records, key=lambda record: record.at)
    encryption, peer = _encryption(records, sent.at.path)
    return replace(
        one, spans=told_spans(sent, trace), log=tuple(map(_line, records)), encryption=encryption, peer=peer
    )


def told_spans(sent: Sent, trace: Trace) -> tuple[SpanSeen, ...]:
    """The spans in `trace`, which are about `sent`, as they began."""
    epoch = sent.began_at + time.time() - time.monotonic()
    return tuple(sorted((_span(span, epoch) for span in trace.spans), key=lambda span: span.start))


def _attempt(arrival: Arrival, began_at: float) -> Attempt:
    given_up = None if arrival.given_up_at is None else (arrival.given_up_at - arrival.at) * 1_000
    at = (arrival.at - began_at) * 1_000
    return Attempt(node=arrival.node.name, instance=arrival.instance, at=at, given_up=given_up)


def _span(span: Span, epoch: float) -> SpanSeen:
    return SpanSeen(
        id=span.id,
        parent=span.parent,
        proxy=_name(span.proxy) or span.service,
        service=span.service,
        name=span.name,
        kind=KINDS.get(span.kind, "internal"),
        start=(span.began_at - epoch) * 1_000,
        duration=(span.ended_at - span.began_at) * 1_000,
        attributes=span.attributes,
        error=span.failed,
    )


def _encryption(records: list[Record], caller: str) -> tuple[Encryption | None, str]:
    """How the caller's proxy called, and the name in the certificate that it showed, as who was called saw it."""
    called = [one.attributes for one in records if one.proxy == caller]
    reached = [one for one in called if one.get("upstream.address", _NONE) != _NONE]
    if not reached:
        return None, ""
    if reached[-1].get("upstream.tls.version", _NONE) == _NONE:
        failed = any(one.get("upstream.failure", _NONE) != _NONE for one in reached)
        return (None if failed else Encryption.NONE), ""
    listed = [one.attributes.get("client.tls.names", "") for one in records if one.proxy != caller]
    names = [name for text in listed for name in text.split(",") if name not in {"", _NONE}]
    return (Encryption.MUTUAL, names[0]) if names else (Encryption.SERVER, "")


def _line(record: Record) -> str:
    told = record.attributes
    more = {
        "flags": told.get("response_flags", _NONE),
        "upstream": told.get("upstream.address", _NONE),
        "cluster": told.get("upstream.cluster", _NONE),
        "failure": told.get("upstream.failure", _NONE),
    }
    listed = "".join(f" {name}={value}" for name, value in more.items() if value != _NONE)
    return f"{_name(record.proxy)}: {record.body}{listed}"


def _name(path: str) -> str:
    return path.rpartition("/")[2]
