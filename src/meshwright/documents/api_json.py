"""The API's own dialect: what `aws appmesh create-…`, `update-…` take and `describe-…` answer, in JSON or YAML.

Our extensions look alike, and say what they are: `kind: meshwright/Fault`.

The one rule: a name that the document leaves out comes from the settings, as the AWS CLI takes it from its options;
what is still missing is named.

Source: https://docs.aws.amazon.com/cli/latest/reference/appmesh/
"""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from meshwright.documents.drafts import Draft, name_fields
from meshwright.documents.findings import INCOMPLETE, UNSUPPORTED
from meshwright.documents.positions import UNKNOWN, Items, Place, Table, reach
from meshwright.errors import did_you_mean
from meshwright.model import EXTENSION_KINDS, PORTABLE_KINDS, SPECS, DecodeError, Kind, decode
from meshwright.model.decoding import fields_of
from meshwright.model.identity import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.documents.findings import Findings
    from meshwright.documents.settings import LoadSettings

_EXTENSIONS: Mapping[str, Kind] = MappingProxyType(
    {f"{NAMESPACE}/{kind.type_name}": kind for kind in EXTENSION_KINDS}
)
"""What an extension's document says that it is."""
_NAMES = frozenset(kind.name_field for kind in PORTABLE_KINDS)
_MEMBERS = _NAMES | {"spec", "tags", "clientToken", "meshOwner", "metadata", "status"}


@functools.cache
def _spec_fields() -> frozenset[str]:
    """Members that only a spec has; asked for late, because looking into every shape takes its time."""
    return frozenset(name for kind in PORTABLE_KINDS for name in fields_of(SPECS[kind])) - {"priority", "logging"}


def recognises(value: Any) -> bool:
    """Whether `value` reads like a request of the API, an answer of it, or a list of them."""
    if isinstance(value, Items):
        return any(_is_one(one) for one in value)
    return _is_one(value)


def names(value: Any) -> bool:
    """Whether `value` names an object as requests do, whatever else it holds."""
    return isinstance(value, Table) and "apiVersion" not in value and not _NAMES.isdisjoint(value)


def _is_one(value: Any) -> bool:
    if not isinstance(value, Table):
        return False
    if "kind" in value:
        return isinstance(value["kind"], str) and value["kind"].startswith(f"{NAMESPACE}/")
    if "apiVersion" in value:
        return False
    if _wrapped(value) is not None:
        return True
    spec = value.get("spec")
    if "spec" not in value:
        return "meshName" in value and set(value) <= _MEMBERS
    if spec is not None and not isinstance(spec, Table):
        return bool(_NAMES & set(value))
    return bool(_NAMES & set(value) or (spec and _spec_fields() & set(spec)) or set(value) <= _MEMBERS)


def _wrapped(value: Table) -> Table | None:
    """The inside of `{"virtualNode": {…}}`, as describe answers."""
    if len(value) == 1:
        name, inside = next(iter(value.items()))
        if (
            name in set(PORTABLE_KINDS)
            and isinstance(inside, Table)
            and inside.keys() & {"spec", "metadata", *_NAMES}
        ):
            return inside
    return None


def drafts(
    value: Any, place: Place, file: str, settings: LoadSettings, findings: Findings, *, lax: bool = False
) -> Iterator[Draft]:
    """The objects of one document; what is no object is reported."""
    if isinstance(value, Items):
        for one, where in zip(value, value.places, strict=True):
            if _is_one(one):
                yield from drafts(one, where, file, settings, findings, lax=lax)
            else:
                told = "this item of the list is no App Mesh definition"
                findings.add(INCOMPLETE, file, where, told, "An item has names such as virtualNodeName, and a spec.")
        return
    if "kind" in value:
        kind = _EXTENSIONS.get(value["kind"])
        if kind is None:
            known = f"There are {', '.join(_EXTENSIONS)}."
            detail = did_you_mean(value["kind"], _EXTENSIONS, known, sentence=True)
            where = value.place_of("kind")
            findings.add(UNSUPPORTED, file, where, f"{value['kind']!r} is no kind of extension", detail)
            return
        table = value
    else:
        table = _wrapped(value) or value
        kind = _kind(table, settings.parameters)
    if kind is None:
        _report_unnamed(table, place, file, findings)
        return
    yield Draft(kind=kind, wire=_completed(kind, table, settings), file=file, place=place, lax=lax)


def declared_mesh(value: Any) -> Iterator[str]:
    """The names of the meshes that a document creates."""
    for one in value if isinstance(value, Items) else [value]:
        table = (_wrapped(one) or one) if isinstance(one, Table) else None
        if (
            table is None
            or "kind" in table
            or table.keys() & _NAMES != {"meshName"}
            or not isinstance(table["meshName"], str)
        ):
            continue
        if _kind(table, {}) is Kind.MESH:
            yield str(table["meshName"])


def _kind(table: Table, parameters: Mapping[str, str]) -> Kind | None:
    """The kind by the names in the document, else by the shape of its spec and the names in the parameters."""
    for kind in (Kind.ROUTE, Kind.GATEWAY_ROUTE):
        if kind.name_field in table:
            return kind
    spec = table.get("spec")
    for kind in PORTABLE_KINDS:
        if kind is not Kind.MESH and kind.name_field in table:
            # A route without its own name still has its router's; only its spec tells.
            return next(
                (
                    one
                    for one in PORTABLE_KINDS
                    if one.parent is kind and _knows(one, spec) and not _knows(kind, spec)
                ),
                kind,
            )
    fitting = _fitting(spec)
    if Kind.MESH in fitting:
        return Kind.MESH
    named = [kind for kind in fitting if parameters.keys() >= {*name_fields(kind)} - {"meshName"}]
    # routeName given beside virtualRouterName means a route, as on the CLI's command line.
    named = [kind for kind in named if kind.parent] or named
    if len(named) == 1:
        return named[0]
    return fitting[0] if len(fitting) == 1 else None


def _fitting(spec: Any) -> list[Kind]:
    """The kinds whose spec `spec` could be: those that decode it, or where none does, that know its members."""
    if spec is None:
        return list(PORTABLE_KINDS)
    if not isinstance(spec, Table):
        return []
    fitting = [kind for kind in PORTABLE_KINDS if _decodes(kind, spec)]
    return fitting or [kind for kind in PORTABLE_KINDS if _knows(kind, spec)]


def _knows(kind: Kind, spec: Any) -> bool:
    return isinstance(spec, Table) and _fields(kind) >= spec.keys()


@functools.cache
def _fields(kind: Kind) -> frozenset[str]:
    return frozenset(fields_of(SPECS[kind]))


def _decodes(kind: Kind, spec: Table) -> bool:
    try:
        decode(SPECS[kind], spec, lax=True)
    except DecodeError as error:
        return all(reach(spec, one.path)[::2] == (UNKNOWN, True) for one in error.problems)
    return True


def _completed(kind: Kind, table: Table, settings: LoadSettings) -> Table:
    """`table` with the names that the settings know."""
    absent = [name for name in name_fields(kind) if table.get(name) is None]
    if not absent:
        return table
    wire = Table(table.place)
    for name, value in table.items():
        wire.put(name, value, table.places[name])
    for name in absent:
        given = settings.parameters.get(name) if kind.portable or name == "meshName" else None
        value = given or (settings.mesh if name == "meshName" else None)
        if value is not None:
            wire.put(name, value, table.place)
    return wire


def _report_unnamed(table: Table, place: Place, file: str, findings: Findings) -> None:
    spec = table.get("spec")
    fitting = _fitting(spec)
    told = "this definition names no object"
    if spec and fitting:
        told += f"; its spec could be that of a {' or a '.join(kind.type_name for kind in fitting)}"
    names = dict.fromkeys(
        name for kind in fitting or PORTABLE_KINDS for name in name_fields(kind) if name != "meshName"
    )
    detail = (
        f"Add one of {', '.join(names)}, or give it as --parameter virtualNodeName=NAME and the like, "
        "as `aws appmesh` takes it from its options."
    )
    findings.add(INCOMPLETE, file, place, told, detail)
