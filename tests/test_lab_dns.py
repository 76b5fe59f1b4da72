"""The lab's DNS server, asked by a real resolver over real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from meshwright.lab.dns import NameServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAME = "payment-v1.shop.internal."


@pytest.fixture
async def server() -> AsyncIterator[tuple[NameServer, str, int]]:
    """A server that knows one name with two instances, and its address."""
    server = NameServer()
    where = await server.start("127.0.0.1")
    server.publish({"Payment-v1.shop.internal": ["127.9.0.2", "127.9.0.6"], "many.shop.internal": many()})
    yield server, where.host, where.port
    await server.stop()


def many() -> list[str]:
    """Too many addresses for a UDP answer."""
    return [f"127.9.{high}.{low}" for high in range(2) for low in range(1, 101)]


async def ask(where: tuple[NameServer, str, int], name: str, kind: str = "A") -> dns.message.Message:
    """The answer over UDP."""
    query = dns.message.make_query(name, kind, use_edns=False)
    return await dns.asyncquery.udp(query, where[1], port=where[2], timeout=5)


def addresses(message: dns.message.Message) -> list[str]:
    """The addresses in an answer, in its order."""
    return [item.to_text() for one in message.answer for item in one]


async def test_every_instance_is_in_each_answer_and_another_comes_first(server: tuple[NameServer, str, int]) -> None:
    """ENDPOINTS sees all instances; LOADBALANCER, which takes the first, is spread over them."""
    first, second = addresses(await ask(server, NAME)), addresses(await ask(server, NAME.upper()))
    assert sorted(first) == sorted(second) == ["127.9.0.2", "127.9.0.6"]
    assert first[0] != second[0]


async def test_a_name_that_is_not_in_the_mesh_does_not_exist(server: tuple[NameServer, str, int]) -> None:
    """NXDOMAIN, and nothing is asked of other servers."""
    answer = await ask(server, "example.com.")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert not answer.answer


async def test_a_known_name_has_no_ipv6_address(server: tuple[NameServer, str, int]) -> None:
    """An empty answer and no NXDOMAIN, which would make a resolver doubt the IPv4 address too."""
    answer = await ask(server, NAME, "AAAA")
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer


async def test_an_answer_too_long_for_udp_comes_over_tcp(server: tuple[NameServer, str, int]) -> None:
    """The UDP answer is marked as cut, the TCP one is whole."""
    query = dns.message.make_query("many.shop.internal.", "A", use_edns=False)
    cut = await dns.asyncquery.udp(query, server[1], port=server[2], timeout=5)
    whole = await dns.asyncquery.tcp(query, server[1], port=server[2], timeout=5)
    assert cut.flags & dns.flags.TC
    assert sorted(addresses(whole)) == sorted(many())


async def test_noise_is_not_answered_and_does_no_harm(server: tuple[NameServer, str, int]) -> None:
    """Bytes that are no query, and a reply sent to us, get nothing back."""
    reply = dns.message.make_response(dns.message.make_query(NAME, "A")).to_wire()
    assert server[0].answer(b"\x00noise") is None
    assert server[0].answer(reply) is None
    reader, writer = await asyncio.open_connection(server[1], server[2])
    writer.write(b"\x00\x03abc")
    assert await reader.read() == b""
    writer.close()
    assert addresses(await ask(server, NAME))


async def test_published_records_replace_the_former_ones(server: tuple[NameServer, str, int]) -> None:
    """An instance that left is in no later answer."""
    server[0].publish({NAME: ["127.9.0.6"]})
    assert addresses(await ask(server, NAME)) == ["127.9.0.6"]
    assert (await ask(server, "many.shop.internal.")).rcode() == dns.rcode.NXDOMAIN
