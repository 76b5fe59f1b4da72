"""Which certificates the definitions of a mesh name, and which authority issues each, as far as definitions can tell.

Pure. The one rule: whom a declared call must trust it trusts, and nobody else. Definitions name files and secrets but
never say who issued what; so certificates and bundles of authorities that a declared call joins have one authority in
common, and those that no such call joins have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.model.identity import Key, Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.routing import client_tls, discovery_name, rules, service_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.graph import Graph
    from meshwright.model.listeners import Listener, VirtualGatewayListener
    from meshwright.model.tls import (
        ClientPolicyTls,
        ClientTlsCertificate,
        ListenerTls,
        ListenerTlsCertificate,
        ListenerTlsValidationContextTrust,
        TlsValidationContextTrust,
    )
    from meshwright.routing import ClientTls


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a proxy shows."""

    proxy: Key
    chain: str = ""
    key: str = ""
    """The paths of its files, as the definition writes them; "" where it is a secret."""
    secret: str = ""
    """The name of the secret of SDS; "" where it is in files."""
    names: tuple[str, ...]
    authority: int
    """Who issues it."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """An authority that a proxy trusts."""

    proxy: Key
    path: str = ""
    secret: str = ""
    authority: int


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody outside needs to speak TLS with a listener of a node or gateway."""

    proxy: Key
    port: int
    name: str
    """A name that the listener's certificate carries."""
    authority: int
    """Who issues the listener's certificate."""
    client_names: tuple[str, ...] = ()
    """Names of which a client's certificate must carry one."""
    client_authority: int | None = None
    """Who must have issued a client's certificate; None where none is asked for."""


class Papers(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is to be issued, and by whom."""

    certificates: tuple[Certificate, ...]
    bundles: tuple[Bundle, ...]
    entrances: tuple[Entrance, ...]

    @property
    def proxies(self) -> frozenset[Key]:
        """Whoever shows or trusts something."""
        shown = {one.proxy for one in self.certificates}
        return frozenset(shown.union(one.proxy for one in self.bundles))


def papers(graph: Graph) -> Papers:
    """What the definitions of `graph` name; certificates of AWS are nobody's to issue."""
    found, clients = _Found(), list[Key]()
    for proxy in (*graph.state.of(Kind.VIRTUAL_NODE), *graph.state.of(Kind.VIRTUAL_GATEWAY)):
        spec = proxy.spec
        if not isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec):
            continue
        own = discovery_name(spec.service_discovery) if isinstance(spec, VirtualNodeSpec) else proxy.key.name
        for listener in spec.listeners or ():
            if listener.tls is not None and listener.tls.mode != "DISABLED":
                found.listens(proxy.key, own or proxy.key.name, listener.tls)
        for policy in _policies(spec):
            found.calls(proxy.key, own or proxy.key.name, policy)
        clients.append(proxy.key)
    for client in clients:
        for way, server, tls in _ways(graph, client):
            found.joins(client, way, server, tls)
    return found.papers(graph)


_Mark = tuple[str, ...]


class _Found:
    """What was found so far: what is joined to what, and the names that each certificate carries."""

    def __init__(self) -> None:
        self._joined: dict[_Mark, _Mark] = {}
        self._names: dict[_Mark, dict[str, None]] = {}
        self._certificates: dict[_Mark, tuple[Key, str, str, str]] = {}
        self._bundles: dict[tuple[Key, str, str], _Mark] = {}

    def listens(self, proxy: Key, own: str, tls: ListenerTls) -> None:
        self._shows(proxy, own, tls.certificate)
        if tls.validation is not None:
            self._trusts(proxy, tls.validation.trust)

    def calls(self, proxy: Key, own: str, policy: ClientPolicyTls) -> None:
        if policy.certificate is not None:
            self._shows(proxy, own, policy.certificate)
        self._trusts(proxy, policy.validation.trust)

    def joins(self, client: Key, way: ClientTls, server: Key, tls: ListenerTls) -> None:
        """A declared call: what each side shows, the other one trusts, and asks for by these names."""
        shown, trusted = _mark(server, tls.certificate), _trust_mark(way.trust) if way.trust else ()
        if shown and trusted:
            self._join(shown, trusted)
            self._carries(shown, way.names)
        if tls.validation is not None and way.certificate is not None:
            shown, trusted = _mark(client, way.certificate), _trust_mark(tls.validation.trust)
            names = tls.validation.subject_alternative_names
            if shown and trusted:
                self._join(shown, trusted)
                self._carries(shown, names.match.exact if names else ())

    def papers(self, graph: Graph) -> Papers:
        numbers: dict[_Mark, int] = {}
        for mark in (*self._certificates, *self._bundles.values()):
            numbers.setdefault(self._root(mark), len(numbers))
        certificates = tuple(
            Certificate(
                proxy=proxy,
                chain=chain,
                key=key,
                secret=secret,
                names=tuple(self._names[mark]),
                authority=numbers[self._root(mark)],
            )
            for mark, (proxy, chain, key, secret) in self._certificates.items()
        )
        bundles = tuple(
            Bundle(proxy=proxy, path=path, secret=secret, authority=numbers[self._root(mark)])
            for (proxy, path, secret), mark in self._bundles.items()
        )
        entrances = tuple(
            self._entrance(one.key, listener, numbers)
            for one in (*graph.state.of(Kind.VIRTUAL_NODE), *graph.state.of(Kind.VIRTUAL_GATEWAY))
            if isinstance(one.spec, VirtualNodeSpec | VirtualGatewaySpec)
            for listener in one.spec.listeners or ()
            if listener.tls and listener.tls.mode != "DISABLED" and _mark(one.key, listener.tls.certificate)
        )
        return Papers(certificates=certificates, bundles=bundles, entrances=entrances)

    def _entrance(
        self, proxy: Key, listener: Listener | VirtualGatewayListener, numbers: dict[_Mark, int]
    ) -> Entrance:
        if listener.tls is None:
            raise TypeError(f"{proxy} has no TLS")
        mark, checks = _mark(proxy, listener.tls.certificate), listener.tls.validation
        asked = checks.subject_alternative_names if checks else None
        return Entrance(
            proxy=proxy,
            port=listener.port_mapping.port,
            name=next(iter(self._names[mark])),
            authority=numbers[self._root(mark)],
            client_names=asked.match.exact if asked else (),
            client_authority=numbers[self._root(_trust_mark(checks.trust))] if checks else None,
        )

    def _shows(self, proxy: Key, own: str, certificate: ListenerTlsCertificate | ClientTlsCertificate) -> None:
        mark = _mark(proxy, certificate)
        if not mark:
            return
        file, sds = certificate.file, certificate.sds
        name = sds.secret_name if sds else ""
        paths = (file.certificate_chain, file.private_key) if file else ("", "")
        self._certificates[mark] = (proxy, *paths, name)
        # The name of a secret that is an identity says what the certificate carries, and nothing else does.
        self._names.setdefault(mark, {name if "://" in name else own: None})

    def _carries(self, mark: _Mark, names: tuple[str, ...]) -> None:
        carried = self._names[mark]
        if not any("://" in one for one in carried):
            carried.update(dict.fromkeys(names))

    def _trusts(self, proxy: Key, trust: TlsValidationContextTrust | ListenerTlsValidationContextTrust) -> None:
        mark = _trust_mark(trust)
        if mark:
            path = trust.file.certificate_chain if trust.file else ""
            self._bundles[proxy, path, trust.sds.secret_name if trust.sds else ""] = mark

    def _join(self, one: _Mark, other: _Mark) -> None:
        self._joined[self._root(one)] = self._root(other)

    def _root(self, mark: _Mark) -> _Mark:
        while self._joined.get(mark, mark) != mark:
            mark = self._joined[mark]
        return mark


def _mark(proxy: Key, certificate: ListenerTlsCertificate | ClientTlsCertificate) -> _Mark:
    """Tells certificates apart: files of one path are each proxy's own; () for one of AWS."""
    if certificate.file is not None:
        return ("file", proxy.path, certificate.file.certificate_chain)
    return ("secret", proxy.path, certificate.sds.secret_name) if certificate.sds else ()


def _trust_mark(trust: TlsValidationContextTrust | ListenerTlsValidationContextTrust) -> _Mark:
    """Tells bundles apart: those of one path are one wherever they are; () for one of AWS."""
    if trust.file is not None:
        return ("trust", trust.file.certificate_chain)
    return ("trusted secret", trust.sds.secret_name) if trust.sds else ()


def _policies(spec: VirtualNodeSpec | VirtualGatewaySpec) -> Iterator[ClientPolicyTls]:
    backends = (spec.backends or ()) if isinstance(spec, VirtualNodeSpec) else ()
    named = [one.virtual_service.client_policy for one in backends if one.virtual_service]
    for policy in (*named, spec.backend_defaults.client_policy if spec.backend_defaults else None):
        if policy is not None and policy.tls is not None:
            yield policy.tls


def _ways(graph: Graph, client: Key) -> Iterator[tuple[ClientTls, Key, ListenerTls]]:
    """How `client` encrypts to each listener that its declared calls may reach, where the listener does too."""
    for service in graph.entry_services(client):
        for port in service_ports(graph, service):
            for target in (target for rule in rules(graph, port) for target in rule.targets):
                listener: Listener = target.listener
                way = client_tls(graph, client, service, target.node, listener)
                if way is not None and listener.tls is not None and listener.tls.mode != "DISABLED":
                    yield way, target.node, listener.tls
