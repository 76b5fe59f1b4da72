"""Probes of a release: calls on the routes that it changed, by a proxy or a gateway, as an application makes them.

The one rule: a route is answered when applications behind it answer, without an error, so often in turn that each of
its targets was among them. What a proxy says in their place is no answer.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.release import Check, Sight
from meshwright.release.inspection import check
from meshwright.trials.deriving.entries import Gap
from meshwright.trials.deriving.probes import Probe, probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from meshwright.cli.target import Target
    from meshwright.graph import Graph
    from meshwright.remote import Client
    from meshwright.simulate import Call, Verdict

_DOUBT = 0.001
"""How likely it may be that a route passes although one of its targets fails every call."""
_HALF = 0.5
"""The part of all calls that fail which is found as surely, where each target has at least as many."""
_MOST = 2_000
"""Calls in turn at most."""
_TIMEOUT = 10.0
"""Seconds that one call may take."""
_PAUSE = 0.5
"""Seconds until a call that failed is made again."""
_ANSWERED = "x-envoy-upstream-service-time"
"""What Envoy adds to an answer that is not its own.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
"""
_SEED = 20_240_613
_FAILED_GRPC = frozenset({2, 4, 8, 13, 14, 15})
"""gRPC statuses that say that the server failed; the others are an application's answer to what it was asked."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How calls of one virtual node, or to one virtual gateway, are made from this machine."""

    caller: Key
    host: str = ""
    """Where its proxy takes them; "" for the name that is called, as an application behind a proxy calls."""
    port: int = 0
    """0 for the port that is called."""
    authority: str = ""
    """Of a gateway: what its callers name, where no route asks for another name."""
    scheme: str = "http"
    ca_bundle: str = ""
    """The file of certificates to trust; "" for the machine's."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one call."""

    good: bool
    told: str


def ways(graph: Graph, given: Iterable[str], gateways: Iterable[str], ca_bundle: str = "") -> tuple[Way, ...]:
    """What `--probe-from NODE[=ADDRESS]` and `--gateway [NAME=]URL` mean in a mesh.

    Raises:
        UsageError: there is no such node or gateway, or no telling which is meant.
    """
    found = []
    for one in given:
        name, _, address = one.partition("=")
        found.append(Way(caller=_named(graph, Kind.VIRTUAL_NODE, name, "--probe-from"), host=address))
    for one in gateways:
        name, _, url = one.partition("=")
        if "://" in name or not url:
            name, url = "", one
        place = urlsplit(url)
        if place.scheme not in {"http", "https"} or not place.hostname:
            raise UsageError(f"--gateway {one!r} is not [NAME=]http://HOST[:PORT] or https://HOST[:PORT].")
        found.append(
            Way(
                caller=_named(graph, Kind.VIRTUAL_GATEWAY, name, "--gateway"),
                host=place.hostname,
                port=place.port or {"http": 80, "https": 443}[place.scheme],
                authority=place.netloc.rpartition("@")[2],
                scheme=place.scheme,
                ca_bundle=ca_bundle,
            )
        )
    return tuple(found)


def probed(
    target: Target,
    client: Client,
    one: Mapping[str, Any],
    graph: Graph,
    given: tuple[Way, ...],
    seconds: float,
    *,
    unsafe: bool,
) -> Check:
    """What came of a call on each route that a release changed, which are made again until they succeed in time."""
    import random

    import rstr

    known = client.release(one["mesh"], one["stack"], one["number"])
    changed = frozenset(_key(change["object"]) for change in known["changes"])
    began_at, deadline = _now(), time.monotonic() + seconds
    samples = rstr.Rstr(random.Random(_SEED))  # noqa: S311 - nothing here is secret
    by_caller = {way.caller: way for way in given}
    sights = []
    for probe in probes(graph, changed, one["mesh"], tuple(by_caller), samples):
        sight = _sight(probe, by_caller, deadline, unsafe=unsafe)
        target.say(f"Probed {sight.subject}: {sight.outcome}: {sight.told}")
        sights.append(sight)
    told = "an application answers on each route that it changed" if sights else "it changed no route to probe"
    found = check("routes", sights, told, by="client", at=_now())
    return msgspec.structs.replace(found, began_at=began_at)


def _sight(probe: Probe, by_caller: Mapping[Key, Way], deadline: float, *, unsafe: bool) -> Sight:
    """What came of one probe."""
    arrival = probe.found
    if isinstance(arrival, Gap):
        return _told(probe, "inconclusive", f"no call from where you said reaches it: {arrival.reason}")
    verdict = arrival.verdict
    if probe.harmful and not unsafe:
        return _told(probe, "inconclusive", f"{probe.harmful}: --unsafe-methods makes the call")
    if verdict.outcome != "routed" or verdict.refused:
        return _told(probe, "failed", f"by its definition no call gets through: {verdict.ending.reason}")
    if any(effect.status is not None for hop in verdict.hops for effect in hop.effects):
        return _told(probe, "inconclusive", "an extension answers a part of its calls")
    return _tried(probe, verdict, by_caller[arrival.caller], deadline)


def _tried(probe: Probe, verdict: Verdict, way: Way, deadline: float) -> Sight:
    """Make the call until so many in turn succeed that each target was among those who answered, or time is over."""
    call, good, made, failed, told = _through(way, verdict), 0, 0, 0, ""
    where = f"{call.verb} {call.path} of {call.authority}"
    with _calling(call, way) as once:
        while (needed := _enough(verdict, failed)) <= _MOST:
            answer = once()
            made += 1
            good = good + 1 if answer.good else 0
            if good == needed:
                return _told(probe, "passed", f"{where} {answer.told}, {needed} times in turn")
            if not answer.good:
                failed, told = failed + 1, answer.told
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if not answer.good:
                time.sleep(min(_PAUSE, left))
    if failed:
        return _told(
            probe, "failed", f"{where} {told}" if failed == made else f"{where}: {failed} of {made} calls {told}"
        )
    why = f"{made} of {needed} calls could be made in time" if made else f"{_MOST} calls are made at most"
    return _told(probe, "inconclusive", f"a target with few of the calls of {where} may have had none: {why}")


def _enough(verdict: Verdict, failed: int) -> int:
    """So many calls succeed in turn by chance only rarely where a target fails all calls, or all fail half of them.

    That is to hold over all series of calls: each failure begins another, which takes half as much luck.
    """
    least = min((one.fraction for one in verdict.targets if one.fraction), default=1)
    return math.ceil(math.log(_DOUBT / 2 ** (failed + 1)) / math.log(1 - min(least, _HALF)))


def _through(way: Way, verdict: Verdict) -> Call:
    """The call as it is made; a gateway is called by its own name unless a route asks for another."""
    call = verdict.call
    return call.to(way.authority) if way.authority and call.host == f"{way.caller.name}.test" else call


@contextlib.contextmanager
def _calling(call: Call, way: Way) -> Iterator[Callable[[], Answer]]:
    """What makes the call once, each time on a connection of its own over HTTP/1.1."""
    host, port = way.host or call.host, way.port or call.port
    with _grpc(call, host, port, way) if call.protocol == "grpc" else _http(call, host, port, way) as once:
        yield once


@contextlib.contextmanager
def _http(call: Call, host: str, port: int, way: Way) -> Iterator[Callable[[], Answer]]:
    """Calls over HTTP."""
    import importlib.util
    import ssl

    import httpx

    two = call.protocol == "http2"
    if two and importlib.util.find_spec("h2") is None:
        yield lambda: Answer(good=False, told="cannot be made: HTTP/2 needs h2 (pip install 'meshwright[lab]')")
        return
    scheme = "https" if call.encrypted else way.scheme
    place = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{call.path}"
    headers = [("host", call.authority), *((name, value) for name, value in call.headers if name.lower() != "host")]
    trusted = ssl.create_default_context(cafile=way.ca_bundle or None)
    limits = httpx.Limits(max_keepalive_connections=None if two else 0)
    with httpx.Client(
        http1=not two, http2=two, timeout=_TIMEOUT, trust_env=False, verify=trusted, limits=limits
    ) as client:

        def once() -> Answer:
            try:
                found = client.request(call.method, place, headers=headers)
            except httpx.HTTPError as error:
                return Answer(good=False, told=f"was not answered: {type(error).__name__} {error}".strip())
            if _ANSWERED not in found.headers:
                words = " ".join(found.text.split())[:200]
                return Answer(
                    good=False, told=f"was answered {found.status_code} by a proxy and by no application: {words}"
                )
            return Answer(good=found.status_code < 500, told=f"was answered {found.status_code}")

        yield once


@contextlib.contextmanager
def _grpc(call: Call, host: str, port: int, way: Way) -> Iterator[Callable[[], Answer]]:
    """Calls over gRPC, with an empty message."""
    import grpc

    options = [("grpc.default_authority", call.authority), ("grpc.enable_retries", 0)]
    place = f"{f'[{host}]' if ':' in host else host}:{port}"
    secured = call.encrypted or way.scheme == "https"
    channel = (
        grpc.secure_channel(place, grpc.ssl_channel_credentials(_roots(way)), options=options)
        if secured
        else grpc.insecure_channel(place, options=options)
    )
    with channel:
        method = channel.unary_unary(call.path, request_serializer=None, response_deserializer=None)
        metadata = [(name.lower(), value) for name, value in call.headers if name.lower() != "host"]

        def once() -> Answer:
            _, calling = _called(method, metadata)
            seen = {str(name) for name, _ in (*calling.initial_metadata(), *calling.trailing_metadata())}
            status = calling.code()
            if _ANSWERED not in seen:
                return Answer(good=False, told=f"was answered {status.name} by no application: {calling.details()}")
            return Answer(good=status.value[0] not in _FAILED_GRPC, told=f"was answered {status.name}")

        yield once


def _roots(way: Way) -> bytes | None:
    from pathlib import Path

    return Path(way.ca_bundle).read_bytes() if way.ca_bundle else None


def _called(method: Any, metadata: list[tuple[str, str]]) -> tuple[bytes, Any]:
    import grpc

    try:
        body, calling = method.with_call(b"", metadata=metadata, timeout=_TIMEOUT)
    except grpc.RpcError as error:
        return b"", error
    return body, calling


def _named(graph: Graph, kind: Kind, name: str, option: str) -> Key:
    """The node or gateway of that name; the only one where none is named."""
    known = [one.key for one in graph.state.of(kind)]
    found = [key for key in known if name in {"", key.name, key.path}]
    if len(found) == 1:
        return found[0]
    what = "virtual gateway" if kind is Kind.VIRTUAL_GATEWAY else "virtual node"
    names = ", ".join(key.name for key in known) or "none"
    raise UsageError(
        f"{option} {name!r}: name one {what} of the mesh; there {'is' if len(known) < 2 else 'are'} {names}."
    )


def _told(probe: Probe, outcome: Any, told: str) -> Sight:
    return Sight(subject=probe.subject.path, outcome=outcome, told=told, at=_now())


def _key(path: str) -> Key:
    from meshwright.model.identity import parse_key

    return parse_key(path)


def _now() -> int:
    return time.time_ns() // 1_000_000
