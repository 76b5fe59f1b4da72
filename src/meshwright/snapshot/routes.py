"""Route configurations: virtual hosts of the backends, of the application itself, of a gateway's routes.

The one rule: order, targets, limits and retries come decided from `routing`; here they are only written down.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.routing import MARK, Timeouts, gateway_route_match, keeps_host
from meshwright.snapshot import matching, names
from meshwright.snapshot.assembly import ready
from meshwright.snapshot.extensions.additions import NOTHING, shared
from meshwright.snapshot.messages import field, message, serialized
from meshwright.snapshot.resources import ROUTE, Clue
from meshwright.snapshot.values import Wire, count, duration, extension, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.model.gateway_routes import GatewayRouteSpec
    from meshwright.model.identity import Key
    from meshwright.routing import Retry, Rule
    from meshwright.snapshot.assembly import Body
    from meshwright.snapshot.extensions.additions import Additions

_OTHER_HOSTS = 5
"""How often a retry looks for an instance that was not tried yet."""
_WEIGHTS = "weighted_clusters"
_HOST = "envoy.config.route.v3.VirtualHost"


class Host(msgspec.Struct, frozen=True):
    """A finished `VirtualHost`."""

    name: str
    domains: tuple[str, ...]
    framed: bytes
    """As the field of a `RouteConfiguration` that it is."""


def _framed(host: Wire) -> bytes:
    return field(2, serialized(message(_HOST)(**host)))


def configuration(name: str, hosts: Sequence[Host | Wire]) -> Body:
    """A `RouteConfiguration`; its virtual hosts finished or what they are made of.

    It is joined from their bytes, as protobuf would write them: most are those of other proxies, too.
    """
    framed = [one.framed if isinstance(one, Host) else _framed(one) for one in hosts]
    return ready(ROUTE, name, field(1, name.encode()) + b"".join(framed))


def to_application(node: Key, cluster: str, timeouts: Timeouts, added: Additions) -> Wire:
    """The virtual host of a node's own application: everything goes there, within the listener's limits."""
    return {"name": node.name, "domains": ["*"], "routes": [added.route(_everything(cluster, timeouts))]}


def to_anywhere(cluster: str, added: Additions) -> Wire:
    """The virtual host that lets requests for no backend go where they wanted to."""
    return {"name": "allow_all", "domains": ["*"], "routes": [added.route(_everything(cluster, Timeouts(0, 0)))]}


def to_outside(name: str, domains: Sequence[str], cluster: str, added: Additions) -> Wire:
    """The virtual host of hosts outside the mesh that a policy lets a node call; without limits of time."""
    return virtual_host(name, domains, [added.route(_everything(cluster, Timeouts(0, 0)))])


def service_routes(rules: Iterable[tuple[Rule, Additions]], service: Key, selector: str = "") -> list[Wire]:
    """The routes of a virtual service, each with what is added to it.

    `selector` narrows them to requests marked for that service by a gateway.
    """
    mark = [matching.header_is(MARK, selector)] if selector else []
    found = []
    for rule, several in rules:
        added = several.alone if selector else several
        route: Wire = {"match": _match(rule, mark), "name": rule.origin.name, **_action(rule)}
        found += _asked_first(
            added, rule.match, added.route(route | {"metadata": tags(TargetVirtualService=service.name)})
        )
    return found


def plain_host(name: str, domains: Sequence[str], rules: Iterable[Rule], service: Key) -> Host:
    """The virtual host of one virtual service to which nothing is added."""
    return service_host(name, domains, [(rule, NOTHING) for rule in rules], service)


def service_host(name: str, domains: Sequence[str], rules: Sequence[tuple[Rule, Additions]], service: Key) -> Host:
    """The virtual host of one virtual service, with what is added to its routes."""
    host = virtual_host(name, domains, service_routes(rules, service), shared(added for _, added in rules))
    return Host(name, tuple(domains), _framed(host))


def virtual_host(name: str, domains: Sequence[str], routes: Sequence[Wire], filters: Wire | None = None) -> Wire:
    """The virtual host of one virtual service, with settings of HTTP filters that its routes share."""
    host: Wire = {"name": name, "domains": list(domains), "routes": list(routes)}
    return host | {"typed_per_filter_config": filters} if filters else host


def marked_host(routes: Sequence[Wire]) -> Wire:
    """The virtual host of a gateway that leaves the Host of some requests alone: their mark decides.

    It is the only one then: beside virtual hosts by name, a Host from outside could choose another backend.
    """
    header = [MARK]
    return {
        "name": "default_backend",
        "domains": ["*"],
        "routes": list(routes),
        "request_headers_to_remove": header,
        "response_headers_to_remove": header,
    }


def gateway_routes(
    name: str,
    spec: GatewayRouteSpec,
    cluster: str,
    host: str,
    limits: Timeouts | None,
    added: Additions,
    mark: Wire | None,
) -> list[Wire]:
    """One gateway route: matched at the gateway, rewritten, sent on to the gateway's own egress.

    `host` is the authority that stands for the target there; `limits` those of the target's roomiest rule, None
    where it has none; `mark` is the header that the egress of this gateway selects by, if it does.
    """
    route: Wire = {"name": name, "match": matching.gateway(spec)}
    action: Wire = {"cluster": cluster, **matching.rewrite(spec)}
    if limits is not None:
        action |= _limits(limits)
    if not keeps_host(spec):
        action["host_rewrite_literal"] = host
    if mark is not None:
        route["request_headers_to_add"] = [mark]
    return _asked_first(added, gateway_route_match(spec), added.route({**route, "route": action}))


def lost_gateway_routes(name: str, spec: GatewayRouteSpec, added: Additions) -> list[Wire]:
    """A gateway route to a service that answers no HTTP: 404, as from a service without routes."""
    lost: Wire = {"name": name, "match": matching.gateway(spec), "direct_response": {"status": 404}}
    return _asked_first(added, gateway_route_match(spec), added.route(lost))


def clues(key: Key, match: matching.AnyMatch) -> list[Clue]:
    """The expressions of a match that Envoy compiles."""
    return [Clue(text=text, origin=key, regex=True) for text in matching.regexes(match)]


def _everything(cluster: str, timeouts: Timeouts) -> Wire:
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster, **_limits(timeouts)}}


def _asked_first(added: Additions, match: matching.AnyMatch, route: Wire) -> list[Wire]:
    """`route`, behind another one for the questions that browsers ask about it where its method would miss them."""
    asked = matching.preflight(match, route["match"]) if added.preflight else None
    return [route] if asked is None else [route | {"match": asked}, route]


def _match(rule: Rule, mark: Sequence[Wire]) -> Wire:
    match rule.match:
        case HttpRouteMatch() as http:
            found = matching.http(http)
        case GrpcRouteMatch() as grpc:
            found = matching.grpc(grpc)
        case _:
            found = {"prefix": "/"}
    return {**found, "headers": [*found.get("headers", ()), *mark]} if mark else found


def _action(rule: Rule) -> Wire:
    """Where a rule leads. Envoy refuses weights that are all zero; nothing gets traffic then, so nothing answers."""
    if not sum(target.weight for target in rule.targets):
        return {"direct_response": {"status": 503}}
    clusters = [
        {"name": names.backend(one.node, one.protocol, one.port), "weight": count(one.weight)} for one in rule.targets
    ]
    action: Wire = {_WEIGHTS: {"clusters": clusters}, **_limits(rule.timeouts)}
    if rule.retry is not None:
        action["retry_policy"] = _retry(rule.retry, zoned=rule.zoned)
    return {"route": action}


def _limits(timeouts: Timeouts) -> Wire:
    return {"timeout": duration(timeouts.request), "idle_timeout": duration(timeouts.idle)}


def _retry(policy: Retry, *, zoned: bool) -> Wire:
    predicate = "envoy.retry_host_predicates.previous_hosts"
    written: Wire = {
        "retry_on": ",".join(policy.on),
        "num_retries": count(policy.most),
        "retry_host_predicate": [
            extension(predicate, "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
        ],
        "host_selection_retry_max_attempts": _OTHER_HOSTS,
    }
    if zoned:
        # The zone that is preferred is a priority: until it is known to be down, all retries would stay in it.
        written["retry_priority"] = extension(
            "envoy.retry_priorities.previous_priorities",
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=1,
        )
    if policy.per_try:
        written["per_try_timeout"] = duration(policy.per_try)
    if policy.across_versions:
        written["refresh_cluster_on_retry"] = True
    if policy.statuses:
        written["retriable_status_codes"] = list(policy.statuses)
    return written
