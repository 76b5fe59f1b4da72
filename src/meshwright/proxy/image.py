"""The environment variables of App Mesh's Envoy image, so that a task definition or a pod needs no rewriting.

The one rule: a variable that is set is honoured, or needless here, or warned about; none is overlooked. `VARIABLES`
says which, and `docs/proxy.md` says it to people.
Sources: https://docs.aws.amazon.com/app-mesh/latest/userguide/envoy-config.html
and https://github.com/aws/amazon-ecs-service-connect-agent
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from meshwright.errors import UsageError
from meshwright.proxy.settings import Address, address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ADMIN_SOCKET = "/tmp/envoy_admin.sock"  # noqa: S108 - documented, and 0600 when Envoy makes it
_AGENT_SOCKET = "/var/run/ecs/appnet_admin.sock"


class Variable(NamedTuple):
    """One variable of the image."""

    name: str
    use: str
    """What it does here; or, of one that does nothing, why."""
    honoured: bool = True
    warned: bool = False
    """Whether somebody who sets it expects something that does not happen."""


VARIABLES = (
    Variable("APPMESH_RESOURCE_ARN", "The virtual node or gateway, where the command does not name one."),
    Variable("APPMESH_RESOURCE_NAME", "The same, under its older name."),
    Variable("APPMESH_VIRTUAL_NODE_NAME", "The same, under its oldest name."),
    Variable("APPMESH_RESOURCE_CLUSTER", "What Envoy calls itself in traces and statistics (`node.cluster`)."),
    Variable("APPMESH_VIRTUAL_NODE_CLUSTER", "The same, under its older name."),
    Variable("APPMESH_XDS_ENDPOINT", "`--xds`: `HOST:PORT` or `unix:///PATH`."),
    Variable("APPMESH_SDS_SOCKET_PATH", "The Unix socket of the SDS server that `tls.certificate.sds` asks."),
    Variable("AWS_REGION", "The region that the stream is signed for."),
    Variable("ENVOY_LOG_LEVEL", "`--log-level`; `warn` is `warning`."),
    Variable("ENVOY_CONCURRENCY", "`--concurrency`; -1 is one a processor."),
    Variable("ENVOY_ADMIN_ACCESS_PORT", "`--admin-port`, always on the loopback address."),
    Variable("ENVOY_ADMIN_ACCESS_LOG_FILE", "The file of the administration's access log; none unless set."),
    Variable("ENVOY_ADMIN_ACCESS_ENABLE_IPV6", "`true`: the administration listens on `::1`."),
    Variable("ENVOY_ADMIN_MODE", f"`uds`: the administration listens on `{_ADMIN_SOCKET}`."),
    Variable("ENVOY_INITIAL_FETCH_TIMEOUT", "Seconds to wait for the first configuration; 0, the default, for ever."),
    Variable("ENVOY_CONFIG_FILE", "A whole bootstrap in YAML or JSON, run as it stands instead of ours."),
    Variable("ENVOY_RESOURCES_CONFIG_FILE", "`static_resources` in YAML or JSON that are added."),
    Variable("ENVOY_STATS_CONFIG_FILE", "`stats_config` in YAML or JSON."),
    Variable("ENVOY_STATS_SINKS_CFG_FILE", "`stats_sinks` in YAML or JSON, instead of DogStatsD's."),
    Variable("ENVOY_STATS_FLUSH_INTERVAL", "Between two flushes to statistics sinks, such as `5000ms` or `5s`."),
    Variable("ENVOY_TRACING_CFG_FILE", "`tracing` in YAML or JSON, and `static_resources` beside it."),
    Variable("ENABLE_ENVOY_STATS_TAGS", "1: tags `appmesh.mesh` and `appmesh.virtual_node` or `.virtual_gateway`."),
    Variable("ENABLE_ENVOY_DOG_STATSD", "1: statistics to DogStatsD at 127.0.0.1:8125."),
    Variable("STATSD_ADDRESS", "Its address."),
    Variable("STATSD_PORT", "Its port."),
    Variable("STATSD_SOCKET_PATH", "Its Unix socket."),
    Variable("ENABLE_ENVOY_XRAY_TRACING", "1: traces to the X-Ray daemon at 127.0.0.1:2000."),
    Variable("AWS_XRAY_DAEMON_ADDRESS", "Its address and port; of `tcp:… udp:…` the second."),
    Variable("XRAY_DAEMON_PORT", "Its port."),
    Variable("XRAY_SAMPLING_RATE", "The share of requests that is traced, 0 to 1; 0.05 unless set."),
    Variable("XRAY_SAMPLING_RULE_MANIFEST", "The file of sampling rules, instead of the rate."),
    Variable("XRAY_SEGMENT_NAME", "The segment's name; `MESH/NAME` unless set."),
    Variable("ENABLE_ENVOY_DATADOG_TRACING", "1: traces to the Datadog agent at 127.0.0.1:8126."),
    Variable("DATADOG_TRACER_ADDRESS", "Its address."),
    Variable("DATADOG_TRACER_PORT", "Its port."),
    Variable("DD_SERVICE", "The service's name; `envoy-MESH/NAME` unless set."),
    Variable("ENABLE_ENVOY_JAEGER_TRACING", "1: traces to Jaeger, in Zipkin's format, at 127.0.0.1:9411."),
    Variable("JAEGER_TRACER_ADDRESS", "Its address."),
    Variable("JAEGER_TRACER_PORT", "Its port."),
    Variable("JAEGER_TRACER_VERSION", "`PROTO`, the default, or `JSON`."),
    Variable("MAX_REQUESTS_PER_IO_CYCLE", "Requests of one connection in one turn, against floods."),
    Variable("LISTENER_DRAIN_WAIT_TIME_S", "`--drain-seconds`: 5 to 110, 20 unless set."),
    Variable("APPNET_ENVOY_RESTART_COUNT", "`--restarts`."),
    Variable("APPNET_AGENT_HTTP_PORT", "The port of `--agent`; 9902 unless set."),
    Variable("APPNET_AGENT_HTTP_BIND_ADDRESS", "Its address; `::`, which is every one, unless set."),
    Variable("APPNET_AGENT_ADMIN_MODE", "`uds`: the agent listens on a Unix socket instead."),
    Variable("APPNET_AGENT_ADMIN_UDS_PATH", f"That socket; `{_AGENT_SOCKET}` unless set."),
    Variable("HC_POLL_INTERVAL_MS", "Between two looks whether the control plane is there; 10000 unless set."),
    Variable("HC_DISCONNECTED_TIMEOUT_S", "How long it may be away before `/status` says 503; 604800 unless set."),
    Variable("PID_POLL_INTERVAL_MS", "Needless: the kernel tells when Envoy ends.", honoured=False),
    Variable(
        "APPNET_AGENT_POLL_ENVOY_READINESS_INTERVAL_S", "Needless: `/status` asks Envoy itself.", honoured=False
    ),
    Variable("APPNET_AGENT_POLL_ENVOY_READINESS_TIMEOUT_S", "Needless: `/status` asks Envoy itself.", honoured=False),
    Variable("APPMESH_PLATFORM_K8S_VERSION", "Needless: it told AWS what it runs on.", honoured=False),
    Variable("APPMESH_PLATFORM_APP_MESH_CONTROLLER_VERSION", "Needless: as above.", honoured=False),
    Variable("APPMESH_PREVIEW", "There is no AWS to connect to; `--xds` says where.", honoured=False, warned=True),
    Variable("APPMESH_DUALSTACK_ENDPOINT", "As above; both families are tried.", honoured=False, warned=True),
    Variable("APPMESH_FIPS_ENDPOINT", "As above.", honoured=False, warned=True),
    Variable("APPNET_FIPS_MODE_ENABLED", "The packaged Envoy is not built for FIPS.", honoured=False, warned=True),
    Variable("APPMESH_SIGNING_NAME", "Our control plane takes `appmesh` alone.", honoured=False, warned=True),
    Variable(
        "APPMESH_METRIC_EXTENSION_VERSION",
        "The filter was AWS's own; see `graph --observed`.",
        honoured=False,
        warned=True,
    ),
    Variable("APPMESH_SET_TRACING_DECISION", "Envoy decides per listener.", honoured=False, warned=True),
    Variable("ENVOY_NO_EXTENSION_LOOKUP_BY_NAME", "Newer Envoys look by type alone.", honoured=False, warned=True),
    Variable("ENVOY_ENABLE_TCP_POOL_IDLE_TIMEOUT", "Newer Envoys always do.", honoured=False, warned=True),
    Variable("ENVOY_SANITIZE_ORIGINAL_PATH", "Newer Envoys always do.", honoured=False, warned=True),
    Variable(
        "ENVOY_USE_HTTP_CLIENT_TO_FETCH_AWS_CREDENTIALS", "Newer Envoys always do.", honoured=False, warned=True
    ),
    Variable("ENABLE_STATS_SNAPSHOT", "Prometheus computes deltas itself.", honoured=False, warned=True),
    Variable(
        "APPNET_AGENT_LOGGING_RESET_TIMEOUT", "The log level is set at the start alone.", honoured=False, warned=True
    ),
    Variable("APPNET_ENVOY_LOG_DESTINATION", "The log goes to standard error.", honoured=False, warned=True),
    Variable("APPNET_ENVOY_LOG_NAME", "As above.", honoured=False, warned=True),
    Variable("APPNET_AGENT_MAX_LOG_FILE_SIZE", "As above.", honoured=False, warned=True),
    Variable("APPNET_AGENT_MAX_RETENTION_COUNT", "As above.", honoured=False, warned=True),
    Variable(
        "APPNET_ENABLE_RELAY_MODE_FOR_XDS", "There is no relay: each proxy connects.", honoured=False, warned=True
    ),
    Variable("APPNET_RELAY_LISTENER_UDS_PATH", "As above.", honoured=False, warned=True),
    Variable("APPNET_MANAGEMENT_DOMAIN_NAME", "As above.", honoured=False, warned=True),
    Variable("APPNET_MANAGEMENT_PORT", "As above.", honoured=False, warned=True),
    Variable("RELAY_STREAM_IDLE_TIMEOUT", "As above.", honoured=False, warned=True),
    Variable("RELAY_BUFFER_LIMIT_BYTES", "As above.", honoured=False, warned=True),
    Variable("APPNET_LISTENER_PORT_MAPPING", "Of ECS Service Connect, not App Mesh.", honoured=False, warned=True),
    Variable("APPNET_CONTAINER_IP_MAPPING", "As above.", honoured=False, warned=True),
)
"""Every variable that the image knew."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What the variables say of running Envoy; None where they say nothing."""

    node: str | None = None
    cluster: str = ""
    xds: str | None = None
    admin: Address | None = None
    log_level: str | None = None
    concurrency: int | None = None
    config_file: str = ""
    drain_seconds: int | None = None
    restarts: int | None = None
    agent: Address | None = None
    look_seconds: float = 10.0
    disconnected_seconds: float = 604_800.0
    warnings: tuple[str, ...] = ()
    """One for each variable that is set in vain."""


def image(environ: Mapping[str, str]) -> Image:
    """What `environ` says in the image's variables.

    Raises:
        UsageError: one of them holds what it cannot.
    """
    node = first(environ, "APPMESH_RESOURCE_ARN", "APPMESH_RESOURCE_NAME", "APPMESH_VIRTUAL_NODE_NAME")
    threads = number(environ, "ENVOY_CONCURRENCY", -1, 10_000)
    return Image(
        node=node,
        cluster=first(environ, "APPMESH_RESOURCE_CLUSTER", "APPMESH_VIRTUAL_NODE_CLUSTER") or "",
        xds=environ.get("APPMESH_XDS_ENDPOINT") or None,
        admin=_admin(environ),
        log_level=_log_level(environ),
        concurrency=threads if threads and threads > 0 else None,
        config_file=environ.get("ENVOY_CONFIG_FILE", ""),
        drain_seconds=number(environ, "LISTENER_DRAIN_WAIT_TIME_S", 5, 110),
        restarts=number(environ, "APPNET_ENVOY_RESTART_COUNT", 0, 10_000),
        agent=_agent(environ, wanted=node is not None),
        look_seconds=(number(environ, "HC_POLL_INTERVAL_MS", 100, 3_600_000) or 10_000) / 1000,
        disconnected_seconds=number(environ, "HC_DISCONNECTED_TIMEOUT_S", 1, 2**31) or 604_800,
        warnings=tuple(
            f"{one.name} is set and does nothing here. {one.use}"
            for one in VARIABLES
            if one.warned and environ.get(one.name) not in _OFF
        ),
    )


_OFF = (None, "", "0", "false", "appmesh")
"""What is the same as leaving out a variable that does nothing here."""


def first(environ: Mapping[str, str], *names: str) -> str | None:
    """The value of the first of `names` that is set to something; None where none is."""
    return next((environ[name] for name in names if environ.get(name)), None)


def number(environ: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """The whole number that a variable holds; None where it is not set.

    Raises:
        UsageError: it holds no number from `low` to `high`.
    """
    text = environ.get(name)
    if not text:
        return None
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise UsageError(f"{name} is {text!r}; it takes a whole number from {low} to {high}.")
    return int(text)


def choice(environ: Mapping[str, str], name: str, known: Iterable[str]) -> str | None:
    """The word that a variable holds, in small letters; None where it is not set.

    Raises:
        UsageError: it is none of `known`.
    """
    text = environ.get(name, "").lower()
    if text and text not in known:
        raise UsageError(f"{name} is {environ[name]!r}; it takes {', '.join(known)}.")
    return text or None


def switched(environ: Mapping[str, str], name: str) -> bool:
    """Whether a variable is 1 or true.

    Raises:
        UsageError: it holds what is neither on nor off.
    """
    return choice(environ, name, ("1", "true", "0", "false")) in {"1", "true"}


def _log_level(environ: Mapping[str, str]) -> str | None:
    levels = ("trace", "debug", "info", "warn", "warning", "error", "critical", "off")
    found = choice(environ, "ENVOY_LOG_LEVEL", levels)
    return "warning" if found == "warn" else found


def _admin(environ: Mapping[str, str]) -> Address | None:
    if choice(environ, "ENVOY_ADMIN_MODE", ("tcp", "uds")) == "uds":
        return Address(_ADMIN_SOCKET)
    port = number(environ, "ENVOY_ADMIN_ACCESS_PORT", 1, 65_535)
    sixth = switched(environ, "ENVOY_ADMIN_ACCESS_ENABLE_IPV6")
    return Address("::1" if sixth else "127.0.0.1", port or 9901) if port or sixth else None


def _agent(environ: Mapping[str, str], *, wanted: bool) -> Address | None:
    """Where the agent listens: as the image did where the image's variables name the node or speak of the agent."""
    mode = choice(environ, "APPNET_AGENT_ADMIN_MODE", ("tcp", "uds"))
    path = environ.get("APPNET_AGENT_ADMIN_UDS_PATH")
    if mode == "uds":
        return address(f"unix://{path or _AGENT_SOCKET}")
    port = number(environ, "APPNET_AGENT_HTTP_PORT", 1, 65_535)
    host = environ.get("APPNET_AGENT_HTTP_BIND_ADDRESS")
    if not (wanted or mode or port or host):
        return None
    return Address((host or "::").strip("[]"), port or 9902)
