"""What became of a call where a program of the user's answered: its body may be anybody's, its proxies know.

Pure. The one rule: who answered is whom the caller's proxy says that it called; a body is a further witness at most.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshwright.lab.exchange import Arrival, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshwright.lab.collector import Record, Trace
    from meshwright.lab.instance import Instance

_INGRESS = "cds_ingress_"
_FINE = "-"
"""Envoy's response flags where the answer is the upstream's own."""


def chosen(trace: Trace, at: str, programs: Iterable[Instance]) -> Instance | None:
    """The program to which the proxy of `at`, a path, sent a call last; None if that was no program."""
    by_address = {one.machine.address: one for one in programs}
    for record in trace.records:
        if record.proxy == at and (found := by_address.get(_host(record.attributes["upstream.address"]))):
            return found
    return None


def heard(trace: Trace, program: Instance) -> bool:
    """Whether the proxy beside a program has said that a call came in, not only what the program called in turn."""
    return any(_came_in(one, program) for one in trace.records)


def said(trace: Trace, at: str, reply: Reply, programs: Iterable[Instance]) -> Reply:
    """`reply`, and who gave it, if a program did.

    A program may hand on what a stand-in answered it, body and all: then that reply lies within the program's own.
    """
    found = chosen(trace, at, programs)
    flags = {one.attributes["response_flags"] for one in trace.records if one.proxy == at}
    if found is None or flags != {_FINE} or reply.instance == found.name:
        return reply
    own = Reply(
        node=found.role.key.name,
        instance=found.name,
        status=reply.status,
        grpc_status=reply.grpc_status,
        returned=reply.returned,
        port=reply.port,
    )
    arrived = next((_arrival(one, found) for one in trace.records if _came_in(one, found)), None)
    if arrived is not None:
        told = arrived.request
        own = replace(own, service=told.authority, path=told.path, method=told.method)
    return replace(own, calls=(reply,)) if reply.node else own


def arrivals(trace: Trace, programs: Iterable[Instance]) -> tuple[Arrival, ...]:
    """Every time that a call reached a program, as far as the proxies beside them have said."""
    running = tuple(programs)
    found = []
    for record in trace.records:
        own = [one for one in running if _came_in(record, one)]
        if own:
            last = chosen(trace, _caller(trace, own), own)
            found.append(_arrival(record, own[0] if len(own) == 1 else last or own[0]))
    return tuple(found)


def _came_in(record: Record, program: Instance) -> bool:
    return program.role.key.path == record.proxy and record.attributes["upstream.cluster"].startswith(_INGRESS)


def _caller(trace: Trace, own: Iterable[Instance]) -> str:
    addresses = {one.machine.address for one in own}
    return next((one.proxy for one in trace.records if _host(one.attributes["upstream.address"]) in addresses), "")


def _arrival(record: Record, instance: Instance) -> Arrival:
    told = record.attributes
    port = told["upstream.cluster"].rpartition("_")[2]
    request = Request(
        authority=told.get("server.address", ""),
        path=told.get("url.path", "/"),
        method=told.get("http.request.method", "GET"),
    )
    at = record.at - time.time() + time.monotonic()
    number = int(port) if port.isdecimal() else 0
    return Arrival(node=instance.role.key, instance=instance.name, port=number, at=at, request=request)


def _host(address: str) -> str:
    return address.rpartition(":")[0]
