"""What a node may call outside its mesh: AWS, hosts that a policy names, or everything.

The one rule: where only some hosts may be called, the proxy looks up the address of the host that was named and
connects there. The application says a name (SNI, Host), never an address, so no name leads to another host's address.
Sources: https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/sni_dynamic_forward_proxy_filter
and https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/dynamic_forward_proxy_filter
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from meshwright import routing
from meshwright.model.identity import Key, Kind
from meshwright.snapshot import clusters, listeners, names, older, routes
from meshwright.snapshot.resources import Loopback
from meshwright.snapshot.values import extension

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshwright.snapshot.assembly import Assembly
    from meshwright.snapshot.extensions import Additions
    from meshwright.snapshot.values import Wire

_TLS_FILTER = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"
_HTTP_FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What one node may call beside its backends."""

    origin: Key
    """The object that says so."""
    open: bool
    """Whether the application may go wherever it wants to."""
    anything: str
    """The cluster that leads there; "" where it may not, and on loopback addresses."""
    named: str
    """The cluster that leads to hosts by their names; "" where none is named."""
    tls: Mapping[int, tuple[str, ...]]
    """Server names, exact or `*.` and a domain, by port."""
    http: Mapping[int, tuple[str, ...]]
    """Hosts, exact or `*.` and a domain, by port."""
    preference: str | None
    """The IP preference by which hosts are looked up."""

    @property
    def origins(self) -> tuple[Key, ...]:
        """The policy, where it is one of the node's own."""
        return (self.origin,) if self.origin.kind is Kind.EGRESS_POLICY else ()

    @property
    def ports(self) -> frozenset[int]:
        """Every port on which a host is named."""
        return frozenset((*self.tls, *self.http))

    def tls_chains(self, port: int, logs: Sequence[Wire], taken: Iterable[str]) -> list[Wire]:
        """The chain for encrypted connections to the hosts named on `port`, which are passed through as they are.

        Without the names that backends have `taken`.
        """
        used = set(taken)
        wanted = [one for one in self.tls.get(port, ()) if one not in used]
        if not wanted:
            return []
        lookup = extension(
            "envoy.filters.network.sni_dynamic_forward_proxy",
            _TLS_FILTER,
            port_value=port,
            dns_cache_config=clusters.lookups(self.preference),
        )
        passing = listeners.tcp_filter("egress", [(self.named, 1)], 0, logs)
        return [listeners.for_names((lookup, passing), wanted)]

    def http_hosts(self, port: int, taken: Iterable[str], added: Additions) -> list[Wire]:
        """The virtual host for the hosts named on `port`, without the domains that backends have `taken`.

        Envoy refuses two virtual hosts whose domains differ in case alone.
        """
        if port not in self.http:
            return []
        used = {one.lower() for one in taken}
        domains = [one for host in self.http[port] for one in routing.outside_domains(host, port) if one not in used]
        name = f"egress_policy/{self.origin.name}"
        return [routes.to_outside(name, domains, self.named, added)] if domains else []

    def http_filters(self, port: int) -> list[Wire]:
        """The filter that looks hosts up for requests to `port`; it leaves those to backends alone."""
        if port not in self.http:
            return []
        lookup = clusters.lookups(self.preference)
        return [extension("envoy.filters.http.dynamic_forward_proxy", _HTTP_FILTER, dns_cache_config=lookup)]


def add_outside(assembly: Assembly, preference: str | None) -> Outside:
    """Add the clusters that lead outside the mesh, and say which calls they are for."""
    found = routing.egress(assembly.graph, assembly.proxy)
    anything = ""
    if found.anything and not isinstance(assembly.placement, Loopback):
        unmodelled = clusters.original_destination(names.allow_all(assembly.proxy), http=True)
        anything = assembly.add(unmodelled, (found.origin, assembly.mesh), leads_to=assembly.mesh)
    tls, http = (routing.named_hosts(found, protocol) for protocol in ("tls", "http"))
    named = ""
    if (tls or http) and not older.takes_named_hosts(assembly, found.origin):
        tls, http = {}, {}
    if tls or http:
        hosts = clusters.by_name(names.named_hosts(assembly.proxy), preference)
        named = assembly.add(hosts, (found.origin,), leads_to=assembly.mesh)
    return Outside(
        origin=found.origin,
        open=found.anything,
        anything=anything,
        named=named,
        tls=tls,
        http=http,
        preference=preference,
    )


def add_anywhere(assembly: Assembly, beyond: Outside, port: int) -> str:
    """The cluster for requests to `port` with a Host that nobody models; "" where they are not let out."""
    if not beyond.open or not isinstance(assembly.placement, Loopback) or not assembly.placement.outside:
        return beyond.anything
    name = f"{names.allow_all(assembly.proxy)}_{port}"
    elsewhere = clusters.elsewhere(name, assembly.placement.outside, port)
    return assembly.add(elsewhere, (beyond.origin, assembly.mesh), leads_to=assembly.mesh)


def aws_chain(assembly: Assembly) -> Wire:
    """The chain for AWS's own endpoints on port 443, which no egress filter closes.

    They are reached at the address that the application looked up: some are interface endpoints, known to it alone.
    """
    aws = clusters.original_destination(names.amazonaws(assembly.proxy))
    amazonaws = assembly.add(aws, (assembly.mesh,), leads_to=assembly.mesh)
    return listeners.for_names((listeners.tcp_filter("egress", [(amazonaws, 1)], 0, ()),), (routing.AWS_HOSTS,))
