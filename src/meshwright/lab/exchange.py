"""What lab workloads and their callers say to each other, the same over every protocol.

A request says where it is for and what it carries; a reply says who answered, what they saw, and whom they asked.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from meshwright.model.identity import Key
from meshwright.trials.checks import HEALTH

UNAVAILABLE = 14
"""gRPC's status of a server that cannot be had."""
_OK = 200


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, whatever carries it; TCP carries all of it as a line of JSON."""

    authority: str
    """The Host that is asked for: a virtual service's name."""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = {}
    """Names in lower case; gRPC carries them as metadata."""
    body: bytes = b""
    """What HTTP/1.1 carried with it."""

    @property
    def trace(self) -> str:
        """The trace that it is part of, 32 hexadecimal digits; "" for none.

        Source: https://www.w3.org/TR/trace-context/#traceparent-header
        """
        return next(iter(self.headers.get("traceparent", "").split("-")[1:]), "")

    @property
    def checks_health(self) -> bool:
        """Whether it is a health check by an Envoy, and not a caller's request."""
        return self.path == HEALTH or self.headers.get("user-agent", "").startswith("Envoy/HC")


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reply, and inside it the replies that its sender got from its own backends."""

    node: str = ""
    """The virtual node that answered; "" where a proxy answered in its place, or nobody did."""
    instance: str = ""
    """Which instance of the node: `payment-v1-2`."""
    protocol: str = ""
    service: str = ""
    """The virtual service that was called."""
    method: str = ""
    path: str = ""
    headers: Mapping[str, str] = {}
    """The request's headers as they arrived."""
    status: int = 200
    """The HTTP status; 0 where there was no answer at all. A gRPC status but OK is 503, and a TCP connection that
    ends without an answer."""
    fault: str = ""
    """Why there is no proper answer: the proxy's text, the gRPC status, or what happened to the connection."""
    grpc_status: int | None = None
    """The status with which a gRPC call ended for its caller, 0 for OK; None where it was none of gRPC.

    Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
    """
    returned: Mapping[str, str] = {}
    """The answer's own headers as the caller got them; set by whoever called."""
    port: int = 0
    """The port that the caller of a TCP service called from; set by whoever called."""
    calls: tuple[Reply, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether this reply and every reply inside it are proper ones."""
        return all(one.status == 200 for one in self.walk())

    def walk(self) -> Iterator[Reply]:
        """This reply, then those inside it, depth first."""
        yield self
        for one in self.calls:
            yield from one.walk()


class Arrival(msgspec.Struct, kw_only=True):
    """A request that reached a workload, however it was answered."""

    node: Key
    instance: str
    port: int
    at: float
    """Seconds of this machine's clock for durations."""
    request: Request
    protocol: str = ""
    """What brought it; "" where that is not known."""
    given_up_at: float | None = None
    """When whoever sent it broke it off, before the answer was out; by the same clock. None if it was not."""
    open: bool = False
    """Whether the TCP connection that brought it still is; never where nobody knows, or something else did."""


def bodiless(reply: Reply, arrivals: Sequence[Arrival]) -> Reply:
    """`reply` to HEAD, whose body would say who gave it: if all is well, the one did that it arrived at last."""
    if reply.node or reply.status != _OK or not arrivals:
        return reply
    last = arrivals[-1]
    return msgspec.structs.replace(
        reply,
        node=last.node.name,
        instance=last.instance,
        protocol=last.protocol,
        service=last.request.authority,
        method=last.request.method,
        path=last.request.path,
        headers=last.request.headers,
        fault="",
    )


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """How a workload misbehaves; by default it does not."""

    delay: float = 0.0
    """Seconds before it answers."""
    jitter: float = 0.0
    """Seconds by which the delay is longer or shorter at most, by chance."""
    status: int = 200
    """What it answers instead: an HTTP status; over gRPC any other than 200 is `grpc_status`."""
    grpc_status: int = UNAVAILABLE
    hang_up: bool = False
    """Whether it closes the connection instead of answering."""
    reset: bool = False
    """Whether it breaks the connection off by a reset instead."""
    silent: bool = False
    """Whether it never answers, health checks that it concerns included, and leaves the connection open."""
    ill: bool = False
    """Whether it fails its health checks, which the rest of a fault is not about."""
    path: str = ""
    """Of health checks it fails those alone that ask for this path; "" for all."""
    headers: Mapping[str, str] = {}
    """Only requests that carry all of these, names in lower case, are concerned."""

    def concerns(self, request: Request) -> bool:
        """Whether it is about `request`."""
        return all(request.headers.get(name) == value for name, value in self.headers.items())


class ClientTls(msgspec.Struct, frozen=True, kw_only=True):
    """How a caller encrypts: by whom the server's certificate must be issued, and what the caller shows of itself."""

    authorities: bytes
    """Certificates in PEM."""
    name: str
    """What the caller asks for (SNI); over gRPC the server's certificate must carry it."""
    certificate: bytes = b""
    """The caller's own chain and key, in PEM; empty for none."""
    key: bytes = b""

    def context(self, protocol: str) -> ssl.SSLContext:
        """The same for a socket that speaks `protocol`, of ALPN.

        Raises:
            ssl.SSLError: the certificate and its key cannot be used.
        """
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Names are for the proxies to judge: whoever calls from outside may know this one by any.
        found.check_hostname = False
        found.load_verify_locations(cadata=self.authorities.decode())
        if protocol:
            found.set_alpn_protocols([protocol])
        if self.certificate:
            with tempfile.NamedTemporaryFile(prefix="meshwright-") as file:  # which the library insists on
                file.write(self.certificate + self.key)
                file.flush()
                found.load_cert_chain(file.name)
        return found


class HangUpError(Exception):
    """The workload wants the connection closed without an answer; servers of every protocol obey."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset
        """Whether by a reset."""


Answer: TypeAlias = Callable[[Request, str], Coroutine[Any, Any, Reply]]
"""Takes a request and the protocol that brought it.

Raises:
    HangUpError: there shall be no answer.
"""


def plain(text: str) -> str:
    """The beginning of an answer that is not ours, on one line, for a reply's `fault`."""
    return " ".join(text.split())[:200]


def reply_of(status: int, body: bytes) -> Reply:
    """The reply in a body; where a proxy answered in a workload's place, one that says so."""
    try:
        reply = msgspec.json.decode(body, type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = plain(body.decode(errors="replace"))
        return Reply(status=status, fault=text or "an empty answer")
    return msgspec.structs.replace(reply, status=status)
