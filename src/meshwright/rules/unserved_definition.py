"""A part of the definitions that no Envoy here can be given.

## What it finds

- Listeners with a certificate of AWS Certificate Manager, and client policies that trust an authority of it: neither
  can be fetched here.
- Backends of one node that its proxy cannot tell apart: HTTP services on one port whose names differ in case alone,
  or of which one is the other's name with the port (`api.local` and `api.local:8080`); several TCP services on one
  port, or TCP beside HTTP.
- HTTP services with a `*` in their name, which is no host that a client can ask for.
- Backends that lead to one node by different client policies: a proxy connects to a node in one way.

Backends are judged as far as these files tell their ports. `validate --envoy` finds more: virtual services that a
virtual gateway cannot tell apart, and HTTP that an egress policy lets through on the port of a TCP backend. Callers
of a listener that is not opened are told by `meshwright status` alone; the listener itself is found here.

## Why it matters

The definition is accepted, released and acked, and requests fail or reach another service: a listener with mode
`STRICT` is not opened, calls to `api.local` arrive at what `API.local` leads to, and only the first of two TCP
services gets connections that name nobody. `meshwright status` says so too (`unserved`), but only of proxies that are
connected.

## Example

```yaml
- virtualNodeName: cart
  spec:
    listeners:
      - portMapping: {port: 8080, protocol: http}
        tls: {mode: STRICT, certificate: {acm: {certificateArn: "arn:aws:acm:us-east-1:111122223333:certificate/1"}}}
```

## Use instead

A certificate in a file or by SDS; names that differ by more than case; a port of its own for each TCP service.

```yaml
        tls: {mode: STRICT, certificate: {file: {certificateChain: /tls/cart.pem, privateKey: /tls/cart.key}}}
```
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.edges import Relation
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.routing import (
    client_tls,
    contest,
    domains,
    encryption,
    has_policies,
    heard,
    policy_path,
    rules,
    server_tls,
    service_ports,
    tunnels,
    unservable,
)
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.constraints import World
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Listener
    from meshwright.model.state import Resource
    from meshwright.model.tls import ListenerTls
    from meshwright.routing import ServicePort

_POLICY = "Give these backends the same client policy, or let them lead to nodes of their own."
_AUTHORITY = "Callers that cannot check a certificate do not connect. Trust an authority in a file or by SDS."
_HOST = "A proxy tells HTTP services on one port apart by their names, as clients say them: rename this one."
_TUNNEL = "A proxy tells TCP services on one port apart only by the name in a TLS greeting. Give each its own port."


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a listener, a policy or a backend."""
    del world
    for kind in (Kind.VIRTUAL_GATEWAY, Kind.VIRTUAL_NODE):
        for proxy in graph.state.of(kind):
            yield from _listeners(proxy)
            if has_policies(graph, proxy.key):
                yield from _policies(graph, proxy.key)
            if kind is Kind.VIRTUAL_NODE:
                yield from _backends(graph, proxy.key)


def _listeners(proxy: Resource) -> Iterator[Diagnostic]:
    for index, port, tls in _encrypted(proxy):
        if reason := unservable(tls):
            way = "opens no listener" if tls.mode == "STRICT" else "speaks only plaintext"
            yield _finding(
                proxy.key,
                f"spec.listeners[{index}].tls.certificate.acm",
                f"{way} on port {port}: {reason}",
                "Proxies whose client policy does not say otherwise make no connection to it.",
            )


def _encrypted(proxy: Resource) -> list[tuple[int, int, ListenerTls]]:
    """The listeners with TLS of a node or gateway: their places and ports."""
    spec = proxy.spec
    if isinstance(spec, VirtualNodeSpec):
        return [(at, one.port_mapping.port, one.tls) for at, one in enumerate(spec.listeners or ()) if one.tls]
    if isinstance(spec, VirtualGatewaySpec):
        return [(at, one.port_mapping.port, one.tls) for at, one in enumerate(spec.listeners) if one.tls]
    return []


def _policies(graph: Graph, caller: Key) -> Iterator[Diagnostic]:
    """What keeps the policies of `caller` from holding as they are written."""
    trusting = _trusts_aws(graph, caller)
    for (node, listener), services in _ways(graph, caller).items():
        if len(services) > 1 and encryption(graph, caller, services, node, listener).contested:
            yield _finding(caller, "spec.backends", f"cannot hold policies apart: {contest(services, node)}", _POLICY)
        for service in services if trusting else ():
            found = client_tls(graph, caller, service, node, listener)
            if found is not None and found.refused and found != server_tls(listener):
                path = f"{policy_path(graph, caller, service)}.validation.trust.acm"
                reason = f"makes no connection to {node.name!r} as {service.name!r}: {found.refused}"
                yield _finding(caller, path, reason, _AUTHORITY)


def _trusts_aws(graph: Graph, caller: Key) -> bool:
    """Whether a policy of `caller` trusts an authority of AWS Certificate Manager."""
    spec = graph.state[caller].spec
    if not isinstance(spec, VirtualGatewaySpec | VirtualNodeSpec):
        return False
    policies = [spec.backend_defaults.client_policy] if spec.backend_defaults else []
    named = [one.virtual_service for one in spec.backends or ()] if isinstance(spec, VirtualNodeSpec) else []
    policies += [one.client_policy for one in named if one]
    return any(one and one.tls and one.tls.validation.trust.acm for one in policies)


def _ways(graph: Graph, caller: Key) -> dict[tuple[Key, Listener], list[Key]]:
    """The listeners that `caller` leads to, each with the services by which it does."""
    found: defaultdict[tuple[Key, Listener], list[Key]] = defaultdict(list)
    for service in graph.entry_services(caller):
        for port in graph.recall_about(service, service_ports, service):
            for target in (one for rule in graph.recall_about(service, rules, port) for one in rule.targets):
                services = found[target.node, target.listener]
                if service not in services:
                    services.append(service)
    return found


def _backends(graph: Graph, caller: Key) -> Iterator[Diagnostic]:
    """The backends of a node that its proxy cannot tell from others, on each port."""
    paths = {edge.target: edge.path for edge in reversed(graph.outgoing(caller, Relation.BACKEND))}
    by_port: defaultdict[int, list[ServicePort]] = defaultdict(list)
    for service in graph.entry_services(caller):
        for port in graph.recall_about(service, service_ports, service):
            by_port[port.port].append(port)
    for several in by_port.values():
        for port, reason, cure in _hindered(several):
            what = f"cannot be given its backend {port.service.name!r} as it is defined: {reason}"
            yield _finding(caller, paths[port.service], what, cure)


def _hindered(several: Sequence[ServicePort]) -> Iterator[tuple[ServicePort, str, str]]:
    """Those of the backends on one port that are not served as they are defined, why, and what to do."""
    http = [one for one in several if one.protocol != "tcp"]
    tcp = [one for one in several if one.protocol == "tcp"]
    for port, found in zip(http, heard((one.service.name, domains(one)) for one in http), strict=True):
        if found.hindrance:
            yield port, found.hindrance, _HOST
    for tunnel in tunnels(http, tcp):
        if tunnel.hindrance:
            yield tunnel.port, tunnel.hindrance, _TUNNEL


def _finding(proxy: Key, path: str, what: str, cure: str) -> Diagnostic:
    return Diagnostic(
        rule=RULE.code,
        severity=RULE.severity,
        summary=f"The proxy of {proxy.kind.type_name} {proxy.name} {what}",
        detail=cure,
        subject=proxy.path,
        path=path,
    )


RULE = Rule(code="MW212", name="unserved-definition", severity=Severity.WARNING, page=__doc__.strip(), search=search)
