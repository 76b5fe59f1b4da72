"""Where a server tells of releases and of itself: OpenTelemetry and AWS CloudWatch.

The one rule: tokens come in variables, never in options, which other users of the machine can read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Command = TypeVar("Command", bound="Callable[..., Any]")

_OPTIONS = (
    click.option(
        "--otlp-endpoint",
        envvar="MESHWRIGHT_OTLP_ENDPOINT",
        metavar="URL",
        help="Send events of releases and metrics to this OpenTelemetry receiver (OTLP over HTTP), such as "
        "http://127.0.0.1:4318 [default: OTEL_EXPORTER_OTLP_ENDPOINT, if set].",
    ),
    click.option(
        "--cloudwatch",
        envvar="MESHWRIGHT_CLOUDWATCH",
        metavar="NAMESPACE",
        help="Send metrics of releases and proxies to this namespace of AWS CloudWatch, by AWS's own settings.",
    ),
)


def telemetry_options(command: Command) -> Command:
    """Add the options to `serve`."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def told(given: Mapping[str, Any], environment: str | None) -> dict[str, Any]:
    """The members of `server.Settings` that the options' values and OpenTelemetry's variables mean.

    Raises:
        UsageError: they cannot mean anything.
    """
    import importlib.metadata
    import uuid

    from meshwright.telemetry.standard import destination

    own = {
        "service.name": "meshwright",
        "service.version": importlib.metadata.version("meshwright"),
        "service.instance.id": str(uuid.uuid4()),
        **({"deployment.environment.name": environment} if environment else {}),
    }
    return {"otlp": destination(given["otlp_endpoint"], os.environ, own), "cloudwatch": given["cloudwatch"]}
