"""What lab workloads and their callers say to each other, the same over every protocol.

A request says where it is for and what it carries; a reply says who answered, what they saw, and whom they asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeAlias

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request, whatever carries it; TCP carries all of it as a line of JSON."""

    authority: str
    """The Host that is asked for: a virtual service's name."""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = {}
    """Names in lower case; gRPC carries them as metadata."""


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
    """The HTTP status; 0 where there was no answer at all. gRPC and TCP failures are 503."""
    fault: str = ""
    """Why there is no proper answer: the proxy's text, the gRPC status, or what happened to the connection."""
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


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """How a workload misbehaves; by default it does not."""

    delay: float = 0.0
    """Seconds before it answers."""
    status: int = 200
    """What it answers instead: an HTTP status; over gRPC any other than 200 is UNAVAILABLE."""
    hang_up: bool = False
    """Whether it closes the connection instead of answering."""


class HangUpError(Exception):
    """The workload wants the connection closed without an answer; servers of every protocol obey."""


Answer: TypeAlias = Callable[[Request, str], Awaitable[Reply]]
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
