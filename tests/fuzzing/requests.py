"""The requests themselves: each is made from the seed and its number, and can be made again from them alone.

The one rule: what a request must come to (refused, or of no matter) is said here where it is made wrong, and judged
in `fuzzing.judging`.
"""

from __future__ import annotations

import gzip
import json
import random
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlencode

import msgspec

from fuzzing import hostile, values
from fuzzing.values import Drawing

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.model import OperationModel

Pairs: TypeAlias = tuple[tuple[bytes, bytes], ...]

STATIC_TOKENS = tuple(f"{number:032x}" for number in range(40))
"""Client tokens that come again, with other bodies mostly."""


class Case(msgspec.Struct, kw_only=True):
    """One request before it is signed, and what is known of it."""

    number: int = 0
    family: str
    note: str = ""
    """What is wrong with it, for whoever reads a failure."""
    operation: str = ""
    """The operation of the published model, an endpoint of ours, or an action of STS."""
    method: str = "GET"
    path: bytes
    query: bytes = b""
    headers: Pairs = ()
    """Signed with the request."""
    unsigned: Pairs = ()
    """Sent along beside what is signed."""
    body: bytes = b""
    framing: str = "length"
    """How the body is sent: `length`, `chunked`, or one of `hostile.FRAMINGS`."""
    signing: str = "header"
    """`header`, `presigned`, or one of `hostile.SIGNINGS`."""
    service: str = "appmesh"
    narrow: bool = False
    """Whether a session of the role `narrow` sends it, instead of the administrator."""
    subject: str = ""
    """What it is about: `m0/VirtualNode/n0`, or an ARN; "" for what is in no mesh."""
    refuse: bool = False
    """It must be refused."""
    valid: bool = False
    """It is valid by the published model: refused only for what it means, never for its form."""
    loose: bool = False
    """It may not be HTTP: the connection may end without an answer, or with one in plain text."""
    token: bool = False
    """It carries a client token, so that an answer may be a repeated one."""


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of ours, out of the OpenAPI document."""

    method: str
    path: str
    name: str
    body: Any
    """The schema of its body, None for none."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What requests refer to beside the published model."""

    account: str = "000000000000"
    region: str = "us-east-1"
    endpoints: tuple[Endpoint, ...] = ()
    schemas: dict[str, Any] = {}


def endpoints_of(document: dict[str, Any]) -> tuple[tuple[Endpoint, ...], dict[str, Any]]:
    """The endpoints and the schemas of an OpenAPI document."""
    found = []
    for path, methods in document["paths"].items():
        for method, row in methods.items():
            content = row.get("requestBody", {}).get("content", {}).get("application/json", {})
            found.append(Endpoint(method.upper(), path, row["operationId"], content.get("schema")))
    return tuple(found), document["components"]["schemas"]


def case(seed: int, number: int, world: World) -> Case:
    """The request of this number."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable on purpose
    family = chance.choices(list(_FAMILIES), [weight for weight, _ in _FAMILIES.values()])[0]
    made = _FAMILIES[family][1](chance, world)
    made.number, made.family = number, family
    return made


def first(world: World) -> list[Case]:
    """Valid requests that make the meshes and something of each kind in them, for others to refer to."""
    made = []
    for name, pools in _FIRST:
        for mesh in values.MESHES:
            for one in pools:
                chance = random.Random(f"{name}/{mesh}/{one}")  # noqa: S311 - repeatable on purpose
                drawing = Drawing(chance)
                value = values.body_of(drawing, values.operations()[name])
                value |= {"meshName": mesh, _own(name): mesh if name == "CreateMesh" else one}
                value.pop("clientToken", None)
                made.append(_rendered(name, value, family="first", valid=True))
    return made


_FIRST = (
    ("CreateMesh", ("",)),
    ("CreateVirtualNode", values.NODES),
    ("CreateVirtualRouter", values.ROUTERS),
    ("CreateVirtualService", values.SERVICES),
    ("CreateVirtualGateway", values.GATEWAYS),
    ("CreateRoute", values.ROUTES[:1]),
    ("CreateGatewayRoute", values.GATEWAY_ROUTES[:1]),
)


def _own(operation: str) -> str:
    """The member that names what an operation creates, updates or deletes."""
    kind = operation[6:]  # Create, Update and Delete have six letters each
    return f"{kind[0].lower()}{kind[1:]}Name"


def _rendered(name: str, value: dict[str, Any], **members: Any) -> Case:
    """The request of an operation: each member where the published model says that it travels."""
    operation = values.operations()[name]
    path, query, body = operation.http["requestUri"], list[tuple[str, str]](), dict[str, Any]()
    for member, given in value.items():
        shape = operation.input_shape.members.get(member)
        location = shape.serialization.get("location", "body") if shape is not None else "body"
        if location == "uri":
            path = path.replace(f"{{{member}}}", quote(str(given), safe=""))
        elif location == "querystring":
            query.append((member, str(given)))
        else:
            body[member] = given
    data = json.dumps(body, allow_nan=True).encode() if body or operation.http["method"] == "PUT" else b""
    return Case(
        operation=name,
        method=operation.http["method"],
        path=path.encode(),
        query=urlencode(query).encode(),
        headers=((b"content-type", b"application/json"),) if data else (),
        body=data,
        token="clientToken" in body,
        subject=_subject(name, value),
        **{"family": "", **members},
    )


def _subject(name: str, value: dict[str, Any]) -> str:
    if "resourceArn" in value:
        return str(value["resourceArn"])
    return f"{value.get('meshName', '')}/{name[6:]}/{value.get(_own(name), '')}"


def _drawn(chance: random.Random, world: World, *, sensible: bool = True) -> tuple[str, dict[str, Any]]:
    """An operation and a valid input of it."""
    names = list(values.operations())
    name = chance.choices(names, [_weight(one) for one in names])[0]
    value = values.body_of(Drawing(chance, sensible=sensible), values.operations()[name])
    if name in _ALONE and sensible:
        value |= {member: chance.choice(names) for member, names in _ALONE[name].items()}
    if "resourceArn" in value:
        value["resourceArn"] = arn(chance, world)
    if value.get("clientToken") and chance.random() < 0.2:
        value["clientToken"] = chance.choice(STATIC_TOKENS)
    return name, value


_SPARE: dict[str, dict[str, tuple[str, ...]]] = {
    "Mesh": {"meshName": (*values.MESHES, "m2", "m3")},
    "VirtualGateway": {"virtualGatewayName": (*values.GATEWAYS, "g2")},
    "VirtualRouter": {"virtualRouterName": (*values.ROUTERS, "r2")},
    "VirtualService": {"virtualServiceName": (*values.SERVICES, "s3.local")},
}
_ALONE: dict[str, dict[str, tuple[str, ...]]] = {
    f"{verb}{kind}": names for kind, names in _SPARE.items() for verb in ("Create", "Delete")
}
"""Names that nothing else refers to, so that what has them can be deleted."""


def _weight(operation: str) -> float:
    """How often an operation comes: objects are made more often than deleted, or the meshes would be empty."""
    for verb, weight in (("Create", 3.0), ("Update", 3.0), ("Delete", 1.0), ("Describe", 1.0), ("List", 1.0)):
        if operation.startswith(verb):
            return weight / 3 if operation == "CreateMesh" else weight
    return 1.5


def arn(chance: random.Random, world: World) -> str:
    """The ARN of something that probably exists."""
    mesh, start = chance.choice(values.MESHES), f"arn:aws:appmesh:{world.region}:{world.account}:mesh/"
    parts = [
        "",
        f"/virtualNode/{chance.choice(values.NODES)}",
        f"/virtualRouter/{chance.choice(values.ROUTERS)}",
        f"/virtualService/{chance.choice(values.SERVICES)}",
        f"/virtualGateway/{chance.choice(values.GATEWAYS)}",
        f"/virtualRouter/{chance.choice(values.ROUTERS)}/route/{chance.choice(values.ROUTES)}",
        f"/virtualGateway/{chance.choice(values.GATEWAYS)}/gatewayRoute/{chance.choice(values.GATEWAY_ROUTES)}",
    ]
    return start + mesh + chance.choice(parts)


def _sensible(chance: random.Random, world: World) -> Case:
    name, value = _drawn(chance, world)
    return _rendered(name, value, valid=True)


def _by_the_model(chance: random.Random, world: World) -> Case:
    name, value = _drawn(chance, world, sensible=False)
    if any(str(value[one]).strip(".") == "" for one in _names(values.operations()[name])):
        return _rendered(name, value)  # a name of dots is a dot segment
    return _rendered(name, value, valid=True)


def _names(operation: OperationModel) -> list[str]:
    return [
        name for name, shape in operation.input_shape.members.items() if shape.serialization.get("location") == "uri"
    ]


def _elsewhere(operation: OperationModel) -> frozenset[str]:
    """Members that are not in the body: text in a path or a query is not told from other types."""
    return frozenset(
        name for name, shape in operation.input_shape.members.items() if shape.serialization.get("location")
    )


def _at_a_limit(chance: random.Random, world: World) -> Case:
    name, value = _drawn(chance, world)
    operation = values.operations()[name]
    found = values.boundary(Drawing(chance), operation.input_shape, value, _elsewhere(operation))
    if found is None:
        return _rendered(name, value, valid=True)
    changed, beyond, note = found
    return _rendered(name, changed, note=note, refuse=beyond)


def _broken(chance: random.Random, world: World) -> Case:
    name, value = _drawn(chance, world)
    operation = values.operations()[name]
    if operation.http["method"] != "PUT":
        return _rendered(name, value, valid=True)
    changed, must, note = values.broken(Drawing(chance), operation.input_shape, value, _elsewhere(operation))
    return _rendered(name, changed, note=note, refuse=must)


def _text(chance: random.Random, world: World) -> Case:
    """A body that is no JSON, or a doubtful one."""
    name, value = _drawn(chance, world)
    made = _rendered(name, value)
    if made.method != "PUT":
        made.valid = True
        return made
    made.note, made.body, made.refuse = chance.choice(hostile.TEXTS)(made.body, chance)
    return made


def _path(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.valid = False
    made.note, made.path = chance.choice(hostile.PATHS)(made.path, chance)
    made.loose = any(byte > 126 or byte < 33 for byte in made.path)
    return made


def _query(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.valid = False
    made.note, made.query, made.refuse = chance.choice(hostile.QUERIES)(made.query, chance)
    made.refuse = made.refuse and made.operation.startswith("List")
    made.loose = any(byte > 126 or byte < 33 for byte in made.query) or len(made.query) > 40_000
    return made


def _headers(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.valid = False
    trick = chance.choice(hostile.HEADERS)
    made.note, made.loose, made.refuse = trick.note, trick.loose, trick.refuse
    if trick.signed:
        made.headers += trick.pairs
    else:
        made.unsigned += trick.pairs
    return made


def _framing(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.valid = False
    made.framing = chance.choice(["chunked", "chunked", *hostile.FRAMINGS])
    made.note, made.loose = made.framing, made.framing != "chunked"
    if made.framing == "gzip":
        made.body = gzip.compress(made.body, mtime=0)
        made.headers += ((b"content-encoding", b"gzip"),)
        made.refuse = made.method == "PUT"
    return made


def _method(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.valid = False
    made.method = chance.choice(hostile.METHODS)
    made.note, made.loose, made.operation = made.method, True, ""
    return made


def _signature(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.valid = False
    made.signing = chance.choice(hostile.SIGNINGS)
    made.note, made.refuse = made.signing, True
    return made


def _presigned(chance: random.Random, world: World) -> Case:
    made = _sensible(chance, world)
    made.signing = "presigned"
    if chance.random() < 0.3:
        made.signing = chance.choice(hostile.PRESIGNINGS)
        made.note, made.refuse, made.valid = made.signing, True, False
    return made


def _session(chance: random.Random, world: World) -> Case:
    """From somebody who may change two objects, and not from the administrator."""
    made = _ours(chance, world) if chance.random() < 0.2 else _sensible(chance, world)
    made.narrow = True
    if chance.random() < 0.5 and made.subject.startswith("m"):
        made.path = made.path.replace(b"/m1", b"/m0").replace(b"/n1", b"/n0").replace(b"/r1", b"/r0")
        made.subject = made.subject.replace("m1/", "m0/").replace("/n1", "/n0").replace("/r1", "/r0")
        made.body = made.body.replace(b'"virtualNodeName": "n1"', b'"virtualNodeName": "n0"')
        made.body = made.body.replace(b'"virtualRouterName": "r1"', b'"virtualRouterName": "r0"')
    if chance.random() < 0.2:
        made.signing = chance.choice(hostile.TOKENS)
        made.note, made.refuse, made.valid = made.signing, True, False
    return made


def _ours(chance: random.Random, world: World) -> Case:
    """An endpoint of ours, with a body of its schema, whole or damaged."""
    if not world.endpoints:
        return _sensible(chance, world)
    one = chance.choice(world.endpoints)
    path = one.path
    for name in hostile.SEGMENTS:
        path = path.replace(f"{{{name}}}", chance.choice(hostile.SEGMENTS[name]))
    query = chance.choice(
        [b"", b"", b"limit=5", b"limit=0", b"limit=x", b"wait=0.01", b"wait=-1", b"wait=1e9", b"wait=NaN"]
    )
    body = b""
    if one.method != "GET":
        drawn = chance.random() < 0.4
        content = _extension(chance) if one.name == "put_extension" else _content(chance)
        body = json.dumps(content if drawn else _of_schema(chance, world, one.body)).encode()
        if chance.random() < 0.3:
            _, body, _ = chance.choice(hostile.TEXTS)(body, chance)
    loose = any(character in path for character in "\n ")
    headers: Pairs = ((b"content-type", b"application/json"),) if body else ()
    if one.method != "GET" and chance.random() < 0.3:
        headers += ((b"idempotency-key", chance.choice(STATIC_TOKENS).encode()),)
    return Case(
        family="",
        operation=one.name,
        method=one.method,
        path=path.encode(),
        query=query,
        headers=headers,
        body=body,
        loose=loose,
        signing="none" if chance.random() < 0.05 else "header",
    )


def _content(chance: random.Random) -> dict[str, Any]:
    """A stack's content that may well be applied."""
    drawing = Drawing(chance)
    create = values.operations()["CreateVirtualNode"].input_shape
    items = []
    for index in chance.sample(range(4), chance.randint(1, 3)):
        spec = drawing.value(create.members["spec"], "spec")
        spec.pop("backends", None)
        items.append({"object": f"mesh/m0/virtualNode/own{index}", "spec": spec, "tags": {"team": "own"}})
    return {"resources": items}


def _extension(chance: random.Random) -> dict[str, Any]:
    """What may well be put: about something that is probably there, and of the kind in the path one time in three."""
    target = chance.choice(
        [
            {"virtualNodeName": chance.choice(values.NODES)},
            {"virtualServiceName": chance.choice(values.SERVICES)},
            {"virtualGatewayName": chance.choice(values.GATEWAYS)},
        ]
    )
    spec = chance.choice(
        [
            {"target": target, "abort": {"httpStatus": 503, "percentage": 1.5}, "expiresAt": "2100-01-01T00:00:00Z"},
            {"target": target, "maxTokens": 5, "fillInterval": {"value": 50, "unit": "ms"}},
            {"preferSameZone": True},
        ]
    )
    return {"spec": spec, "tags": {"team": "own"}}


def _of_schema(chance: random.Random, world: World, schema: Any, depth: int = 0) -> Any:
    """A value of a JSON schema, more or less."""
    if not isinstance(schema, dict) or depth > 8 or chance.random() < 0.03:
        return chance.choice([None, 1, -1, 2**70, 1.5, "", "x", "mesh/m0/virtualNode/n0", [], {}, True])
    if "$ref" in schema:
        return _of_schema(chance, world, world.schemas.get(schema["$ref"].rpartition("/")[2]), depth + 1)
    if "anyOf" in schema:
        return _of_schema(chance, world, chance.choice(schema["anyOf"]), depth + 1)
    if "enum" in schema:
        return chance.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            needed = schema.get("required", ())
            return {
                name: _of_schema(chance, world, below, depth + 1)
                for name, below in schema.get("properties", {"x": None}).items()
                if name in needed or chance.random() < 0.4
            }
        case "array":
            return [_of_schema(chance, world, schema.get("items"), depth + 1) for _ in range(chance.randint(0, 2))]
        case "integer" | "number":
            return chance.choice([0, 1, 2, 10**6])
        case "boolean":
            return chance.random() < 0.5
        case "null":
            return None
    return chance.choice(["", "x", "m0", "mesh/m0/virtualNode/n1", "a" * 300])


def _sts(chance: random.Random, world: World) -> Case:
    """A request to STS, in a form or in the query."""
    action = chance.choice(
        ["GetCallerIdentity", "AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken", "", "x"]
    )
    start = f"arn:aws:iam::{world.account}:role/"
    given = {
        "Action": action,
        "Version": chance.choice(["2011-06-15", "2011-06-15", "1999-01-01", ""]),
        "RoleArn": chance.choice(
            [start + "narrow"] * 4 + [start + "x", "x", "arn:aws:iam::1:role/", "\x00", "a" * 5000]
        ),
        "RoleSessionName": chance.choice(["build", "build", "", "x" * 65, "a b", "\u00fc", "<x>&amp;"]),
        "DurationSeconds": chance.choice(["900", "3600", "0", "-1", "899", "3601", "1e3", "x", "9" * 400]),
        "WebIdentityToken": chance.choice(["a.b.c", "e30.e30.", "x", "", "\ud7ff", "." * 3000, "e30" * 20_000]),
        "Policy": chance.choice(["{}", "{", '{"Statement":[]}', "[" * 5000, '{"Version":"2012-10-17"}', "\x00"]),
        "Tags.member.1.Key": "team",
        "Tags.member.1.Value": "x",
        f"Tags.member.{chance.choice(['2', '0', '-1', 'x', '9' * 40])}.Key": "team",
        "TransitiveTagKeys.member.1": "team",
    }
    kept = {name: value for name, value in given.items() if name == "Action" or chance.random() < 0.6}
    if chance.random() < 0.3:
        role = {"RoleArn": f"{start}narrow", "RoleSessionName": "build", "DurationSeconds": "900"}
        kept = {"Action": action, "Version": "2011-06-15", **(role if action.startswith("Assume") else {})}
    form = urlencode(kept).encode()
    unsigned = action == "AssumeRoleWithWebIdentity" and chance.random() < 0.8
    made = Case(
        family="",
        operation=action,
        method="POST",
        path=b"/",
        headers=((b"content-type", b"application/x-www-form-urlencoded"),),
        body=form,
        service="sts",
        signing="none" if unsigned or chance.random() < 0.1 else "header",
    )
    if chance.random() < 0.2:
        made.method, made.query, made.body, made.headers = "GET", form, b"", ()
        made.loose = len(form) > 16_000
    if chance.random() < 0.1:
        made.body += chance.choice([b"&%ff=%ff", b"&Action=AssumeRole", b"&" * 3000, b"&a=1" * 3000, b"\xff\xfe"])
    return made


_FAMILIES: dict[str, tuple[float, Callable[[random.Random, World], Case]]] = {
    "sensible": (36, _sensible),
    "by the model": (8, _by_the_model),
    "at a limit": (12, _at_a_limit),
    "broken": (12, _broken),
    "text": (5, _text),
    "path": (6, _path),
    "query": (4, _query),
    "headers": (4, _headers),
    "framing": (2, _framing),
    "method": (1, _method),
    "signature": (4, _signature),
    "presigned": (2, _presigned),
    "session": (8, _session),
    "ours": (6, _ours),
    "sts": (3, _sts),
}
"""How often each family comes, and what makes one of it."""
