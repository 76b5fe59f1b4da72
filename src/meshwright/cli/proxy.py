"""`meshwright proxy ARN`: one Envoy for one virtual node or gateway, until it is stopped.

The rule: nothing but the bootstrap is decided here; what the Envoy does comes from the control plane.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.proxy.bootstrap import Settings
    from meshwright.snapshot.resources import Placement


@click.command("proxy")
@click.argument("arn")
@click.option("--xds", default="127.0.0.1:18000", show_default=True, envvar="MESHWRIGHT_XDS",
              help="The control plane's xDS address: HOST:PORT or unix:///PATH.")  # fmt: skip
@click.option("--xds-tls-ca", type=click.Path(path_type=Path), metavar="FILE", envvar="MESHWRIGHT_XDS_TLS_CA",
              help="Speak TLS to it, whose certificate these issue.")  # fmt: skip
@click.option("--xds-client-certificate", type=click.Path(path_type=Path), metavar="FILE",
              help="This proxy's own certificate, whose URI is the node's ARN, instead of a key.")  # fmt: skip
@click.option("--xds-client-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key.")
@click.option("--insecure-xds-without-authentication", "unsigned", is_flag=True,
              help="Prove nothing: for a control plane that was started so.")  # fmt: skip
@click.option(
    "--instance", help="The name that tells this proxy from others of its node [default: host and process]."
)
@click.option("--admin-port", type=click.IntRange(1, 65_535), default=9901, show_default=True,
              help="Port of Envoy's administration on 127.0.0.1.")  # fmt: skip
@click.option("--application", metavar="IP", help="Loopback placement: where the application listens.")
@click.option("--ingress", metavar="IP", help="Loopback placement: where other proxies connect.")
@click.option("--egress", metavar="IP", help="Loopback placement: where the application reaches its backends.")
@click.option("--resolver", metavar="HOST:PORT", help="DNS server for discovery names [default: the machine's own].")
@click.option(
    "--zone",
    envvar="AWS_AVAILABILITY_ZONE",
    help="The availability zone here [default: AWS_AVAILABILITY_ZONE, or as ECS's metadata file says].",
)
@click.option("--concurrency", type=click.IntRange(1), help="Worker threads [default: one a processor].")
@click.option("--log-level", default="warning", show_default=True, help="Envoy's log level.",
              type=click.Choice(["trace", "debug", "info", "warning", "error", "critical", "off"]))  # fmt: skip
@click.option("--print-bootstrap", is_flag=True, help="Print the bootstrap as JSON and run nothing.")
@click.pass_obj
def command(
    options: dict[str, Any], /, *, concurrency: int | None, log_level: str, print_bootstrap: bool, **given: Any
) -> int:
    """Run the packaged Envoy for one virtual node or gateway.

    ARN is its ARN, or a path such as mesh/NAME/virtualNode/NAME. Envoy runs until this command is stopped. Without
    the three addresses, it expects the usual App Mesh redirection of traffic to ports 15000 and 15001.

    It proves who it is with the AWS settings that are there (or the key of a control plane on this machine), with a
    client certificate, or by coming through its node's own Unix socket. An identity token of
    AWS_WEB_IDENTITY_TOKEN_FILE is exchanged for sessions of AWS_ROLE_ARN at --endpoint for as long as Envoy runs.
    """
    import contextlib
    import json

    from msgspec.structs import replace

    from meshwright.proxy.bootstrap import bootstrap
    from meshwright.proxy.credentials import Source, followed, renewed

    settings = _settings(given)
    found = None if given["unsigned"] or given["xds_client_certificate"] else _found(options, settings)
    if print_bootstrap and isinstance(found, Source):
        raise UsageError(
            "The sessions that AWS_WEB_IDENTITY_TOKEN_FILE gives are renewed by this command while Envoy runs; "
            "without it, write them to a credentials file yourself and name that with AWS_SHARED_CREDENTIALS_FILE"
        )
    if print_bootstrap:
        click.echo(json.dumps(bootstrap(replace(settings, credentials=found)), indent=2))
        return 0
    from meshwright.proxy.run import run  # printing needs no Envoy

    signing = renewed(found) if isinstance(found, Source) else contextlib.nullcontext(found)
    with signing as credentials, followed(settings.tls) as tls:
        document = bootstrap(replace(settings, credentials=credentials, tls=tls))
        return run(document, concurrency=concurrency, log_level=log_level)


def _settings(given: Mapping[str, Any]) -> Settings:
    """What the options say of the bootstrap; credentials come later."""
    import os
    import socket

    from meshwright.cli.target import region
    from meshwright.proxy.bootstrap import Address, Settings, address, proxy_key
    from meshwright.proxy.credentials import secured
    from meshwright.proxy.zones import ecs_zone

    return Settings(
        proxy=proxy_key(given["arn"]),
        instance=given["instance"] or f"{socket.gethostname()}-{os.getpid()}",
        xds=address(given["xds"]),
        admin=Address("127.0.0.1", given["admin_port"]),
        placement=_placement(given["application"], given["ingress"], given["egress"]),
        resolver=address(given["resolver"]) if given["resolver"] else None,
        region=region(None, os.environ),
        zone=given["zone"] or ecs_zone(os.environ),
        tls=secured(given["xds_tls_ca"], given["xds_client_certificate"], given["xds_client_key"]),
    )


def _found(options: Mapping[str, Any], settings: Settings) -> Any:
    """What signs the streams: as the environment says, or the key of a control plane on this machine."""
    import os

    from meshwright.cli.target import data_folder, endpoint
    from meshwright.proxy.credentials import find

    place, bundle = endpoint(options["endpoint"], os.environ), options["ca_bundle"] or ""
    return find(os.environ, settings.xds, data_folder(os.environ), endpoint=place, ca_bundle=bundle)


def _placement(application: str | None, ingress: str | None, egress: str | None) -> Placement:
    import ipaddress

    from meshwright.snapshot.resources import Loopback, Redirect

    if not (application or ingress or egress):
        return Redirect()
    if not (application and ingress and egress):
        raise UsageError(
            "Loopback placement needs all three of --application, --ingress and --egress, or none of them"
        )
    for one in (application, ingress, egress):
        try:
            loopback = ipaddress.ip_address(one).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise UsageError(f"{one!r} is no loopback address; loopback placement takes such as 127.64.1.1")
    return Loopback(application=application, ingress=ingress, egress=egress)
