"""What one Envoy lacks, from the dump of its configuration: clusters that it is led to, secrets that it awaits.

The one rule: only what Envoy itself shows. It counts the clusters that it refused and names none; but a route leads
to each that is wanted, and to none that was withdrawn.
Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--config-dump
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshwright.proxy.administration import Administration

_CLUSTERS = ("static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters")
_STATES = ("active_state", "warming_state")
_SECRETS = ("tls_certificate_sds_secret_configs", "validation_context_sds_secret_config")


def missing_clusters(administration: Administration) -> tuple[str, ...]:
    """The clusters to which routes and listeners lead and that Envoy does not have, by name.

    Raises:
        OSError: it does not answer, or answers nonsense.
    """
    wanted = {*_led_to(_dumped(administration, "dynamic_route_configs"))}
    wanted.update(name for _, one in _listeners(administration) for name in _led_to(one))
    return tuple(sorted(wanted - {name for name, _ in _clusters(administration)}))


def awaited_secrets(administration: Administration) -> dict[str, tuple[str, ...]]:
    """The secrets that Envoy asked for and nobody provided, with what needs them: `listener NAME`, `cluster NAME`.

    Raises:
        OSError: it does not answer, or answers nonsense.
    """
    names = {str(one.get("name", "")) for one in _dumped(administration, "dynamic_warming_secrets", "name")}
    if not names:
        return {}
    needs: dict[str, list[str]] = {name: [] for name in sorted(names)}
    held = (("listener", _listeners(administration)), ("cluster", _clusters(administration)))
    for kind, name, one in ((kind, *pair) for kind, some in held for pair in some):
        for secret in dict.fromkeys(_asked_for(one)):
            if secret in needs:
                needs[secret].append(f"{kind} {name}")
    return {name: tuple(dict.fromkeys(some)) for name, some in needs.items()}


def _dumped(administration: Administration, resource: str, mask: str = "") -> list[dict[str, Any]]:
    status, body = administration.ask(f"/config_dump?resource={resource}{f'&mask={mask}' if mask else ''}")
    try:
        found = msgspec.json.decode(body, type=dict[str, Any]) if status == 200 else {}
        return msgspec.convert(found.get("configs", []), list[dict[str, Any]])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise OSError(f"the administration of Envoy answered nonsense about {resource}: {error}") from error


def _listeners(administration: Administration) -> list[tuple[str, Any]]:
    """Those that are open or about to be, by name."""
    found = _dumped(administration, "dynamic_listeners")
    return [(str(one.get("name", "")), one[state]) for one in found for state in _STATES if state in one]


def _clusters(administration: Administration) -> list[tuple[str, Any]]:
    found = (one.get("cluster") for kind in _CLUSTERS for one in _dumped(administration, kind))
    return [(str(one.get("name", "")), one) for one in found if isinstance(one, dict)]


def _led_to(value: Any) -> Iterator[str]:
    """The clusters that a part of a configuration names."""
    for member, one in _members(value):
        if member in {"cluster", "cluster_name"} and isinstance(one, str):
            yield one
        elif member == "weighted_clusters" and isinstance(one, dict):
            yield from (str(some["name"]) for some in one.get("clusters", ()) if "name" in some)


def _asked_for(value: Any) -> Iterator[str]:
    """The secrets that a part of a configuration gets from elsewhere."""
    for member, one in _members(value):
        if member in _SECRETS:
            yield from (str(some.get("name", "")) for some in (one if isinstance(one, list) else [one]))


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every member of every object in a document, with its name."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield from one.items()
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
