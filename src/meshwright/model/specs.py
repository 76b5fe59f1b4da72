"""The specs of meshes, virtual nodes, virtual services, virtual routers and virtual gateways."""

from __future__ import annotations

from typing import ClassVar

from meshwright.model.listeners import Listener, VirtualGatewayListener, VirtualRouterListener
from meshwright.model.scalars import (
    CloudMapAttributeKey,
    CloudMapAttributeValue,
    CloudMapName,
    DnsResponseType,
    EgressFilterType,
    FilePath,
    IpPreference,
    JsonPart,
    ResourceName,
    Shape,
    TagKey,
    TagValue,
    TextFormat,
)
from meshwright.model.tls import ClientPolicy


class TagRef(Shape, frozen=True, kw_only=True):
    """A tag; its value may be empty."""

    key: TagKey
    value: TagValue


class EgressFilter(Shape, frozen=True, kw_only=True):
    """What happens to traffic that is for no backend."""

    type: EgressFilterType


class MeshServiceDiscovery(Shape, frozen=True, kw_only=True):
    """The mesh's default IP preference."""

    ip_preference: IpPreference | None = None


class MeshSpec(Shape, frozen=True, kw_only=True):
    """A mesh."""

    egress_filter: EgressFilter | None = None
    service_discovery: MeshServiceDiscovery | None = None


class JsonFormatRef(Shape, frozen=True, kw_only=True):
    """One member of a JSON access log line."""

    key: JsonPart
    value: JsonPart


class LoggingFormat(Shape, frozen=True, kw_only=True):
    """An access log's format: exactly one kind."""

    one_of: ClassVar[tuple[str, ...]] = ("json", "text")

    json: tuple[JsonFormatRef, ...] | None = None
    text: TextFormat | None = None


class FileAccessLog(Shape, frozen=True, kw_only=True):
    """An access log written to a file, `/dev/stdout` usually."""

    format: LoggingFormat | None = None
    path: FilePath


class AccessLog(Shape, frozen=True, kw_only=True):
    """Where the access log goes."""

    one_of: ClassVar[tuple[str, ...]] = ("file",)

    file: FileAccessLog | None = None


class Logging(Shape, frozen=True, kw_only=True):
    """A proxy's logging."""

    access_log: AccessLog | None = None


class AwsCloudMapInstanceAttribute(Shape, frozen=True, kw_only=True):
    """An attribute that an AWS Cloud Map instance must carry."""

    key: CloudMapAttributeKey
    value: CloudMapAttributeValue


class AwsCloudMapServiceDiscovery(Shape, frozen=True, kw_only=True):
    """Discovery by AWS Cloud Map: instances that carry all of the attributes."""

    attributes: tuple[AwsCloudMapInstanceAttribute, ...] | None = None
    ip_preference: IpPreference | None = None
    namespace_name: CloudMapName
    service_name: CloudMapName


class DnsServiceDiscovery(Shape, frozen=True, kw_only=True):
    """Discovery by DNS: one address at a time (LOADBALANCER, the default) or all of them (ENDPOINTS)."""

    hostname: str
    ip_preference: IpPreference | None = None
    response_type: DnsResponseType | None = None


class ServiceDiscovery(Shape, frozen=True, kw_only=True):
    """How a virtual node's instances are found: exactly one way."""

    one_of: ClassVar[tuple[str, ...]] = ("aws_cloud_map", "dns")

    aws_cloud_map: AwsCloudMapServiceDiscovery | None = None
    dns: DnsServiceDiscovery | None = None


class BackendDefaults(Shape, frozen=True, kw_only=True):
    """What holds for every backend that does not say otherwise."""

    client_policy: ClientPolicy | None = None


class VirtualServiceBackend(Shape, frozen=True, kw_only=True):
    """A virtual service that a node may call; it need not exist yet."""

    client_policy: ClientPolicy | None = None
    virtual_service_name: str


class Backend(Shape, frozen=True, kw_only=True):
    """A backend: exactly one kind."""

    one_of: ClassVar[tuple[str, ...]] = ("virtual_service",)

    virtual_service: VirtualServiceBackend | None = None


class VirtualNodeSpec(Shape, frozen=True, kw_only=True):
    """A virtual node."""

    backend_defaults: BackendDefaults | None = None
    backends: tuple[Backend, ...] | None = None
    listeners: tuple[Listener, ...] | None = None
    logging: Logging | None = None
    service_discovery: ServiceDiscovery | None = None


class VirtualNodeServiceProvider(Shape, frozen=True, kw_only=True):
    """A virtual node that provides a virtual service."""

    virtual_node_name: ResourceName


class VirtualRouterServiceProvider(Shape, frozen=True, kw_only=True):
    """A virtual router that provides a virtual service."""

    virtual_router_name: ResourceName


class VirtualServiceProvider(Shape, frozen=True, kw_only=True):
    """Who answers for a virtual service: exactly one."""

    one_of: ClassVar[tuple[str, ...]] = ("virtual_node", "virtual_router")

    virtual_node: VirtualNodeServiceProvider | None = None
    virtual_router: VirtualRouterServiceProvider | None = None


class VirtualServiceSpec(Shape, frozen=True, kw_only=True):
    """A virtual service; without a provider it answers nothing."""

    provider: VirtualServiceProvider | None = None


class VirtualRouterSpec(Shape, frozen=True, kw_only=True):
    """A virtual router; its routes are objects of their own."""

    listeners: tuple[VirtualRouterListener, ...] | None = None


class VirtualGatewaySpec(Shape, frozen=True, kw_only=True):
    """A virtual gateway; its routes are objects of their own."""

    backend_defaults: BackendDefaults | None = None
    listeners: tuple[VirtualGatewayListener, ...]
    logging: Logging | None = None
