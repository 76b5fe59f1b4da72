"""Releases over HTTP: whole or not at all, one stack at a time, drift, rollback; against the real server."""

from __future__ import annotations

import concurrent.futures
import json
from typing import TYPE_CHECKING, Any

import pytest

from meshwright.api.proving import DESCRIBED
from meshwright.api.releases import ENDPOINTS
from meshwright.errors import ApiError, BadRequestException, NotFoundException, RefusedError, StalePlanError
from meshwright.model.identity import Key, Kind, parse_key
from meshwright.model.state import State
from meshwright.plan import contents, decoded, diff
from meshwright.release import ApplyRequest, Build, InvalidReleaseError, Item, RollbackRequest, Status
from meshwright.remote import Client, Credentials
from meshwright.store.contract import AccessKey
from meshwright.views.answers import PREFIX
from serving import KEY
from settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.model.state import Resource
    from serving import Serving

MESH = "m"
BUILD = AccessKey(id="AKIATESTBUILD", secret="not-a-real-secret-either", principal="build", created_at=0)
INTRUDER = AccessKey(id="AKIATESTINTRUDER", secret="nor-is-this", principal="intruder", created_at=0)


def client(server: Serving, key: AccessKey = KEY) -> Client:
    """A client of ours, signing with `key`, which the store knows from now on."""
    if server.store.key(key.id) is None:
        server.store.add_key(key)
    return Client(server.url, Credentials(key_id=key.id, secret=key.secret, source="the test"))


def item(path: str, spec: Mapping[str, Any]) -> Item:
    """One object of mesh `m` by the rest of its path."""
    return Item(key=parse_key(f"mesh/{MESH}/{path}") if path else Key.of_mesh(MESH), spec=dict(spec))


def node(name: str, port: int = 80) -> Item:
    """A virtual node that listens for HTTP."""
    listeners = [{"portMapping": {"port": port, "protocol": "http"}}]
    return item(f"virtualNode/{name}", {"listeners": listeners, "serviceDiscovery": {"dns": {"hostname": name}}})


def router(name: str, port: int = 80) -> Item:
    """A virtual router."""
    return item(f"virtualRouter/{name}", {"listeners": [{"portMapping": {"port": port, "protocol": "http"}}]})


def route(path: str, **weights: int) -> Item:
    """An HTTP route, named ROUTER/ROUTE."""
    parent, name = path.split("/")
    targets = [{"virtualNode": target, "weight": weight} for target, weight in weights.items()]
    spec = {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}
    return item(f"virtualRouter/{parent}/route/{name}", spec)


SHOP = (item("", {}), node("a"), node("b"), router("r"), route("r/x", a=90, b=10))
SHIFTED = (*SHOP[:4], route("r/x", a=50, b=50))


def applied(found: Client, *content: Item, stack: str = "shop", **more: Any) -> dict[str, Any]:
    """Apply `content` as the whole of a stack."""
    return found.apply(MESH, stack, ApplyRequest(resources=content, **more))


def running(server: Serving) -> dict[str, Resource]:
    """What runs, by path without the mesh."""
    return {one.key.path.removeprefix("mesh/m/"): one for one in server.store.head().state}


def update_weight(server: Serving, key: AccessKey, **weights: int) -> None:
    """Change the route by stock boto3, behind the pipeline's back."""
    client(server, key)
    spec = route("r/x", **weights).spec
    server.client(key).update_route(meshName=MESH, virtualRouterName="r", routeName="x", spec=spec)


def test_a_release_is_one_revision_with_its_build_and_its_changes(server: Serving) -> None:
    """However many objects it changes."""
    build = Build(ci="travis", repository="acme/shop", build_number="42")
    outcome = applied(client(server, BUILD), *SHOP, build=build, tool_version="1.2.3")
    one = outcome["release"]
    assert outcome["changed"] is True
    assert (one["title"], one["revision"], one["status"], one["principal"]) == (
        "shop#1",
        1,
        "applied",
        "arn:aws:iam::000000000000:user/build",
    )
    assert (one["build"], one["tool_version"]) == (
        {"ci": "travis", "repository": "acme/shop", "build_number": "42"},
        "1.2.3",
    )
    assert [change["action"] for change in one["changes"]] == ["create"] * 5
    assert server.store.head().revision == 1
    assert {resource.stack for resource in server.store.head().state} == {"shop"}
    assert server.store.revisions()[0].cause == "release shop#1"


def test_the_same_content_again_makes_no_second_release(server: Serving) -> None:
    """A restarted job is answered with the release that it made."""
    ours = client(server)
    first, again = applied(ours, *SHOP), applied(ours, *SHOP)
    assert (again["changed"], again["release"]["title"]) == (False, first["release"]["title"])
    assert server.store.head().revision == 1


def test_an_update_counts_versions_up_by_one_and_leaves_the_rest_alone(server: Serving) -> None:
    """Also for a route that must make way for its router's new listener."""
    ours = client(server)
    applied(ours, *SHOP)
    before = running(server)
    applied(ours, *SHOP[:3], router("r", 81), route("r/x", a=1, b=1))
    after = running(server)
    old, new = before["virtualRouter/r/route/x"].metadata, after["virtualRouter/r/route/x"].metadata
    assert old is not None
    assert new is not None
    assert (new.version, new.uid, new.created_at) == (2, old.uid, old.created_at)
    assert after["virtualNode/a"] == before["virtualNode/a"]


def test_what_was_only_in_the_way_keeps_its_version(server: Serving) -> None:
    """The route was deleted and created again inside the commit; nobody saw it."""
    ours = client(server)
    applied(ours, *SHOP)
    before = running(server)["virtualRouter/r/route/x"]
    outcome = applied(ours, *SHOP[:3], router("r", 81), SHOP[4])
    assert [change["object"] for change in outcome["release"]["changes"]] == ["mesh/m/virtualRouter/r"]
    assert running(server)["virtualRouter/r/route/x"] == before


def test_two_stacks_in_one_mesh_never_delete_each_others_objects(server: Serving) -> None:
    """An empty release of one stack leaves the other's objects where they are."""
    ours = client(server)
    applied(ours, *SHOP[:2], stack="one")
    applied(ours, node("b"), stack="two")
    applied(ours, SHOP[0], stack="one")
    assert sorted(running(server)) == ["mesh/m", "virtualNode/b"]
    with pytest.raises(RefusedError, match="mesh/m cannot be deleted: mesh/m/virtualNode/b still lies in it"):
        applied(ours, stack="one")
    applied(ours, stack="two")
    applied(ours, stack="one")
    assert running(server) == {}


def test_an_object_of_another_stack_is_refused(server: Serving) -> None:
    """With the name of the stack that owns it, and nothing changed."""
    ours = client(server)
    applied(ours, *SHOP[:2], stack="one")
    with pytest.raises(RefusedError, match="belongs to stack 'one'"):
        applied(ours, node("a", 81), node("b"), stack="two")
    assert server.store.head().revision == 1


def test_an_invalid_release_is_refused_whole(server: Serving) -> None:
    """A route to a node that does not exist, and an expression that Envoy would reject."""
    ours = client(server)
    applied(ours, *SHOP)
    with pytest.raises(RefusedError, match="VirtualNode with name ghost is missing"):
        applied(ours, *SHOP[:4], route("r/x", ghost=1), node("c"))
    bad = json.loads(json.dumps(route("r/y", a=1).spec).replace('"prefix": "/"', '"path": {"regex": "/(?=x)"}'))
    with pytest.raises(InvalidReleaseError) as caught:
        applied(ours, *SHOP, item("virtualRouter/r/route/y", bad))
    assert [(one.rule, one.subject) for one in caught.value.diagnostics] == [
        ("MW210", "mesh/m/virtualRouter/r/route/y")
    ]
    assert server.store.head().revision == 1


def test_a_plan_is_applied_as_it_was_made_while_unrelated_objects_change(server: Serving) -> None:
    """Another stack's release in between does not matter."""
    ours = client(server)
    applied(ours, *SHOP)
    plan = diff(ours.read(MESH).state, restored(SHIFTED), "shop", MESH)
    applied(ours, node("z"), stack="other")
    outcome = ours.apply(MESH, "shop", ApplyRequest(plan=plan))
    assert outcome["changed"] is True
    assert [change["object"] for change in outcome["release"]["changes"]] == ["mesh/m/virtualRouter/r/route/x"]


def test_a_stale_plan_is_refused_and_names_what_changed(server: Serving) -> None:
    """Also when only something that it refers to changed."""
    ours = client(server)
    applied(ours, *SHOP)
    plan = diff(ours.read(MESH).state, restored(SHIFTED), "shop", MESH)
    update_weight(server, INTRUDER, a=1, b=1)
    with pytest.raises(StalePlanError, match="mesh/m/virtualRouter/r/route/x changed since"):
        ours.apply(MESH, "shop", ApplyRequest(plan=plan))
    assert [one.cause for one in server.store.revisions()] == ["release shop#1", "UpdateRoute"]


def test_a_plan_that_was_applied_and_is_what_runs_is_answered_with_its_release(server: Serving) -> None:
    """A job that is started again ends well; not once anybody has changed something of the stack since."""
    ours = client(server)
    applied(ours, *SHOP, node("c"))
    plan = diff(ours.read(MESH).state, restored(SHIFTED), "shop", MESH)
    assert {one.action for one in plan.changes} == {"update", "delete"}
    for changed in (True, False, False):
        found = ours.apply(MESH, "shop", ApplyRequest(plan=plan))
        assert (found["changed"], found["release"]["title"]) == (changed, "shop#2")
    update_weight(server, INTRUDER, a=1, b=1)
    with pytest.raises(StalePlanError):
        ours.apply(MESH, "shop", ApplyRequest(plan=plan))


def test_a_plan_that_was_edited_by_hand_is_refused(server: Serving) -> None:
    """Leaving out the basis must not be a way around staleness."""
    ours = client(server)
    applied(ours, *SHOP)
    plan = diff(ours.read(MESH).state, restored(SHIFTED), "shop", MESH)
    update_weight(server, INTRUDER, a=1, b=1)
    forged = type(plan)(mesh=MESH, stack="shop", base=plan.base, changes=plan.changes, steps=plan.steps)
    with pytest.raises(StalePlanError):
        ours.apply(MESH, "shop", ApplyRequest(plan=forged))


def test_writers_at_once_all_get_their_release_and_numbers_have_no_gap(server: Serving) -> None:
    """Compare-and-swap and one more turn, never a lost release."""
    ours = client(server)
    applied(ours, SHOP[0], stack="base")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda number: applied(ours, node(f"n{number}"), stack=f"s{number % 3}"), range(12)))
    assert all(one["changed"] for one in outcomes)
    assert server.store.head().revision == 13
    for stack in ("s0", "s1", "s2"):
        assert [one["number"] for one in ours.releases(MESH, stack)["releases"]] == [4, 3, 2, 1]


def test_parallel_jobs_of_one_build_make_one_release(server: Serving) -> None:
    """The same content at once: one makes it, the others are answered with it."""
    ours = client(server)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: applied(ours, *SHOP), range(6)))
    assert sorted(one["changed"] for one in outcomes) == [False] * 5 + [True]
    assert {one["release"]["title"] for one in outcomes} == {"shop#1"}
    assert server.store.head().revision == 1


def test_drift_names_the_object_the_field_and_the_author(server: Serving) -> None:
    """A write by anybody but the principal of the last release."""
    ours = client(server, BUILD)
    applied(ours, *SHOP)
    assert ours.drift(MESH, "shop")["differences"] == []
    update_weight(server, INTRUDER, a=0, b=100)
    found = ours.drift(MESH, "shop")["differences"]
    assert [(one["object"], one["state"], one["kind"]) for one in found] == [
        ("mesh/m/virtualRouter/r/route/x", "changed", "drift")
    ]
    weights = "spec.httpRoute.action.weightedTargets"
    author = found[0]["author"]
    assert found[0]["fields"] == [
        {"path": f"{weights}[0].weight", "old": 90, "new": 0, "author": author},
        {"path": f"{weights}[1].weight", "old": 10, "new": 100, "author": author},
    ]
    assert (author["principal"], author["cause"], author["revision"]) == (
        "arn:aws:iam::000000000000:user/intruder",
        "UpdateRoute",
        2,
    )


def test_the_releasers_own_write_is_an_unreleased_change(server: Serving) -> None:
    """Not drift: whoever releases the stack may write to it."""
    ours = client(server, BUILD)
    applied(ours, *SHOP)
    update_weight(server, BUILD, a=0, b=100)
    assert [one["kind"] for one in ours.drift(MESH, "shop")["differences"]] == ["unreleased"]


def test_missing_and_extra_objects_are_drift_too(server: Serving) -> None:
    """A deleted route is missing; a stranger's route in the stack's router is extra."""
    ours = client(server, BUILD)
    applied(ours, *SHOP)
    client(server, INTRUDER)
    stock = server.client(INTRUDER)
    stock.delete_route(meshName=MESH, virtualRouterName="r", routeName="x")
    stock.create_route(meshName=MESH, virtualRouterName="r", routeName="y", spec=route("r/y", a=1).spec)
    found = ours.drift(MESH, "shop")["differences"]
    assert [(one["object"][-1], one["state"], one["author"]["cause"]) for one in found] == [
        ("x", "missing", "DeleteRoute"),
        ("y", "extra", "CreateRoute"),
    ]


def test_a_rollback_is_a_new_release_with_the_older_content(server: Serving) -> None:
    """And what it took back says so."""
    ours = client(server)
    applied(ours, *SHOP)
    applied(ours, *SHIFTED, node("c"))
    outcome = ours.roll_back(MESH, "shop", RollbackRequest(to=1))
    one = outcome["release"]
    assert (one["title"], one["kind"], one["restores"]) == ("shop#3", "rollback", 1)
    assert one["digest"] == ours.release(MESH, "shop", 1)["digest"]
    assert "virtualNode/c" not in running(server)
    assert [(each["number"], each["status"]) for each in ours.releases(MESH, "shop")["releases"]] == [
        (3, "applied"),
        (2, "rolled back"),
        (1, "applied"),
    ]


def test_a_rollback_to_what_runs_changes_nothing(server: Serving) -> None:
    """A repeated rollback is no third release."""
    ours = client(server)
    applied(ours, *SHOP)
    assert ours.roll_back(MESH, "shop", RollbackRequest(to=1))["changed"] is False


def test_a_rollback_touches_no_other_stack_and_is_refused_when_its_references_are_gone(server: Serving) -> None:
    """The message names what is gone and where it was named."""
    ours = client(server)
    applied(ours, SHOP[0], node("a"), stack="base")
    applied(ours, router("r"), route("r/x", a=1))
    applied(ours, router("r"))
    applied(ours, SHOP[0], stack="base")
    with pytest.raises(RefusedError, match=r"shop#1 cannot be restored.*refers to mesh/m/virtualNode/a \(spec\."):
        ours.roll_back(MESH, "shop", RollbackRequest(to=1))
    assert sorted(running(server)) == ["mesh/m", "virtualRouter/r"]


def test_a_step_that_is_refused_is_told_in_whole_sentences(server: Serving) -> None:
    """Some of App Mesh's own messages end with a full stop, others do not."""
    alone = item("virtualNode/a", {"serviceDiscovery": {"dns": {"hostname": "a"}}})
    for content, end in (
        ((SHOP[0], alone), "can't be set without a listener. Nothing was changed."),
        ((router("r"),), "[^.]. Nothing was changed."),
    ):
        with pytest.raises(RefusedError, match=end) as refusal:
            applied(client(server), *content)
        assert ".. " not in str(refusal.value)


def test_a_build_is_found_by_its_number(server: Serving) -> None:
    """For a rollback from a pipeline that knows builds, not releases."""
    ours = client(server)
    applied(ours, *SHOP, build=Build(build_number="7"))
    applied(ours, *SHIFTED, build=Build(build_number="8"))
    assert ours.roll_back(MESH, "shop", RollbackRequest(to_build="7"))["release"]["restores"] == 1
    with pytest.raises(NotFoundException, match="from build '9'"):
        ours.roll_back(MESH, "shop", RollbackRequest(to_build="9"))


def test_the_last_good_release_repairs_drift_although_it_is_the_newest(server: Serving) -> None:
    """What runs is not what it left: it is restored as a new release."""
    ours = client(server)
    applied(ours, *SHOP)
    applied(ours, *SHIFTED)
    for number in (1, 2):
        server.store.mark(MESH, "shop", number, Status.PROPAGATED, principal="test", at=1)
    update_weight(server, INTRUDER, a=0, b=100)
    outcome = ours.roll_back(MESH, "shop", RollbackRequest(last_good=True))
    assert (outcome["release"]["title"], outcome["release"]["restores"]) == ("shop#3", 2)
    assert ours.drift(MESH, "shop")["differences"] == []
    assert ours.release(MESH, "shop", 2)["status"] == "propagated"


def test_the_last_good_release_is_the_one_before_when_the_newest_runs_as_it_should(server: Serving) -> None:
    """Whoever rolls back holds what runs to be bad."""
    ours = client(server)
    applied(ours, *SHOP)
    applied(ours, *SHIFTED)
    for number in (1, 2):
        server.store.mark(MESH, "shop", number, Status.PROPAGATED, principal="test", at=1)
    assert ours.roll_back(MESH, "shop", RollbackRequest(last_good=True))["release"]["restores"] == 1
    assert ours.release(MESH, "shop", 2)["status"] == "rolled back"


def test_what_a_good_release_refers_to_is_gone_and_the_good_one_before_it_is_restored(server: Serving) -> None:
    """What runs is held to be bad, and is not kept for want of another stack's object; the release says so."""
    ours = client(server)
    applied(ours, SHOP[0], node("a"), stack="base")
    applied(ours, router("r"))
    applied(ours, router("r"), route("r/x", a=1))
    for number in (1, 2):
        for status in (Status.PROPAGATED, Status.VERIFIED):
            server.store.mark(MESH, "shop", number, status, principal="test", at=1)
    applied(ours, router("r", 81))
    applied(ours, SHOP[0], stack="base")
    made = ours.roll_back(MESH, "shop", RollbackRequest(last_good=True, instead_of=3, reason="nobody answers"))[
        "release"
    ]
    gone = "shop#2 cannot be restored: mesh/m/virtualRouter/r/route/x refers to mesh/m/virtualNode/a, which is gone"
    assert (made["restores"], made["reason"]) == (1, f"nobody answers; {gone}")
    assert contents(running(server)["virtualRouter/r"])[0] == router("r").spec


def test_where_no_good_release_can_be_restored_the_next_commands_are_told(server: Serving) -> None:
    """Nobody is left with an outage and no word of what to do about it; what the first command shows is there."""
    ours = client(server)
    applied(ours, SHOP[0], node("a"), stack="base")
    applied(ours, router("r"), route("r/x", a=1))
    server.store.mark(MESH, "shop", 1, Status.PROPAGATED, principal="test", at=1)
    applied(ours, router("r", 81))
    applied(ours, SHOP[0], stack="base")
    with pytest.raises(RefusedError) as refusal:
        ours.roll_back(MESH, "shop", RollbackRequest(last_good=True))
    told = str(refusal.value)
    assert "shop#1 cannot be restored, because what it refers to is gone: mesh/m/virtualRouter/r/route/x" in told
    assert "'meshwright audit log --object mesh/m/virtualNode/a'" in told
    assert "'meshwright rollback --to N'" in told


def test_without_a_good_release_a_rollback_to_it_is_refused_with_what_to_do(server: Serving) -> None:
    """Nothing has propagated yet."""
    ours = client(server)
    applied(ours, *SHOP)
    applied(ours, *SHIFTED)
    with pytest.raises(RefusedError, match=r"known to be good.*--to"):
        ours.roll_back(MESH, "shop", RollbackRequest(last_good=True))


def test_definitions_that_match_an_owners_write_become_a_release(server: Serving) -> None:
    """Nothing changes in the mesh, but the release's content does: the drift is over."""
    ours = client(server)
    applied(ours, *SHOP)
    update_weight(server, KEY, a=50, b=50)
    outcome = applied(ours, *SHIFTED)
    assert (outcome["changed"], outcome["release"]["changes"]) == (True, [])
    assert ours.drift(MESH, "shop")["differences"] == []


def test_the_state_of_a_mesh_is_read_with_metadata_and_stacks(server: Serving) -> None:
    """And a mesh that does not exist is empty."""
    ours = client(server)
    applied(ours, *SHOP)
    found = ours.read(MESH)
    assert found.state == server.store.head().state
    assert (found.revision, found.stacks) == (1, ("shop",))
    assert len(ours.read("nowhere").state) == 0


def test_requests_that_mean_nothing_are_refused_with_the_reason(server: Serving) -> None:
    """Never a failure of the server."""
    base = f"{PREFIX}/meshes/m/stacks/shop"
    for method, target, body, said in (
        ("POST", f"{base}/releases", b"{", "ApplyRequest"),
        ("POST", f"{base}/releases", b"[]", "ApplyRequest"),
        ("POST", f"{base}/releases", b"{}", "exactly one of resources and plan"),
        ("POST", f"{base}/releases", b'{"resources": [], "surprise": 1}', "surprise"),
        ("POST", f"{base}/releases", b'{"resources": [{"object": "virtualNode/a", "spec": {}}]}', "virtualNode/a"),
        ("POST", f"{base}/releases", b"[" * 100_000, "ApplyRequest"),
        ("POST", f"{base}/rollbacks", b"{}", "exactly one"),
        ("GET", f"{base}/releases?limit=none", b"", "limit takes a number"),
        ("GET", f"{base}/releases/1%2e5", b"", "not the number"),
        ("GET", f"{PREFIX}/meshes/m/stacks/-x/releases", b"", "not a stack's name"),
    ):
        answer = server.ask(method, target, body)
        assert (answer.status, answer.code) == (400, "BadRequestException"), (target, body[:40], answer)
        assert said in answer.message, (target, body[:40], answer)


def test_every_fault_of_every_object_is_told_at_once(server: Serving) -> None:
    """Unknown fields, wrong values, tags beyond the limits, an object twice."""
    ours = client(server)
    with pytest.raises(InvalidReleaseError) as caught:
        applied(
            ours,
            Item(key=SHOP[0].key, spec={"surprise": 1}, tags={"": "x"}),
            item("virtualNode/a", {"listeners": [{"portMapping": {"port": 0, "protocol": "udp"}}]}),
            node("b"),
            node("b", 81),
        )
    assert [(one.subject.removeprefix("mesh/m"), one.path) for one in caught.value.diagnostics] == [
        ("", "spec.surprise"),
        ("", "tags[0].key"),
        ("/virtualNode/a", "spec.listeners[0].portMapping.port"),
        ("/virtualNode/a", "spec.listeners[0].portMapping.protocol"),
        ("/virtualNode/b", ""),
    ]


def test_what_is_not_there_is_not_found(server: Serving) -> None:
    """A release, a revision, the drift of a stack without a release."""
    ours = client(server)
    with pytest.raises(NotFoundException):
        ours.release(MESH, "shop", 1)
    with pytest.raises(NotFoundException):
        ours.drift(MESH, "shop")
    with pytest.raises(NotFoundException):
        ours.propagation(MESH, "shop", 1)
    with pytest.raises(NotFoundException):
        ours.roll_back(MESH, "shop", RollbackRequest(to=1))
    assert server.ask("GET", f"{PREFIX}/revisions/5/propagation").status == 404


def test_every_endpoint_is_in_the_openapi_document_and_needs_a_signature(server: Serving) -> None:
    """The document tells the truth, and nothing is open."""
    document = json.loads(server.ask("GET", f"{PREFIX}/openapi.json").body)
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    unsigned = {("POST", one.path) for one in DESCRIBED}
    assert described == {(one.method, PREFIX + one.path) for one in ENDPOINTS} | unsigned
    for _, path in unsigned:
        assert document["paths"][path]["post"]["security"] == []
    assert set(document["components"]["schemas"]["Item"]["properties"]) == {"object", "spec", "tags"}
    for one in ENDPOINTS:
        target = PREFIX + one.path.format(mesh="m", stack="s", number="1", revision="1", kind="fault", name="f")
        assert server.ask(one.method, target, key=None).status == 403, target


def test_an_error_of_a_release_keeps_its_class_on_the_way_to_the_client(server: Serving) -> None:
    """So that the exit code is right."""
    ours = client(server)
    with pytest.raises(BadRequestException) as caught:
        ours.apply(MESH, "-", ApplyRequest(resources=()))
    assert isinstance(caught.value, ApiError)
    assert caught.value.exit_code == 1


def restored(content: tuple[Item, ...]) -> State:
    """The objects of `content`."""
    return State(decoded(one.key, one.spec, one.tags) for one in content)


def test_the_content_of_a_release_is_what_was_applied(server: Serving) -> None:
    """By path, spec and tags; the list leaves it out."""
    ours = client(server)
    applied(ours, *SHOP)
    found = ours.release(MESH, "shop", 1)["content"]
    assert {one["object"]: one["spec"] for one in found} == {one.key.path: one.spec for one in SHOP}
    assert "content" not in ours.releases(MESH, "shop")["releases"][0]
    assert contents(server.store.head().state[Key(MESH, Kind.VIRTUAL_NODE, "a")])[0] == SHOP[1].spec


def test_every_endpoint_is_in_the_documentation() -> None:
    """With its method and path, below the common prefix."""
    page = (ROOT / "docs" / "endpoints.md").read_text()
    assert [one.path for one in ENDPOINTS if f"| `{one.method} {one.path}` |" not in page] == []
