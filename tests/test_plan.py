"""What a plan says: changes field by field, the order of steps, conflicts, staleness."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshwright.model.identity import Key, Kind, parse_key
from meshwright.model.state import Resource, State
from meshwright.plan import Plan, decoded, diff, differences, stale
from meshwright.views import plan as view
from meshwright.views.wire import from_wire, to_wire

MESH = "m"


def resource(path: str, spec: dict[str, Any], stack: str = "shop", **tags: str) -> Resource:
    """One object of mesh `m` by the rest of its path."""
    return decoded(parse_key(f"mesh/{MESH}/{path}") if path else Key.of_mesh(MESH), spec, tags, stack)


def listening(*listeners: tuple[int, str]) -> dict[str, Any]:
    """A spec's listeners by port and protocol."""
    return {"listeners": [{"portMapping": {"port": port, "protocol": protocol}} for port, protocol in listeners]}


def node(name: str, *listeners: tuple[int, str], stack: str = "shop") -> Resource:
    """A virtual node."""
    spec = {**listening(*listeners), "serviceDiscovery": {"dns": {"hostname": f"{name}.local"}}}
    return resource(f"virtualNode/{name}", spec, stack)


def router(name: str, *listeners: tuple[int, str], stack: str = "shop") -> Resource:
    """A virtual router."""
    return resource(f"virtualRouter/{name}", listening(*listeners), stack)


def route(path: str, *targets: str, port: int | None = None, stack: str = "shop", weight: int = 1) -> Resource:
    """An HTTP route, named ROUTER/ROUTE."""
    parent, name = path.split("/")
    match = {"prefix": "/", **({"port": port} if port else {})}
    weighted = [{"virtualNode": target, "weight": weight} for target in targets]
    spec = {"httpRoute": {"match": match, "action": {"weightedTargets": weighted}}}
    return resource(f"virtualRouter/{parent}/route/{name}", spec, stack)


def steps(plan: Plan) -> list[str]:
    """The steps as `action path`, without the mesh."""
    return [f"{one.action} {one.key.path.removeprefix('mesh/m/')}" for one in plan.steps]


MESH_OBJECT = resource("", {})
BASE = (MESH_OBJECT, node("a", (80, "http")), router("r", (80, "http")), route("r/x", "a"))


def test_a_router_gains_a_second_listener_after_its_routes_name_ports() -> None:
    """App Mesh refuses the listener while a route lacks a port."""
    after = State((*BASE[:2], router("r", (80, "http"), (81, "http")), route("r/x", "a", port=80)))
    plan = diff(State(BASE), after, "shop", MESH)
    assert steps(plan) == ["update virtualRouter/r/route/x", "update virtualRouter/r"]


def test_a_router_loses_its_second_listener_before_its_routes_forget_their_ports() -> None:
    """The reverse of the above."""
    before = State((*BASE[:2], router("r", (80, "http"), (81, "http")), route("r/x", "a", port=80)))
    assert steps(diff(before, State(BASE), "shop", MESH)) == [
        "update virtualRouter/r",
        "update virtualRouter/r/route/x",
    ]


def test_a_route_makes_way_while_the_listener_that_it_uses_changes() -> None:
    """A listener that routes depend on cannot change; the route itself stays what it is."""
    plan = diff(State(BASE), State((*BASE[:2], router("r", (81, "http")), BASE[3])), "shop", MESH)
    assert steps(plan) == [
        "delete virtualRouter/r/route/x",
        "update virtualRouter/r",
        "create virtualRouter/r/route/x",
    ]
    assert [one.key.path for one in plan.changes] == ["mesh/m/virtualRouter/r"]
    assert "deleted and created again" in view.as_text(plan, colour=False)


def test_a_route_of_another_stack_in_the_way_is_a_conflict_that_names_both() -> None:
    """It may not be deleted, not even for a moment."""
    before = State((*BASE[:3], route("r/x", "a", stack="other")))
    plan = diff(before, State((*BASE[:2], router("r", (81, "http")))), "shop", MESH)
    assert [one.key.name for one in plan.conflicts] == ["x"]
    assert "'other'" in plan.conflicts[0].reason
    assert "mesh/m/virtualRouter/r gives up" in plan.conflicts[0].reason


def test_deleting_what_another_stack_refers_to_is_a_conflict() -> None:
    """The plan says who still refers to it, and in which field."""
    before = State((*BASE[:3], route("r/x", "a", stack="other")))
    plan = diff(before, State((MESH_OBJECT, BASE[2])), "shop", MESH)
    assert [(one.key.name, one.stack) for one in plan.conflicts] == [("a", "shop")]
    assert "weightedTargets[0].virtualNode" in plan.conflicts[0].reason


def test_an_object_of_another_stack_among_the_definitions_is_a_conflict_and_no_change() -> None:
    """An object belongs to one stack at most."""
    before = State((MESH_OBJECT, node("a", (80, "http"), stack="other")))
    plan = diff(before, State((MESH_OBJECT, node("a", (81, "http")))), "shop", MESH)
    assert (plan.changes, plan.steps) == ((), ())
    assert [(one.key.name, one.stack) for one in plan.conflicts] == [("a", "other")]


def test_an_object_that_nobody_owns_becomes_the_stacks() -> None:
    """Made by hand, then written down: no operation is needed, but the plan says it."""
    before = State((MESH_OBJECT, node("a", (80, "http"), stack="")))
    plan = diff(before, State((MESH_OBJECT, node("a", (80, "http")))), "shop", MESH)
    assert [(one.action, one.fields[0].path, one.fields[0].new) for one in plan.changes] == [
        ("update", "stack", "shop")
    ]
    assert plan.steps == ()


def test_another_mesh_among_the_definitions_is_a_conflict() -> None:
    """A release is about one mesh."""
    stray = decoded(Key("elsewhere", Kind.VIRTUAL_NODE, "a"), {}, {})
    plan = diff(State(), State([MESH_OBJECT, stray]), "shop", MESH)
    assert ["elsewhere" in one.reason for one in plan.conflicts] == [True]


def test_tags_change_by_their_own_operations() -> None:
    """Removed ones first, so that fifty stay enough."""
    before = State([resource("", {}, team="red", tier="1")])
    plan = diff(before, State([resource("", {}, team="blue")]), "shop", MESH)
    assert [(one.action, one.key.kind) for one in plan.steps] == [("untag", Kind.MESH), ("tag", Kind.MESH)]
    assert [(one.path, one.old, one.new) for one in plan.changes[0].fields] == [
        ("tags.team", "red", "blue"),
        ("tags.tier", "1", None),
    ]


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        (["a", "b"], ["b"], ["spec.httpRoute.action.weightedTargets[0]"]),
        (["b"], ["a", "b"], ["spec.httpRoute.action.weightedTargets[0]"]),
        (["a", "b"], ["b", "a"], ["spec.httpRoute.action.weightedTargets.order"]),
    ],
    ids=["removed", "added", "moved"],
)
def test_items_of_a_list_are_matched_by_what_names_them(old: list[str], new: list[str], paths: list[str]) -> None:
    """One inserted target is one difference, not a difference in every target."""
    assert [one.path for one in differences(route("r/x", *old), route("r/x", *new))] == paths


def test_a_weight_is_named_by_its_wire_path() -> None:
    """With the old and the new value."""
    found = differences(route("r/x", "a", weight=1), route("r/x", "a", weight=9))
    assert [(one.path, one.old, one.new) for one in found] == [
        ("spec.httpRoute.action.weightedTargets[0].weight", 1, 9)
    ]


def test_what_the_service_fills_in_is_no_difference() -> None:
    """A health check's port is the listener's; an empty list is an absent one."""
    check = {
        "protocol": "http",
        "healthyThreshold": 2,
        "unhealthyThreshold": 2,
        "intervalMillis": 5000,
        "timeoutMillis": 2000,
    }

    def checked(**more: Any) -> Resource:
        found = {"portMapping": {"port": 80, "protocol": "http"}, "healthCheck": {**check, **more}}
        return resource("virtualNode/a", {"listeners": [found], "serviceDiscovery": {"dns": {"hostname": "a"}}})

    assert differences(checked(), checked(port=80)) == ()
    assert differences(resource("virtualNode/a", {}), resource("virtualNode/a", {"backends": []})) == ()


def test_a_plan_is_stale_only_when_what_it_touches_or_references_changed() -> None:
    """An unrelated object does not matter."""
    before = State((*BASE, node("b", (80, "http"))))
    plan = diff(before, State((*BASE[:3], route("r/x", "a", weight=5), node("b", (80, "http")))), "shop", MESH)
    assert stale(plan, before.put(node("b", (99, "http")))) == ()
    assert [key.name for key in stale(plan, before.put(node("a", (99, "http"))))] == ["a"]
    assert [key.name for key in stale(plan, before.drop(BASE[3].key))] == ["x"]


def test_the_json_of_a_plan_names_objects_by_their_paths_and_reads_back() -> None:
    """Also where a spec has members called key of its own."""
    attributes = [{"key": "stage", "value": "blue"}]
    discovery = {"awsCloudMap": {"namespaceName": "n", "serviceName": "s", "attributes": attributes}}
    cloud = resource("virtualNode/c", {**listening((80, "http")), "serviceDiscovery": discovery})
    plan = diff(State(BASE), State((*BASE, cloud)), "shop", MESH)
    written = msgspec.json.decode(msgspec.json.encode(to_wire(plan)))
    assert written["changes"][0]["object"] == "mesh/m/virtualNode/c"
    assert written["changes"][0]["spec"]["serviceDiscovery"] == discovery
    assert from_wire(Plan, written) == plan


def test_no_name_reaches_a_terminal_or_a_pull_request_as_markup() -> None:
    """A stack's name is anybody's text."""
    plan = diff(State(), State([MESH_OBJECT]), "<b>\x1b[31m|x", MESH)
    assert "\x1b" not in view.as_text(plan, colour=False)
    assert "\x1b" not in view.as_markdown(plan)
    assert "\\u202e" in view.as_markdown(diff(State(), State([MESH_OBJECT]), "\u202e", MESH))
