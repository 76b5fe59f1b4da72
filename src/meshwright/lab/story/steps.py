"""The steps of the story; each ends with checks of its own, and says only what was seen.

The order matters: every step plays in the mesh that the one before it left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.lab.exchange import Fault
from meshwright.lab.stage import Stopwatch
from meshwright.lab.story import evidence
from meshwright.lab.story.checks import PAYMENT, clean, equal, home, nodes, refused, says, shared, signed, tree
from meshwright.lab.story.scene import AT_ONCE, BUILD, BUILDER
from meshwright.model.identity import Key, Kind

if TYPE_CHECKING:
    from meshwright.lab.story.scene import Scene

ROUTE = Key("shop", Kind.ROUTE, "everybody", "payment")
"""The route whose weights the story moves."""
MANY, SOME = 200, 100
"""Requests for a share of 10 % and of 50 %: the tolerances are then five standard deviations."""
WAIT = ("--wait", "20")
SLOW = 2.0
"""Seconds: longer than the route lets one try take, as long as it lets the whole request take."""


async def send(scene: Scene) -> None:
    """Step 2: requests along the whole path, and who answered."""
    scene.teller.step("Send requests through the gateway, along the whole path")
    watch = Stopwatch()
    traffic = await scene.traffic(MANY)
    scene.teller.say(f"{MANY} requests in {watch.seconds:.1f} s; the first went this way:")
    scene.teller.say("\n".join(tree(traffic.replies[0])), indent="     ")
    home(scene, traffic)
    silent = sorted(nodes(scene) - {one.node for reply in traffic.replies for one in reply.walk()})
    told = f"nothing from {', '.join(silent)}"
    scene.teller.check("every node of the mesh answered", held=not silent, expected="all of them", seen=told)
    shared(scene, traffic, 0.10, 0.105)


async def build(scene: Scene) -> None:
    """Step 3: a build shifts the weights and releases that."""
    scene.teller.step("A build shifts the weights of a route, as a release")
    scene.build = await scene.hire("build", BUILD)
    scene.edit(
        "payment.yaml",
        "        - {virtualNode: payment-v1, weight: 90}\n        - {virtualNode: payment-v2, weight: 10}",
        "        - {virtualNode: payment-v1, weight: 50}\n        - {virtualNode: payment-v2, weight: 50}",
    )
    clean(scene, await scene.build.types("validate"), "the definitions are valid")
    planned = await scene.build.types("plan")
    says(scene, planned, "the plan is to change the route", ROUTE.path)
    clean(scene, await scene.build.types("apply", *WAIT), "applied, and every Envoy concerned has it")
    newest = (await evidence.releases(scene))[0]
    equal(scene, "it is a release of the build", ("shop#2", BUILDER, "42"), signed(newest))
    taken = await evidence.taken(scene, newest["at"])
    last = max(taken, key=lambda name: taken[name], default="")
    scene.teller.check("Envoys took it", held=bool(taken), expected="at least one", seen="none")
    took = taken[last] - newest["at"]
    scene.teller.say(f"{took} ms from the commit until the last Envoy had it: {last}, by Envoy's own clock.")
    traffic = await scene.traffic(SOME)
    home(scene, traffic)
    shared(scene, traffic, 0.50, 0.25)


async def slow_down(scene: Scene) -> None:
    """Step 4: one of two instances is slow; timeout and retries bring every request home by the other."""
    scene.teller.step(f"Make one of two instances of payment-v1 {SLOW:g} s slow")
    scene.teller.say("A try may take 500 ms, a request may be tried three times: the definitions say so.")
    scene.teller.say("A retry stays with the version that the weights chose, and goes to its other instance.")
    slow, other = scene.running.workloads("payment-v1")
    before = slow.received
    slow.fault = Fault(delay=SLOW)
    traffic = await scene.traffic(SOME // 2)
    slow.fault = Fault()
    tried, by = slow.received - before, traffic.answers(PAYMENT)
    home(scene, traffic)
    scene.teller.check(
        f"{tried} tries reached {slow.instance} in vain; {other.instance} gave every answer of payment-v1",
        held=tried > 0 and not by[slow.instance] and by[other.instance] > 0,
        expected=f"tries at {slow.instance} and answers by {other.instance} alone",
        seen=f"{tried} tries at {slow.instance}; answers: {dict(by)}",
    )
    worst = max(traffic.seconds)
    claim = f"nobody waited for the slow one: the slowest request took {worst:.2f} s"
    scene.teller.check(claim, held=worst < SLOW, expected=f"less than {SLOW:g} s", seen=f"{worst:.2f} s")
    healed = await scene.traffic(SOME // 2)
    home(scene, healed)
    again = healed.answers(PAYMENT)[slow.instance]
    scene.teller.check(f"healed, {slow.instance} answers again", held=again > 0, expected="answers", seen="none")


async def bad_build(scene: Scene) -> None:
    """Step 5: a build with a broken reference, and one with a regex that Envoy rejects; both refused at once."""
    scene.teller.step("A bad build: a route to a node that does not exist, a regex that Envoy would reject")
    before = await evidence.revision(scene)
    for file, old, new, words in (
        (
            "payment.yaml",
            "- {virtualNode: payment-v2, weight: 50}",
            "- {virtualNode: payment-v3, weight: 50}",
            "payment-v3",
        ),
        ("orders.yaml", "match: {prefix: /}", "match: {path: {regex: '/(?!internal/).*'}}", "(?!internal/)"),
    ):
        text = scene.text(file)
        scene.edit(file, old, new)
        line = scene.text(file).partition(new)[0].count("\n") + 1
        done = await scene.build.types("validate")
        refused(scene, done, f"validate refuses it, at definitions/{file}:{line}", f"{file}:{line}", words)
        done = await scene.build.types("apply", *WAIT)
        refused(scene, done, "apply refuses it too", words)
        scene.revert(file, text)
    equal(scene, "the control plane is at the revision it was at", before, await evidence.revision(scene))
    home(scene, await scene.traffic(40))


async def intrude(scene: Scene) -> None:
    """Step 6: somebody changes a weight behind the pipeline's back; drift names the object, the field, the author."""
    scene.teller.step("An intruder changes a weight behind the pipeline's back")
    intruder = await scene.hire("intruder")
    scene.teller.typed("python: boto3.client('appmesh').update_route(… payment-v1: 0, payment-v2: 100)")
    weights = ("payment-v1=0", "payment-v2=100")
    module = "meshwright.lab.story.sdk"
    done = await intruder.runs(module, ROUTE.mesh, ROUTE.parent, ROUTE.name, *weights)
    clean(scene, done, "the App Mesh API lets the SDK do it, with a key of its own")
    drift = await scene.build.types("drift")
    refused(scene, drift, "drift names the object", ROUTE.path)
    says(scene, drift, "drift names the field", "weightedTargets[0].weight", code=1)
    says(scene, drift, "drift names the author", "intruder", code=1)
    # The SDK waits for no Envoy, so ask a few customers until it has arrived; the check below is what counts.
    for _ in range(50):
        if (await scene.traffic(AT_ONCE)).share(PAYMENT, "payment-v2") == 1.0:
            break
    shared(scene, await scene.traffic(SOME // 2), 1.0, 0.0)


async def roll_back(scene: Scene) -> None:
    """Step 7: roll back to the last known good release, prove it by requests, print the history."""
    scene.teller.step("Roll back to the last known good release")
    clean(scene, await scene.build.types("rollback", "--last-good", *WAIT), "rolled back, and every Envoy has it")
    newest = (await evidence.releases(scene))[0]
    equal(scene, "it is a new release that restores shop#2", ("shop#3", 2), (newest["title"], newest["restores"]))
    clean(scene, await scene.build.types("drift"), "nothing drifts any more")
    traffic = await scene.traffic(SOME)
    home(scene, traffic)
    shared(scene, traffic, 0.50, 0.25)
    clean(scene, await scene.build.types("history"), "the history tells it all")
