"""The spans that a call must leave behind, and how those that proxies told of it differ.

The one rule: who decides and by which route is `simulate`'s to say, how often something arrived the workloads'. What
neither knows, as how often a proxy tried to connect, is bounded by the route's retries and not guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.routing import telemetry
from meshwright.simulate import Verdict
from meshwright.snapshot import names
from meshwright.trials.trial import Bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from meshwright.graph import Graph
    from meshwright.simulate import Call, Hop
    from meshwright.trials.seen import SpanSeen

OWN = "meshwright."
"""With what the names of our own attributes begin."""
CLIENT, SERVER = "client", "server"
_ROUTES = {Kind.ROUTE: "route", Kind.GATEWAY_ROUTE: "gateway_route"}
_THROUGH = frozenset({"-", "URX"})
"""Envoy's response flags where the proxy that was called has answered."""


_ID = re.compile(r"[0-9A-Fa-f]{8}.{28}")
"""A request id in which proxies keep whether they make spans: others have no place for that."""


def traced(call: Call) -> bool:
    """Whether proxies make spans of a call as of any other, because it says nothing else by a trace or id of its own.

    Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/request_id/uuid/v3/uuid.proto
    """
    said = {name.lower(): value for name, value in call.headers}
    return "traceparent" not in said and _ID.fullmatch(said.get("x-request-id", "0" * 36)) is not None


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """A call on the way of another: the first one, or one that a workload made in turn."""

    verdict: Verdict
    times: Bounds
    """How often it was made, as far as that is known."""
    traced: bool = False
    """Whether proxies made spans of what it is made for: the request id that it carries on says so to others."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one proxy that look alike."""

    proxy: Key
    service: str
    kind: str
    attributes: Mapping[str, str]
    """All of our own, but for those that the mesh's telemetry has of itself."""
    times: Bounds
    by: frozenset[str] = frozenset()
    """The clusters of callers: where one of their spans says that it was answered, there is at least one of these."""
    ignored: frozenset[str] = frozenset()
    """Attributes that the mesh's telemetry says itself."""

    def like(self, span: SpanSeen) -> bool:
        """Whether a span is of the same proxy and kind."""
        return (span.proxy, span.kind) == (self.proxy.name, self.kind)

    def wrong(self, span: SpanSeen) -> str:
        """What a span of the same proxy and kind says otherwise; "" where it says the same."""
        own = {name: value for name, value in span.attributes.items() if name.startswith(OWN)}
        told = own | {"service.name": span.service}
        wanted = {**self.attributes, "service.name": self.service}
        return ", ".join(
            f"{name} {told.get(name) or 'missing'} instead of {wanted.get(name) or 'none'}"
            for name in sorted(wanted.keys() | told.keys())
            if told.get(name) != wanted.get(name) and name not in self.ignored
        )

    def __str__(self) -> str:
        about = [
            f"{name.removeprefix(OWN)} {self.attributes[name]}"
            for name in (f"{OWN}virtual_service", f"{OWN}route", f"{OWN}gateway_route")
            if name in self.attributes
        ]
        told = f" with {', '.join(about)}" if about else "" if self.attributes else " without a route"
        return f"{self.times} of the {self.kind}'s kind{told}"


class Unlike(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one proxy that are not as they should be."""

    proxy: str
    kind: str
    expected: str
    happened: str
    lacking: bool = False
    """Whether they are too few, so that more may come yet."""


class Tracing:
    """What proxies of one mesh tell."""

    def __init__(self, graph: Graph, release: str) -> None:
        """`release` is what they were told that they were deployed with."""
        self._graph = graph
        self._release = release

    def due(self, legs: Iterable[Leg], arrived: Mapping[Key, int], lossy: Iterable[str] = ()) -> tuple[Due, ...]:
        """What is due of `legs`, which `arrived` so often at nodes over HTTP; `lossy` proxies may have lost some.

        Raises:
            KeyError: a hop is of none of the mesh's objects.
        """
        found: list[Due] = []
        most: Counter[Key] = Counter()
        clusters: dict[Key, set[str]] = {}
        own = set[Key]()
        for leg in legs:
            traced = leg.traced
            for hop in leg.verdict.hops:
                if _routed(leg.verdict, hop):
                    kind = SERVER if hop.decided_by == hop.at else CLIENT
                    found.append(self._due(hop.at, kind, leg.times, _about(hop)))
                    traced = True
                elif hop.virtual_host and traced:
                    found.append(self._due(hop.at, CLIENT, leg.times, None))
            # Where connections are redirected, a proxy that calls its own node goes past that one's listener.
            own.update(hop.at for hop in leg.verdict.hops if any(one.node == hop.at for one in hop.targets))
            for node, cluster, times in _reached(leg):
                most[node] += times
                clusters.setdefault(node, set()).update({cluster} if cluster else ())
        for node, times in most.items():
            least = 0 if node in own else arrived.get(node, 0)
            bounds = Bounds(least=least, most=max(times, arrived.get(node, 0)))
            by = frozenset[str]() if node in own else frozenset(clusters[node])
            found.append(self._due(node, SERVER, bounds, {}, by))
        lost = set(lossy)
        return tuple(_uncertain(one) if one.proxy.name in lost else one for one in _together(found))

    def _due(
        self, proxy: Key, kind: str, times: Bounds, about: Mapping[str, str] | None, by: frozenset[str] = frozenset()
    ) -> Due:
        """What is due of a hop that is `about` a route; without one nothing of our own, which routes say."""
        holding = telemetry(self._graph, proxy)
        tracing = holding[1].tracing if holding else None
        whose = "virtual_node" if proxy.kind is Kind.VIRTUAL_NODE else "virtual_gateway"
        known = (
            {} if about is None else {"mesh": proxy.mesh_name, whose: proxy.name, "release": self._release, **about}
        )
        return Due(
            proxy=proxy,
            service=(tracing.service_name if tracing else None) or proxy.name,
            kind=kind,
            attributes={f"{OWN}{name}": value for name, value in known.items() if value},
            times=times,
            by=by,
            ignored=frozenset(one.key for one in (tracing.attributes if tracing else None) or ()),
        )


def _together(dues: Iterable[Due]) -> Iterator[Due]:
    """Dues that look alike as one: several calls that no route takes, whatever services they are for."""
    alike: dict[tuple[Key, str, frozenset[tuple[str, str]]], Due] = {}
    for one in dues:
        looks = (one.proxy, one.kind, frozenset(one.attributes.items()))
        known = alike.get(looks)
        alike[looks] = one if known is None else msgspec.structs.replace(known, times=_sum(known.times, one.times))
    yield from alike.values()


def _sum(one: Bounds, other: Bounds) -> Bounds:
    endless = one.most is None or other.most is None
    return Bounds(least=one.least + other.least, most=None if endless else (one.most or 0) + (other.most or 0))


def _uncertain(one: Due) -> Due:
    return msgspec.structs.replace(one, times=Bounds(most=one.times.most), by=frozenset())


def _routed(verdict: Verdict, hop: Hop) -> bool:
    """Whether a hop is over HTTP and found a route: only routes sample, and later proxies go by what they decided."""
    return bool(hop.virtual_host) and (hop.chosen is not None or verdict.outcome == "outside")


def _about(hop: Hop) -> dict[str, str]:
    found = {"virtual_service": hop.decided_by.name} if hop.decided_by.kind is Kind.VIRTUAL_SERVICE else {}
    if hop.chosen is not None and hop.chosen.kind in _ROUTES:
        found[_ROUTES[hop.chosen.kind]] = hop.chosen.name
    return found


def _reached(leg: Leg) -> Iterable[tuple[Key, str, int]]:
    """Nodes that a leg may reach over HTTP, copies of it included, the cluster that leads there, and how often."""
    made = leg.times.most or 0
    for hop in leg.verdict.hops:
        if not hop.virtual_host:
            continue
        tries = made * (1 + (hop.retry.most if hop.retry else 0))
        ways: dict[Key, set[str]] = {}
        for one in hop.targets:
            if one.weight and one.protocol != "tcp":
                # A proxy that refuses what comes may answer, and leaves no span.
                cluster = "" if one.refused else names.backend(one.node, one.protocol, one.port)
                ways.setdefault(one.node, set()).add(cluster)
        for node, clusters in ways.items():
            for index, cluster in enumerate(sorted(clusters)):
                yield node, cluster, 0 if index else tries
        for effect in hop.effects:
            if effect.copied_to is not None:
                yield effect.copied_to, "", made


def unlike(dues: Sequence[Due], spans: Sequence[SpanSeen], *, closed: bool = True) -> tuple[Unlike, ...]:
    """How `spans`, all of one call, differ from what is due; nothing where they do not.

    Where it is not `closed`, because programs of the user's may have made calls in turn, spans may be more.
    """
    left, found = list(spans), list[Unlike]()
    short: list[tuple[Due, int]] = []
    for due in dues:
        same = [span for span in left if due.like(span) and not due.wrong(span)]
        left = [span for span in left if span not in same]
        wanted = max(due.times.least, int(any(_answered(span, due) for span in spans)))
        if closed and due.times.most is not None and len(same) > due.times.most:
            found.append(_unlike(due, f"{len(same)} spans"))
        elif len(same) < wanted:
            short.append((due, wanted - len(same)))
    for due, count in short:
        near = [span for span in left if due.like(span)][:count]
        left = [span for span in left if span not in near]
        found += [_unlike(due, due.wrong(span)) for span in near]
        if len(near) < count:
            had = sum(due.like(span) for span in spans)
            found.append(_unlike(due, f"{had} spans" if had else "no span", lacking=True))
    if closed:
        found += [_extra(dues, span) for span in left]
    return tuple(found)


def _extra(dues: Sequence[Due], span: SpanSeen) -> Unlike:
    """A span that nothing is due of, or that says something else than what is."""
    for due in dues:
        if due.like(span):
            return _unlike(due, due.wrong(span) or "one more")
    had = f"one of the {span.kind}'s kind"
    return Unlike(proxy=span.proxy, kind=span.kind, expected="none, by simulation", happened=had)


def _answered(span: SpanSeen, due: Due) -> bool:
    """Whether the span of a caller says that a proxy of `due`, of the server's kind, answered it."""
    told = span.attributes
    return (
        span.kind == CLIENT
        and told.get("upstream_cluster") in due.by
        and told.get("response_flags") in _THROUGH
        and told.get("http.status_code") != "0"
    )


def _unlike(due: Due, happened: str, *, lacking: bool = False) -> Unlike:
    return Unlike(proxy=due.proxy.name, kind=due.kind, expected=str(due), happened=happened, lacking=lacking)
