"""Lists are read page by page while others write: what stays is listed once, whatever comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import BadRequestException
from meshwright.model.identity import PORTABLE_KINDS, Kind
from meshwright.model.state import State
from meshwright.operations import OPERATIONS, UNLIMITED, Sharing, Stamp, decode_request, operation, perform
from meshwright.operations.table import Verb
from said import said
from settings import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

Wire = dict[str, Any]
HOME, OTHER = "000000000000", "111111111111"
NAMES = st.sampled_from(["a", "b", "c", "a-b", "a.b", "A", "Z", "_", "0", "aa", "ab", "b-1", "zz"])
PORT = {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}
SPECS: dict[Kind, Wire] = {
    Kind.MESH: {},
    Kind.VIRTUAL_NODE: {},
    Kind.VIRTUAL_ROUTER: PORT,
    Kind.VIRTUAL_SERVICE: {},
    Kind.ROUTE: {
        "httpRoute": {
            "match": {"prefix": "/"},
            "action": {"weightedTargets": [{"virtualNode": "target", "weight": 1}]},
        }
    },
    Kind.VIRTUAL_GATEWAY: PORT,
    Kind.GATEWAY_ROUTE: {
        "httpRoute": {
            "match": {"prefix": "/"},
            "action": {"target": {"virtualService": {"virtualServiceName": "target"}}},
        }
    },
}


class Server:
    """A state and who works on it."""

    def __init__(self) -> None:
        self.state = State()
        self.shared: Sharing = frozenset()

    def call(self, name: str, body: Wire | None = None, /, account: str = HOME, **members: str) -> Wire:
        """What is answered; path and query members are keywords."""
        stamp = Stamp(at=1, uid="u", account=account, home=HOME, shared=self.shared)
        self.state, response = perform(
            self.state, decode_request(OPERATIONS[name], members, members, body), stamp, UNLIMITED
        )
        return said(response)


def prepared(kind: Kind) -> tuple[Server, Wire]:
    """A server with what objects of `kind` need around them, and the members that say where they lie."""
    server = Server()
    if kind is Kind.MESH:
        return server, {}
    server.call("CreateMesh", {"meshName": "m"})
    place = {"meshName": "m"}
    if kind is Kind.ROUTE:
        server.call("CreateVirtualNode", {"virtualNodeName": "target", "spec": {}}, **place)
        server.call("CreateVirtualRouter", {"virtualRouterName": "r", "spec": PORT}, **place)
        place["virtualRouterName"] = "r"
    if kind is Kind.GATEWAY_ROUTE:
        server.call("CreateVirtualService", {"virtualServiceName": "target", "spec": {}}, **place)
        server.call("CreateVirtualGateway", {"virtualGatewayName": "g", "spec": PORT}, **place)
        place["virtualGatewayName"] = "g"
    return server, place


def pages(server: Server, kind: Kind, limits: list[int], **members: str) -> Iterator[list[str]]:
    """The names on each page; between two the caller may write."""
    row, turn = operation(Verb.LIST, kind), 0
    token: str | None = None
    while True:
        limit = str(limits[turn % len(limits)])
        more = {} if token is None else {"nextToken": token}
        body = server.call(row.name, None, limit=limit, **members, **more)
        yield [one[kind.name_field] for one in body[row.output]]
        token, turn = body["nextToken"], turn + 1
        if token is None:
            return


@settings(max_examples=examples(50))
@given(
    st.sampled_from(PORTABLE_KINDS),
    st.sets(NAMES),
    st.lists(st.tuples(NAMES, st.booleans()), max_size=30),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_what_stays_is_listed_exactly_once(
    kind: Kind, start: set[str], writes: list[tuple[str, bool]], limits: list[int]
) -> None:
    """Of every kind, for any page sizes, however creates and deletes come in between."""
    server, place = prepared(kind)
    there: set[str] = set()

    def write(name: str, *, create: bool) -> None:
        if create and name not in there:
            body = {kind.name_field: name, "spec": SPECS[kind]}
            server.call(operation(Verb.CREATE, kind).name, body, **place)
            there.add(name)
        elif not create and name in there:
            server.call(operation(Verb.DELETE, kind).name, None, **place, **{kind.name_field: name})
            there.discard(name)

    for name in start:
        write(name, create=True)
    stayed, ever, listed, left = set(there), set(there), [], list(writes)
    for page in pages(server, kind, limits, **place):
        listed += page
        for name, create in (left.pop() for _ in range(min(3, len(left)))):
            write(name, create=create)
            stayed &= there
            ever |= there
    assert listed == sorted(set(listed))
    assert stayed <= set(listed) <= ever


@settings(max_examples=examples(30))
@given(st.sets(st.tuples(st.sampled_from((HOME, OTHER)), NAMES)), st.sets(NAMES), st.integers(1, 4))
def test_own_and_shared_meshes_are_listed_once_each(made: set[tuple[str, str]], shared: set[str], limit: int) -> None:
    """Two of one name are two, and never cut off between two pages."""
    server = Server()
    for account, name in made:
        server.call("CreateMesh", {"meshName": name}, account=account)
    server.shared = frozenset((OTHER, name, HOME) for name in shared)
    found: list[tuple[str, str]] = []
    token: str | None = None
    while True:
        more = {} if token is None else {"nextToken": token}
        body = server.call("ListMeshes", None, limit=str(limit), **more)
        assert len(body["meshes"]) <= limit
        found += [(one["meshOwner"], one["meshName"]) for one in body["meshes"]]
        token = body["nextToken"]
        if token is None:
            break
    assert len(found) == len(set(found))
    assert set(found) == {(account, name) for account, name in made if account == HOME or name in shared}


@pytest.mark.parametrize("token", ["x", "AAAA", "=", "é", "a" * 5000, "AAAAAAAAYQ=="])
def test_a_token_that_was_not_given_is_refused(token: str) -> None:
    """Also one that was altered."""
    server, place = prepared(Kind.VIRTUAL_NODE)
    with pytest.raises(BadRequestException, match="nextToken"):
        server.call("ListVirtualNodes", None, **place, nextToken=token)


def test_a_token_says_nothing_of_its_list() -> None:
    """It is for its list alone: another mesh's, another kind's, another router's is refused."""
    server, place = prepared(Kind.ROUTE)
    server.call("CreateVirtualRouter", {"virtualRouterName": "s", "spec": PORT}, meshName="m")
    for name in "ab":
        server.call("CreateRoute", {"routeName": name, "spec": SPECS[Kind.ROUTE]}, **place)
    token = server.call("ListRoutes", None, **place, limit="1")["nextToken"]
    assert [one["routeName"] for one in server.call("ListRoutes", None, **place, nextToken=token)["routes"]] == ["b"]
    for name, members in (
        ("ListRoutes", {"meshName": "m", "virtualRouterName": "s"}),
        ("ListVirtualRouters", {"meshName": "m"}),
        ("ListMeshes", {}),
    ):
        with pytest.raises(BadRequestException, match="nextToken"):
            server.call(name, None, **members, nextToken=token)
