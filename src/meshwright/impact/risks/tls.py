"""Risks to encryption: listeners that take less of it, clients that ask for less, peers that are judged less.

The one rule: what holds is compared, not what is written: a backend without a policy has its node's.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from meshwright.impact.risks.pairs import paired
from meshwright.impact.values import Risk
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.impact.scene import Scene
    from meshwright.model.identity import Key
    from meshwright.model.state import Resource
    from meshwright.model.tls import (
        ClientPolicy,
        ClientPolicyTls,
        ListenerTls,
        ListenerTlsValidationContext,
        TlsValidationContext,
    )

_STRENGTH = MappingProxyType({"DISABLED": 0, "PERMISSIVE": 1, "STRICT": 2})
_DEFAULT = ""
"""The backend that stands for all that have no policy of their own."""


def listeners(scene: Scene) -> Iterator[Risk]:
    """Listeners of nodes and gateways that take more than they took."""
    for key, old, new in scene.updates(Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
        for pair in paired(old, new):
            yield from _listener(key, pair.old.tls, pair.new.tls, f"{pair.path}.tls", pair.port)


def _listener(key: Key, old: ListenerTls | None, new: ListenerTls | None, path: str, port: int) -> Iterator[Risk]:
    was, now = strength(old), strength(new)
    if old is None or was == 0:
        return
    if now < was:
        mode = new.mode if new is not None else None
        yield Risk(
            code="tls-weakened",
            summary=f"port {port} of {key} takes {_takes(now)}; TLS was {old.mode}",
            key=key,
            path=f"{path}.mode" if new is not None else path,
            old=old.mode,
            new=mode,
        )
    if new is None or now == 0:
        return
    if old.validation is not None and new.validation is None:
        yield Risk(
            code="mutual-tls-removed",
            summary=f"port {port} of {key} asks no client for a certificate any more",
            key=key,
            path=f"{path}.validation",
            old="required",
        )
    elif old.validation is not None:
        yield from _names(key, old.validation, new.validation, f"{path}.validation", f"clients at port {port}")


def strength(tls: ListenerTls | None) -> int:
    """How strictly a listener is encrypted: 0 not at all, 1 beside plaintext, 2 always."""
    return 0 if tls is None else _STRENGTH[tls.mode]


def _takes(strength: int) -> str:
    return "plaintext beside TLS" if strength else "plaintext only"


class _Held(NamedTuple):
    """The policy that holds towards a backend, and the field that it is written in."""

    tls: ClientPolicyTls | None
    path: str
    own: bool


def clients(scene: Scene) -> Iterator[Risk]:
    """Nodes and gateways that encrypt less towards their backends, or trust more."""
    for key, old, new in scene.updates(Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY):
        was, now = _policies(old), _policies(new)
        for backend, held in now.items():
            before = was.get(backend)
            # One that has the default before and after is told of once, with it.
            if before is not None and (backend == _DEFAULT or before.own or held.own):
                whom = backend or "backends without a policy of their own"
                yield from _client(key, before.tls, held, whom)


def _client(key: Key, old: ClientPolicyTls | None, held: _Held, whom: str) -> Iterator[Risk]:
    new, path = held.tls, held.path
    if old is None:
        return
    if new is None:
        yield Risk(
            code="tls-validation-removed",
            summary=f"{key} no longer judges the certificates of {whom}, nor insists on any",
            key=key,
            path=path,
            old="enforced" if old.enforce is not False else "validated",
        )
        return
    if old.enforce is not False and new.enforce is False:
        summary = f"{key} may call {whom} in plaintext, where they take it"
        yield Risk(code="tls-not-enforced", summary=summary, key=key, path=f"{path}.enforce", old=True, new=False)
    elif old.enforce is not False and new.ports and (not old.ports or set(old.ports) - set(new.ports)):
        yield Risk(
            code="tls-not-enforced",
            summary=f"{key} insists on TLS towards {whom} on fewer ports",
            key=key,
            path=f"{path}.ports",
            old=list(old.ports or ()) or "every port",
            new=list(new.ports),
        )
    if old.certificate is not None and new.certificate is None:
        yield Risk(
            code="mutual-tls-removed",
            summary=f"{key} shows {whom} no certificate any more",
            key=key,
            path=f"{path}.certificate",
            old="shown",
        )
    yield from _names(key, old.validation, new.validation, f"{path}.validation", whom)


def _names(
    key: Key,
    old: TlsValidationContext | ListenerTlsValidationContext,
    new: TlsValidationContext | ListenerTlsValidationContext | None,
    path: str,
    whom: str,
) -> Iterator[Risk]:
    was, now = _wanted(old), _wanted(new)
    added = [name for name in now if name not in was]
    if was and (not now or added):
        what = f"{', '.join(added)} as well" if added else "any name that is not checked otherwise"
        yield Risk(
            code="tls-names-loosened",
            summary=f"{key} takes {what} in the certificates of {whom}",
            key=key,
            path=f"{path}.subjectAlternativeNames" + (".match.exact" if now else ""),
            old=was,
            new=now or None,
        )


def _wanted(validation: TlsValidationContext | ListenerTlsValidationContext | None) -> list[str]:
    names = validation.subject_alternative_names if validation is not None else None
    return list(names.match.exact) if names is not None else []


def _policies(resource: Resource) -> Mapping[str, _Held]:
    """By backend's name, the policy that holds; the default one under `_DEFAULT`."""
    spec = resource.spec
    if not isinstance(spec, VirtualNodeSpec | VirtualGatewaySpec):
        return {}
    default = spec.backend_defaults.client_policy if spec.backend_defaults is not None else None
    usual = _Held(_tls(default), "spec.backendDefaults.clientPolicy.tls", own=False)
    found = {_DEFAULT: usual}
    for index, backend in enumerate((spec.backends or ()) if isinstance(spec, VirtualNodeSpec) else ()):
        named = backend.virtual_service
        if named is None:
            continue
        if named.client_policy is None:
            found[named.virtual_service_name] = usual
        else:
            path = f"spec.backends[{index}].virtualService.clientPolicy.tls"
            found[named.virtual_service_name] = _Held(_tls(named.client_policy), path, own=True)
    return found


def _tls(policy: ClientPolicy | None) -> ClientPolicyTls | None:
    return policy.tls if policy is not None else None
