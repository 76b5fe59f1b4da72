"""The specs of the controller's custom resources in the API's spelling.

The one rule: members are the API's except for the few named here; references to objects become names.

Source: https://aws.github.io/aws-app-mesh-controller-for-k8s/reference/api_spec/
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from meshwright.documents.positions import UNKNOWN, Items, Place, Table
from meshwright.model import Kind, Problem, parse_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_OWN: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.MESH: frozenset({"awsName", "namespaceSelector", "meshOwner"}),
        Kind.VIRTUAL_NODE: frozenset({"awsName", "podSelector", "meshRef", "backendGroups"}),
        Kind.VIRTUAL_SERVICE: frozenset({"awsName", "meshRef"}),
        Kind.VIRTUAL_ROUTER: frozenset({"awsName", "meshRef", "routes"}),
        Kind.ROUTE: frozenset({"name"}),
        Kind.VIRTUAL_GATEWAY: frozenset(
            {"awsName", "meshRef", "namespaceSelector", "podSelector", "gatewayRouteSelector"}
        ),
        Kind.GATEWAY_ROUTE: frozenset({"awsName", "meshRef", "virtualGatewayRef"}),
    }
)
"""Members of a spec that concern Kubernetes alone."""

_RENAMED: Mapping[str, str] = MappingProxyType(
    {"certificateARN": "certificateArn", "certificateAuthorityARNs": "certificateAuthorityArns"}
)

_REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "virtualServiceRef": "VirtualService",
        "virtualServiceARN": "VirtualService",
        "virtualNodeRef": "VirtualNode",
        "virtualNodeARN": "VirtualNode",
        "virtualRouterRef": "VirtualRouter",
        "virtualRouterARN": "VirtualRouter",
    }
)

SPECIAL: Mapping[str, str] = MappingProxyType(
    {
        "virtualServiceName": "Give it as virtualServiceRef or virtualServiceARN.",
        "virtualNodeName": "Give it as virtualNodeRef or virtualNodeARN.",
        "virtualNode": "Give it as virtualNodeRef or virtualNodeARN.",
        "virtualRouterName": "Give it as virtualRouterRef or virtualRouterARN.",
        "routeName": "Give it as name.",
    }
)
"""How the members are written here that the API calls otherwise."""


def default_name(kind: str, namespace: str, name: str) -> str:
    """The controller's own name for an object without `awsName`."""
    if kind == "Mesh":
        return name
    return f"{name}.{namespace}" if kind == "VirtualService" else f"{name}_{namespace}"


class Names:
    """What other manifests are called in App Mesh."""

    def __init__(
        self, names: Mapping[tuple[str, str, str], str | None], groups: Mapping[tuple[str, str], Table]
    ) -> None:
        self._names = names
        self._groups = groups

    def of(self, kind: str, namespace: Any, name: str) -> Any:
        """The App Mesh name of an object; what the controller would make of it where it is not in the files."""
        if (kind, namespace, name) in self._names:
            found = self._names[kind, namespace, name]
            return UNKNOWN if found is None else found
        if kind == "Mesh":
            return next((one for (k, _, n), one in self._names.items() if (k, n) == (kind, name)), name)
        return UNKNOWN if namespace is UNKNOWN else default_name(kind, namespace, name)

    def services(self, namespace: str) -> list[str]:
        """The virtual services of a namespace."""
        found = ((key, one) for key, one in self._names.items() if key[:2] == ("VirtualService", namespace))
        return [one for _, one in found if one is not None]

    def group(self, namespace: str, name: str) -> Table | None:
        """The spec of a BackendGroup."""
        return self._groups.get((namespace, name))


def rewritten(spec: Table, kind: Kind, namespace: Any, names: Names) -> tuple[Table, list[tuple[Problem, Place]]]:
    """`spec` as the API takes it, with what is wrong with its references."""
    writer = _Writer(namespace, names)
    own = Table(spec.place)
    for key, value in spec.items():
        if key in _OWN[kind]:
            continue
        name = "serviceDiscovery" if (kind, key) == (Kind.MESH, "meshServiceDiscovery") else key
        own.put(name, value, spec.places[key])
    result = writer.table(own, "spec")
    if "backendGroups" in _OWN[kind] and isinstance(spec.get("backendGroups"), Items):
        writer.expand(result, spec["backendGroups"])
    return result, writer.problems


class _Writer:
    """Rewrites one spec; `namespace` is where references without one point."""

    def __init__(self, namespace: Any, names: Names) -> None:
        self._namespace = namespace
        self._names = names
        self.problems: list[tuple[Problem, Place]] = []

    def value(self, value: Any, path: str) -> Any:
        """A member of any kind."""
        if isinstance(value, Table):
            return self.table(value, path)
        if isinstance(value, Items):
            items = Items(value.place)
            for index, (one, place) in enumerate(zip(value, value.places, strict=True)):
                items.put(self.value(one, f"{path}[{index}]"), place)
            return items
        return value

    def table(self, value: Table, path: str) -> Table:
        """A mapping, its references turned into names."""
        table = Table(value.place)
        for key, member in value.items():
            place = value.places[key]
            kind = _REFERENCES.get(key)
            if kind is None:
                table.put(_RENAMED.get(key, key), self.value(member, f"{path}.{key}"), place)
                continue
            name = "virtualNode" if "weightedTargets[" in path else f"{kind[0].lower()}{kind[1:]}Name"
            if name in table:
                stem = key.removesuffix("Ref").removesuffix("ARN")
                self._fault(f"{path}.{key}", f"takes one of {stem}Ref and {stem}ARN, found both", place)
                continue
            table.put(name, self._name(kind, member, f"{path}.{key}", place), place)
        return table

    def _name(self, kind: str, value: Any, path: str, place: Place) -> Any:
        if path.endswith("ARN"):
            try:
                return parse_key(value).name if isinstance(value, str) else UNKNOWN
            except ValueError as error:
                self._fault(path, str(error), place)
                return UNKNOWN
        if isinstance(value, Table) and isinstance(value.get("name"), str):
            namespace = value.get("namespace")
            where = str(namespace) if isinstance(namespace, str) else namespace or self._namespace
            return self._names.of(kind, where, str(value["name"]))
        if not isinstance(value, Table) or value.get("name") is not UNKNOWN:
            self._fault(path, "takes a name and, where it is another, a namespace", place)
        return UNKNOWN

    def _fault(self, path: str, told: str, place: Place) -> None:
        self.problems.append((Problem("MW001", path, told), place))

    def expand(self, spec: Table, groups: Items) -> None:
        """Add the services of backend groups to the backends; `*` is every service of the namespace."""
        backends = spec.get("backends")
        if not isinstance(backends, Items):
            backends = Items(groups.place)
            spec.put("backends", backends, groups.place)
        present = {_service(one) for one in backends}
        for group, place in zip(groups, groups.places, strict=True):
            for name in self._members(group, place):
                if name not in present:
                    present.add(name)
                    backends.put(_backend(name, place), place)

    def _members(self, group: Any, place: Place) -> list[str]:
        name = group.get("name") if isinstance(group, Table) else None
        if not isinstance(name, str):
            self._fault("spec.backendGroups", "takes the names of BackendGroups", place)
            return []
        namespace = str(group.get("namespace") or self._namespace)
        if name == "*":
            return self._names.services(namespace)
        found = self._names.group(namespace, str(name))
        if found is None:
            self._fault(
                "spec.backendGroups", f"there is no BackendGroup {name!r} in the namespace {namespace!r}", place
            )
            return []
        listed = found.get("virtualservices")
        refs = [one for one in listed if isinstance(one, Table)] if isinstance(listed, Items) else []
        return [
            str(self._names.of("VirtualService", str(one.get("namespace") or namespace), str(one.get("name"))))
            for one in refs
        ]


def _service(backend: Any) -> Any:
    service = backend.get("virtualService") if isinstance(backend, Table) else None
    return service.get("virtualServiceName") if isinstance(service, Table) else None


def _backend(name: str, place: Place) -> Table:
    service, backend = Table(place), Table(place)
    service.put("virtualServiceName", name, place)
    backend.put("virtualService", service, place)
    return backend
