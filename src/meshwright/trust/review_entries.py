"""Who gets in: entries of `assume` that let in strangers or pull requests, roles that nobody can take; pure.

The one rule: an entry is tried with the claims of a job that should not get in. What a forge says in its tokens is
known for GitHub and GitLab; of other issuers only that `sub` says who it is.
Source: https://docs.github.com/en/actions/reference/security/oidc and
https://docs.gitlab.com/ci/secrets/id_token_authentication/
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from meshwright.diagnostics import Severity
from meshwright.trust.policies import matches
from meshwright.trust.review_finding import (
    OPEN_ISSUER,
    PULL_REQUEST,
    UNUSED_ROLE,
    WILDCARD_PRINCIPAL,
    Finding,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshwright.trust.authorization import Authority
    from meshwright.trust.contexts import Value
    from meshwright.trust.settings import Assume, Issuer, Trust

_WHO: tuple[str, ...] = (
    "sub",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "job_workflow_ref",
    "project_path",
    "project_id",
    "namespace_path",
    "namespace_id",
    "email",
    "azp",
    "client_id",
)
"""Claims that say whose job it is."""
_NEVER = frozenset({"environment", "deployment_tier"})
"""Claims that the forge guards by rules of its own: no pull request has them for the asking."""
_STRANGER = "stranger-7f3a"
_STRANGERS: dict[str, tuple[str, ...]] = {
    "sub": (
        f"repo:{_STRANGER}/fork:ref:refs/heads/main",
        f"project_path:{_STRANGER}/fork:ref_type:branch:ref:main",
        _STRANGER,
    ),
    "repository": (f"{_STRANGER}/fork",),
    "job_workflow_ref": (f"{_STRANGER}/fork/.github/workflows/deploy.yaml@refs/heads/main",),
    "project_path": (f"{_STRANGER}/fork",),
    "email": (f"{_STRANGER}@example.net",),
}
"""What a stranger's token says there; its numbers and names are of the same kind elsewhere."""


def findings(authority: Authority) -> Iterator[Finding]:
    """What is wrong with the entries of one environment's roles."""
    settled = authority.settled
    for name, role in settled.roles.items():
        for index, entry in enumerate(role.assume):
            path = settled.entry_places[name][index]
            if "*" in entry.principals:
                yield Finding(
                    rule=WILDCARD_PRINCIPAL,
                    severity=Severity.WARNING if entry.conditions else Severity.ERROR,
                    summary=f"role/{name} can be taken by every user and every role",
                    detail="Name them: user/NAME or role/NAME, one an item.",
                    subject=f"role/{name}",
                    path=path,
                )
            issuer = settled.issuers.get(entry.issuer or "")
            if issuer is not None:
                yield from _of_issuer(name, path, entry, issuer, protected=settled.protected)


def _of_issuer(name: str, path: str, entry: Assume, issuer: Issuer, *, protected: bool) -> Iterator[Finding]:
    if admits_strangers(entry.conditions):
        yield Finding(
            rule=OPEN_ISSUER,
            severity=Severity.ERROR,
            summary=f"role/{name} can be taken with a token of {issuer.url} for anybody's job"
            if not entry.conditions
            else f"role/{name} can be taken by a stranger's job: its conditions do not say whose it must be",
            detail="Everybody can get a token of a public issuer. Add a condition on the claim that says whose job "
            "it is, such as StringEquals: {repository: OWNER/NAME}, or {sub: …}.",
            subject=f"role/{name}",
            path=path,
        )
    elif admits_pull_requests(entry.conditions):
        yield Finding(
            rule=PULL_REQUEST,
            severity=Severity.ERROR if protected else Severity.WARNING,
            summary=f"role/{name} can be taken by the job of a pull request or merge request",
            detail="Whoever may open one may then do what the role may. Add a condition that only a branch or an "
            "environment of the repository fulfils, such as StringEquals: {ref: refs/heads/main}.",
            subject=f"role/{name}",
            path=path,
        )


def admits_strangers(conditions: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether nothing in the conditions keeps a stranger's job out; other claims are taken to be as they ask."""
    asked = _only(conditions, lambda key: key in _WHO)
    keys = {key for keys in asked.values() for key in keys}
    claims: dict[str, tuple[str, ...]] = {key: _STRANGERS.get(key.lower(), (_STRANGER,)) for key in keys}
    if not keys:
        return True
    return any(
        matches(asked, {key: values[min(at, len(values) - 1)] for key, values in claims.items()}) for at in range(3)
    )


def admits_pull_requests(conditions: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a pull request of a repository that is let in is let in as well."""
    known = {key.lower() for keys in conditions.values() for key in keys}
    wanted = dict(_samples(conditions))
    for repository in _repositories(wanted) or ["owner/name"]:
        for claims in _pull_requests(repository, known):
            said = {key: value for key, value in wanted.items() if key in known - _NEVER} | claims
            if matches(conditions, said):
                return True
    return False


def _pull_requests(repository: str, asked: set[str]) -> Iterator[dict[str, Value]]:
    """What a pull request's token says at GitHub, and at GitLab; not where claims of the other are `asked`."""
    owner = repository.split("/", maxsplit=1)[0]
    github: dict[str, Value] = {
        "sub": f"repo:{repository}:pull_request",
        "repository": repository,
        "repository_owner": owner,
        "ref": "refs/pull/7/merge",
        "ref_type": "branch",
        "ref_protected": "false",
        "event_name": "pull_request",
        "head_ref": "a-change",
        "base_ref": "main",
    }
    gitlab: dict[str, Value] = {
        "sub": f"project_path:{repository}:ref_type:branch:ref:a-change",
        "project_path": repository,
        "namespace_path": owner,
        "ref": "a-change",
        "ref_type": "branch",
        "ref_path": "refs/heads/a-change",
        "ref_protected": "false",
        "pipeline_source": "merge_request_event",
    }
    yield from (one for one, others in ((github, gitlab), (gitlab, github)) if not asked & (set(others) - set(one)))


def _only(conditions: Mapping[str, Mapping[str, Any]], keep: Any) -> dict[str, dict[str, Any]]:
    kept = {name: {key: one for key, one in keys.items() if keep(key.lower())} for name, keys in conditions.items()}
    return {name: keys for name, keys in kept.items() if keys}


def _samples(conditions: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """A value that each condition on its own takes, for those that ask for one."""
    for operator, keys in conditions.items():
        if "Not" in operator or operator == "Null":
            continue
        for key, values in keys.items():
            first = values[0] if isinstance(values, list) else values
            text = str(first).lower() if isinstance(first, bool) else str(first)
            yield key.lower(), text.replace("*", "x").replace("?", "x") if "Like" in operator else text


def _repositories(wanted: Mapping[str, str]) -> list[str]:
    """The repositories that the conditions speak of."""
    found = [wanted[key] for key in ("repository", "project_path") if key in wanted]
    match = re.match(r"(?:repo|project_path):([^:]+)", wanted.get("sub", ""))
    if match:
        found.append(match[1])
    owner = wanted.get("repository_owner") or wanted.get("namespace_path")
    return found + ([f"{owner}/name"] if owner else [])


def unused(trust: Trust) -> Iterator[Finding]:
    """Roles that nobody can take, and issuers and policies that nothing uses."""
    for name, role in trust.roles.items():
        if not role.assume:
            yield Finding(
                rule=UNUSED_ROLE,
                severity=Severity.WARNING,
                summary=f"role/{name} can be taken by nobody: it has no entry in assume",
                detail="Say who may take it, or remove it.",
                subject=f"role/{name}",
                path=f"roles.{name}",
            )
    issuers = {one.issuer for role in trust.roles.values() for one in role.assume}
    granted = {
        one
        for each in (*trust.users.values(), *trust.roles.values())
        for one in each.permissions
        if isinstance(one, str)
    }
    for kind, names, used, what in (
        ("issuer", trust.issuers, issuers, "no role can be taken with its tokens"),
        ("policy", trust.policies, granted, "nobody has it among permissions"),
    ):
        for name in names:
            if name not in used:
                yield Finding(
                    rule=UNUSED_ROLE,
                    severity=Severity.INFO,
                    summary=f"{kind} {name!r} is not used: {what}",
                    detail="Remove it: what is not used is not looked at.",
                    subject=f"{kind}/{name}",
                    path=f"{'issuers' if kind == 'issuer' else 'policies'}.{name}",
                )
