"""TLS decisions: when a client encrypts, whom it trusts, what cannot be served.

The one rule: fail closed. Where TLS is called for and cannot be had here, the answer is a reason, never plaintext.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/tls.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshwright.graph import service_key
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.model.tls import ClientTlsCertificate, TlsValidationContextTrust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.listeners import Listener
    from meshwright.model.specs import ServiceDiscovery
    from meshwright.model.tls import ClientPolicy, ClientPolicyTls, ListenerTls

_ACM = "certificates of AWS Certificate Manager cannot be fetched here; use a file or SDS"


class ClientTls(msgspec.Struct, frozen=True, kw_only=True):
    """How a client encrypts towards one listener."""

    certificate: ClientTlsCertificate | None = None
    """What the client shows of itself."""
    trust: TlsValidationContextTrust | None = None
    """Whom it trusts; None takes any certificate, as App Mesh does without a policy."""
    names: tuple[str, ...] = ()
    """Subject alternative names of which the server's certificate must carry one."""
    refused: str = ""
    """Why this cannot be served; then no connection may be made at all."""


def client_tls(graph: Graph, client: Key, service: Key, node: Key, listener: Listener) -> ClientTls | None:
    """How `client` connects to a listener of `node` when it calls `service`; None for plaintext.

    An enforced policy for the listener's port decides; without one the server's mode does.
    """
    policy = _policy(graph, client, service) if has_policies(graph, client) else None
    covered = policy is not None and (not policy.ports or listener.port_mapping.port in policy.ports)
    if policy is not None and covered and policy.enforce is not False:
        if policy.validation.trust.acm is not None:
            return ClientTls(refused=f"the client policy trusts a private authority of AWS: {_ACM}")
        return _by_policy(policy, graph, node)
    asked = server_tls(listener)
    if asked is not None and not asked.refused and policy is not None and covered:
        # Not enforced, so a trust that cannot be had must not stop what plaintext would have been allowed to do.
        return (
            ClientTls(certificate=policy.certificate)
            if policy.validation.trust.acm
            else _by_policy(policy, graph, node)
        )
    return asked


def server_tls(listener: Listener) -> ClientTls | None:
    """How clients without a policy connect to `listener`: as its mode says, None for plaintext."""
    tls = listener.tls
    if tls is None or tls.mode == "DISABLED":
        return None
    if tls.certificate.acm is not None:
        return ClientTls(refused=f"the server's certificate is one of AWS: {_ACM}")
    return ClientTls()


def has_policies(graph: Graph, client: Key) -> bool:
    """Whether a client says anywhere how it is to encrypt; most do not."""
    return graph.recall_about(client, _polices, client)


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """How one client reaches a listener, whichever of its backends it calls."""

    tls: ClientTls | None
    """None for plaintext."""
    contested: bool = False
    """Whether the policies for the backends differ; then the strictest holds."""


def encryption(graph: Graph, client: Key, services: Sequence[Key], node: Key, listener: Listener) -> Encryption:
    """How `client` connects to a listener of `node`, which it reaches by `services`: its cluster is one for all."""
    found = [client_tls(graph, client, service, node, listener) for service in services]
    strictest = max(found, key=_strictness)
    return Encryption(tls=strictest, contested=any(one != strictest for one in found))


def contest(services: Sequence[Key], node: Key) -> str:
    """What is to be said where the policies of one client for `services`, which all lead to `node`, differ."""
    called = ", ".join(repr(service.name) for service in services)
    return f"the backends {called} reach {node.name!r} by different client policies; the strictest is used"


def _strictness(tls: ClientTls | None) -> int:
    if tls is None:
        return 0
    return 3 if tls.refused else 2 if tls.trust else 1


def unservable(tls: ListenerTls) -> str:
    """Why a listener's TLS cannot be served here; "" when it can."""
    if tls.mode != "DISABLED" and tls.certificate.acm is not None:
        return f"certificate {tls.certificate.acm.certificate_arn!r}: {_ACM}"
    return ""


def discovery_name(discovery: ServiceDiscovery | None) -> str:
    """The name by which a node is found, which its certificate carries unless the policy says otherwise.

    A dot at its end is for resolvers alone: no certificate has one, and no greeting may.
    Source: https://www.rfc-editor.org/rfc/rfc6066#section-3
    """
    if discovery is None:
        return ""
    if discovery.dns is not None:
        return discovery.dns.hostname.removesuffix(".")
    found = discovery.aws_cloud_map
    return f"{found.service_name}.{found.namespace_name}" if found else ""


def _by_policy(policy: ClientPolicyTls, graph: Graph, node: Key) -> ClientTls:
    names = policy.validation.subject_alternative_names
    resource = graph.state.get(node)
    spec = resource.spec if resource else None
    own = discovery_name(spec.service_discovery) if isinstance(spec, VirtualNodeSpec) else ""
    return ClientTls(
        certificate=policy.certificate,
        trust=policy.validation.trust,
        names=(names.match.exact if names else ()) or ((own,) if own else ()),
    )


def _polices(graph: Graph, client: Key) -> bool:
    resource = graph.state.get(client)
    spec = resource.spec if resource else None
    if not isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec):
        return False
    backends = (spec.backends or ()) if isinstance(spec, VirtualNodeSpec) else ()
    named = any(one.virtual_service and one.virtual_service.client_policy for one in backends)
    return named or bool(spec.backend_defaults and spec.backend_defaults.client_policy)


def _policy(graph: Graph, client: Key, service: Key) -> ClientPolicyTls | None:
    return _written(graph, client, service)[0]


def policy_path(graph: Graph, client: Key, service: Key) -> str:
    """The field in which `client` says how it encrypts when it calls `service`; "" where it says nothing."""
    found, path = _written(graph, client, service)
    return path if found else ""


def _written(graph: Graph, client: Key, service: Key) -> tuple[ClientPolicyTls | None, str]:
    """The policy of the backend, or else the client's default one; and its field."""
    resource = graph.state.get(client)
    spec = resource.spec if resource else None
    if not isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec):
        return None, ""
    backends = (spec.backends or ()) if isinstance(spec, VirtualNodeSpec) else ()
    for index, backend in enumerate(backends):
        named = backend.virtual_service
        if named and named.client_policy and service_key(client.mesh, named.virtual_service_name) == service:
            return _tls(named.client_policy), f"spec.backends[{index}].virtualService.clientPolicy.tls"
    default = spec.backend_defaults.client_policy if spec.backend_defaults else None
    return _tls(default), "spec.backendDefaults.clientPolicy.tls"


def _tls(policy: ClientPolicy | None) -> ClientPolicyTls | None:
    return policy.tls if policy else None
