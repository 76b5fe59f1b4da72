"""The risks of a plan: each is told where it is, and not where it nearly is."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried

from meshes import meshes
from meshwright.graph import Relation
from meshwright.impact.flows import flows
from meshwright.impact.risks import RISKS, risks
from meshwright.impact.scene import PROTECTED_TAG, Scene, Seen
from meshwright.impact.spelling import spelled
from meshwright.model.identity import Key, Kind, parse_key
from meshwright.model.state import Resource, State
from meshwright.plan import decoded, diff
from meshwright.routing.expressions import matches
from meshwright.simulate import route as simulated
from settings import ROOT, examples

if TYPE_CHECKING:
    from meshwright.impact.values import Risk

MESH, STACK = "m", "shop"
Wire = dict[str, Any]
Objects = dict[str, Wire]

CHECK = {
    "protocol": "http",
    "path": "/up",
    "healthyThreshold": 2,
    "unhealthyThreshold": 2,
    "intervalMillis": 5000,
    "timeoutMillis": 2000,
}
SECONDS = {"unit": "s", "value": 5}
OUTLIER = {"maxServerErrors": 5, "interval": SECONDS, "baseEjectionDuration": SECONDS, "maxEjectionPercent": 50}
NAMES = {"match": {"exact": ["a.local", "b.local"]}}
SERVER = {"certificate": {"sds": {"secretName": "server"}}, "mode": "STRICT"}
TRUST = {"sds": {"secretName": "ca"}}
CLIENT = {
    "certificate": {"sds": {"secretName": "client"}},
    "validation": {"trust": TRUST, "subjectAlternativeNames": NAMES},
}
RETRIES = {"maxRetries": 3, "perRetryTimeout": SECONDS, "httpRetryEvents": ["gateway-error"]}
TLS = SERVER | {"validation": {"trust": TRUST, "subjectAlternativeNames": NAMES}}
FAULT = {
    "target": {"virtualServiceName": "svc"},
    "abort": {"httpStatus": 503, "percentage": 10},
    "expiresAt": "2999-01-01T00:00:00Z",
}

A, WEB, R, X, Y, SVC = (
    "virtualNode/a",
    "virtualNode/web",
    "virtualRouter/r",
    "virtualRouter/r/route/x",
    "virtualRouter/r/route/y",
    "virtualService/svc",
)
GATEWAY, ENTRY = "virtualGateway/g", "virtualGateway/g/gatewayRoute/e"
LIMIT, POLICY, EGRESS, BROKEN = (
    f"meshwright/{kind}/one" for kind in ("rateLimit", "retryPolicy", "egressPolicy", "fault")
)


def listener(port: int = 80, **more: Any) -> Wire:
    """One that speaks HTTP."""
    return {"portMapping": {"port": port, "protocol": "http"}, **more}


def route(prefix: str, *weights: int, **more: Any) -> Wire:
    """To `a` and `b` by their weights."""
    targets = [{"virtualNode": name, "weight": one} for name, one in zip("ab", weights, strict=False)]
    return {"httpRoute": {"match": {"prefix": prefix}, "action": {"weightedTargets": targets}, **more}}


def mesh() -> Objects:
    """`web` calls `svc`, by `r` to `a` and `b`; the gateway `g` does, too. All is as safe as it can be."""
    full = listener(
        healthCheck=CHECK,
        outlierDetection=OUTLIER,
        tls=TLS,
        timeout={"http": {"perRequest": SECONDS, "idle": SECONDS}},
    )
    backend = {"virtualService": {"virtualServiceName": "svc", "clientPolicy": {"tls": deepcopy(CLIENT)}}}
    limits = {"perRequest": SECONDS, "idle": SECONDS}
    target = {"virtualService": {"virtualServiceName": "svc"}}
    return {
        "": {"egressFilter": {"type": "DROP_ALL"}},
        A: {"listeners": [deepcopy(full), listener(81)], "serviceDiscovery": {"dns": {"hostname": "a"}}},
        "virtualNode/b": {"listeners": [listener()], "serviceDiscovery": {"dns": {"hostname": "b"}}},
        WEB: {
            "backends": [backend],
            "backendDefaults": {"clientPolicy": {"tls": deepcopy(CLIENT)}},
            "listeners": [listener()],
            "serviceDiscovery": {"dns": {"hostname": "web"}},
        },
        R: {"listeners": [listener()]},
        X: route("/", 50, 50, timeout=deepcopy(limits), retryPolicy=deepcopy(RETRIES)),
        Y: route("/y", 100),
        SVC: {"provider": {"virtualRouter": {"virtualRouterName": "r"}}},
        GATEWAY: {"listeners": [listener(8080)]},
        ENTRY: {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": target}}},
        LIMIT: {"target": {"virtualServiceName": "svc"}, "maxTokens": 5, "fillInterval": SECONDS},
        POLICY: {"target": {"virtualServiceName": "svc"}, "httpRetryPolicy": deepcopy(RETRIES)},
        EGRESS: {
            "target": {"virtualNodeName": "web"},
            "allow": [{"host": "*.example.com", "ports": [443], "protocol": "tls"}],
        },
        BROKEN: deepcopy(FAULT),
    }


TAGS: dict[str, dict[str, str]] = {"virtualNode/b": {PROTECTED_TAG: "true"}}


def state(objects: Objects, tags: dict[str, dict[str, str]] | None = None) -> State:
    """The mesh of these objects, all of the stack."""
    labels = TAGS if tags is None else tags
    return State(_resource(path, spec, labels.get(path, {})) for path, spec in objects.items())


def _resource(path: str, spec: Wire, tags: dict[str, str]) -> Resource:
    key = parse_key(f"mesh/{MESH}/{path}") if path else Key.of_mesh(MESH)
    return decoded(key, spec, tags, STACK)


def put(path: str, value: Any) -> Any:
    """An edit of one field, `OBJECT:member.0.member`; None takes it away, and a path without a field the object."""

    def edit(objects: Objects) -> None:
        where, _, field = path.partition(":")
        if not field:
            objects.pop(where) if value is None else objects.update({where: value})
            return
        place: Any = objects[where]
        *steps, last = [int(step) if step.isdigit() else step for step in field.split(".")]
        for step in steps:
            place = place[step]
        if value is None:
            place.pop(last)
        else:
            place[last] = deepcopy(value)

    return edit


def listening_too(objects: Objects) -> None:
    """`a` listens on another port besides."""
    objects[A]["listeners"].append(listener(83))


def changed(*edits: Any) -> Objects:
    """The mesh after `edits`."""
    objects = mesh()
    for edit in edits:
        edit(objects)
    return objects


class Case(NamedTuple):
    """A change that is a risk, and one much like it that is none."""

    code: str
    worse: list[Any]
    near: list[Any]
    path: str = ""


def before(spec: Wire) -> Wire:
    """`spec`, tried before all others."""
    return {**spec, "priority": 0}


def taking(match: Wire, spec: Wire) -> Wire:
    """`spec` with another match."""
    return {"httpRoute": {**spec["httpRoute"], **match}}


def by_regex(expression: str, *weights: int) -> Wire:
    """What takes paths by an expression."""
    return taking({"match": {"path": {"regex": expression}}}, route("/", *weights))


def absent(header: str, *weights: int) -> Wire:
    """What takes requests without a header."""
    return taking({"match": {"prefix": "/", "headers": [{"name": header, "invert": True}]}}, route("/", *weights))


def to(prefix: str, node: str) -> Wire:
    """All of a path to one node."""
    targets = [{"virtualNode": node, "weight": 1}]
    return {"httpRoute": {"match": {"prefix": prefix}, "action": {"weightedTargets": targets}}}


def entering(prefix: str, service: str) -> Wire:
    """A gateway's route."""
    target = {"virtualService": {"virtualServiceName": service}}
    return {"httpRoute": {"match": {"prefix": prefix}, "action": {"target": target}}}


L, T = f"{A}:listeners.0", f"{A}:listeners.0.tls"
B = f"{WEB}:backends.0.virtualService.clientPolicy.tls"
WT = f"{X}:httpRoute.action.weightedTargets"
NODE_DEFAULT = put(f"{WEB}:backends.0.virtualService.clientPolicy", None)
TWIN = {"listeners": [{"portMapping": {"port": 80, "protocol": "http"}}]}
ALONE = {"provider": {"virtualNode": {"virtualNodeName": "b"}}}
ELSEWHERE = put(f"{ENTRY}:httpRoute.action.target.virtualService.virtualServiceName", "s2")
OPEN = {"target": {"virtualNodeName": "b"}, "type": "ALLOW_ALL"}
SHUT = {"target": {"virtualNodeName": "b"}, "type": "DROP_ALL"}
Z, S2 = "virtualRouter/r/route/z", "virtualRouter/r2"
MORE = route("/y", 100)
BY_ROUTER = {"provider": {"virtualRouter": {"virtualRouterName": "r2"}}}
HEADER = {"match": {"prefix": "/", "headers": [{"name": "x-canary"}]}}
CASES = [
    Case("weight-moved", [put(f"{WT}.0.weight", 0)], [put(f"{WT}.0.weight", 25)], "spec.httpRoute.action"),
    Case("weight-moved", [put(f"{WT}.1", None)], [put(f"{WT}.0.weight", 5), put(f"{WT}.1.weight", 5)]),
    Case("weight-moved", [put(Z, before(route("/", 100)))], [put(Z, route("/", 100))], "spec.httpRoute.action"),
    Case("weight-moved", [put(Z, before(by_regex("/.*", 100)))], [put(Z, by_regex("/.*", 100))]),
    Case("weight-moved", [put(Z, before(by_regex("/.+", 100)))], [put(Z, before(by_regex("/[^y].*", 50, 50)))]),
    Case("weight-moved", [put(Z, before(absent("x-nobody", 100)))], [put(Z, before(absent("accept", 100)))]),
    Case("weight-moved", [put(Z, route("/api", 100))], [put(Z, route("/api", 1, 1))]),
    Case(
        "weight-moved",
        [put(SVC, BY_ROUTER), put(S2, TWIN), put(f"{S2}/route/x", route("/", 100, 1))],
        [put(SVC, BY_ROUTER), put(S2, TWIN), put(f"{S2}/route/x", route("/", 50, 40)), put(f"{S2}/route/y", MORE)],
    ),
    Case(
        "destination-changed",
        [put(SVC, BY_ROUTER), put(S2, TWIN), put(f"{S2}/route/x", route("/", 100, 0))],
        [put(SVC, BY_ROUTER), put(S2, TWIN), put(f"{S2}/route/x", route("/", 50, 1))],
    ),
    Case(
        "requests-diverted",
        [put(Z, taking(HEADER, route("/", 100)))],
        [put(Z, taking(HEADER, route("/", 1, 1)))],
        "spec.httpRoute.action",
    ),
    Case("requests-diverted", [put(Z, to("/shop", "web"))], [put(Z, to("/y/shop", "a"))]),
    Case("match-narrowed", [put(f"{X}:httpRoute.match.prefix", "/x")], [put(f"{Y}:httpRoute.match.prefix", "/y/z")]),
    Case(
        "match-narrowed",
        [put(f"{X}:httpRoute.match", HEADER["match"])],
        [put(f"{X}:httpRoute.match", HEADER["match"]), put(Z, route("/", 1, 1))],
        "spec.httpRoute.match",
    ),
    Case(
        "match-narrowed",
        [put(f"{X}:httpRoute.match.prefix", "/x")],
        [put(f"{X}:httpRoute.match.prefix", "/x"), put(f"{WEB}:backends", []), put(ENTRY, None)],
    ),
    Case(
        "match-narrowed",
        [put(f"{ENTRY}:httpRoute.match.prefix", "/x")],
        [put(f"{ENTRY}:httpRoute.match.prefix", "/x"), put(f"{ENTRY}2", entering("/", "svc"))],
        "spec.httpRoute.match",
    ),
    Case(
        "weight-moved",
        [put("virtualService/s2", ALONE), put(f"{ENTRY}2", before(entering("/", "s2")))],
        [put("virtualService/s2", ALONE), put(f"{ENTRY}2", entering("/y", "svc"))],
    ),
    Case(
        "discovery-changed",
        [put("virtualNode/b:serviceDiscovery.dns.hostname", "elsewhere")],
        [put("virtualNode/b:serviceDiscovery.dns", {"hostname": "B.", "responseType": "ENDPOINTS"})],
        "spec.serviceDiscovery",
    ),
    Case("tls-share-moved", [put(f"{WT}.0.weight", 45)], [put(f"{WT}.0.weight", 60)], "spec.httpRoute.action"),
    Case("tls-share-moved", [put(f"{WT}.0.virtualNode", "web")], [put(f"{WT}.1.virtualNode", "web")]),
    Case("tls-share-moved", [put(Z, route("/api", 0, 100))], [put(Z, route("/api", 100))]),
    Case("called-route-removed", [put(Y, None)], [put(Y, None), put("virtualRouter/r/route/z", route("/y", 100))]),
    Case("called-route-removed", [put(Y, None)], [put(Y, None), put(f"{WEB}:backends", []), put(ENTRY, None)]),
    Case(
        "called-service-removed",
        [put(SVC, None), put(ENTRY, None)],
        [put(SVC, None), put(ENTRY, None), put(f"{WEB}:backends", [])],
    ),
    Case(
        "called-service-removed",
        [put(SVC, {})],
        [put(SVC, {"provider": {"virtualNode": {"virtualNodeName": "a"}}})],
        "spec.provider",
    ),
    Case(
        "weight-moved",
        [put(X, None), put(f"{Y}2", route("/", 0, 100))],
        [put(X, None), put(f"{Y}2", route("/", 1, 1))],
    ),
    Case(
        "destination-changed",
        [put(SVC, {"provider": {"virtualNode": {"virtualNodeName": "web"}}})],
        [
            put(SVC, {"provider": {"virtualRouter": {"virtualRouterName": "r2"}}}),
            put("virtualRouter/r2", TWIN),
            put("virtualRouter/r2/route/x", route("/", 1, 1)),
        ],
        "spec.provider.virtualNode.virtualNodeName",
    ),
    Case(
        "destination-changed",
        [put("virtualService/s2", ALONE), ELSEWHERE],
        [put("virtualService/s2", {"provider": {"virtualRouter": {"virtualRouterName": "r"}}}), ELSEWHERE],
        "spec.httpRoute.action.target",
    ),
    Case("protocol-changed", [put(f"{A}:listeners.1.portMapping.protocol", "tcp")], [listening_too]),
    Case("router-emptied", [put(X, None), put(Y, None)], [put(X, None)]),
    Case(
        "protected-deleted",
        [put("virtualNode/b", None), put(f"{WT}.1", None)],
        [put("virtualNode/web", None), put(EGRESS, None)],
    ),
    Case("port-changed", [put(f"{L}.portMapping.port", 82)], [listening_too], "spec.listeners[0].portMapping.port"),
    Case(
        "tls-weakened", [put(f"{T}.mode", "PERMISSIVE")], [put(f"{T}.mode", "STRICT")], "spec.listeners[0].tls.mode"
    ),
    Case("tls-weakened", [put(f"{T}.mode", "DISABLED")], [put(f"{A}:listeners.1.tls", TLS)]),
    Case("tls-weakened", [put(T, None)], [put(f"{T}.certificate", {"sds": {"secretName": "other"}})]),
    Case("mutual-tls-removed", [put(f"{T}.validation", None)], [put(f"{T}.validation.trust.sds.secretName", "ca2")]),
    Case("mutual-tls-removed", [put(f"{B}.certificate", None)], [put(f"{B}.certificate.sds.secretName", "other")]),
    Case(
        "tls-names-loosened",
        [put(f"{T}.validation.subjectAlternativeNames", None)],
        [put(f"{T}.validation.subjectAlternativeNames.match.exact", ["a.local"])],
    ),
    Case(
        "tls-names-loosened",
        [put(f"{B}.validation.subjectAlternativeNames.match.exact", ["a.local", "b.local", "*"])],
        [put(f"{B}.validation.subjectAlternativeNames.match.exact", ["b.local"])],
    ),
    Case("tls-not-enforced", [put(f"{B}.enforce", False)], [put(f"{B}.enforce", True)], "spec.backends[0]"),
    Case("tls-not-enforced", [put(f"{B}.ports", [80])], [put(f"{B}.ports", [])]),
    Case("tls-validation-removed", [put(f"{WEB}:backendDefaults", None)], [NODE_DEFAULT], "spec.backendDefaults"),
    Case("tls-validation-removed", [put(f"{WEB}:backendDefaults", None), NODE_DEFAULT], [put(f"{WEB}:backends", [])]),
    Case(
        "egress-opened", [put(":egressFilter.type", "ALLOW_ALL")], [put(":egressFilter", None)], "spec.egressFilter"
    ),
    Case("egress-opened", [put(f"{EGRESS}:type", "ALLOW_ALL")], [put(f"{EGRESS}:type", "DROP_ALL")], "spec.type"),
    Case(
        "egress-opened",
        [put(f"{EGRESS}:allow.0.host", "*.com")],
        [put(f"{EGRESS}:allow.0.host", "api.example.com")],
        "spec.allow",
    ),
    Case("egress-opened", [put(f"{EGRESS}:allow.0.ports", [443, 444])], [put(f"{EGRESS}:allow", [])]),
    Case(
        "timeout-removed",
        [put(f"{X}:httpRoute.timeout.perRequest", None)],
        [put(f"{X}:httpRoute.timeout.perRequest.value", 60)],
        "spec.httpRoute.timeout.perRequest",
    ),
    Case(
        "timeout-removed",
        [put(f"{Y}:httpRoute.timeout", {"idle": {"unit": "s", "value": 0}})],
        [put(f"{Y}:httpRoute.timeout", {"idle": SECONDS})],
    ),
    Case("egress-opened", [put("meshwright/egressPolicy/two", OPEN)], [put("meshwright/egressPolicy/two", SHUT)]),
    Case(
        "retries-removed", [put(f"{POLICY}:httpRetryPolicy.maxRetries", 0)], [put(f"{POLICY}:acrossVersions", True)]
    ),
    Case("timeout-removed", [put(f"{L}.timeout", None)], [put(f"{L}.timeout.http.idle.value", 1)]),
    Case(
        "retries-removed",
        [put(f"{X}:httpRoute.retryPolicy.maxRetries", 0)],
        [put(f"{X}:httpRoute.retryPolicy.maxRetries", 1)],
        "spec.httpRoute.retryPolicy.maxRetries",
    ),
    Case("retries-removed", [put(POLICY, None)], [put(f"{POLICY}:httpRetryPolicy.maxRetries", 1)]),
    Case("rate-limit-removed", [put(LIMIT, None)], [put(f"{LIMIT}:maxTokens", 500)]),
    Case("health-check-removed", [put(f"{L}.healthCheck", None)], [put(f"{L}.healthCheck.path", "/ready")]),
    Case(
        "outlier-detection-removed",
        [put(f"{L}.outlierDetection", None)],
        [put(f"{L}.outlierDetection.maxServerErrors", 50)],
    ),
    Case(
        "broad-fault", [put(f"{BROKEN}:abort.percentage", 20)], [put(f"{BROKEN}:abort.percentage", 5)], "spec.abort"
    ),
    Case(
        "broad-fault", [put("meshwright/fault/two", FAULT)], [put("meshwright/fault/two", FAULT | {"from": ["web"]})]
    ),
]


def found(before: State, after: State, **more: Any) -> tuple[Risk, ...]:
    """The risks of the plan between two states."""
    plan = diff(before, after, STACK, MESH)
    return risks(Scene(plan, before, **more))


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{one.code}" for number, one in enumerate(CASES)])
def test_a_risk_is_told_where_it_is_and_not_where_it_nearly_is(case: Case) -> None:
    """With its object and field; the near miss changes something, and that is none."""
    worse = [one for one in found(state(mesh()), state(changed(*case.worse))) if one.code == case.code]
    assert worse
    assert all(one.path.startswith(case.path) for one in worse)
    assert case.code not in {one.code for one in found(state(mesh()), state(changed(*case.near)))}


TURNED = {"weight-moved", "discovery-changed", "port-changed", "protocol-changed", "destination-changed"}
"""Risks that are the same the other way round."""


@pytest.mark.parametrize("case", [one for one in CASES if one.code not in TURNED], ids=lambda one: one.code)
def test_what_gets_stricter_is_no_risk(case: Case) -> None:
    """The way back from where a risk has led."""
    assert case.code not in {one.code for one in found(state(changed(*case.worse)), state(mesh()))}


def test_what_a_listener_never_asked_for_is_not_missed() -> None:
    """Another certificate, of a listener and of a client without one of their own to check or to show."""
    bare = [put(f"{T}.validation", None), put(f"{B}.certificate", None)]
    other = [put(f"{T}.certificate.sds.secretName", "other"), put(f"{B}.validation.trust.sds.secretName", "other")]
    assert found(state(changed(*bare)), state(changed(*bare, *other))) == ()


def test_a_backend_that_loses_its_own_policy_has_the_weaker_default() -> None:
    """What holds is compared, in the field that holds then."""
    weaker = put(f"{WEB}:backendDefaults.clientPolicy.tls.enforce", False)
    (told,) = found(state(changed(weaker)), state(changed(weaker, NODE_DEFAULT)))
    assert (told.code, told.path) == ("tls-not-enforced", "spec.backendDefaults.clientPolicy.tls.enforce")


def test_a_changed_port_hides_no_change_of_its_tls() -> None:
    """The one listener that is left over is the one that was."""
    after = changed(put(f"{L}.portMapping.port", 82), put(f"{T}.mode", "PERMISSIVE"))
    assert {one.code for one in found(state(mesh()), state(after))} == {"port-changed", "tls-weakened"}


def test_what_was_open_or_left_to_routes_gets_no_worse() -> None:
    """A policy that says what the open mesh said; a retry policy that leaves the number to the routes."""
    opened = put(":egressFilter.type", "ALLOW_ALL")
    with_policy = changed(opened, put("meshwright/egressPolicy/two", OPEN))
    assert found(state(changed(opened)), state(with_policy)) == ()
    left = [put(f"{POLICY}:httpRetryPolicy", None), put(f"{POLICY}:acrossVersions", True)]
    assert found(state(mesh()), state(changed(*left))) == ()


def test_an_object_that_stays_protected_may_change() -> None:
    """Its tag is what is looked at."""
    changing = put("virtualNode/b:listeners.0.timeout", {"http": {"idle": SECONDS}})
    assert found(state(mesh()), state(changed(changing))) == ()


def test_every_risk_has_a_case_and_a_line_in_the_documentation() -> None:
    """Nothing is found that nobody can read up on."""
    others = {"protection-removed"}
    assert {one.code for one in CASES} | others == set(RISKS)
    page = (ROOT / "docs" / "plans.md").read_text(encoding="utf-8")
    for code, meaning in RISKS.items():
        assert f"| `{code}` | {meaning} |" in page


def test_a_share_is_compared_with_the_step_that_was_asked_for() -> None:
    """In percentage points of the route's traffic, whatever the weights add up to."""
    before, after = state(changed(put(f"{WT}.0.weight", 100))), state(mesh())
    (first, second, third) = found(before, after, weight_step=16)
    assert (first.old, first.new, second.old, second.new) == (66.7, 50.0, 33.3, 50.0)
    assert first.summary == "a gets 50 % instead of 66.7 % of what route x of virtual service svc takes"
    assert third.summary == (
        "50 % instead of 66.7 % of what route x of virtual service svc takes goes to targets that insist on TLS"
    )
    assert [one.code for one in found(before, after, weight_step=17)] == ["tls-share-moved"]


def test_the_tag_that_protects_is_not_taken_unseen() -> None:
    """Else two plans without a risk would delete what one may not."""
    before, after = state(mesh()), state(mesh(), {"virtualNode/b": {PROTECTED_TAG: "false"}})
    assert [(one.code, one.key.name, one.path) for one in found(before, after)] == [
        ("protection-removed", "b", f"tags.{PROTECTED_TAG}")
    ]
    assert found(after, state(mesh())) == ()


@pytest.mark.parametrize(
    ("pattern", "protects"),
    [
        ("virtualNode/w*", True),
        ("*/web", True),
        ("virtualNode", False),
        ("virtualRouter/*/route/*", False),
        ("*", False),
    ],
)
def test_a_configured_pattern_protects_within_a_name(pattern: str, *, protects: bool) -> None:
    """`*` is no way from one part of a name into the next."""
    codes = [
        one.code
        for one in found(state(mesh()), state(changed(put(WEB, None), put(EGRESS, None))), protected=[pattern])
    ]
    assert ("protected-deleted" in codes) is protects


def test_a_caller_that_no_longer_declares_its_call_is_found_by_what_its_proxy_reported() -> None:
    """The number of its requests stands in the summary; one that reported none is no caller."""
    before = state(mesh())
    after = state(changed(put(SVC, None), put(ENTRY, None), put(f"{WEB}:backends", [])))
    web = Key(MESH, Kind.VIRTUAL_NODE, "web")
    seen = (Seen(web, ("svc",), 7),)
    (told,) = (one for one in found(before, after, seen=seen) if one.code == "called-service-removed")
    assert told.summary == "svc is deleted and is still called by mesh/m/virtualNode/web (7 requests so far)"
    for other in (Seen(web, ("other",), 7), Seen(web, ("svc",), 0)):
        assert "called-service-removed" not in {one.code for one in found(before, after, seen=(other,))}


def test_a_gateway_route_is_called_when_requests_came_by_it() -> None:
    """Who calls a gateway declares nothing."""
    gateway = Key(MESH, Kind.VIRTUAL_GATEWAY, "g")
    before, after = state(mesh()), state(changed(put(ENTRY, None)))
    assert found(before, after) == ()
    (told,) = found(before, after, seen=(Seen(gateway, ("svc",), 3),))
    assert (told.code, told.key.name) == ("called-route-removed", "e")


def test_a_node_whose_policy_goes_away_in_an_open_mesh_may_call_anything() -> None:
    """What is left to it is the mesh's filter; in a closed mesh it loses what it had."""
    closed = state(mesh())
    opened = state(changed(put(":egressFilter.type", "ALLOW_ALL")))
    for before, codes in ((closed, []), (opened, ["egress-opened"])):
        after = before.drop(parse_key(f"mesh/{MESH}/{EGRESS}"))
        assert [one.code for one in found(before, after)] == codes


def test_a_risk_of_a_shadowed_route_names_who_took_the_requests_and_who_takes_them() -> None:
    """The old route, the new one and the service; once for all services that the router answers for."""
    twin = put("virtualService/svc2", mesh()[SVC])
    shadowed = changed(twin, put(Z, before(route("/", 1))))
    told = [one.summary for one in found(state(changed(twin)), state(shadowed)) if one.code == "weight-moved"]
    where = "what route x of virtual service svc, virtual service svc2 took and route z takes"
    assert told == [f"a gets 100 % instead of 50 % of {where}", f"b gets 0 % instead of 50 % of {where}"]


def test_routes_of_one_name_are_told_apart_by_their_routers() -> None:
    """What another router takes by a route of the same name is not taken by the old one."""
    moved = changed(put(SVC, BY_ROUTER), put(S2, TWIN), put(f"{S2}/route/x", route("/", 100, 0)))
    (told, *_) = [one for one in found(state(mesh()), state(moved)) if one.code == "weight-moved"]
    where = "what route x of virtual service svc took and route x of virtual router r2 takes"
    assert told.summary == f"a gets 100 % instead of 50 % of {where}"


def test_a_narrowed_match_names_a_request_that_nothing_takes_any_more() -> None:
    """Of a service, with who calls it; of a gateway nobody is known beforehand."""
    narrower = changed(put(f"{X}:httpRoute.match.prefix", "/x"), put(f"{ENTRY}:httpRoute.match.prefix", "/x"))
    told = {
        one.key.name: one.summary for one in found(state(mesh()), state(narrower)) if one.code == "match-narrowed"
    }
    assert told["x"] == (
        "route x of virtual service svc took requests such as GET /, and nothing does now: they are answered 404; "
        "it is called by mesh/m/virtualGateway/g (declared), mesh/m/virtualNode/web (declared)"
    )
    assert told["e"].startswith("gateway route e of virtual gateway g took requests such as GET /, and nothing does")


@pytest.mark.parametrize(
    "expression",
    [
        "/",
        "/.*",
        "/[^a-z0-9_./-]+x?",
        r"/v\d{2,5}/(cart|pay)(\.json)?",
        "/(?:a{3}){2}[[:alpha:]]*",
        "/[[[:punct:]]",
        "(?i)/A",
    ],
)
def test_an_expression_is_spelled_so_that_it_takes_it(expression: str) -> None:
    """Or not at all."""
    text = spelled(expression)
    assert text is None or matches(expression, text)
    assert text is not None or expression.startswith("/[[[")


@given(meshes(), meshes())
@tried(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
def test_where_requests_are_said_to_go_they_go_as_the_simulation_says(old: State, new: State) -> None:
    """Before and after, from whoever may call the service."""
    scene = Scene(diff(old, new, "", MESH), old)
    for flow in flows(scene):
        for graph, way in ((scene.before, flow.before), (scene.after, flow.after)):
            for edge in graph.incoming(flow.at[0], Relation.BACKEND):
                verdict = simulated(graph, edge.source, flow.call)
                if verdict.hops and verdict.hops[-1].decided_by == flow.at[0]:
                    assert {one.node: round(100 * one.fraction, 1) for one in verdict.targets if one.weight} in (
                        {},
                        dict(way.shares),
                    )
                    assert verdict.hops[-1].chosen == way.origin


@given(meshes())
@tried(max_examples=examples(60))
def test_a_plan_of_equal_states_has_no_risk(mesh: State) -> None:
    """Whatever the mesh is like."""
    plan = diff(mesh, mesh, "", MESH)
    assert risks(Scene(plan, mesh)) == ()


@given(meshes(), meshes())
@tried(max_examples=examples(60))
def test_every_risk_is_about_an_object_of_the_plan(before: State, after: State) -> None:
    """One that it changes, or the router of one that it deletes; any plan can be judged."""
    plan = diff(before, after, "", MESH)
    concerned = {one.key for one in plan.changes} | {one.key.owner for one in plan.changes}
    for one in risks(Scene(plan, before)):
        assert one.key in concerned
        assert one.code in RISKS
