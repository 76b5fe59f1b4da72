"""Kubernetes custom resources of the App Mesh controller, `appmesh.k8s.aws/v1beta2`.

The one rule: an object gets the name, the mesh and the gateway that the controller would give it. Where that depends
on something that is not in the files, it is reported.

Source: https://aws.github.io/aws-app-mesh-controller-for-k8s/reference/api_spec/
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.diagnostics import Severity
from meshwright.documents.drafts import Draft
from meshwright.documents.findings import ASSUMED, INCOMPLETE, UNSUPPORTED
from meshwright.documents.kubernetes_specs import SPECIAL, Names, default_name, rewritten
from meshwright.documents.positions import UNKNOWN, Items, Place, Table, described
from meshwright.documents.selectors import selects
from meshwright.model import PORTABLE_KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshwright.documents.findings import Findings
    from meshwright.documents.settings import LoadSettings

GROUP = "appmesh.k8s.aws/"
VERSION = f"{GROUP}v1beta2"
LEGACY = f"{GROUP}v1beta1"
_KINDS: Mapping[str, Kind] = MappingProxyType(
    {kind.type_name: kind for kind in PORTABLE_KINDS if kind is not Kind.ROUTE}
)
_GROUP_KIND = "BackendGroup"


class Manifest(msgspec.Struct, frozen=True):
    """One object as it was written."""

    value: Table
    place: Place
    file: str
    lax: bool = False

    @property
    def kind(self) -> str:
        """`VirtualNode` and so on."""
        return str(self.value.get("kind", ""))

    @property
    def name(self) -> Any:
        """The object's name in Kubernetes; None or `UNKNOWN` where there is none."""
        return self.metadata.get("name")

    @property
    def namespace(self) -> Any:
        """The object's namespace or `UNKNOWN`; `default` where it says nothing, as kubectl has it."""
        namespace = self.metadata.get("namespace")
        return UNKNOWN if namespace is UNKNOWN else str(namespace or "default")

    @property
    def namespaced(self) -> bool:
        """Whether the object itself says its namespace."""
        return bool(self.metadata.get("namespace"))

    @property
    def labels(self) -> Mapping[str, Any]:
        """The object's labels."""
        labels = self.metadata.get("labels")
        return labels if isinstance(labels, Table) else {}

    @property
    def spec(self) -> Table:
        """The object's spec, empty where there is none."""
        spec = self.value.get("spec")
        return spec if isinstance(spec, Table) else Table(self.value.place_of("spec"))

    @property
    def metadata(self) -> Table:
        """The object's metadata, empty where there is none."""
        metadata = self.value.get("metadata")
        return metadata if isinstance(metadata, Table) else Table(self.place)


def recognises(value: Any) -> bool:
    """Whether `value` is an object of the controller, or a list with one in it."""
    return any(_version(one).startswith(GROUP) for one, _ in _unlisted(value, (1, 1)))


def is_legacy(value: Any) -> bool:
    """Whether `value` is written in v1beta1, whose content is not looked at."""
    return _version(value) == LEGACY


def _version(value: Any) -> str:
    version = value.get("apiVersion") if isinstance(value, Table) else None
    return version if isinstance(version, str) else ""


def _unlisted(value: Any, place: Place) -> Iterator[tuple[Any, Place]]:
    """The objects of `kind: List` and of `kind: VirtualNodeList`, or the object itself."""
    if isinstance(value, Table) and str(value.get("kind", "")).endswith("List"):
        items = value.get("items")
        if isinstance(items, Items):
            yield from zip(items, items.places, strict=True)
            return
    yield value, place


def manifests(value: Any, place: Place, file: str, *, lax: bool = False) -> Iterator[Manifest]:
    """The objects in a document that matter here: the controller's and namespaces, for their labels."""
    for one, where in _unlisted(value, place):
        if _version(one).startswith(GROUP) or (_version(one) == "v1" and one.get("kind") == "Namespace"):
            yield Manifest(one, where, file, lax)


def declared_mesh(manifest: Manifest) -> Iterator[str]:
    """The mesh that a manifest creates."""
    if manifest.kind == "Mesh" and _version(manifest.value) == VERSION:
        name = _aws_name(manifest, Kind.MESH)
        if name is not None:
            yield name


def drafts(found: Iterable[Manifest], settings: LoadSettings, findings: Findings) -> Iterator[Draft]:
    """The App Mesh objects of all manifests together, because names and meshes depend on each other."""
    found = list(found)
    old = {one.file: one for one in reversed(found) if _version(one.value) == LEGACY}
    for one in old.values():
        told = f"{one.kind} {one.name!r} is written in v1beta1, the API of the controller before version 1.0"
        detail = "Convert the file to appmesh.k8s.aws/v1beta2: routers and routes are objects of their own there."
        findings.add(UNSUPPORTED, one.file, one.value.place_of("apiVersion"), told, detail)
    yield from _Cluster([one for one in found if _supported(one, findings)], settings, findings).drafts()


def _supported(one: Manifest, findings: Findings) -> bool:
    version = _version(one.value)
    if version in {VERSION, "v1"}:
        if one.kind in {*_KINDS, _GROUP_KIND, "Namespace"}:
            return True
        told, where = f"the kind {described(one.kind)} is none of {VERSION}", one.value.place_of("kind")
        findings.add(UNSUPPORTED, one.file, where, told, f"Known are {', '.join([*_KINDS, _GROUP_KIND])}.")
    elif version != LEGACY:
        where = one.value.place_of("apiVersion")
        findings.add(UNSUPPORTED, one.file, where, f"the version {version} is not known", f"Write {VERSION}.")
    return False


class _Cluster:
    """All manifests, by what other manifests know them by."""

    def __init__(self, found: list[Manifest], settings: LoadSettings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._found = [one for one in found if one.kind != "Namespace" and self._named(one)]
        self._unnamed = any(one.kind == "Mesh" and one.name is UNKNOWN for one in found)
        self._namespaces = {str(one.name): one.labels for one in found if one.kind == "Namespace"}
        self._meshes = [one for one in self._found if one.kind == "Mesh"]
        self._gateways = [one for one in self._found if one.kind == "VirtualGateway"]
        known = {(one.kind, one.namespace, str(one.name)): one for one in self._found}
        self._names = Names(
            {
                (kind, namespace, name): _aws_name(one, _KINDS[kind])
                for (kind, namespace, name), one in known.items()
                if kind in _KINDS
            },
            {(one.namespace, str(one.name)): one.spec for one in self._found if one.kind == _GROUP_KIND},
        )

    def _named(self, one: Manifest) -> bool:
        if one.name is None:
            told = f"this {one.kind} has no metadata.name"
            self._findings.add(INCOMPLETE, one.file, one.place, told, "Add metadata with a name.")
        for field in ("name", "namespace"):
            value, place = one.metadata.get(field), one.metadata.place_of(field)
            if value is not None and value is not UNKNOWN and not isinstance(value, str):
                told = f"metadata.{field} takes text, found {described(value)}"
                self._findings.add("MW001", one.file, place, told, "Quote it.")
                return False
        return isinstance(one.name, str)

    def drafts(self) -> Iterator[Draft]:
        """Every object; a router's routes after the router."""
        for one in self._found:
            if one.kind == _GROUP_KIND:
                continue
            draft = self._draft(one)
            yield draft
            if draft.kind is Kind.VIRTUAL_ROUTER:
                yield from self._routes(one, draft)

    def _draft(self, one: Manifest) -> Draft:
        kind = _KINDS[one.kind]
        wire = Table(one.place)
        at = one.value.place_of("metadata")
        if kind is not Kind.MESH:
            self._assume_namespace(one, at)
            wire.put("meshName", self._mesh(one), at)
        if kind is Kind.GATEWAY_ROUTE:
            wire.put(Kind.VIRTUAL_GATEWAY.name_field, self._gateway(one), at)
        named = one.spec.places.get("awsName", at)
        given = one.spec.get("awsName")
        strange = given is not None and not isinstance(given, str)
        wire.put(kind.name_field, given if strange else _aws_name(one, kind) or UNKNOWN, named)
        spec, problems = rewritten(one.spec, kind, one.namespace, self._names)
        wire.put("spec", spec, one.value.place_of("spec"))
        return self._drafted(kind, wire, one, one.place, tuple(problems))

    def _assume_namespace(self, one: Manifest, at: Place) -> None:
        if one.namespaced or not self._findings.first(one.file, "namespace"):
            return
        told = f"{one.kind} {one.name!r} names no namespace; it is taken to be in 'default'"
        detail = "Without one, kubectl's own setting decides; write metadata.namespace."
        self._findings.add(ASSUMED, one.file, at, told, detail, severity=Severity.WARNING)

    def _drafted(self, kind: Kind, wire: Table, one: Manifest, place: Place, problems: Any = ()) -> Draft:
        return Draft(kind=kind, wire=wire, file=one.file, place=place, lax=one.lax, hints=SPECIAL, problems=problems)

    def _routes(self, one: Manifest, router: Draft) -> Iterator[Draft]:
        """The routes of a router; a route's name is taken as it is."""
        routes = one.spec.get("routes")
        if not isinstance(routes, Items):
            return
        for route, place in zip(routes, routes.places, strict=True):
            if not isinstance(route, Table):
                told = f"a route is a mapping with a name and one protocol, found {described(route)}"
                self._findings.add("MW001", one.file, place, told)
                continue
            wire = Table(place)
            for field in ("meshName", Kind.VIRTUAL_ROUTER.name_field):
                wire.put(field, router.wire[field], router.wire.places[field])
            if route.get("name") is not None:
                wire.put(Kind.ROUTE.name_field, route["name"], route.places["name"])
            spec, problems = rewritten(route, Kind.ROUTE, one.namespace, self._names)
            wire.put("spec", spec, place)
            yield self._drafted(Kind.ROUTE, wire, one, place, tuple(problems))

    def _mesh(self, one: Manifest) -> Any:
        """The mesh whose selector takes the object's namespace, the only one, or the settings'."""
        ref = one.spec.get("meshRef")
        if isinstance(ref, Table) and isinstance(ref.get("name"), str):
            return self._names.of("Mesh", "default", str(ref["name"]))
        labels = self._namespaces.get(one.namespace)
        selecting = [mesh for mesh in self._meshes if labels is not None and _selects(mesh, labels)]
        chosen = selecting or self._meshes
        names = list(dict.fromkeys(_aws_name(mesh, Kind.MESH) for mesh in chosen))
        if len(names) == 1 and names[0] is not None:
            return names[0]
        if self._settings.mesh is not None:
            return self._settings.mesh
        if None in names or self._unnamed:
            return UNKNOWN
        if not names:
            told = f"{one.kind} {one.name!r} is in no mesh that these files create"
            detail = "Load the Mesh with it, give --mesh, or name the mesh in meshwright.yaml."
        else:
            told = f"{one.kind} {one.name!r} could be in any of the meshes {', '.join(map(str, names))}"
            detail = f"Load the Namespace {one.namespace!r} with the labels that a namespaceSelector asks for."
        if self._findings.first(one.file, f"mesh of {one.namespace}"):
            self._findings.add(INCOMPLETE, one.file, one.place, told, detail)
        return UNKNOWN

    def _gateway(self, one: Manifest) -> Any:
        """The gateway whose selectors take the route, the only one, or the settings'."""
        ref = one.spec.get("virtualGatewayRef")
        if isinstance(ref, Table) and isinstance(ref.get("name"), str):
            namespace = ref.get("namespace")
            return self._names.of(
                "VirtualGateway", str(namespace) if isinstance(namespace, str) else one.namespace, str(ref["name"])
            )
        labels = self._namespaces.get(one.namespace)
        by_label = [
            any_ for any_ in self._gateways if _selects(any_, one.labels, "gatewayRouteSelector", absent=True)
        ]
        selecting = [any_ for any_ in by_label if labels is not None and _selects(any_, labels)]
        chosen = selecting or by_label or self._gateways
        names = list(dict.fromkeys(_aws_name(gateway, Kind.VIRTUAL_GATEWAY) for gateway in chosen))
        if len(names) == 1 and names[0] is not None:
            return names[0]
        given = self._settings.parameters.get(Kind.VIRTUAL_GATEWAY.name_field)
        if given is not None or None in names:
            return given or UNKNOWN
        told = f"GatewayRoute {one.name!r} is at no gateway that these files create"
        if names:
            told = f"GatewayRoute {one.name!r} could be at any of the gateways {', '.join(map(str, names))}"
        detail = (
            "Load the VirtualGateway that selects it (namespaceSelector, gatewayRouteSelector) and the Namespace "
            "with its labels, or give --parameter virtualGatewayName=NAME."
        )
        self._findings.add(INCOMPLETE, one.file, one.place, told, detail)
        return UNKNOWN


def _aws_name(one: Manifest, kind: Kind) -> str | None:
    """The name in App Mesh: `awsName`, or what the controller makes of name and namespace."""
    given = one.spec.get("awsName")
    if given is UNKNOWN or not isinstance(one.name, str):
        return None
    if isinstance(given, str) and given:
        return str(given)
    if one.namespace is UNKNOWN and kind is not Kind.MESH:
        return None
    return default_name(kind.type_name, one.namespace, str(one.name))


def _selects(
    one: Manifest, labels: Mapping[str, Any], member: str = "namespaceSelector", *, absent: bool = False
) -> bool:
    return selects(one.spec.get(member), labels, absent=absent)
