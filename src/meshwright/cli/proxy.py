"""`meshwright proxy ARN`: one Envoy for one virtual node or gateway, until it is stopped.

The rule: nothing but the bootstrap is decided here; what the Envoy does comes from the control plane.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from meshwright.errors import UsageError


@click.command("proxy")
@click.argument("arn", required=False)
@click.option("--xds", envvar="MESHWRIGHT_XDS", metavar="ADDRESS",
              help="The control plane: HOST:PORT or unix:///PATH [default: 127.0.0.1:18000].")  # fmt: skip
@click.option("--xds-tls-ca", type=click.Path(path_type=Path), metavar="FILE", envvar="MESHWRIGHT_XDS_TLS_CA",
              help="Speak TLS to it, whose certificate these issue.")  # fmt: skip
@click.option("--xds-client-certificate", type=click.Path(path_type=Path), metavar="FILE",
              help="This proxy's own certificate, whose URI is the node's ARN, instead of a key.")  # fmt: skip
@click.option("--xds-client-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key.")
@click.option("--insecure-xds-without-authentication", "unsigned", is_flag=True,
              help="Prove nothing: for a control plane that was started so.")  # fmt: skip
@click.option(
    "--instance",
    help="The name that tells this proxy from others of its node [default: container or host, and process].",
)
@click.option("--admin-port", type=click.IntRange(1, 65_535),
              help="Port of Envoy's administration on 127.0.0.1 [default: 9901].")  # fmt: skip
@click.option("--agent", metavar="ADDRESS",
              help="Answer orchestrators here: HOST:PORT or unix:///PATH [default: nobody].")  # fmt: skip
@click.option("--application", metavar="IP", help="Loopback placement: where the application listens.")
@click.option("--ingress", metavar="IP", help="Loopback placement: where other proxies connect.")
@click.option("--egress", metavar="IP", help="Loopback placement: where the application reaches its backends.")
@click.option("--endpoint-address", metavar="HOST[:PORT]", envvar="MESHWRIGHT_ENDPOINT_ADDRESS",
              help="Register where others reach this proxy [default port: each listener's].")  # fmt: skip
@click.option("--resolver", metavar="HOST:PORT", help="DNS server for discovery names [default: the machine's own].")
@click.option(
    "--zone",
    envvar="AWS_AVAILABILITY_ZONE",
    help="The availability zone here [default: AWS_AVAILABILITY_ZONE, or as ECS's metadata file says].",
)
@click.option("--drain-seconds", type=click.IntRange(0, 3_600),
              help="From SIGTERM to the end [default: 20].")  # fmt: skip
@click.option("--restarts", type=click.IntRange(0), help="How often a crashed Envoy is started again [default: 3].")
@click.option("--concurrency", type=click.IntRange(1), help="Worker threads [default: one a processor].")
@click.option("--log-level", help="Envoy's log level [default: warning].",
              type=click.Choice(["trace", "debug", "info", "warning", "error", "critical", "off"]))  # fmt: skip
@click.option("--reports", type=click.Choice(["all", "loads", "none"]), default="all", show_default=True,
              help="What it tells of its calls; loads: no latencies, for Envoy before 1.37.")  # fmt: skip
@click.option("--print-bootstrap", is_flag=True, help="Print the bootstrap as JSON and run nothing.")
@click.pass_obj
def command(options: dict[str, Any], /, *, print_bootstrap: bool, **given: Any) -> int:
    """Run the packaged Envoy for one virtual node or gateway.

    ARN is its ARN, or a path such as mesh/NAME/virtualNode/NAME [default: APPMESH_RESOURCE_ARN]. Envoy runs until
    this command is stopped: SIGTERM fails its health, lets its connections go and ends it after --drain-seconds; a
    second signal ends it at once. Without the three addresses, it expects the usual App Mesh redirection of traffic
    to ports 15000 and 15001. The environment variables of App Mesh's Envoy image are honoured; options beat them.

    It proves who it is with the AWS settings that are there (or the key of a control plane on this machine), with a
    client certificate, or by coming through its node's own Unix socket. An identity token of
    AWS_WEB_IDENTITY_TOKEN_FILE is exchanged for sessions of AWS_ROLE_ARN at --endpoint for as long as Envoy runs.
    """
    import contextlib
    import os

    from msgspec.structs import replace

    from meshwright.cli.discovering import farewell
    from meshwright.cli.proxying import conduct, found, settings
    from meshwright.proxy.bootstrap import bootstrap
    from meshwright.proxy.credentials import Source, followed, renewed
    from meshwright.proxy.extras import document
    from meshwright.proxy.image import image

    told = image(os.environ)
    for warning in told.warnings:
        click.echo(f"warning: {warning}", err=True)
    if told.config_file:
        whole = document(told.config_file, "ENVOY_CONFIG_FILE")
        return _printed(whole) if print_bootstrap else _run(whole, conduct(given, told))
    chosen = settings(given, told, printed=print_bootstrap)
    key = None if given["unsigned"] or given["xds_client_certificate"] else found(options, chosen)
    if print_bootstrap and isinstance(key, Source):
        raise UsageError(
            "The sessions that AWS_WEB_IDENTITY_TOKEN_FILE gives are renewed by this command while Envoy runs; "
            "without it, write them to a credentials file yourself and name that with AWS_SHARED_CREDENTIALS_FILE"
        )
    if print_bootstrap:
        return _printed(bootstrap(replace(chosen, credentials=key)))
    signing = renewed(key) if isinstance(key, Source) else contextlib.nullcontext(key)
    with signing as credentials, followed(chosen.tls) as tls, farewell(chosen.endpoint) as endpoint:
        ready = replace(chosen, credentials=credentials, tls=tls, endpoint=endpoint)
        return _run(bootstrap(ready), conduct(given, told))


def _printed(document: dict[str, Any]) -> int:
    click.echo(json.dumps(document, indent=2))
    return 0


def _run(document: dict[str, Any], conduct: Any) -> int:
    from meshwright.proxy.supervising import run  # printing needs no Envoy

    return run(document, conduct)
