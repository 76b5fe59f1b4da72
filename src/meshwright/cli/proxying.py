"""What `meshwright proxy` was told, from its options, the image's variables and the machine.

The one rule: an option beats a variable, a variable of ours beats one of the image, and nothing told is dropped.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import TYPE_CHECKING, Any

from meshwright.cli.discovering import registered
from meshwright.cli.target import data_folder, endpoint, region
from meshwright.errors import UsageError
from meshwright.proxy.credentials import find, secured
from meshwright.proxy.extras import extras
from meshwright.proxy.settings import Address, Settings, address, proxy_key
from meshwright.proxy.supervising import Conduct
from meshwright.proxy.zones import ecs_zone
from meshwright.snapshot.resources import Loopback, Redirect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.proxy.image import Image
    from meshwright.snapshot.resources import Placement

DEFAULT_XDS = "127.0.0.1:18000"
_INSTANCE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_SHOWN = 60
"""Characters of a wrong instance that are quoted."""


def settings(given: Mapping[str, Any], told: Image, *, printed: bool) -> Settings:
    """What the bootstrap is made from; credentials come later. One that is `printed` may be for many Envoys.

    Raises:
        UsageError: an option or a variable cannot mean anything, or nobody says which node it is.
    """
    arn = given["arn"] or told.node
    if not arn:
        raise UsageError("Which node? Name it: meshwright proxy mesh/NAME/virtualNode/NAME, or APPMESH_RESOURCE_ARN.")
    proxy = proxy_key(arn)
    admin = Address("127.0.0.1", given["admin_port"]) if given["admin_port"] else told.admin
    placement = _placement(given["application"], given["ingress"], given["egress"])
    return Settings(
        proxy=proxy,
        instance=_told(given["instance"]) or ("" if printed else _instance(os.environ)),
        xds=address(given["xds"] or told.xds or DEFAULT_XDS),
        admin=admin or Address("127.0.0.1", 9901),
        placement=placement,
        resolver=address(given["resolver"]) if given["resolver"] else None,
        region=region(None, os.environ),
        zone=given["zone"] or ecs_zone(os.environ),
        tls=secured(given["xds_tls_ca"], given["xds_client_certificate"], given["xds_client_key"]),
        endpoint=registered(given["endpoint_address"], proxy, own=isinstance(placement, Loopback)),
        cluster=told.cluster,
        reports=given["reports"],
        extras=extras(os.environ, proxy),
    )


def _told(instance: str | None) -> str:
    """The instance that somebody chose; "" for none. Envoy tells it in headers as well, which hold nothing else."""
    if instance and not _INSTANCE.fullmatch(instance):
        shown = instance if len(instance) <= _SHOWN else f"{instance[:_SHOWN]}…"
        raise UsageError(
            f"--instance is {shown!r}, of {len(instance)} characters; it takes up to 255 printable ASCII characters "
            "and no space at either end, such as the name of a host"
        )
    return instance or ""


def _instance(environ: Mapping[str, str]) -> str:
    """A name that no other process has: of the container where ECS tells it, as tasks may share their host's.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
    """
    container = environ.get("ECS_CONTAINER_METADATA_URI_V4", "").rstrip("/").rpartition("/")[2]
    return f"{container or socket.gethostname()}-{os.getpid()}"


def conduct(given: Mapping[str, Any], told: Image) -> Conduct:
    """How Envoy is kept.

    Raises:
        UsageError: the agent's address is none.
    """
    usual = Conduct()

    def chosen(name: str) -> Any:
        return next(one for one in (given[name], getattr(told, name), getattr(usual, name)) if one is not None)

    return Conduct(
        concurrency=given["concurrency"] or told.concurrency,
        log_level=chosen("log_level"),
        agent=address(given["agent"]) if given["agent"] else told.agent,
        drain_seconds=chosen("drain_seconds"),
        restarts=chosen("restarts"),
        look_seconds=told.look_seconds,
        disconnected_seconds=told.disconnected_seconds,
    )


def found(options: Mapping[str, Any], chosen: Settings) -> Any:
    """What signs the streams: as the environment says, or the key of a control plane on this machine."""
    place, bundle = endpoint(options["endpoint"], os.environ), options["ca_bundle"] or ""
    return find(os.environ, chosen.xds, data_folder(os.environ), endpoint=place, ca_bundle=bundle)


def _placement(application: str | None, ingress: str | None, egress: str | None) -> Placement:
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
