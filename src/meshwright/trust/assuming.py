"""Becoming a role for a while: who may, under which name, for how long, with which tags and how far; pure.

The one rule: a session is never worth more than its role, its own policies and what was verified of whoever asked;
what a role's `assume` does not say is refused.
Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.errors import RefusedError
from meshwright.trust.builds import proved
from meshwright.trust.contexts import flattened, identity_of, provider_of, times_of
from meshwright.trust.policies import Ask, PolicyError, evaluate, matches, parse
from meshwright.trust.principals import Ancestor, Principal
from meshwright.trust.settings import LONGEST_SESSION, SHORTEST_SESSION, Role
from meshwright.trust.strict_json import AmbiguousJsonError, read_object
from meshwright.trust.tokens import REJECTED_CLAIM, TokenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshwright.trust.authorization import Authority
    from meshwright.trust.contexts import Value
    from meshwright.trust.settings import Assume

VALIDATION = "ValidationError"
MALFORMED_POLICY = "MalformedPolicyDocument"
TOO_LARGE = "PackedPolicyTooLarge"
DENIED = "AccessDenied"

MAX_TAGS = 50
MAX_POLICY = 2048
"""Characters of a session policy."""
MAX_CHAIN = 8
"""Sessions that may be obtained with one another; then somebody must prove again who they are."""
MAX_PACKED = 4096
"""Characters of the session policy and all session tags together."""

_STATUS: Mapping[str, int] = MappingProxyType({VALIDATION: 400, MALFORMED_POLICY: 400, TOO_LARGE: 400, DENIED: 403})
_SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")
_TAG = re.compile(r"[\w .:/=+\-@]*")


class AssumeError(RefusedError):
    """No session is granted: `code` is STS's name for the error, `str()` what the client may read of it.

    `reason` is for the server's log: why a role's conditions did not hold is nothing to tell whoever tries.
    """

    def __init__(self, told: str, code: str, reason: str = "") -> None:
        super().__init__(told)
        self.code = code
        self.reason = reason or told

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return _STATUS[self.code]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    role_arn: str
    session_name: str
    seconds: int | None = None
    """None for an hour, or as long as the role allows."""
    policy: str | None = None
    """A session policy in JSON."""
    tags: Mapping[str, str] = MappingProxyType({})
    transitive: tuple[str, ...] = ()
    """Keys among `tags` that stay when the session assumes another role."""
    external_id: str | None = None


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A session that may be made; its key and its times are not in it yet."""

    principal: Principal
    seconds: int
    packed: int
    """How much of the space for policy and tags is used, in percent."""


def with_token(
    authority: Authority,
    asked: Asked,
    issuer: str,
    claims: Mapping[str, Any],
    at: int,
    extra: Mapping[str, Value] | None = None,
) -> Granted:
    """The session that verified `claims` of the declared `issuer` may have at `at`, in milliseconds.

    `extra` are condition keys that only the connection knows.

    Raises:
        AssumeError: none.
        TokenError: a claim cannot be used as the trust file says.
    """
    _check(asked)
    found = authority.role(asked.role_arn)
    facts = claims_context(claims, provider_of(authority.settled.issuers[issuer].url))
    tags = dict(_claimed_tags(authority, issuer, facts))
    facts |= {**(extra or {}), **_request_context(asked, tags, at)}
    action = "sts:AssumeRoleWithWebIdentity"
    if found is None:
        raise _denied(action, f"there is no role {asked.role_arn!r} in this environment")
    name, role = found
    entries = [one for one in role.assume if one.issuer == issuer]
    if not any(matches(one.conditions, facts) for one in entries):
        which = f"{len(entries)} entries for issuer {issuer!r}" if entries else f"no entry for issuer {issuer!r}"
        raise _denied(action, f"role {name!r} has {which}, and the claims of {claims.get('sub')!r} match none")
    granted = _granted(authority, asked, name, role, tags, issuer=issuer, claims=dict(claims))
    build = proved(authority.settled.issuers[issuer], claims)
    return msgspec.structs.replace(granted, principal=msgspec.structs.replace(granted.principal, build=build))


def by_principal(
    authority: Authority, asked: Asked, caller: Principal, at: int, extra: Mapping[str, Value] | None = None
) -> Granted:
    """The session that `caller` may have at `at`; `extra` are condition keys that only the connection knows.

    An entry of the role's `assume` must name the caller, no policy of the caller may deny it, and the caller's
    session policies, where it has some, must allow it. Tags need `sts:TagSession` in the caller's permissions.

    Raises:
        AssumeError: none.
    """
    _check(asked)
    found = authority.role(asked.role_arn)
    facts = {**(extra or {}), **identity_of(caller, authority.settled), **_request_context(asked, asked.tags, at)}
    action = "sts:AssumeRole"
    start = f"User: {caller.arn} is not authorized to perform: {action} on resource: {asked.role_arn}"
    if found is None:
        raise AssumeError(start, DENIED, f"{start}: there is no such role in this environment")
    name, role = found
    if not authority.is_administrator(caller):
        entries = [one for one in role.assume if _names(one, caller, authority)]
        if not any(matches(one.conditions, facts) for one in entries):
            which = "conditions do not hold" if entries else "no entry names the caller"
            raise AssumeError(start, DENIED, f"{start}: {which}")
        _check_policies(authority, caller, Ask(action=action, resource=asked.role_arn, context=facts), start, at)
        if asked.tags:
            _check_tagging(
                authority, caller, Ask(action="sts:TagSession", resource=asked.role_arn, context=facts), at
            )
    if len(caller.ancestors) >= MAX_CHAIN:
        raise AssumeError(f"{start} because it is the last of {MAX_CHAIN} roles taken one after the other", DENIED)
    kept = {key: caller.tags[key] for key in caller.transitive_tags if key in caller.tags}
    again = {key.lower() for key in kept} & {key.lower() for key in asked.tags}
    if again:
        raise AssumeError(f"The tag {min(again)!r} is transitive and cannot be set again.", VALIDATION)
    transitive = (*caller.transitive_tags, *asked.transitive)
    granted = _granted(authority, asked, name, role, {**kept, **asked.tags}, transitive=transitive)
    of_role = caller.kind == "role"
    own = Ancestor(
        key_id=caller.key_id,
        role=caller.name if of_role else "",
        issued_at=caller.issued_at,
        user="" if of_role else caller.name,
    )
    principal = msgspec.structs.replace(
        granted.principal, ancestors=(*caller.ancestors, own), build=caller.build, behind=caller.identity
    )
    return msgspec.structs.replace(granted, principal=principal)


def claims_context(claims: Mapping[str, Any], provider: str) -> dict[str, Value]:
    """Claims as condition keys: by their plain names, and after the issuer's host and a colon.

    Raises:
        TokenError: two of them would be one key, since condition keys know no case.
    """
    plain = flattened(claims)
    if len({name.lower() for name in plain}) < _leaves(claims):
        raise TokenError("The token has claims whose names differ in case or nesting only.", REJECTED_CLAIM)
    # What AWS, this server or the issuer's own claims say under these prefixes, no claim may say by its name alone.
    taken = ("aws:", "sts:", f"{provider}:".lower())
    named = {name: value for name, value in plain.items() if not name.lower().startswith(taken)}
    return {**named, **{f"{provider}:{name}": value for name, value in plain.items()}}


def unique_id(kind: str, arn: str) -> str:
    """AWS's kind of identifier for a role (`AROA`) or a user (`AIDA`), always the same for an ARN."""
    return kind + base64.b32encode(hashlib.sha256(arn.encode()).digest())[:17].decode()


def _check(asked: Asked) -> None:
    if not 20 <= len(asked.role_arn) <= 2048:
        raise AssumeError(f"RoleArn has {len(asked.role_arn)} characters; 20 to 2048 are taken.", VALIDATION)
    if not _SESSION_NAME.fullmatch(asked.session_name):
        raise AssumeError(
            f"RoleSessionName is {asked.session_name[:80]!r}; it takes 2 to 64 letters, digits and _+=,.@-.",
            VALIDATION,
        )
    if asked.external_id is not None and not _EXTERNAL_ID.fullmatch(asked.external_id):
        raise AssumeError("ExternalId takes 2 to 1224 letters, digits and _+=,.@:/-.", VALIDATION)
    _check_tags(asked.tags)
    unknown = [key for key in asked.transitive if key not in asked.tags]
    if unknown:
        raise AssumeError(f"TransitiveTagKeys names {unknown[0][:128]!r}, which is not among Tags.", VALIDATION)


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise AssumeError(f"There are {len(tags)} session tags; {MAX_TAGS} are the most.", VALIDATION)
    if len({key.lower() for key in tags}) < len(tags):
        raise AssumeError("Two session tags have keys that differ in case only.", VALIDATION)
    for key, value in tags.items():
        if not _fits(key, value):
            raise AssumeError(
                f"The session tag {key[:128]!r} is none: a key takes 1 to 128 and a value up to 256 letters, digits, "
                "spaces and _.:/=+-@, and no key begins with aws:.",
                VALIDATION,
            )


def _fits(key: str, value: str) -> bool:
    sized = 1 <= len(key) <= 128 and len(value) <= 256
    return sized and bool(_TAG.fullmatch(key) and _TAG.fullmatch(value)) and not key.lower().startswith("aws:")


def _claimed_tags(authority: Authority, issuer: str, facts: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """The session tags that the issuer's declaration takes from claims; a claim that is not there gives none."""
    for key, claim in authority.settled.issuers[issuer].tags.items():
        value = facts.get(claim)
        if value is None:
            continue
        if not isinstance(value, str) or not _fits(key, value):
            raise TokenError(f"The claim {claim!r} cannot be the session tag {key!r}.", REJECTED_CLAIM)
        yield key, value


def _request_context(asked: Asked, tags: Mapping[str, str], at: int) -> dict[str, Value]:
    found: dict[str, Value] = {**times_of(at), "sts:RoleSessionName": asked.session_name}
    found |= {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    if tags:
        found["aws:TagKeys"] = tuple(tags)
    if asked.transitive:
        found["sts:TransitiveTagKeys"] = asked.transitive
    if asked.external_id is not None:
        found["sts:ExternalId"] = asked.external_id
    return found


def _names(entry: Assume, caller: Principal, authority: Authority) -> bool:
    """Whether an entry of `assume` names the caller: as declared, by its ARN, by its role's ARN, or as anybody."""
    if authority.grantee(caller) is None:
        return False  # Whoever the file does not declare is nobody, `*` or not.
    mine = {"*", f"{caller.kind}/{caller.name}", caller.arn, caller.role_arn} - {""}
    return not mine.isdisjoint(entry.principals)


def _check_policies(authority: Authority, caller: Principal, ask: Ask, start: str, at: int) -> None:
    """An explicit deny anywhere refuses; a session that was made narrower must allow it to become something else."""
    own = authority.judge_action(caller, ask.action, ask.resource, at=at, context=ask.context).decision
    if own.reason == "explicit deny":
        raise AssumeError(f"{start} with an explicit deny in a policy", DENIED)
    for text in caller.policies:
        if not evaluate((parse(msgspec.json.decode(text), "session policy"),), ask).allowed:
            raise AssumeError(f"{start} because no session policy allows the {ask.action} action", DENIED)


def _check_tagging(authority: Authority, caller: Principal, ask: Ask, at: int) -> None:
    """Whoever gives a session tags must be allowed to."""
    if not authority.judge_action(caller, ask.action, ask.resource, at=at, context=ask.context).allowed:
        told = f"User: {caller.arn} is not authorized to perform: {ask.action} on resource: {ask.resource}"
        raise AssumeError(told, DENIED)


def _granted(
    authority: Authority,
    asked: Asked,
    name: str,
    role: Role,
    tags: Mapping[str, str],
    *,
    transitive: Iterable[str] = (),
    issuer: str = "",
    claims: dict[str, Any] | None = None,
) -> Granted:
    settled = authority.settled
    policies = () if asked.policy is None else (_session_policy(asked.policy),)
    size = sum(map(len, policies)) + sum(len(key) + len(value) for key, value in tags.items())
    if size > MAX_PACKED:
        raise AssumeError(f"Policy and tags take {size} characters; {MAX_PACKED} are the most.", TOO_LARGE)
    over = {key.lower() for key in tags}
    principal = Principal(
        account=role.account or settled.account,
        kind="role",
        name=name,
        session=asked.session_name,
        partition=settled.partition,
        tags={**{key: value for key, value in role.tags.items() if key.lower() not in over}, **tags},
        transitive_tags=tuple(dict.fromkeys(transitive)),
        issuer=issuer,
        claims=claims or {},
        policies=policies,
    )
    return Granted(principal=principal, seconds=_seconds(asked, role), packed=-(-100 * size // MAX_PACKED))


def _seconds(asked: Asked, role: Role) -> int:
    longest = min(role.session.seconds, LONGEST_SESSION)
    if asked.seconds is None:
        return longest
    if asked.seconds < SHORTEST_SESSION:
        raise AssumeError(f"DurationSeconds is {asked.seconds}; {SHORTEST_SESSION} are the least.", VALIDATION)
    if asked.seconds > longest:
        raise AssumeError(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role: "
            f"{asked.seconds} is more than {longest}.",
            VALIDATION,
        )
    return asked.seconds


def _session_policy(text: str) -> str:
    """The session policy, once it is one, with nothing in it that means nothing."""
    if len(text) > MAX_POLICY:
        raise AssumeError(f"Policy has {len(text)} characters; {MAX_POLICY} are the most.", TOO_LARGE)
    try:
        document = read_object(text.encode())
        parse(document, "Policy")
    except (AmbiguousJsonError, PolicyError, UnicodeEncodeError) as error:
        raise AssumeError(f"The session policy is malformed: {str(error)[:500]}", MALFORMED_POLICY) from None
    return msgspec.json.encode(document).decode()


def _denied(action: str, reason: str) -> AssumeError:
    told = f"Not authorized to perform {action}"
    return AssumeError(told, DENIED, f"{told}: {reason}")


def _leaves(claims: Mapping[str, Any]) -> int:
    """How many condition keys the claims should make."""
    return sum(_leaves(one) if isinstance(one, dict) else one is not None for one in claims.values())
