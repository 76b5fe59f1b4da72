"""Guardrails: what hurts is refused, waits for somebody else, or is let through once; all of it is written down."""

from __future__ import annotations

import concurrent.futures
import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import botocore.exceptions
import msgspec
import pytest

from building import TRUST, Jobs, building, travis
from meshwright.errors import (
    AccessDeniedError,
    BadRequestException,
    NotFoundException,
    RefusedError,
    RevisionConflictError,
    StalePlanError,
)
from meshwright.impact.risks import RISKS
from meshwright.plan import contents
from meshwright.release import (
    ApplyRequest,
    GuardrailError,
    InvalidReleaseError,
    Item,
    OlderBuildError,
    RollbackRequest,
)
from meshwright.store.approvals import Decision, Use
from meshwright.store.contract import Draft
from meshwright.store.sqlite import connect
from meshwright.trust.packs import PACKS
from processes import until
from serving import KEY, now
from settings import ROOT
from test_impact_risks import CASES, changed, state
from test_releases import SHIFTED, SHOP, node, route
from test_trust_file import settled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshwright.remote import Client


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """A control plane without guardrails, until a test has some."""
    with building(tmp_path) as running:
        yield running


def guarded(severity: str, rule: str = "risks: ['*']", environment: str = "{mesh: m}") -> str:
    """A trust file with one guardrail, or none for no rule."""
    text = TRUST.replace("{mesh: m}", environment)
    line = f"guardrails: {{mind: {{{rule}, severity: {severity}, message: Ask the platform team.}}}}\n"
    return text + (line if rule else "")


def applied(job: Client, content: tuple[Item, ...], **more: Any) -> dict[str, Any]:
    """What whoever applies `content` is answered."""
    return job.apply("m", "shop", ApplyRequest(resources=content, **more))


def items(*edits: Any) -> tuple[Item, ...]:
    """The mesh of the risks' cases after some edits, with the ports that App Mesh wants to be told."""
    objects = changed(*edits)
    nodes = {path: spec for path, spec in objects.items() if path.startswith("virtualNode/")}
    ports = {path.partition("/")[2]: spec["listeners"] for path, spec in nodes.items()}
    for spec in objects.values():
        for target in spec.get("httpRoute", {}).get("action", {}).get("weightedTargets", ()):
            target["port"] = ports[target["virtualNode"]][0]["portMapping"]["port"]
    return tuple(Item(key=one.key, spec=spec, tags=tags) for one in state(objects) for spec, tags in [contents(one)])


def kinds(jobs: Jobs) -> list[str]:
    """What the audit log tells of, without keys, attempts and moves of a status."""
    left_out = {"key", "session", "status", "attempt"}
    return [f"{one['kind']}: {one['cause']}" for one in leaves(jobs) if one["kind"] not in left_out]


def leaves(jobs: Jobs) -> list[dict[str, Any]]:
    """The audit log."""
    return [json.loads(one.text) for one in jobs.plane.server.store.leaves(limit=1000)]


def refused(jobs: Jobs) -> set[tuple[str, str]]:
    """What the audit log tells of as refused: the operation and the error."""
    return {(one["cause"], one["error"]) for one in leaves(jobs) if one.get("outcome") == "refused"}


@pytest.mark.parametrize("code", RISKS)
def test_each_risk_is_denied_approved_and_broken_through(jobs: Jobs, code: str) -> None:
    """With the entries of the audit log to show for it."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    safe = items()
    applied(alice, safe)
    worse = next(one for one in _versions(code) if _valid(jobs, alice, one))
    before = len(kinds(jobs))

    jobs.trust(guarded("deny", f"risks: [{code}]"))
    with pytest.raises(GuardrailError, match=rf"mind \({code}\): mesh/m.*Ask the platform team\."):
        applied(alice, worse)
    assert alice.releases("m", "shop")["releases"][0]["number"] == 1

    jobs.trust(guarded("approve", f"risks: [{code}]"))
    waiting = applied(alice, worse)["pending"]
    assert {one["about"] for one in waiting["objections"]} == {code}
    with pytest.raises(AccessDeniedError, match="the author's own"):
        alice.approve("m", "shop", waiting["number"])
    made = bob.approve("m", "shop", waiting["number"], "looked at it")["release"]
    assert (made["title"], made["principal"][-5:], made["approval"]["principal"][-3:]) == ("shop#2", "alice", "bob")
    assert {one["object"] for one in alice.release("m", "shop", 2)["content"]} == {one.key.path for one in worse}

    jobs.trust(TRUST)
    applied(alice, safe)
    jobs.trust(guarded("deny", f"risks: [{code}]"))
    with pytest.raises(RefusedError, match="No grant lets user/alice pass"):
        applied(alice, worse, break_glass="it burns")
    jobs.user().grant("m", "shop", "user/alice", "INC-7", 30)
    broken = applied(alice, worse, break_glass="it burns")["release"]["broken_glass"]
    assert (broken["granted_for"], broken["reason"], broken["rules"]) == ("INC-7", "it burns", ["mind"])

    assert kinds(jobs)[before:] == [
        f"pending: ask approval of m/{waiting['title']}",
        "revision: release shop#2",
        f"decision: approve m/{waiting['title']}",
        "revision: release shop#3",
        "grant: grant 1 to user/alice for m/shop",
        "revision: release shop#4",
        "use: use grant 1 for m/shop#4",
    ]
    tried = {
        ("post_release", "GuardrailException"),
        ("post_approval", "AccessDeniedException"),
        ("post_release", "RefusedException"),
    }
    until(lambda: tried <= refused(jobs))
    assert jobs.plane.server.store.verify().faults == ()


def _versions(code: str) -> Iterator[tuple[Item, ...]]:
    """Content that has the risk, compared with the mesh as it is safe."""
    if code == "protection-removed":
        yield tuple(msgspec.structs.replace(one, tags={}) for one in items())
    yield from (items(*case.worse) for case in CASES if case.code == code)


def _valid(jobs: Jobs, alice: Client, content: tuple[Item, ...]) -> bool:
    """Whether App Mesh would take it: some cases are of states alone."""
    jobs.trust(guarded("approve", "objects: ['mesh/**', 'mesh/*']"))
    try:
        waiting = applied(alice, content)["pending"]
    except (RefusedError, InvalidReleaseError):
        return False
    alice.withdraw("m", "shop", waiting["number"])
    return True


def test_what_is_no_risk_passes_and_a_warning_is_told(jobs: Jobs) -> None:
    """Nobody is asked about what hurts nobody."""
    alice = jobs.user("alice")
    jobs.trust(guarded("deny"))
    assert applied(alice, SHOP)["warnings"] == []
    jobs.trust(guarded("warn"))
    warning = applied(alice, SHIFTED)["warnings"][0]
    assert warning.startswith("mind (weight-moved): mesh/m/virtualRouter/r/route/x spec.httpRoute.action.")
    assert warning.endswith("Ask the platform team.")
    kept = alice.release("m", "shop", 2)["objections"][0]
    assert (kept["rule"], kept["severity"], kept["about"]) == ("mind", "warn", "weight-moved")


@pytest.mark.parametrize(
    ("rule", "content", "objects"),
    [
        ("actions: [delete]", SHOP[:4], ["virtualRouter/r/route/x"]),
        ("actions: [create]", (*SHOP, node("c")), ["virtualNode/c"]),
        ("fields: ['*.listeners?0?.portMapping.port']", (*SHOP[:2], node("b", 81), *SHOP[3:]), ["virtualNode/b"]),
        ("fields: ['spec.listeners[0].portMapping*']", (*SHOP[:2], node("b", 81), *SHOP[3:]), ["virtualNode/b"]),
        ("fields: [tags.*]", (*SHOP[:2], node("b", 81), *SHOP[3:]), []),
        ("objects: ['virtualRouter/*/route/*']", SHIFTED, ["virtualRouter/r/route/x"]),
        ("objects: ['virtualRouter/*']", SHIFTED, []),
        ("risks: [weight-moved], objects: ['virtualRouter/other/route/*']", SHIFTED, []),
        ("risks: [weight-moved], over: 39", SHIFTED, ["virtualRouter/r/route/x"]),
        ("risks: [weight-moved], over: 40", SHIFTED, []),
        ("risks: [weight-moved], over: 5", (*SHOP[:4], route("r/x", a=84, b=16)), ["virtualRouter/r/route/x"]),
        ("risks: ['weight-*'], stacks: ['sh*']", SHIFTED, ["virtualRouter/r/route/x"]),
        ("risks: ['*'], stacks: [other]", SHIFTED, []),
        ("risks: ['*'], kinds: [rollback]", SHIFTED, []),
    ],
)
def test_a_rule_minds_what_it_says(jobs: Jobs, rule: str, content: tuple[Item, ...], objects: list[str]) -> None:
    """By risk, action, field, object, stack, points and kind; what it does not say it does not mind."""
    alice = jobs.user("alice")
    applied(alice, SHOP)
    jobs.trust(guarded("approve", rule))
    waiting = applied(alice, content).get("pending")
    found = {one["object"].removeprefix("mesh/m/") for one in waiting["objections"]} if waiting else set()
    assert found == set(objects)


def test_smaller_moves_than_the_usual_are_no_risks_of_the_release(jobs: Jobs) -> None:
    """A rule may look closer than people want to be told."""
    alice = jobs.user("alice")
    applied(alice, SHOP)
    jobs.trust(guarded("warn", "risks: [weight-moved], over: 5"))
    outcome = applied(alice, (*SHOP[:4], route("r/x", a=84, b=16)))
    assert outcome["release"]["risks"] == []
    assert outcome["warnings"][0].startswith("mind (weight-moved)")


def test_of_several_rules_the_strictest_is_told(jobs: Jobs) -> None:
    """A pack's `look` does not repeat what another rule denies; a rule of its name takes a pack's place."""
    alice = jobs.user("alice")
    applied(alice, SHOP)
    jobs.trust(guarded("", "", "{mesh: m, pack: production, releases_only: false}"))
    wide = (*SHOP[:4], route("r/x", a=0, b=100))
    waiting = applied(alice, wide)["pending"]
    assert {(one["rule"], one["severity"]) for one in waiting["objections"]} == {("traffic", "approve")}
    assert applied(alice, SHIFTED)["warnings"][0].startswith("look (weight-moved)")
    own = "guardrails: {traffic: {severity: ignore}, look: {severity: ignore}}\n"
    jobs.trust(guarded("", "", "{mesh: m, pack: production, releases_only: false}") + own)
    assert applied(alice, wide)["warnings"] == []


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_names_risks_that_there_are(pack: str) -> None:
    """And every rule of it is one that a trust file could have."""
    lines = json.dumps({name: msgspec.to_builtins(one) for name, one in PACKS[pack].rules.items()})
    assert settled(f"version: 1\nenvironments: {{e: {{mesh: m}}}}\nguardrails: {lines}").guardrails


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{risks: [weight-mved], severity: warn}", "guardrails.a.risks[0]: no risk is called 'weight-mved'; did you"),
        ("{severity: warn}", "guardrails.a: it minds every change"),
        ("{risks: [tls-*], over: 3, severity: warn}", "guardrails.a.over: only the risk weight-moved"),
        ("{risks: [tls-*], actions: [delete], severity: deny}", "one of 'risks' and 'actions'"),
        ("{objects: [virtualnode/x], severity: deny}", "guardrails.a.objects[0]: 'virtualnode/x' matches nothing"),
        ("{actions: [delete], severity: denied}", "guardrails.a.severity"),
        ("{actions: [delete], severity: deny, environments: [x]}", "nothing of the name 'x' is declared"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_place(rule: str, words: str) -> None:
    """A guardrail that minds nothing by mistake is worse than none."""
    with pytest.raises(Exception, match=re.escape(words)):
        settled(f"version: 1\nenvironments: {{e: {{mesh: m}}}}\nguardrails: {{a: {rule}}}")


def test_a_rule_holds_in_the_environments_that_it_names() -> None:
    """A relative pattern means the environment's mesh, and without one it is refused."""
    text = "version: 1\nenvironments: {a: {mesh: m}, b: {pack: staging}}\n"
    text += "guardrails: {x: {objects: [X], severity: warn%s}}"
    assert (
        settled(text.replace("X", "virtualNode/*") % ", environments: [a]", "b").guardrails.keys()
        == PACKS["staging"].rules.keys()
    )
    with pytest.raises(Exception, match=r"guardrails.x.objects\[0\]: 'virtualNode/\*' names no mesh"):
        settled(text.replace("X", "virtualNode/*") % "", "b")


def test_releases_alone_change_a_mesh_where_the_environment_says_so(jobs: Jobs) -> None:
    """For the stock SDK, for extensions and for the administrator alike; reading stays."""
    alice = jobs.user("alice")
    applied(alice, SHOP)
    server = jobs.plane.server
    alices = server.store.key("AKIAALICE")
    assert alices is not None
    jobs.trust(guarded("", "", "{mesh: m, pack: production}"))
    for who in (alices, KEY):
        with pytest.raises(botocore.exceptions.ClientError, match="'test' is changed by releases only") as refused:
            server.client(who).delete_route(meshName="m", virtualRouterName="r", routeName="x")
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
        body = b'{"spec": {"target": {"virtualNodeName": "a"}, "type": "ALLOW_ALL"}}'
        answer = server.ask("PUT", "/meshwright/v1/meshes/m/extensions/egressPolicy/x", body, key=who)
        assert (answer.status, answer.code) == (403, "AccessDeniedException")
        assert server.client(who).describe_mesh(meshName="m")["mesh"]["meshName"] == "m"
    jobs.trust(guarded("", "", "{mesh: m, pack: production, releases_only: false}"))
    server.client(alices).delete_route(meshName="m", virtualRouterName="r", routeName="x")


def test_guardrails_hold_for_the_administrator(jobs: Jobs) -> None:
    """Who passes with a grant of his own, that is written down."""
    admin = jobs.user()
    applied(admin, SHOP)
    jobs.trust(guarded("deny"))
    with pytest.raises(GuardrailError):
        applied(admin, SHIFTED)
    admin.grant("m", "shop", "user/administrator", "night shift", 5)
    assert applied(admin, SHIFTED, break_glass="INC-1")["changed"] is True


def test_a_grant_is_for_one_somebody_one_stack_one_time_and_a_while(jobs: Jobs) -> None:
    """And nobody but the administrator grants it to himself."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    applied(alice, SHOP)
    jobs.trust(guarded("deny", "objects: ['mesh/**', 'mesh/*']"))
    with pytest.raises(RefusedError, match="user/alice cannot let itself pass"):
        alice.grant("m", "shop", "user/alice", "because", 5)
    with pytest.raises(BadRequestException, match="'alice' is nobody"):
        bob.grant("m", "shop", "alice", "because", 5)
    with pytest.raises(BadRequestException):
        bob.grant("m", "shop", "user/alice", "", 5)
    bob.grant("m", "other", "user/alice", "another stack", 5)
    with pytest.raises(BadRequestException, match=r"There is no 'role/deplyer' .* Did you mean 'role/deployer'"):
        bob.grant("m", "shop", "role/deplyer", "a typo", 5)
    bob.grant("m", "shop", "role/deployer", "somebody else", 5)
    with pytest.raises(RefusedError, match="No grant lets user/alice pass"):
        applied(alice, SHIFTED, break_glass="x")
    bob.grant("m", "shop", "user/alice", "this one", 5)
    with pytest.raises(GuardrailError):
        applied(alice, SHIFTED)
    assert applied(alice, SHIFTED, break_glass="x")["changed"] is True
    with pytest.raises(RefusedError, match="No grant lets user/alice pass"):
        applied(alice, SHOP, break_glass="x")
    states = [(one["grantee"], one["state"]) for one in alice.grants("m", "shop")["grants"]]
    assert states == [("user/alice", "used"), ("role/deployer", "open")]


def test_whoever_gave_a_grant_does_not_use_it_in_a_session_of_its_grantee(jobs: Jobs) -> None:
    """And is told that it is open, but not to him; somebody else may use it."""
    bob, alice = jobs.user("bob"), jobs.user("alice")
    applied(alice, SHOP)
    jobs.trust(guarded("deny"))
    alice.grant("m", "shop", "role/second", "this one", 5)
    taken = jobs.through("second", user="alice")
    with pytest.raises(RefusedError, match=r"with grant 1, which lets role/second pass: whoever gave it is behind"):
        applied(taken, SHIFTED, break_glass="x")
    with pytest.raises(RefusedError, match="none was given, or it is used or over"):
        applied(bob, SHIFTED, break_glass="x")
    assert applied(jobs.through("second", **travis(5)), SHIFTED, break_glass="x")["changed"] is True


@pytest.mark.parametrize("blank", [" ", "\t\n", "\u200b"])
def test_a_blank_reason_is_none(jobs: Jobs, blank: str) -> None:
    """Of a grant, and of its use."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    applied(alice, SHOP)
    jobs.trust(guarded("deny"))
    with pytest.raises(BadRequestException, match="reason is blank"):
        bob.grant("m", "shop", "user/alice", blank, 5)
    bob.grant("m", "shop", "user/alice", "INC-7", 5)
    with pytest.raises(BadRequestException, match="break_glass is blank"):
        applied(alice, SHIFTED, break_glass=blank)
    with pytest.raises(BadRequestException, match="break_glass is blank"):
        alice.roll_back("m", "shop", RollbackRequest(to=1, break_glass=blank))


def test_a_grant_ends(tmp_path: Path) -> None:
    """To the minute."""
    clock = [now()]
    with building(tmp_path, now=lambda: clock[0]) as jobs:
        alice, bob = jobs.user("alice"), jobs.user("bob")
        applied(alice, SHOP)
        jobs.trust(guarded("deny"))
        bob.grant("m", "shop", "user/alice", "a while", 1)
        clock[0] += 60_000
        with pytest.raises(RefusedError, match="it is used or over"):
            applied(alice, SHIFTED, break_glass="x")


def test_a_grant_that_is_not_needed_is_not_used(jobs: Jobs) -> None:
    """It waits for the release that needs it."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    jobs.trust(guarded("deny"))
    bob.grant("m", "shop", "user/alice", "just in case", 5)
    assert applied(alice, SHOP, break_glass="x")["release"]["broken_glass"] is None
    assert applied(alice, SHIFTED, break_glass="x")["release"]["broken_glass"]["grant"] == 1


def test_a_grant_passes_the_demand_for_verified_builds_and_no_newer_build(jobs: Jobs) -> None:
    """What is fenced stays fenced: a rollback is there for that."""
    applied(jobs.job(**travis(12)), SHOP)
    jobs.trust(guarded("", "", "{mesh: m, verified_builds: true}"))
    alice, admin = jobs.user("alice"), jobs.user()
    with pytest.raises(RefusedError, match="takes releases of verified builds only"):
        applied(alice, SHIFTED)
    admin.grant("m", "shop", "user/alice", "INC-7", 5)
    broken = applied(alice, SHIFTED, break_glass="CI is down")["release"]["broken_glass"]
    assert broken["rules"] == ["verified-builds"]
    admin.grant("m", "shop", "role/deployer", "INC-7", 5)
    with pytest.raises(OlderBuildError):
        applied(jobs.job(**travis(11)), SHOP, break_glass="CI is down")


def test_a_stale_release_is_not_approved(jobs: Jobs) -> None:
    """It would not do what was looked at."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    applied(alice, SHIFTED)
    jobs.trust(TRUST)
    applied(alice, (*SHOP[:4], route("r/x", a=80, b=20)))
    with pytest.raises(StalePlanError):
        bob.approve("m", "shop", 1)
    (one,) = bob.pending("m", "shop")["pending"]
    assert one["state"] == "open"


def test_a_release_that_waits_is_fenced_and_authorised_when_it_is_approved(jobs: Jobs) -> None:
    """A newer build, a guardrail that came since, and a revoked session all keep it out."""
    bob = jobs.user("bob")
    applied(jobs.job(**travis(10)), SHOP)
    jobs.trust(guarded("approve"))
    applied(jobs.job(**travis(11)), SHIFTED)
    applied(jobs.job(**travis(12)), SHOP)
    with pytest.raises(OlderBuildError, match=r"Build 11 .* older than build 12"):
        bob.approve("m", "shop", 1)
    applied(jobs.job(**travis(13)), SHIFTED)
    jobs.trust(guarded("approve").replace("{mind:", "{later: {risks: ['*'], severity: approve}, mind:"))
    with pytest.raises(RefusedError, match="The guardrail 'later' did not mind"):
        bob.approve("m", "shop", 2)
    jobs.trust(guarded("deny"))
    with pytest.raises(GuardrailError):
        bob.approve("m", "shop", 2)
    jobs.trust(guarded("approve"))
    jobs.user().revoke("role:deployer")
    with pytest.raises(RefusedError, match="was revoked since"):
        bob.approve("m", "shop", 2)


def test_nobody_approves_what_is_his_own_under_another_name(jobs: Jobs) -> None:
    """Not by another session, nor by a role taken with it, nor by another job of the build or of the same person."""
    jobs.user("alice")
    applied(jobs.job(**travis(10)), SHOP)
    jobs.trust(guarded("approve"))
    applied(jobs.job(**travis(11, author="ann")), SHIFTED)
    own, same = "it is the author's own", "the job that asks is of build 11 of acme/shop, as the release is"
    others = {
        jobs.job(**travis(11)): own,
        jobs.job(**travis(12, sub="repo:acme/shop:environment:x", build_id="9011", build_number="11")): same,
        jobs.job(**travis(99, "acme/approvals", author="ann")): "was set off by ann, as the release was",
        jobs.through("second", **travis(11)): own,
    }
    for who, ground in others.items():
        with pytest.raises(AccessDeniedError, match=f"cannot approve shop#pending-1 because .*{ground}"):
            who.approve("m", "shop", 1)
    with pytest.raises(AccessDeniedError, match="is not authorized to perform: meshwright:ApproveRelease"):
        jobs.user("stranger").approve("m", "shop", 1)
    assert jobs.job(**travis(5, "acme/approvals", author="bea")).approve("m", "shop", 1)["changed"] is True


def test_a_release_waits_once_and_a_newer_one_takes_its_place(jobs: Jobs) -> None:
    """The same again is the same; what its author wants instead withdraws it; nothing was changed by any of it."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    first, again = applied(alice, SHIFTED), applied(alice, SHIFTED)
    assert (first["changed"], first["release"]["title"]) == (False, "shop#1")
    assert first["pending"]["number"] == again["pending"]["number"] == 1
    assert applied(alice, (*SHOP[:4], route("r/x", a=10, b=90)))["pending"]["number"] == 2
    listed = [(one["title"], one["state"]) for one in bob.pending("m", "shop")["pending"]]
    assert listed == [("shop#pending-2", "open"), ("shop#pending-1", "withdrawn")]
    with pytest.raises(
        RefusedError, match=r"shop#pending-1 was withdrawn by .*alice: shop#pending-2 takes its place"
    ):
        bob.approve("m", "shop", 1)
    bob.withdraw("m", "shop", 2, "no")
    with pytest.raises(RefusedError, match=r"shop#pending-2 was withdrawn by .*bob: no"):
        bob.approve("m", "shop", 2)
    with pytest.raises(RefusedError, match="shop#pending-2 was withdrawn"):
        alice.withdraw("m", "shop", 2)
    with pytest.raises(NotFoundException, match="no pending release 7"):
        bob.approve("m", "shop", 7)
    assert len(alice.releases("m", "shop")["releases"]) == 1


def test_two_who_approve_at_once_make_one_release(jobs: Jobs) -> None:
    """The other one is told."""
    alice = jobs.user("alice")
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    applied(alice, SHIFTED)
    who = [jobs.user("bob"), jobs.user()]

    def approve(one: Client) -> str:
        try:
            return str(one.approve("m", "shop", 1)["release"]["title"])
        except RefusedError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(approve, who), key=len)
    assert told[0] == "shop#2"
    assert "shop#pending-1 was approved by" in told[1]
    assert "and is shop#2" in told[1]


def test_what_one_approves_again_is_told_again(jobs: Jobs) -> None:
    """At once or later, by whatever session; somebody else is told that it is decided."""
    alice = jobs.user("alice")
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    applied(alice, SHIFTED)
    bob = jobs.user("bob")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        told = [*pool.map(lambda _: bob.approve("m", "shop", 1, "looked"), range(2)), bob.approve("m", "shop", 1)]
    assert {(one["changed"], one["release"]["title"]) for one in told} == {(True, "shop#2")}
    assert [one["release"]["approval"]["reason"] for one in told] == ["looked"] * 3
    assert len(alice.releases("m", "shop")["releases"]) == 2
    decisions = jobs.user().audit_entries(100, {"kind": "decision"})["entries"]
    assert len(decisions) == 1
    with pytest.raises(RefusedError, match=r"shop#pending-1 was approved by .*bob and is shop#2"):
        jobs.user().approve("m", "shop", 1)
    applied(alice, SHOP)
    first, second = (jobs.job(**travis(5, "acme/approvals", author="bea")) for _ in range(2))
    assert [one.approve("m", "shop", 2)["release"]["number"] for one in (first, second)] == [3, 3]


def test_more_may_have_waited_than_one_page_tells(jobs: Jobs) -> None:
    """The oldest is listed, and approved, behind a thousand that were withdrawn."""
    alice, bob, store = jobs.user("alice"), jobs.user("bob"), jobs.plane.server.store
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    applied(alice, SHIFTED)
    ((waits, _),) = store.pending("m", "shop")
    other = msgspec.structs.replace(waits, principal=msgspec.structs.replace(waits.principal, name="carol"))
    for number in range(1_005):
        store.add_pending(msgspec.structs.replace(other, kind=("apply", "repair")[number % 2]))
    listed = bob.pending("m", "shop", 1_004)
    assert ([listed["pending"][place]["number"] for place in (0, -1)], listed["next"]) == ([1_006, 3], 3)
    rest = bob.pending("m", "shop", before=listed["next"])
    assert ([one["number"] for one in rest["pending"]], rest["next"]) == ([2, 1], None)
    assert bob.approve("m", "shop", 1)["release"]["title"] == "shop#2"
    with pytest.raises(BadRequestException, match=r"'befor' is no condition on pending releases; did you mean"):
        bob._asked("GET", "/meshes/m/stacks/shop/pending", {"befor": "1"})


def test_an_approval_comes_in_time_or_not_at_all(tmp_path: Path) -> None:
    """As long as the environment gives it."""
    clock = [now()]
    text = guarded("approve", environment="{mesh: m, approve_within: 2m}")
    with building(tmp_path, now=lambda: clock[0]) as jobs:
        alice, bob = jobs.user("alice"), jobs.user("bob")
        applied(alice, SHOP)
        jobs.trust(text)
        waiting = applied(alice, SHIFTED)["pending"]
        assert waiting["expires_at"] - waiting["at"] == 2 * 60_000
        clock[0] += 2 * 60_000
        with pytest.raises(RefusedError, match="was not approved in time"):
            bob.approve("m", "shop", 1)
        assert bob.pending("m", "shop")["pending"][0]["state"] == "expired"
        assert applied(alice, SHIFTED)["pending"]["number"] == 2


def test_a_rollback_may_have_to_wait_as_well(jobs: Jobs) -> None:
    """And is approved as what it is."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    applied(alice, SHOP)
    applied(alice, SHIFTED)
    jobs.trust(guarded("approve"))
    waiting = alice.roll_back("m", "shop", RollbackRequest(to=1))["pending"]
    made = bob.approve("m", "shop", waiting["number"])["release"]
    assert (made["kind"], made["restores"], made["approval"]["pending"]) == ("rollback", 1, 1)
    assert [one["status"] for one in alice.releases("m", "shop")["releases"]][1] == "rolled back"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET body = replace(body, 'bob', 'eve')",
        "UPDATE pending SET body = replace(body, '\"apply\"', '\"rollback\"')",
        "UPDATE grants SET body = replace(body, 'INC-7', 'INC-8')",
        "UPDATE grants SET stack = 'other'",
        "DELETE FROM uses",
        "DELETE FROM decisions",
    ],
)
def test_whoever_edits_approvals_in_the_database_is_found_out(jobs: Jobs, statement: str) -> None:
    """Each row has a leaf of the audit log."""
    alice, bob = jobs.user("alice"), jobs.user("bob")
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    applied(alice, SHIFTED)
    bob.approve("m", "shop", 1)
    jobs.trust(guarded("deny"))
    bob.grant("m", "shop", "user/alice", "INC-7", 5)
    applied(alice, SHOP, break_glass="x")
    assert jobs.plane.server.store.verify().faults == ()
    with closing(sqlite3.connect(jobs.folder / "meshwright.db", isolation_level=None)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute(statement)
    assert jobs.plane.server.store.verify().faults


def test_the_page_on_guardrails_names_every_pack_and_its_rules() -> None:
    """As they are."""
    page = (ROOT / "docs" / "guardrails.md").read_text()
    for name, pack in PACKS.items():
        for rule, one in pack.rules.items():
            assert f"| `{name}` | `{rule}` | {one.severity} |" in page


def test_what_another_server_decided_meanwhile_is_not_decided_again(jobs: Jobs) -> None:
    """An approval that comes after a withdrawal, or a second use of a grant, leaves nothing behind."""
    alice, bob, store = jobs.user("alice"), jobs.user("bob"), jobs.plane.server.store
    applied(alice, SHOP)
    jobs.trust(guarded("approve"))
    applied(alice, SHIFTED)
    jobs.trust(guarded("deny"))
    bob.grant("m", "shop", "user/alice", "INC-7", 5)
    applied(alice, SHIFTED, break_glass="x")
    with closing(connect(jobs.folder / "meshwright.db")) as other:
        other.withdraw(_decision("withdrawn"))
    head, size = store.head().revision, store.checkpoint().size
    used = Use(number=1, principal="p", at=1, reason="", mesh="m", stack="shop", release=2)
    for more in ({"decision": _decision("approved")}, {"use": used}):
        draft = Draft(principal="p", cause="release shop#3", at=1, **more)
        with pytest.raises(RevisionConflictError):
            store.commit_all(head, (draft,))
    assert (store.head().revision, store.checkpoint().size) == (head, size)
    assert store.verify().faults == ()


def _decision(verdict: Literal["approved", "withdrawn"]) -> Decision:
    return Decision(mesh="m", stack="shop", number=1, verdict=verdict, principal="p", identity="i", at=1)
