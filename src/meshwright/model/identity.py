"""Identity: kinds and keys. An ARN, a path and a type name are renderings of one `Key`."""

from __future__ import annotations

import enum

import msgspec


class Kind(enum.StrEnum):
    """The kinds of objects; the value is the kind's segment in an ARN."""

    MESH = "mesh"
    VIRTUAL_NODE = "virtualNode"
    VIRTUAL_ROUTER = "virtualRouter"
    VIRTUAL_SERVICE = "virtualService"
    ROUTE = "route"
    VIRTUAL_GATEWAY = "virtualGateway"
    GATEWAY_ROUTE = "gatewayRoute"

    @property
    def parent(self) -> Kind | None:
        """The kind between the mesh and this one, for routes and gateway routes."""
        return {Kind.ROUTE: Kind.VIRTUAL_ROUTER, Kind.GATEWAY_ROUTE: Kind.VIRTUAL_GATEWAY}.get(self)

    @property
    def type_name(self) -> str:
        """The kind as App Mesh's messages and CloudFormation write it: `VirtualNode`."""
        return self.value[0].upper() + self.value[1:]

    @property
    def name_field(self) -> str:
        """The wire member that holds an object's name: `virtualNodeName`."""
        return f"{self.value}Name"


class Key(msgspec.Struct, frozen=True, order=True):
    """What an object is, everywhere: its mesh, kind, name, and the router or gateway it belongs to."""

    mesh: str
    kind: Kind
    name: str
    parent: str = ""

    @classmethod
    def of_mesh(cls, mesh: str) -> Key:
        """The key of the mesh itself."""
        return cls(mesh, Kind.MESH, mesh)

    @property
    def path(self) -> str:
        """The part of the ARN after the account: `mesh/shop/virtualRouter/cart/route/all`."""
        if self.kind is Kind.MESH:
            return f"mesh/{self.mesh}"
        if self.kind.parent:
            return f"mesh/{self.mesh}/{self.kind.parent}/{self.parent}/{self.kind}/{self.name}"
        return f"mesh/{self.mesh}/{self.kind}/{self.name}"

    @property
    def owner(self) -> Key | None:
        """The object this one lies in: the router, gateway or mesh; None for a mesh."""
        if self.kind is Kind.MESH:
            return None
        if self.kind.parent:
            return Key(self.mesh, self.kind.parent, self.parent)
        return Key.of_mesh(self.mesh)

    def arn(self, *, region: str, account: str, partition: str = "aws") -> str:
        """The ARN; `account` is the resource owner's 12 digits.

        Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsappmesh.html
        """
        return f"arn:{partition}:appmesh:{region}:{account}:{self.path}"

    def __str__(self) -> str:
        return self.path


def parse_key(text: str) -> Key:
    """The key that an ARN or a path such as `mesh/shop/virtualNode/cart` names.

    Raises:
        ValueError: `text` is neither.
    """
    path = text
    if text.startswith("arn:"):
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[2] not in {"appmesh", "appmesh-preview"}:
            raise ValueError(f"{text!r} is not the ARN of an App Mesh resource")
        path = parts[5]
    match path.split("/"):
        case ["mesh", mesh] if mesh:
            return Key.of_mesh(mesh)
        case ["mesh", mesh, kind, name] if mesh and name and kind in set(Kind) - {"mesh", "route", "gatewayRoute"}:
            return Key(mesh, Kind(kind), name)
        case ["mesh", mesh, "virtualRouter", parent, "route", name] if mesh and parent and name:
            return Key(mesh, Kind.ROUTE, name, parent)
        case ["mesh", mesh, "virtualGateway", parent, "gatewayRoute", name] if mesh and parent and name:
            return Key(mesh, Kind.GATEWAY_ROUTE, name, parent)
    raise ValueError(
        f"{text!r} names no App Mesh resource; expected an ARN or a path such as mesh/NAME/virtualNode/NAME"
    )
