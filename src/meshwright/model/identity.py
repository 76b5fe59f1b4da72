"""Identity: kinds and keys. An ARN, a path and a type name are renderings of one `Key`.

Meshes of several accounts live in one server. A mesh of the server's home account goes by its bare name (`shop`), one
of account A is `shop@A`; `@` is in no name, so that the two never meet.
"""

from __future__ import annotations

import enum
import re

import msgspec


class Kind(enum.StrEnum):
    """The kinds of objects, App Mesh's seven and our extensions; the value is the kind's segment in an ARN."""

    MESH = "mesh"
    VIRTUAL_NODE = "virtualNode"
    VIRTUAL_ROUTER = "virtualRouter"
    VIRTUAL_SERVICE = "virtualService"
    ROUTE = "route"
    VIRTUAL_GATEWAY = "virtualGateway"
    GATEWAY_ROUTE = "gatewayRoute"
    FAULT = "fault"
    MIRROR = "mirror"
    HEADER_EDIT = "headerEdit"
    CORS = "cors"
    RATE_LIMIT = "rateLimit"
    EGRESS_POLICY = "egressPolicy"
    RETRY_POLICY = "retryPolicy"
    TELEMETRY = "telemetry"
    ZONE_POLICY = "zonePolicy"
    REGISTRATION = "registration"

    @property
    def portable(self) -> bool:
        """Whether App Mesh knows the kind; False for our extensions."""
        return self in PORTABLE_KINDS

    @property
    def parent(self) -> Kind | None:
        """The kind between the mesh and this one, for routes and gateway routes."""
        return _PARENTS.get(self)

    @property
    def type_name(self) -> str:
        """The kind as App Mesh's messages and CloudFormation write it: `VirtualNode`."""
        return self.value[0].upper() + self.value[1:]

    @property
    def plural(self) -> str:
        """Several of the kind, as messages say it: `Meshes`, `VirtualNodes`, `Fault extensions`."""
        if not self.portable:
            return f"{self.type_name} extensions"
        return "Meshes" if self is Kind.MESH else f"{self.type_name}s"

    @property
    def name_field(self) -> str:
        """The wire member that holds an object's name: `virtualNodeName`, for extensions `name`."""
        return f"{self.value}Name" if self.portable else "name"


PORTABLE_KINDS = (
    Kind.MESH,
    Kind.VIRTUAL_NODE,
    Kind.VIRTUAL_ROUTER,
    Kind.VIRTUAL_SERVICE,
    Kind.ROUTE,
    Kind.VIRTUAL_GATEWAY,
    Kind.GATEWAY_ROUTE,
)
"""App Mesh's own kinds: those of its API, its quotas and every other tool's definitions."""
EXTENSION_KINDS = tuple(kind for kind in Kind if kind not in PORTABLE_KINDS)
"""Kinds that only Meshwright has; their objects lie in a mesh, beside App Mesh's."""
NAMESPACE = "meshwright"
"""The segment before an extension's kind in a path, and the prefix of its kind in a definition."""

DEFAULT_ACCOUNT, DEFAULT_REGION = "000000000000", "us-east-1"
"""Whose a control plane's meshes are, and where, unless it is told."""

_PARENTS = {Kind.ROUTE: Kind.VIRTUAL_ROUTER, Kind.GATEWAY_ROUTE: Kind.VIRTUAL_GATEWAY}

_IN_MESH = frozenset(PORTABLE_KINDS) - {Kind.MESH, *_PARENTS}
"""App Mesh's kinds that lie directly in a mesh."""

_MESH = re.compile(r"[^@]+(@[0-9]{12})?")


def split_mesh(mesh: str) -> tuple[str, str]:
    """The bare name of a `Key.mesh`, and the account that owns it: "" for the home account."""
    name, _, owner = mesh.partition("@")
    return name, owner


def qualified(name: str, owner: str, home: str) -> str:
    """The `Key.mesh` of the mesh `name` of account `owner`, "" or `home` for the home account's."""
    return name if owner in {"", home} else f"{name}@{owner}"


class Key(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """What an object is, everywhere: its mesh, kind, name, and the router or gateway it belongs to."""

    mesh: str
    """`NAME`, or `NAME@OWNER` for a mesh of another account than the server's own; a mesh's `name` is the same."""
    kind: Kind
    name: str
    parent: str = ""

    @classmethod
    def of_mesh(cls, mesh: str) -> Key:
        """The key of the mesh itself."""
        return cls(mesh, Kind.MESH, mesh)

    @property
    def mesh_name(self) -> str:
        """The mesh's name as the wire says it, without its owner."""
        return self.mesh.partition("@")[0]

    @property
    def wire_name(self) -> str:
        """The object's name as the wire says it: a mesh's without its owner."""
        return self.mesh_name if self.kind is Kind.MESH else self.name

    def within(self, mesh: str) -> Key:
        """The same object in another mesh; a mesh becomes that mesh."""
        if mesh == self.mesh:
            return self
        return Key(mesh, self.kind, mesh if self.kind is Kind.MESH else self.name, self.parent)

    @property
    def path(self) -> str:
        """The part of the ARN after the account: `mesh/shop/virtualRouter/cart/route/all`.

        An extension's is `mesh/shop/meshwright/fault/slow-payment`.
        """
        if self.kind is Kind.MESH:
            return f"mesh/{self.mesh}"
        if self.kind.parent:
            return f"mesh/{self.mesh}/{self.kind.parent}/{self.parent}/{self.kind}/{self.name}"
        if not self.kind.portable:
            return f"mesh/{self.mesh}/{NAMESPACE}/{self.kind}/{self.name}"
        return f"mesh/{self.mesh}/{self.kind}/{self.name}"

    @property
    def owner(self) -> Key | None:
        """The object this one lies in: the router, gateway or mesh; None for a mesh."""
        if self.kind is Kind.MESH:
            return None
        if self.kind.parent:
            return Key(self.mesh, self.kind.parent, self.parent)
        return Key.of_mesh(self.mesh)

    def arn(self, *, region: str, account: str, partition: str = "aws", home: str = "") -> str:
        """The ARN; `account` is the resource owner's 12 digits, `home` the account whose meshes have bare names.

        The mesh's segment is `NAME@OWNER` exactly when the mesh is another account's than the object.

        Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsappmesh.html
        """
        name, owner = split_mesh(self.mesh)
        path, owner = self.path, owner or home or account
        written = name if owner == account else f"{name}@{owner}"
        if written != self.mesh:
            path = f"mesh/{written}{path.removeprefix(f'mesh/{self.mesh}')}"
        return f"arn:{partition}:appmesh:{region}:{account}:{path}"

    def __str__(self) -> str:
        return self.path


def parse_key(text: str, home: str = "") -> Key:
    """The key that an ARN or a path such as `mesh/shop/virtualNode/cart` names.

    With `home`, the account whose meshes have bare names, the mesh is that of the account which the mesh's segment
    (`shop@OWNER`) or else the ARN says. Without it the segment is taken as it stands.

    Raises:
        ValueError: `text` is neither.
    """
    path, account = text, ""
    if text.startswith("arn:"):
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[2] not in {"appmesh", "appmesh-preview"}:
            raise ValueError(f"{text!r} is not the ARN of an App Mesh resource")
        account, path = parts[4:]
    key = _of_path(path, text)
    if home:
        name, owner = split_mesh(key.mesh)
        key = key.within(qualified(name, owner or account, home))
    return key


def _of_path(path: str, text: str) -> Key:
    segments = path.split("/")
    if len(segments) > 1 and not _MESH.fullmatch(segments[1]):
        segments = []
    match segments:
        case ["mesh", mesh] if mesh:
            return Key.of_mesh(mesh)
        case ["mesh", mesh, kind, name] if mesh and name and kind in _IN_MESH:
            return Key(mesh, Kind(kind), name)
        case ["mesh", mesh, namespace, kind, name] if (
            mesh and name and namespace == NAMESPACE and kind in set(EXTENSION_KINDS)
        ):
            return Key(mesh, Kind(kind), name)
        case ["mesh", mesh, "virtualRouter", parent, "route", name] if mesh and parent and name:
            return Key(mesh, Kind.ROUTE, name, parent)
        case ["mesh", mesh, "virtualGateway", parent, "gatewayRoute", name] if mesh and parent and name:
            return Key(mesh, Kind.GATEWAY_ROUTE, name, parent)
    raise ValueError(
        f"{text!r} names no App Mesh resource; expected an ARN or a path such as mesh/NAME/virtualNode/NAME"
    )
