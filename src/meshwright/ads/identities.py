"""Who an Envoy is: a signature in its gRPC metadata, its client certificate, or the Unix socket that it came through.

The one rule: what a proxy says about itself, its node id included, is a question and never the answer. A certificate
or a socket stands for one node; a key stands for a principal, and policy says for which nodes.
Source: https://docs.aws.amazon.com/app-mesh/latest/userguide/proxy-authorization.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from meshwright.errors import AccessDeniedError
from meshwright.trust import sigv4
from meshwright.trust.canonical import EXPIRED, MISSING, UNRECOGNIZED, Request, SignatureError
from meshwright.trust.principals import Principal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from meshwright.model.identity import Key

    Denied: TypeAlias = Callable[[Principal, str, str, AccessDeniedError], None]

AUTHORITY = "meshwright_xds"
"""The `:authority` of an Envoy whose xDS cluster is called so, and what it signs as host."""
ACTION = "appmesh:StreamAggregatedResources"
"""What a proxy does, on the ARN of its virtual node or gateway.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsappmesh.html
"""

NODE_HEADER = "x-meshwright-node"
"""The node that a caller says it is where its messages have no place for it, as in exports of OpenTelemetry."""
INSTANCE_HEADER = "x-meshwright-instance"
"""Its instance there, and wherever else its `Node` names none: Envoy can put its host's name into a header alone."""

_UNSIGNED_PAYLOAD = sigv4.Tolerance(unsigned_payload=True)
_GIVEN_BY_GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
"""Headers of every gRPC request, which the library keeps to itself and which Envoy signs."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What one call shows of who makes it."""

    address: str
    method: str
    """The call's path: `/SERVICE/METHOD`."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    certificate: bytes = b""
    """The client certificate in PEM, which the handshake checked against `--xds-client-ca`; b"" for none."""
    socket: str = ""
    """The ARN of the node whose Unix socket was used; "" for a port."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who that is."""

    name: str
    """For the log: a principal's ARN, or the ARN that a certificate or a socket stands for."""
    node: str = ""
    """The ARN of the only node that it may be; "" where the principal's policies decide."""
    key_id: str = ""
    """The access key whose principal it is."""
    certificate: bytes = b""
    anybody: bool = False
    """Whether nothing is known, and nothing asked."""
    source: str = ""
    """The address that the connection comes from, which policies may ask for."""
    expires_at: int | None = None
    """When it ends, in milliseconds since the epoch; None for never."""


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """What an access key id stands for, now."""

    secret: str
    principal: Principal
    token: str | None = None
    expires_at: int | None = None

    def __repr__(self) -> str:
        return f"Signer({self.principal.arn!r})"


class Admission(Protocol):
    """What the gate before every xDS service asks."""

    def authenticate(self, peer: Peer) -> Identity:
        """Who `peer` is.

        Raises:
            SignatureError: nobody can be held to the call.
        """
        ...

    def oversee(self, identity: Identity) -> None:
        """Return when `identity` may, at this moment, see what every proxy was sent; asked again as `authorize` is.

        Raises:
            SignatureError: the identity ended.
            AccessDeniedError: it may not.
        """
        ...

    def authorize(self, identity: Identity, node: Key) -> None:
        """Return when `identity` may, at this moment, be a proxy of `node`; asked again while its stream is open.

        Raises:
            SignatureError: the identity ended.
            AccessDeniedError: it is another one's node.
        """
        ...


class Identities:
    """The three kinds of identity, over what the server knows now; nothing is remembered but derived keys."""

    def __init__(
        self,
        *,
        region: str,
        now: Callable[[], int],
        signer_of: Callable[[str], Signer | None],
        permit: Callable[[Principal, Key | None, str, str], None],
        arn_of: Callable[[Key], str],
        hosts: Callable[[], tuple[str, ...]],
        authorities: Callable[[], tuple[x509.Certificate, ...]] = tuple,
        anonymous: bool = False,
    ) -> None:
        """`permit` raises AccessDeniedError unless a principal may be a node; it is told its ARN and the caller's IP.

        Asked about None and `*` it raises unless the principal may see every node's proxies.
        `signer_of` is None for a key that is unknown, expired or revoked; `hosts` are the names that a signature may
        be made for; `authorities` issue client certificates. With `anonymous`, who comes with nothing is anybody.
        """
        self._region = region
        self._now = now
        self._signer_of = signer_of
        self._permit = permit
        self._arn_of = arn_of
        self._hosts = hosts
        self._authorities = authorities
        self._anonymous = anonymous
        self._signing_keys: dict[tuple[str, str, str, str], bytes] = {}
        self.denied: Denied = lambda *_told: None
        """Told of each refusal of a principal: who, what they may not be (a path, `*` for all), their IP, and why."""

    def authenticate(self, peer: Peer) -> Identity:
        """Who `peer` is; a certificate that names a node goes before a signature.

        Raises:
            SignatureError: nobody can be held to the call.
        """
        if peer.socket:
            return Identity(name=peer.socket, node=peer.socket)
        if peer.certificate:
            found = self._certified(peer.certificate)
            if found is not None:
                return found
        if self._anonymous:
            return Identity(name=peer.address, anybody=True)
        if not any(name == "authorization" for name, _ in peer.metadata):
            told = "a client certificate that names a node" if peer.certificate else "a client certificate"
            raise SignatureError(
                f"The stream is not signed, and comes with neither {told} nor through a node's own Unix socket. "
                "`meshwright proxy ARN` signs it; docs/identities.md shows the three ways.",
                MISSING,
            )
        return self._signed(peer)

    def oversee(self, identity: Identity) -> None:
        """Return when `identity` may see what every proxy was sent, as `GET /status` tells it.

        Raises:
            SignatureError: its session ended, or was revoked.
            AccessDeniedError: it is a node's, or policies do not allow it.
        """
        if identity.anybody:
            return
        self._check_age(identity)
        if identity.node:
            raise AccessDeniedError(f"{identity.name} may see no other proxies: it stands for itself alone.")
        self._ask(self._principal(identity), None, "*", identity.source)

    def authorize(self, identity: Identity, node: Key) -> None:
        """Return when `identity` may be a proxy of `node` now.

        Raises:
            SignatureError: its certificate or session ended, or was revoked.
            AccessDeniedError: it is another one's node.
        """
        if identity.anybody:
            return
        arn = self._arn_of(node)
        if identity.certificate:
            self._check_issued(identity)
        self._check_age(identity)
        if identity.node:
            if identity.node != arn:
                raise AccessDeniedError(f"{identity.name} may not be a proxy of {arn}: it stands for itself alone.")
            return
        self._ask(self._principal(identity), node, arn, identity.source)

    def _ask(self, principal: Principal, node: Key | None, arn: str, source: str) -> None:
        try:
            self._permit(principal, node, arn, source)
        except AccessDeniedError as error:
            self.denied(principal, node.path if node is not None else "*", source, error)
            raise

    def _principal(self, identity: Identity) -> Principal:
        signer = self._signer_of(identity.key_id)
        if signer is None:
            raise SignatureError(f"The credentials of {identity.name} are worth nothing any more.", UNRECOGNIZED)
        return signer.principal

    def _signed(self, peer: Peer) -> Identity:
        requests = [_request(peer, host) for host in self._hosts()]
        claim = sigv4.read(requests[0], self._region, sigv4.SIGNING_NAME, self._now(), tolerance=_UNSIGNED_PAYLOAD)
        signer = self._signer_of(claim.key_id)
        if signer is None:
            raise sigv4.unknown_key(claim.key_id)
        known = sigv4.AccessKeySecret(secret=signer.secret, token=signer.token)
        failure: SignatureError | None = None
        for request in requests:
            try:
                sigv4.check(claim, request, known, tolerance=_UNSIGNED_PAYLOAD, cache=self._signing_keys)
            except SignatureError as error:
                failure = failure or error
            else:
                break
        else:
            raise failure or sigv4.unknown_key(claim.key_id)
        found = Identity(
            name=signer.principal.arn,
            key_id=claim.key_id,
            source=_source(peer.address),
            expires_at=signer.expires_at,
        )
        self._check_age(found)
        return found

    def _certified(self, pem: bytes) -> Identity | None:
        """The node that a certificate names; None when it names none.

        Raises:
            SignatureError: it names several, or something that is not one node.
        """
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None
        except ValueError as error:
            raise SignatureError(f"The client certificate cannot be read: {error}.", UNRECOGNIZED) from None
        arns = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith("arn:")]
        if not arns:
            return None
        if len(arns) > 1:
            raise SignatureError(
                f"The client certificate names {len(arns)} ARNs ({arns[0][:200]!r} and others); a proxy is one node.",
                UNRECOGNIZED,
            )
        if "*" in arns[0] or "?" in arns[0]:
            raise SignatureError(
                f"The client certificate names {arns[0][:200]!r}: a pattern is no node.", UNRECOGNIZED
            )
        found = Identity(
            name=arns[0],
            node=arns[0],
            certificate=pem,
            expires_at=int(certificate.not_valid_after_utc.timestamp()) * 1000,
        )
        self._check_age(found)
        self._check_issued(found)
        return found

    def _check_age(self, identity: Identity) -> None:
        if identity.expires_at is not None and identity.expires_at <= self._now():
            raise SignatureError(f"The credentials of {identity.name} have expired.", EXPIRED)

    def _check_issued(self, identity: Identity) -> None:
        """A connection may be older than the newest bundle: what it no longer holds ends with the next look."""
        certificate = x509.load_pem_x509_certificate(identity.certificate)
        for authority in self._authorities():
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return
        raise SignatureError(
            f"The client certificate of {identity.name} was issued by none of --xds-client-ca.", UNRECOGNIZED
        )


def _source(address: str) -> str:
    """The IP address in gRPC's `ipv4:ADDRESS:PORT` or `ipv6:[ADDRESS]:PORT`; "" for a socket.

    Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    kind, _, rest = address.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""


def _request(peer: Peer, host: str) -> Request:
    """The call as HTTP, with the headers that gRPC took off; what nobody signed changes nothing."""
    given = tuple((name.encode(), value.encode("latin-1", "replace") if isinstance(value, str) else value)
                  for name, value in peer.metadata)  # fmt: skip
    headers = (*given, (b"host", host.encode()), *_GIVEN_BY_GRPC)
    return Request(method="POST", path=peer.method.encode(), headers=headers)
