"""Listeners: bind addresses, filter chains, HTTP connection managers, TCP proxies, access logs.

The one rule: the two placements differ in bind addresses and in how a chain is found, in nothing else: behind
`iptables` one listener finds the chain by the original destination port, on loopback each port has its listener.
Sources: https://docs.aws.amazon.com/app-mesh/latest/userguide/envoy-logs.html
and https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.snapshot import names, tls
from meshwright.snapshot.extensions import http_filters
from meshwright.snapshot.messages import message, packed, serialized
from meshwright.snapshot.resources import Clue
from meshwright.snapshot.values import Wire, address, count, duration, extension, source, tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshwright.model.identity import Key
    from meshwright.model.specs import FileAccessLog, Logging
    from meshwright.model.tls import ListenerTls
    from meshwright.snapshot.extensions import Told
    from meshwright.snapshot.resources import Separate

_HTTP_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_ORIGINAL_DST = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
_GREETING = 5_000


class Bind(msgspec.Struct, frozen=True):
    """Where a proxy listens: an address, IPv6 wildcards taking IPv4 too."""

    host: str
    dual: bool = False
    alias: str = ""
    """The address in the listener's name, where App Mesh's name tells another."""


def http_filter(
    stat_prefix: str,
    route_configuration: str,
    told: Told,
    before: Sequence[Wire] = (),
    *,
    own_server: bool = False,
    separate: Separate | None = None,
) -> Wire:
    """The filter that speaks HTTP, in any version, and asks for its routes on the same stream, or else `separate`.

    Requests go through the filters `before` they are routed. With `own_server`, the `server` of a response is left as
    it is where Envoy would write its own.
    """
    server = {"server_header_transformation": "PASS_THROUGH"} if own_server else {}
    manager = message(_HTTP_MANAGER)(
        stat_prefix=stat_prefix,
        rds={"route_config_name": route_configuration, "config_source": source(separate)},
        http_filters=before,
        tracing=told.tracing,
        access_log=told.http,
        **server,
    )
    manager.MergeFromString(_every_http_filter())
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": packed(manager)}


@functools.cache
def _every_http_filter() -> bytes:
    """What all that speak HTTP have in common, which is most of it: its lists follow those of each."""
    manager = message(_HTTP_MANAGER)(
        http_filters=http_filters(),
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http2_protocol_options={"allow_connect": True},  # a WebSocket over HTTP/2 (RFC 8441)
        normalize_path={"value": True},
        merge_slashes=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
    )
    return serialized(manager)


def tcp_filter(stat_prefix: str, targets: Sequence[tuple[str, int]], idle: int, logs: Sequence[Wire]) -> Wire:
    """The filter that passes bytes on to `targets`, clusters with positive weights; `idle` in milliseconds."""
    if len(targets) == 1:
        where: Wire = {"cluster": targets[0][0]}
    else:
        clusters = [{"name": name, "weight": weight} for name, weight in targets]
        where = {"weighted_clusters": {"clusters": clusters}}
    return extension(
        "envoy.filters.network.tcp_proxy",
        _TCP_PROXY,
        stat_prefix=stat_prefix,
        idle_timeout=duration(idle),
        access_log=list(logs),
        **where,
    )


def chains(filters: Sequence[Wire], security: ListenerTls | None, protocol: str, *, typed: bool) -> list[Wire]:
    """The filter chains of one listener of a definition: encrypted, plain, or both, by its TLS mode.

    Names in clients' certificates are `typed` where the Envoy knows such.
    """
    if security is None or security.mode == "DISABLED":
        return [{"filters": list(filters)}]
    encrypted = {
        "filters": list(filters),
        "filter_chain_match": {"transport_protocol": "tls"},
        "transport_socket": tls.downstream(security, protocol, typed=typed),
    }
    if security.mode == "STRICT":
        return [encrypted]
    return [encrypted, plain(filters)]


def plain(filters: Sequence[Wire]) -> Wire:
    """The unencrypted chain beside an encrypted one."""
    return {"filters": list(filters), "filter_chain_match": {"transport_protocol": "raw_buffer"}}


def for_names(filters: Sequence[Wire], server_names: Sequence[str]) -> Wire:
    """A chain for encrypted connections to servers of those names, passed through as they are."""
    return {"filters": list(filters), "filter_chain_match": {"server_names": list(server_names)}}


def redirected(
    direction: str,
    port: int,
    bind: Bind,
    by_port: Mapping[int, Sequence[Wire]],
    *,
    inspected: Iterable[int],
    otherwise: Wire | None = None,
) -> Any:
    """The one listener behind `iptables`; `by_port` are the chains of each original destination port.

    Only connections to the ports `inspected` are looked into for TLS: looking waits for the client to speak, and
    some protocols let the server speak first.

    Whoever connects to `port` itself was not redirected. With `otherwise`, the proxy would take itself for the
    original destination and call itself without end; so that chain has no filters, which closes the connection.
    """
    if otherwise:
        by_port = {port: [{}], **by_port}
    found = [
        chain | {"filter_chain_match": {**chain.get("filter_chain_match", {}), "destination_port": count(wanted)}}
        for wanted, several in sorted(by_port.items())
        for chain in several
    ]
    filters = [extension("envoy.filters.listener.original_dst", _ORIGINAL_DST)]
    members: Wire = {"default_filter_chain": otherwise} if otherwise else {}
    if ports := sorted(set(inspected)):
        filters.append(_inspector() | {"filter_disabled": {"not_match": _any_port(ports)}})
        members |= _patience(direction)
    return _listener(direction, bind, port, found, filters, **members)


def direct(direction: str, port: int, bind: Bind, found: Sequence[Wire]) -> Any:
    """A listener of its own for one port."""
    if any("filter_chain_match" in chain for chain in found):
        return _listener(direction, bind, port, found, [_inspector()], **_patience(direction))
    return _listener(direction, bind, port, found, [])


def access_logs(logging: Logging | None) -> list[Wire]:
    """The access log of a proxy; without a format, Envoy's own."""
    log = logging.access_log.file if logging and logging.access_log else None
    return [] if log is None else [_file_log(log)]


def log_clues(logging: Logging | None, origin: Key) -> list[Clue]:
    """The texts of an access log of `origin` that Envoy judges, for tracing a rejection."""
    log = logging.access_log.file if logging and logging.access_log else None
    if log is None:
        return []
    written = log.format
    values = [one.value for one in written.json or ()] if written else []
    formats = [*values, *([written.text] if written and written.text else [])]
    return [Clue(log.path, origin), *(Clue(text, origin, log=True) for text in formats)]


def _file_log(log: FileAccessLog) -> Wire:
    members: Wire = {"path": log.path}
    if log.format is not None and log.format.text is not None:
        members["log_format"] = {"text_format_source": {"inline_string": log.format.text}}
    elif log.format is not None:
        members["log_format"] = {"json_format": {one.key: one.value for one in log.format.json or ()}}
    return extension("envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog", **members)


def _listener(
    direction: str, bind: Bind, port: int, found: Sequence[Wire], filters: list[Wire], **members: Any
) -> Any:
    return message("envoy.config.listener.v3.Listener")(
        name=names.listener(direction, bind.alias or bind.host, port),
        address=address(bind.host, port, dual=bind.dual),
        traffic_direction="INBOUND" if direction == "ingress" else "OUTBOUND",
        metadata=tags(),
        filter_chains=list(found),
        listener_filters=filters,
        **members,
    )


def _patience(direction: str) -> Wire:
    """How long an application has for its TLS greeting; one that waits for the server to speak first is let go on."""
    if direction == "ingress":
        return {}
    return {"listener_filters_timeout": duration(_GREETING), "continue_on_listener_filters_timeout": True}


def _inspector() -> Wire:
    return extension("envoy.filters.listener.tls_inspector", _INSPECTOR)


def _any_port(ports: Sequence[int]) -> Wire:
    """A predicate that holds for connections to one of `ports`."""
    each: list[Wire] = [{"destination_port_range": {"start": port, "end": port + 1}} for port in ports]
    return each[0] if len(each) == 1 else {"or_match": {"rules": each}}
