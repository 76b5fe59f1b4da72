"""What the control plane itself sees of a release: who took it, and whether those whom it sends calls to are well.

The one rule: it says what it knows. Of instances that only DNS tells of it knows those whose proxies are connected.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshwright.api.observed_routes import observed_routes
from meshwright.model.identity import Key, Kind
from meshwright.release.inspection import Check, Sight, check
from meshwright.routing import found_by_dns, rules, service_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.api.services import Services
    from meshwright.control import Propagation, ProxyStatus
    from meshwright.graph import Graph
    from meshwright.release import Release


def inspected(services: Services, one: Release, found: Propagation, expected: Mapping[str, int]) -> tuple[Check, ...]:
    """Every check of the control plane's own of release `one`, which is what runs and has propagated so far.

    `expected` says of how many instances of a node there must be, by its name, where that is not one.
    """
    now = services.now()
    nodes = [item.key for item in one.content if item.key.kind is Kind.VIRTUAL_NODE]
    sights = tuple(_endpoints(services, nodes, expected, now))
    return (
        _proxies(services, one, found, now),
        check("endpoints", sights, _all_well(sights), by="control-plane", at=now),
        observed_routes(services, one),
    )


def _proxies(services: Services, one: Release, found: Propagation, now: int) -> Check:
    """Whether every connected proxy whose snapshot it changes acked it."""
    if found.state == "no-proxies":
        nobody = Sight(
            subject=Key.of_mesh(one.mesh).path, outcome="inconclusive", told="no proxy is connected", at=now
        )
        return check("proxies", (nobody,), "", by="control-plane", at=now)
    acked = {account.id: account.settled_at for account in services.control.accounts(one.revision, one.mesh)}
    sights = [
        *(Sight(subject=name, outcome="passed", told="acked it", at=acked.get(name) or now) for name in found.acked),
        *(Sight(subject=name, outcome="pending", told="has not acked it", at=now) for name in found.pending),
        *(Sight(subject=proxy.id, outcome="failed", told=_refusal(proxy), at=now) for proxy in found.rejected),
    ]
    if found.state == "pending" and not found.pending:
        mesh = Key.of_mesh(one.mesh).path
        sights.append(Sight(subject=mesh, outcome="pending", told="it is not built for all proxies yet", at=now))
    number, gone = len(found.acked), len(set(found.away) - set(found.pending))
    told = f"{number} {'proxy has' if number == 1 else 'proxies have'} acked it"
    if not sights:
        told = "it changes nothing for any of the connected proxies"
    told += f"; {gone} that left lately {'was' if gone == 1 else 'were'} not seen since" if gone else ""
    return check("proxies", sights, told, by="control-plane", at=now)


def _refusal(proxy: ProxyStatus) -> str:
    """What it refused, in Envoy's words."""
    words = "; ".join(one.message.strip() for one in proxy.rejections)
    return f"rejected it: {words}" if words else "rejected it"


def _endpoints(services: Services, nodes: Iterable[Key], expected: Mapping[str, int], now: int) -> Iterator[Sight]:
    """Whether the instances of `nodes` that calls are sent to are there, and all of them well."""
    graph, found = services.control.graph, services.found
    mine = frozenset(nodes)
    called = frozenset(_called(graph, mine))
    faults = {one.node: one for one in found.faults()}
    proxies = Counter(one.node for one in services.control.statuses())
    rows: dict[Key, list[Sight]] = {}
    for row in found.rows():
        if row.node in mine:
            port = f":{row.endpoint.port}" if row.endpoint.port else ""
            where = f"{row.node.path} {row.endpoint.address}{port}"
            well = row.state == "healthy"
            told = f"{row.state}, by {row.source}"
            sight = Sight(subject=where, outcome="passed" if well else "pending", told=told, at=now)
            rows.setdefault(row.node, []).append(sight)
    for node in sorted(mine):
        fault = faults.get(node)
        if fault is not None:
            told = f"cannot be looked up: {fault.message}"
            yield Sight(subject=node.path, outcome="pending", told=told, at=now)
        seen = rows.get(node, [])
        yield from seen
        wanted = expected.get(node.name, 1 if node in called else 0)
        healthy = sum(one.outcome == "passed" for one in seen)
        if found_by_dns(graph, node):
            yield from _by_dns(node, proxies[node], wanted, now, told=node.name in expected)
        elif healthy < wanted:
            verb = "is" if healthy == 1 else "are"
            told = f"{healthy} of {wanted} expected instances {verb} registered and healthy"
            yield Sight(subject=node.path, outcome="pending", told=told, at=now)


def absent(services: Services, nodes: Iterable[Key]) -> dict[Key, str]:
    """Those of `nodes` that have no instance which calls could be sent to, as far as that is known, and why so."""
    graph = services.control.graph
    healthy = {row.node for row in services.found.rows() if row.state == "healthy"}
    connected = {one.node for one in services.control.statuses()}
    told: dict[Key, str] = {}
    for node in nodes:
        if found_by_dns(graph, node):
            told |= {} if node in connected else {node: f"{node.name}: no proxy of it is connected"}
        elif node not in healthy:
            told[node] = f"{node.name}: no instance of it is registered and healthy"
    return told


def _by_dns(node: Key, connected: int, wanted: int, now: int, *, told: bool) -> Iterator[Sight]:
    """What is known of a node that DNS tells of: its proxies. How many there must be was `told`, or is a guess."""
    if connected >= wanted:
        if connected:
            words = f"{connected} of its proxies {'is' if connected == 1 else 'are'} connected"
            yield Sight(subject=node.path, outcome="passed", told=words, at=now)
    elif told or connected:
        words = f"{connected} of {wanted} expected instances have a proxy that is connected"
        yield Sight(subject=node.path, outcome="pending", told=words, at=now)
    else:
        words = "only DNS tells of its instances, and no proxy of it is connected"
        yield Sight(subject=node.path, outcome="inconclusive", told=words, at=now)


def _called(graph: Graph, nodes: frozenset[Key]) -> Iterator[Key]:
    """Those of `nodes` that some rule sends calls to."""
    for service in graph.state.of(Kind.VIRTUAL_SERVICE):
        for port in service_ports(graph, service.key):
            for rule in rules(graph, port):
                yield from (target.node for target in rule.targets if target.weight and target.node in nodes)


def _all_well(sights: tuple[Sight, ...]) -> str:
    if not sights:
        return "it sends calls to no instance of its own"
    return f"all {len(sights)} that are known are well" if len(sights) > 1 else f"{sights[0].subject} is well"


def unknown(one: Release, expected: Mapping[str, int]) -> list[str]:
    """The names in `expected` that are no virtual node of the release."""
    names = {item.key.name for item in one.content if item.key.kind is Kind.VIRTUAL_NODE}
    return sorted(set(expected) - names)
