"""A small DNS server for the discovery names of a lab: UDP and TCP, every instance of a name in each answer.

It answers from its records and from nothing else: what is not in the mesh does not exist.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import TYPE_CHECKING, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from meshwright.lab.sockets import HERE, Outlet, Server, made
from meshwright.proxy.bootstrap import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshwright.lab.sockets import Inside

_TTL = 1
"""Seconds. Proxies ask anew often, so that a change of instances is seen soon."""
_ATTEMPTS = 20
"""Ports that are tried."""
_UDP_LIMIT = 512
"""Bytes of a UDP answer for a client that does not say it takes more (RFC 1035 §4.2.1)."""


class NameServer:
    """The records, and the two sockets that answer for them."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[str, ...]] = {}
        self._turn = itertools.count()
        self._tcp: Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self.asked: dict[str, int] = {}
        """How often each name was asked for, present or not."""

    def publish(self, records: Mapping[str, Iterable[str]]) -> None:
        """Answer with these addresses, IPv4 and IPv6, by name from now on, and with nothing else.

        `*.` and a domain stand for every name in it that is not there itself.
        """
        self._records = {_canonical(name): tuple(addresses) for name, addresses in records.items()}

    def addresses(self, name: str) -> tuple[str, ...]:
        """What is published of `name`; nothing for one that does not exist."""
        canonical = _canonical(name)
        return self._records.get(canonical) or self._records.get(f"*.{canonical.partition('.')[2]}") or ()

    async def start(self, host: str, wanted: int = 0, inside: Inside = HERE) -> Address:
        """Answer `inside` a network, at one port of `host` for UDP and TCP; at a free one when `wanted` is 0.

        Raises:
            OSError: there is none.
        """
        loop = asyncio.get_running_loop()
        for left in reversed(range(1 if wanted else _ATTEMPTS)):
            datagrams = made(host, socket.SOCK_DGRAM, inside)
            try:
                datagrams.bind((host, wanted))
            except OSError:
                datagrams.close()
                raise
            self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=datagrams)
            port: int = self._udp.get_extra_info("sockname")[1]
            self._tcp = Server(self._serve, asyncio.IncompleteReadError)
            try:
                await self._tcp.start(host, port, None, inside)
            except OSError:
                # The kernel chose it for UDP only; somebody else has it for TCP.
                self._udp.close()
                if not left:
                    raise
            else:
                break
        return Address(host, port)

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            await self._tcp.stop()

    def answer(self, wire: bytes, limit: int | None = None) -> bytes | None:
        """The answer to one query, at most `limit` bytes long; None for what is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        if len(query.question) == 1:
            self._fill(reply, query.question[0])
        else:
            reply.set_rcode(dns.rcode.FORMERR)
        # dnspython would deal the addresses out by chance; taking turns is fairer, and the same every time.
        full = reply.to_wire(want_shuffle=False)
        if limit is None or len(full) <= max(limit, query.payload):
            return full
        # Too long for UDP: an empty answer marked as cut tells the client to come again over TCP.
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.AA | dns.flags.TC
        return cut.to_wire()

    def _fill(self, reply: dns.message.Message, question: dns.rrset.RRset) -> None:
        name = _canonical(question.name.to_text())
        self.asked[name] = self.asked.get(name, 0) + 1
        known = self.addresses(name)
        if not known and name not in self._records:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return
        family = {dns.rdatatype.A: False, dns.rdatatype.AAAA: True}.get(question.rdtype)
        addresses = tuple(one for one in known if (":" in one) is family)
        if addresses:
            # Each answer begins with another instance, as a round-robin name server or a load balancer's would.
            first = next(self._turn) % len(addresses)
            turned = addresses[first:] + addresses[:first]
            reply.answer.append(dns.rrset.from_text_list(question.name, _TTL, "IN", question.rdtype.name, turned))

    async def _serve(self, reader: asyncio.StreamReader, outlet: Outlet) -> None:
        """One TCP connection: each message after its length in two bytes (RFC 7766)."""
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            reply = self.answer(await reader.readexactly(length))
            if reply is None:
                return
            await outlet.send(len(reply).to_bytes(2, "big") + reply)


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP socket."""

    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.answer(data, _UDP_LIMIT)
        if reply is not None:
            self._transport.sendto(reply, addr)


def _canonical(name: str) -> str:
    return name.rstrip(".").lower()
