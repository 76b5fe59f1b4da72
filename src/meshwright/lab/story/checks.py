"""The checks that the story's steps share: what came home, who answered, how a command ended.

A check says what it claims in the words of somebody who watches, and when it fails, what was seen instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshwright.lab.exchange import Reply
    from meshwright.lab.stage import Done
    from meshwright.lab.story.scene import Scene, Traffic

PAYMENT = "payment.shop.internal"
"""The service with two versions that the story is about."""


def home(scene: Scene, traffic: Traffic) -> None:
    """Every request was answered, and so was every call that it led to."""
    failed = [f"{part.service or 'the gateway'}: {part.status} {part.fault}" for one in traffic.failed
              for part in one.walk() if part.status != 200]  # fmt: skip
    count = len(traffic.replies)
    claim = f"all {count} requests came home, whole"
    scene.teller.check(claim, held=not failed, expected="no failure", seen=f"{len(failed)}, such as {failed[:1]}")


def shared(scene: Scene, traffic: Traffic, wanted: float, tolerance: float) -> None:
    """Check payment-v2's share of the payments and show everybody's."""
    seen = traffic.share(PAYMENT, "payment-v2")
    by = traffic.answers(PAYMENT)
    every = by.total() or 1
    bars = (f"{name:<13}{by[name]:>4}  {'█' * round(40 * by[name] / every)}" for name in sorted(by))
    scene.teller.say("\n".join(bars), indent="     ")
    scene.teller.check(
        f"payment-v2 has {seen:.0%} of the payments; its weight asks for {wanted:.0%}",
        held=abs(seen - wanted) <= tolerance and (seen > 0 or wanted == 0),
        expected=f"{wanted:.0%}, give or take {tolerance:.0%}",
        seen=f"{seen:.1%}",
    )


def clean(scene: Scene, done: Done, claim: str) -> None:
    """A command ended with 0."""
    scene.teller.check(claim, held=done.code == 0, expected="exit code 0", seen=_ending(done))


def refused(scene: Scene, done: Done, claim: str, *words: str) -> None:
    """A command ended with 1, and its output holds `words`."""
    says(scene, done, claim, *words, code=1)


def says(scene: Scene, done: Done, claim: str, *words: str, code: int = 0) -> None:
    """A command ended with `code`, and its output holds `words`."""
    missing = [word for word in words if word not in done.text]
    scene.teller.check(
        claim,
        held=done.code == code and not missing,
        expected=f"exit code {code} and the words {', '.join(words)}",
        seen=_ending(done),
    )


def equal(scene: Scene, claim: str, expected: object, seen: object) -> None:
    """Two values are the same."""
    scene.teller.check(claim, held=expected == seen, expected=str(expected), seen=str(seen))


def _ending(done: Done) -> str:
    return f"exit code {done.code} and: {done.text.strip()[-400:] or 'nothing'}"


def signed(release: dict[str, Any]) -> tuple[str, str, str]:
    """A release's title, its principal, and the number of the build that it claims."""
    return release["title"], release["principal"], (release.get("build") or {}).get("build_number", "")


def tree(reply: Reply, depth: int = 0) -> list[str]:
    """Who answered whom, a line each."""
    line = f"{'   ' * depth}{'└─ ' if depth else ''}{reply.service} ({reply.protocol}): {reply.instance}"
    return [line, *(part for one in reply.calls for part in tree(one, depth + 1))]


def nodes(scene: Scene) -> set[str]:
    """The names of the nodes that have workloads."""
    return {one.role.key.name for one in scene.running.instances if one.workload is not None}
