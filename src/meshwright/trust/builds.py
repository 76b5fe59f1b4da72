"""What a token proves of the build that it was signed for: which of its claims says which fact; pure.

The one rule: a fact is there only where a claim says it. An issuer whose tokens are of no known form proves what its
declaration says and no more; nothing is read out of a subject.
Sources: https://docs.github.com/actions/reference/security/oidc#oidc-token-claims and
https://docs.gitlab.com/ci/secrets/id_token_authentication/#token-payload
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshwright.trust.contexts import flattened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshwright.trust.settings import Issuer

FACTS = (
    "repository", "branch", "tag", "commit", "author", "event", "pull_request", "pipeline", "build_id",
    "build_number", "job_id", "job_number", "restart_count", "url",
)  # fmt: skip
"""What may be known of a build; `release.Build` has the same members."""
FORMS = ("ref", "ref_type", "attempt")
"""What a claim may say instead: a Git reference, or a name and whether it is a branch or a tag; and which try it is,
counted from 1."""

_LONGEST = 1024
"""Characters of one value that are kept; no reference, commit or address is as long."""
_GITHUB = {
    "repository": "repository",
    "ref": "ref",
    "branch": "base_ref",  # of a pull request: its ref is none of a branch
    "commit": "sha",
    "author": "actor",
    "event": "event_name",
    "pipeline": "workflow_ref",  # its runs are numbered by workflow
    "build_id": "run_id",
    "build_number": "run_number",
    "attempt": "run_attempt",
}
_GITLAB = {
    "repository": "project_path",
    "ref": "ref",
    "ref_type": "ref_type",
    "commit": "sha",
    "author": "user_login",
    "event": "pipeline_source",
    "build_id": "pipeline_id",
    "build_number": "pipeline_iid",
    "job_id": "job_id",
}
CLAIMS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"github": _GITHUB, "gitlab": _GITLAB, "travis": {name: name for name in FACTS}}
)
"""By CI service, the claim that says each fact."""
_HOSTS = MappingProxyType({"token.actions.githubusercontent.com": "github", "gitlab.com": "gitlab"})


def service_of(issuer: Issuer) -> str:
    """The CI service that an issuer signs for, `github`, `gitlab` or `travis`; "" where nobody says."""
    return issuer.ci or _HOSTS.get(urlsplit(issuer.url).hostname or "", "")


def claims_of(issuer: Issuer) -> dict[str, str]:
    """The claim that says each fact: those that are known of its service, and over them what it declares."""
    found = {**CLAIMS.get(service_of(issuer), {}), **issuer.build}
    return {fact: claim for fact, claim in found.items() if claim}


def proved(issuer: Issuer, claims: Mapping[str, Any]) -> dict[str, str]:
    """What verified `claims` of `issuer` say of a build, as members of `release.Build`; {} for nothing."""
    given = flattened(claims)
    texts = {fact: given.get(claim) for fact, claim in claims_of(issuer).items()}
    told = {fact: text[:_LONGEST] for fact, text in texts.items() if isinstance(text, str) and text}
    found = _of_ref(told.pop("ref", ""), told.pop("ref_type", "")) | _of_attempt(told.pop("attempt", "")) | told
    if "pipeline" in found:
        # A workflow is named with the reference that it was read from; its numbers go on over all of them.
        found["pipeline"] = found["pipeline"].partition("@")[0]
    if not found:
        return {}
    return {"ci": service_of(issuer), "issuer": issuer.url[:_LONGEST], **found}


def proposal(build: Mapping[str, str]) -> str:
    """The pull request that a verified build is of, in words; "" for none. In doubt it is one."""
    number, event = build.get("pull_request", ""), build.get("event", "")
    if number:
        return f"pull request {number}"
    return "a pull request" if event.startswith(("pull_request", "merge_request")) else ""


def _of_ref(ref: str, kind: str) -> dict[str, str]:
    """A reference in full, or a name and what it is the name of."""
    for start, fact in (("refs/heads/", "branch"), ("refs/tags/", "tag")):
        if ref.startswith(start):
            return {fact: ref.removeprefix(start)}
    for start in ("refs/pull/", "refs/merge-requests/"):
        if ref.startswith(start):
            return {"pull_request": ref.removeprefix(start).partition("/")[0]}
    if not ref or ref.startswith("refs/"):
        return {}
    return {"tag" if kind == "tag" else "branch": ref}


def _of_attempt(text: str) -> dict[str, str]:
    """The first try was restarted no time."""
    return {"restart_count": str(int(text) - 1)} if text.isascii() and text.isdecimal() and int(text) > 0 else {}
