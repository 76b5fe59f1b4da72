r"""A text that Envoy would reject, though App Mesh takes it.

## What it finds

- Line breaks and NUL characters in the names of headers and gRPC metadata and in rewritten paths; any control
  character but the tabulator in the path of a health check and in the name that health checks are sent to.
- Query parameters without a name, or with one of more than 1,024 bytes.
- An empty host name, and SDS secrets without a name.
- Access log formats with a `%` that begins no command (a percent sign itself is written `%%`), with a command that
  Envoy does not know, or with one that is given what it does not take. It is a remark where Envoys before 1.40 do not
  know a command, and where only Envoy can judge its text (`%CEL(…)%`, `%COALESCE(…)%`): `validate --envoy` asks it.

## Why it matters

App Mesh does not look inside these texts, so the definition is accepted. Then every Envoy that is sent the resource
rejects the whole of it and keeps the old one: later changes of its neighbours are lost too.

## Example

```yaml
logging:
  accessLog: {file: {path: /dev/stdout, format: {text: "%START_TIME %RESPONSE_CODE%\n"}}}
```

## Use instead

```yaml
logging:
  accessLog: {file: {path: /dev/stdout, format: {text: "%START_TIME% %RESPONSE_CODE%\n"}}}
```
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from meshwright.diagnostics import Diagnostic, Severity
from meshwright.model.decoding import encode
from meshwright.model.gateway_routes import GatewayRouteSpec, HttpGatewayRoute
from meshwright.model.routes import RouteSpec
from meshwright.model.specs import VirtualGatewaySpec, VirtualNodeSpec
from meshwright.routing import log_formats
from meshwright.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshwright.constraints import World
    from meshwright.graph import Graph
    from meshwright.model.identity import Key
    from meshwright.model.matching import HttpQueryParameter, HttpRouteHeader
    from meshwright.model.specs import Logging
    from meshwright.model.state import Spec

    Fault: TypeAlias = tuple[str, str]
    """A wire path, and what is wrong there."""

_LONGEST_PARAMETER = 1_024
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What Envoy refuses in the path and the host of a health check."""


def search(graph: Graph, world: World) -> Iterator[Diagnostic]:
    """One finding a text."""
    del world
    for resource in graph.state:
        for path, fault in _faults(resource.spec):
            yield _finding(resource.key, path, Severity.ERROR, fault)
        if isinstance(resource.spec, VirtualNodeSpec | VirtualGatewaySpec):
            for path, text in _formats(resource.spec.logging):
                for severity, said in log_formats.judged(text):
                    yield _finding(resource.key, path, severity, said)


def _finding(key: Key, path: str, severity: Severity, summary: str) -> Diagnostic:
    harm = "Every Envoy that gets it would reject the whole resource and keep its old one."
    return Diagnostic(
        rule=RULE.code,
        severity=severity,
        summary=summary,
        detail=harm if severity is Severity.ERROR else "",
        subject=key.path,
        path=path,
    )


def _faults(spec: Spec) -> Iterator[Fault]:
    match spec:
        case RouteSpec() | GatewayRouteSpec():
            for member, http in (("httpRoute", spec.http_route), ("http2Route", spec.http2_route)):
                if http is not None:
                    at = f"spec.{member}"
                    yield from _names(http.match.headers, f"{at}.match.headers")
                    yield from _parameters(http.match.query_parameters, f"{at}.match.queryParameters")
                    yield from _rewrites(http, at) if isinstance(http, HttpGatewayRoute) else ()
            if spec.grpc_route is not None:
                yield from _names(spec.grpc_route.match.metadata, "spec.grpcRoute.match.metadata")
        case VirtualNodeSpec():
            yield from _node(spec)
            yield from _secrets(encode(spec), "spec")
        case VirtualGatewaySpec():
            yield from _secrets(encode(spec), "spec")


def _names(headers: Sequence[HttpRouteHeader] | None, at: str) -> Iterator[Fault]:
    for index, header in enumerate(headers or ()):
        yield from _broken(header.name, f"{at}[{index}].name")


def _parameters(parameters: Sequence[HttpQueryParameter] | None, at: str) -> Iterator[Fault]:
    for index, parameter in enumerate(parameters or ()):
        size = len(parameter.name.encode())
        if not size:
            yield f"{at}[{index}].name", "A query parameter must have a name"
        elif size > _LONGEST_PARAMETER:
            yield (
                f"{at}[{index}].name",
                f"The query parameter's name has {size} bytes; Envoy takes {_LONGEST_PARAMETER}",
            )


def _rewrites(route: HttpGatewayRoute, at: str) -> Iterator[Fault]:
    rewrite = route.action.rewrite
    if rewrite is not None and rewrite.path is not None and rewrite.path.exact is not None:
        yield from _broken(rewrite.path.exact, f"{at}.action.rewrite.path.exact")
    if rewrite is not None and rewrite.prefix is not None and rewrite.prefix.value is not None:
        yield from _broken(rewrite.prefix.value, f"{at}.action.rewrite.prefix.value")


def _node(spec: VirtualNodeSpec) -> Iterator[Fault]:
    checked = False
    for index, listener in enumerate(spec.listeners or ()):
        check = listener.health_check
        if check is not None and check.protocol in {"http", "http2"}:
            checked = True
            yield from _controlling(check.path or "", f"spec.listeners[{index}].healthCheck.path")
    discovery = spec.service_discovery
    if discovery is not None and discovery.dns is not None and not discovery.dns.hostname:
        yield "spec.serviceDiscovery.dns.hostname", "A host name cannot be empty"
    elif discovery is not None and checked:
        at = "spec.serviceDiscovery"
        if discovery.dns is not None:
            yield from _controlling(discovery.dns.hostname, f"{at}.dns.hostname")
        if discovery.aws_cloud_map is not None:
            yield from _controlling(discovery.aws_cloud_map.service_name, f"{at}.awsCloudMap.serviceName")
            yield from _controlling(discovery.aws_cloud_map.namespace_name, f"{at}.awsCloudMap.namespaceName")


def _secrets(value: object, at: str) -> Iterator[Fault]:
    """The names of SDS secrets below `value`, which occur in many places of a node and a gateway."""
    if isinstance(value, dict):
        if value.get("secretName") == "":
            yield f"{at}.secretName", "A secret must have a name; Envoy asks its SDS server for it"
        for name, one in value.items():
            yield from _secrets(one, f"{at}.{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _secrets(one, f"{at}[{index}]")


def _formats(logging: Logging | None) -> Iterator[tuple[str, str]]:
    """The texts of an access log's format, each with its wire path."""
    file = logging.access_log.file if logging and logging.access_log else None
    if file is None or file.format is None:
        return
    at = "spec.logging.accessLog.file.format"
    for index, one in enumerate(file.format.json or ()):
        yield f"{at}.json[{index}].value", one.value
    if file.format.text is not None:
        yield f"{at}.text", file.format.text


def _broken(text: str, at: str) -> Iterator[Fault]:
    if any(one in text for one in "\0\r\n"):
        yield at, f"{text!r} holds a line break or a NUL character"


def _controlling(text: str, at: str) -> Iterator[Fault]:
    if _CONTROL.search(text):
        yield at, f"{text!r} holds a control character, which cannot be sent in a health check"


RULE = Rule(code="MW211", name="rejected-text", severity=Severity.ERROR, page=__doc__.strip(), search=search)
