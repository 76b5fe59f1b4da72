"""Sending a `Call` exactly as it is written, and comparing what comes of it with a `Verdict`.

Odd paths, repeated headers, any Host, over each protocol.

Libraries would tidy up what they send, so the bytes of HTTP/1.1 are written here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import msgspec

from meshwright.lab.exchange import Reply, Request

if TYPE_CHECKING:
    import ssl

    from meshwright.simulate import Call, Verdict

PATIENCE = 10.0
"""Seconds that an answer may take."""

SETTLING = 2.0
"""Seconds that a disagreement must last to count."""
OUTSIDE = "outside"
"""The name of what stands for everybody outside the mesh."""
_FRAME = 5
"""Bytes before each message of gRPC."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a call."""

    status: int = 0
    """Of HTTP; 0 where there was no answer."""
    grpc_status: int | None = None
    """That a proxy's own answer to gRPC says."""
    reply: Reply | None = None
    """Of the workload that served it; None where none did."""


async def send(call: Call, address: str, context: ssl.SSLContext | None = None) -> Heard:
    """Send `call` to its port of `address`, encrypted where it is and a `context` says how."""
    async with asyncio.timeout(PATIENCE):
        try:
            name = call.host if context else None
            reader, writer = await asyncio.open_connection(address, call.port, ssl=context, server_hostname=name)
        except OSError:
            return Heard()
        try:
            return await _SPEAKING[call.protocol](call, reader, writer)
        except (OSError, asyncio.IncompleteReadError, h2.exceptions.ProtocolError):
            return Heard()
        finally:
            writer.close()


async def heard_of(verdict: Verdict, address: str, context: ssl.SSLContext | None = None) -> Heard:
    """What becomes of a verdict's call once the proxies serve what they acked: at once, or a moment later."""
    end = asyncio.get_running_loop().time() + SETTLING
    while True:
        heard = await send(verdict.call, address, context)
        if not difference(verdict, heard) or asyncio.get_running_loop().time() > end:
            return heard
        await asyncio.sleep(0.05)


def difference(verdict: Verdict, heard: Heard) -> str:
    """In what the two disagree; "" when they do not."""
    served = heard.reply.node if heard.reply else ""
    if verdict.outcome == "routed":
        expected = {one.node.name for one in verdict.targets if one.weight}
        if verdict.call.protocol != "tcp" and all(one.protocol == "tcp" for one in verdict.targets):
            return "" if served in {"", *expected} else f"served by one of {sorted(expected)}, if it speaks HTTP"
        if verdict.call.verb == "HEAD":
            return "" if heard.status == 200 else "status 200"
        if served not in expected:
            return f"served by one of {sorted(expected)}"
        sent = verdict.hops[-1].call_after
        if verdict.call.protocol == "tcp" or heard.reply is None:
            return ""
        if (heard.reply.path, heard.reply.service) != (sent.path, sent.authority):
            return f"arriving as {sent.authority} {sent.path}"
        return ""
    if verdict.outcome == "outside":
        return "" if served == OUTSIDE else "served by whom it meant outside"
    if served:
        return "served by nobody"
    if verdict.ending.grpc_status is not None:
        return "" if heard.grpc_status == verdict.ending.grpc_status else f"gRPC status {verdict.ending.grpc_status}"
    status = verdict.status or 0
    return "" if heard.status == status else f"status {status}"


def _pairs(call: Call) -> list[tuple[str, str]]:
    return [(name, value) for name, value in call.headers if name.lower() not in {"host", ":authority"}]


async def _http1(call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Heard:
    fields = "".join(f"{name}: {value}\r\n" for name, value in _pairs(call))
    writer.write(f"{call.verb} {call.path} HTTP/1.1\r\nhost: {call.authority}\r\n{fields}\r\n".encode())
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines[1:])}
    body = b"" if call.verb == "HEAD" else await _body(headers, reader)
    return _heard(int(lines[0].split()[1]), headers, body)


async def _body(headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    found = b""
    while size := int(await reader.readline(), 16):
        found += (await reader.readexactly(size + 2))[:-2]
    return found


async def _http2(call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Heard:
    peer = h2.connection.H2Connection(
        h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
    )
    peer.initiate_connection()
    pseudo = [(":method", call.verb), (":scheme", call.scheme), (":authority", call.authority), (":path", call.path)]
    own = [("content-type", "application/grpc"), ("te", "trailers")] if call.protocol == "grpc" else []
    peer.send_headers(
        1, [*pseudo, *((name.lower(), value) for name, value in (*own, *_pairs(call)))], end_stream=True
    )
    writer.write(peer.data_to_send())
    headers: dict[str, str] = {}
    body = bytearray()
    while chunk := await reader.read(65_536):
        for event in peer.receive_data(chunk):
            match event:
                case h2.events.ResponseReceived():
                    headers = dict(cast("list[tuple[str, str]]", event.headers))
                case h2.events.DataReceived():
                    body += event.data or b""
                    peer.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                case h2.events.StreamEnded():
                    return _heard(int(headers[":status"]), headers, bytes(body))
                case h2.events.StreamReset():
                    return Heard()
        writer.write(peer.data_to_send())
    return Heard()


async def _tcp(call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Heard:
    writer.write(msgspec.json.encode(Request(authority=call.host)) + b"\n")
    line = await reader.readline()
    return Heard(reply=msgspec.json.decode(line, type=Reply)) if line.startswith(b"{") else Heard()


_SPEAKING = {"http": _http1, "http2": _http2, "grpc": _http2, "tcp": _tcp}


def _heard(status: int, headers: dict[str, str], body: bytes) -> Heard:
    told = headers.get("grpc-status")
    if headers.get("content-type", "").startswith("application/grpc"):
        body = body[_FRAME:]
    reply = msgspec.json.decode(body, type=Reply) if body.startswith(b"{") else None
    return Heard(status=status, grpc_status=int(told) if told else None, reply=reply)
