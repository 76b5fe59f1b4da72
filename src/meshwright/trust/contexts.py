"""The condition keys of one question, and how its answer is told; pure.

The one rule: a key is there only when its value is certain; a condition on a missing key decides as IAM says.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.trust.authorization import Judgement
    from meshwright.trust.deeds import Deed
    from meshwright.trust.policies import Decision
    from meshwright.trust.principals import Principal
    from meshwright.trust.settling import Settled

Value: TypeAlias = str | tuple[str, ...]


def context_of(principal: Principal, deed: Deed, settled: Settled, at: int, resource: str) -> dict[str, Value]:
    """The condition keys of a deed of `principal` at `at`, milliseconds since the epoch, UTC."""
    found = identity_of(principal, settled)
    found |= times_of(at)
    found["aws:RequestedRegion"] = settled.region
    if resource != "*":
        found["aws:ResourceAccount"] = resource.split(":")[4] if resource.count(":") >= 5 else settled.account
    found |= {f"aws:ResourceTag/{name}": value for name, value in deed.resource_tags.items()}
    found |= {f"aws:RequestTag/{name}": value for name, value in deed.request_tags.items()}
    if deed.tag_keys:
        found["aws:TagKeys"] = deed.tag_keys
    return found


def identity_of(principal: Principal, settled: Settled) -> dict[str, Value]:
    """The condition keys that say who is calling."""
    found: dict[str, Value] = {
        "aws:PrincipalArn": principal.role_arn or principal.arn,
        "aws:PrincipalAccount": principal.account,
        "aws:PrincipalType": "User" if principal.kind == "user" else "AssumedRole",
        "aws:userid": principal.name if principal.kind == "user" else f"{principal.name}:{principal.session}",
    }
    if principal.kind == "user":
        found["aws:username"] = principal.name
    if principal.issued_at:
        found["aws:TokenIssueTime"] = _iso(principal.issued_at)
    found |= {f"aws:PrincipalTag/{name}": value for name, value in principal.tags.items()}
    issuer = settled.issuers.get(principal.issuer)
    if issuer is not None:
        host = provider_of(issuer.url)
        found |= {f"{host}:{name}": value for name, value in flattened(principal.claims).items()}
        found["aws:FederatedProvider"] = f"arn:{principal.partition}:iam::{principal.account}:oidc-provider/{host}"
    return found


def times_of(at: int) -> dict[str, Value]:
    """The condition keys that say when."""
    return {"aws:CurrentTime": _iso(at), "aws:EpochTime": str(at // 1000)}


def provider_of(url: str) -> str:
    """An issuer as IAM writes it in condition keys and ARNs: its URL without the scheme."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}".rstrip("/")


def flattened(claims: Mapping[str, Any]) -> dict[str, Value]:
    """Claims as condition keys: lists as several values, truth as `true`, members of objects after a dot."""
    return dict(_flattened("", claims))


def _flattened(before: str, claims: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for name, value in claims.items():
        key = f"{before}{name}"
        if isinstance(value, dict):
            yield from _flattened(f"{key}.", value)
        elif isinstance(value, list | tuple):
            yield key, tuple(_scalar(one) for one in value if not isinstance(one, dict | list))
        elif value is not None:
            yield key, _scalar(value)


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told(principal: Principal, judgement: Judgement) -> str:
    """A refusal in AWS's words, and for ownership in ours.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    action = judgement.deed.action
    start = f"User: {principal.arn} is not authorized to perform: {action} on resource: {judgement.resource}"
    decision = judgement.decision
    if not decision.allowed:
        return f"{start} {denial(decision, action)}"
    why = judgement.ownership.reason if judgement.ownership else ""
    return f"{start} because {why}"


def denial(decision: Decision, action: str) -> str:
    """Why a decision refuses, in AWS's words."""
    kind = "session" if decision.boundary else "identity-based"
    if decision.reason == "explicit deny":
        return f"with an explicit deny in {'a session' if decision.boundary else 'an identity-based'} policy"
    return f"because no {kind} policy allows the {action} action"
