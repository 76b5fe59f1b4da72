"""What a principal may do, in one environment: its policies, the policies of its session, and ownership; pure.

The one rule: everything is refused that is not allowed by all of them, and nothing but this module says so; the
administrator of the home account alone is asked nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.errors import AccessDeniedError
from meshwright.model.identity import qualified
from meshwright.operations import Quotas
from meshwright.trust import deeds
from meshwright.trust.actions import changes
from meshwright.trust.builds import proposal
from meshwright.trust.contexts import context_of, told
from meshwright.trust.deeds import Deed
from meshwright.trust.ownership import Holding, Verdict, holding
from meshwright.trust.policies import Ask, Decision, Policy, evaluate, parse
from meshwright.trust.principals import Ancestor, Principal
from meshwright.trust.settings import ADMINISTRATOR, Role, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.operations import Request, Sharing, Stamp
    from meshwright.trust.settling import Settled

MOST_TOLD = 50
"""Refusals of one release that its error spells out."""
_DECISIONS = 10_000
"""Decisions about one user or role that are remembered at most; then all of them are forgotten."""
_RELEASING = frozenset({"meshwright:ApplyRelease", "meshwright:RollBack"})
_VERIFYING = "meshwright:VerifyRelease"
"""Who acts for a stack may verify that one alone; of who acts for none, as one who verifies for all, policies
decide."""


_Asked: TypeAlias = tuple[tuple[str, ...], str, str]


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to carry out one request."""

    stack: str = ""
    """The stack that an object belongs to that is created under it; "" for none."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about one deed, and why."""

    deed: Deed
    resource: str
    """Its ARN, or `*`."""
    decision: Decision
    """What the policies say."""
    ownership: Verdict | None = None
    """What ownership says, or who nobody may be to change anything; None where neither is asked."""

    @property
    def allowed(self) -> bool:
        """Whether policies and ownership both allow it."""
        return self.decision.allowed and (self.ownership is None or self.ownership.allowed)


class _Standing(msgspec.Struct, frozen=True):
    """What the file gives to one user or role."""

    policies: tuple[Policy, ...]
    holding: Holding
    decisions: dict[_Asked, Decision] = {}
    """By session policies, action and resource: those that no condition key had a part in, which nothing but another
    trust file, that is another `Authority`, can change. They save 20 µs of a request."""


_NOTHING = _Standing((), Holding(whose="nobody"))


class Authority:
    """Decides for one environment; immutable, safe for every thread."""

    def __init__(self, settled: Settled) -> None:
        self.settled = settled
        self._standings = {
            name: _Standing(settled.permissions.get(name, ()), holding(name, one, settled.mesh))
            for name, one in (
                *((f"user/{name}", one) for name, one in settled.users.items()),
                *((f"role/{name}", one) for name, one in settled.roles.items()),
            )
        }
        self.quotas = Quotas(**settled.quotas)
        """The documented defaults, but for what the file says."""
        self.sharing: Sharing = frozenset(
            (one.owner or settled.account, one.mesh, account) for one in settled.shares for account in one.accounts
        )
        """Which meshes are shared: owner, mesh, and the account that it is shared with."""
        self._sessions: dict[tuple[str, ...], tuple[tuple[Policy, ...], ...]] = {}

    def user(self, name: str) -> Principal:
        """The user of that name, declared or not; who is not declared may do nothing."""
        declared = self.settled.users.get(name)
        return Principal(
            account=(declared.account if declared else None) or self.settled.account,
            kind="user",
            name=name,
            partition=self.settled.partition,
            tags=dict(declared.tags) if declared else {},
        )

    def session(self, name: str, session: str, tags: Mapping[str, str] | None = None) -> Principal:
        """A session of the role `name`, which is declared; session tags beat the role's."""
        role = self.settled.roles[name]
        return Principal(
            account=role.account or self.settled.account,
            kind="role",
            name=name,
            session=session,
            partition=self.settled.partition,
            tags={**role.tags, **(tags or {})},
        )

    def role(self, arn: str) -> tuple[str, Role] | None:
        """The name and the role that an ARN `arn:aws:iam::ACCOUNT:role/NAME` means; None for none."""
        name = arn.rpartition(":role/")[2]
        role = self.settled.roles.get(name)
        return (name, role) if role is not None and arn == self.role_arn(name) else None

    def role_arn(self, name: str) -> str:
        """The ARN of the role `name`, which is declared."""
        account = self.settled.roles[name].account or self.settled.account
        return f"arn:{self.settled.partition}:iam::{account}:role/{name}"

    def is_administrator(self, principal: Principal) -> bool:
        """Whether `principal` is the one that may do everything."""
        return (principal.kind, principal.name, principal.account) == ("user", ADMINISTRATOR, self.settled.account)

    def permit(
        self,
        principal: Principal,
        request: Request,
        state: State,
        stamp: Stamp,
        *,
        context: Mapping[str, str | tuple[str, ...]] | None = None,
    ) -> Permit:
        """Leave for one call of the App Mesh API on `state`, the very one that its commit follows.

        `context` are condition keys that only the connection knows, such as `aws:SourceIp`.

        Raises:
            AccessDeniedError: a policy, or ownership, refuses it.
            BadRequestException: the resource that tags are about is no ARN.
            NotFoundException: it is one of another region or partition.
        """
        if self.is_administrator(principal):
            return Permit()
        found = deeds.of_request(request, state, stamp)
        standing = self._standing(principal)
        for one in found:
            judgement = self.judge(principal, one, at=stamp.at, context=context)
            if not judgement.allowed:
                raise AccessDeniedError(told(principal, judgement))
        return Permit(stack=standing.holding.claims if found[0].rule == "create" else "")

    def permit_release(
        self,
        principal: Principal,
        before: State,
        after: State,
        touched: Iterable[Key],
        *,
        stack: str,
        mesh: str,
        at: int,
        context: Mapping[str, str | tuple[str, ...]] | None = None,
    ) -> None:
        """Leave for a release of `stack` in `mesh` that leads from `before` to `after`, object by object.

        `touched` are objects that it is about although they may come out as they were.

        Raises:
            AccessDeniedError: naming every object that is refused, and why.
        """
        if self.is_administrator(principal):
            return
        verdict = self._standing(principal).holding.may_release(stack, mesh)
        if not verdict.allowed:
            raise AccessDeniedError(
                f"User: {principal.arn} is not authorized to release stack {stack!r} in mesh {mesh!r} because "
                f"{verdict.reason}"
            )
        judged = [
            self.judge(principal, one, at=at, context=context)
            for one in deeds.of_release(before, after, touched, self.settled.account)
        ]
        refused = [one for one in judged if not one.allowed]
        if refused:
            words = _listed([told(principal, one) for one in refused], stack)
            raise AccessDeniedError(words, objects=(path for one in refused for path in one.deed.paths))

    def refuse_single(self, operation: str) -> None:
        """Refuse a write of a single object where releases alone change the mesh; for everybody alike.

        Raises:
            AccessDeniedError: that is so.
        """
        if self.settled.releases_only:
            raise AccessDeniedError(
                f"{operation} is refused because the environment {self.settled.environment!r} is changed by releases "
                "only. Change the definitions and apply them (meshwright apply). Nothing was changed."
            )

    def permit_action(
        self,
        principal: Principal,
        action: str,
        resource: str,
        context: Mapping[str, str | tuple[str, ...]] | None = None,
        *,
        at: int,
    ) -> None:
        """Leave for what is no operation of App Mesh: our own endpoints, STS, streams of proxies.

        Raises:
            AccessDeniedError: a policy refuses it, or the stack in `resource` is not the caller's to release.
        """
        if self.is_administrator(principal):
            return
        if action.startswith("meshwright:") and not self._reaches(principal, resource):
            raise AccessDeniedError(
                f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} because "
                "the resource belongs to another account"
            )
        judgement = self.judge_action(principal, action, resource, at=at, context=context)
        if not judgement.allowed:
            raise AccessDeniedError(told(principal, judgement))

    def _reaches(self, principal: Principal, resource: str) -> bool:
        """Whether one of our own ARNs is of the principal's account, or of a mesh that is shared with it."""
        owner = _account_of(resource, self.settled.account)
        mesh = resource.rpartition(":")[2].split("/")[1:2]
        return owner == principal.account or (owner, "".join(mesh), principal.account) in self.sharing

    def judge_action(
        self,
        principal: Principal,
        action: str,
        resource: str,
        *,
        at: int,
        context: Mapping[str, str | tuple[str, ...]] | None = None,
    ) -> Judgement:
        """What is decided about an action on an ARN that is no object's, or whose object does not matter."""
        deed = Deed(action=action, key=None, rule="read")
        if action in _RELEASING or (action == _VERIFYING and self._standing(principal).holding.stack):
            mesh, stack = _released(resource, self.settled.account)
            deed = msgspec.structs.replace(deed, rule="release", stack=stack, mesh=mesh)
        return self.judge(principal, deed, at=at, context=context, resource=resource)

    def judge(
        self,
        principal: Principal,
        deed: Deed,
        *,
        at: int,
        context: Mapping[str, str | tuple[str, ...]] | None = None,
        resource: str = "",
    ) -> Judgement:
        """What is decided about one deed; `resource` is its ARN where it is no object's."""
        standing = self._standing(principal)
        resource = resource or self.arn(principal, deed)
        asked = principal.policies, deed.action, resource
        decision = standing.decisions.get(asked)
        if decision is None:
            looked: list[bool] = []

            def facts() -> dict[str, str | tuple[str, ...]]:
                looked.append(True)
                return {**context_of(principal, deed, self.settled, at, resource), **(context or {})}

            ask, boundaries = Ask(action=deed.action, resource=resource), self._boundaries(principal)
            decision = evaluate(standing.policies, ask, boundaries=boundaries, more=facts)
            if not looked:
                _remember(standing.decisions, asked, decision)
        verdict = self._proposed(principal, deed.action) or _owned(standing.holding, deed)
        return Judgement(deed=deed, resource=resource, decision=decision, ownership=verdict)

    def _proposed(self, principal: Principal, action: str) -> Verdict | None:
        """The refusal of a change by a job of a pull request, whatever its role may do; None where it is none."""
        if not principal.build or self.settled.pull_requests or not changes(action):
            return None
        which = proposal(principal.build)
        if not which:
            return None
        return Verdict(
            allowed=False,
            reason=f"it was verified that it builds {which}, which may read, test and plan here and changes nothing: "
            "nobody has accepted it yet",
        )

    def arn(self, principal: Principal, deed: Deed) -> str:
        """The ARN of what a deed is on; `*` for what is no object's."""
        if deed.key is None:
            return "*"
        settled = self.settled
        return deed.key.arn(
            region=settled.region,
            account=deed.owner or principal.account,
            partition=settled.partition,
            home=settled.account,
        )

    def grantee(self, principal: Principal) -> User | Role | None:
        """What the file declares of `principal`; None when it declares nothing, or one of another account.

        None as well for a session that was obtained as somebody whom the file does not declare any more.
        """
        settled = self.settled
        if not all(self._declares(one) for one in principal.ancestors):
            return None
        found: User | Role | None = (
            settled.users.get(principal.name) if principal.kind == "user" else settled.roles.get(principal.name)
        )
        return found if found is not None and (found.account or settled.account) == principal.account else None

    def _declares(self, one: Ancestor) -> bool:
        """Whether the role or the user of a credential is declared still."""
        if one.role:
            return one.role in self.settled.roles
        return one.user in {"", ADMINISTRATOR} or one.user in self.settled.users

    def holding(self, principal: Principal) -> Holding:
        """What `principal` owns and was granted."""
        return self._standing(principal).holding

    def _standing(self, principal: Principal) -> _Standing:
        if self.grantee(principal) is None:
            return _NOTHING
        return self._standings[f"{principal.kind}/{principal.name}"]

    def _boundaries(self, principal: Principal) -> tuple[tuple[Policy, ...], ...]:
        """The policies of the session, each of which must allow as well."""
        if not principal.policies:
            return ()
        found = self._sessions.get(principal.policies)
        if found is None:
            documents: list[Any] = [msgspec.json.decode(text) for text in principal.policies]
            found = tuple((parse(one, f"session policy {number}"),) for number, one in enumerate(documents, 1))
            if len(self._sessions) >= 1000:
                self._sessions.clear()
            self._sessions[principal.policies] = found
        return found


def _remember(decisions: dict[_Asked, Decision], asked: _Asked, one: Decision) -> None:
    if len(decisions) >= _DECISIONS:
        decisions.clear()
    decisions[asked] = one


def _account_of(resource: str, home: str) -> str:
    """The account in an ARN; the home account for `*`, which is the server itself."""
    return resource.split(":", 5)[4] if resource.count(":") >= 5 else home


def _owned(holding: Holding, deed: Deed) -> Verdict | None:
    """What ownership says; None where it is not asked."""
    if deed.rule == "release":
        return holding.may_release(deed.stack, deed.mesh)
    if deed.key is None or deed.rule == "read":
        return None
    if deed.rule == "create":
        verdict = holding.may_create(deed.key, deed.parent_stack)
    elif deed.rule == "claim":
        verdict = holding.may_claim(deed.key)
    else:
        verdict = holding.may_alter(deed.key, deed.stack)
    return holding.may_reach(deed.reaches) if verdict.allowed and deed.reaches else verdict


def _listed(refused: list[str], stack: str) -> str:
    unique = list(dict.fromkeys(refused))
    if len(unique) == 1:
        return f"{unique[0]}. Nothing was changed."
    more = f"\n  and {len(unique) - MOST_TOLD} more" if len(unique) > MOST_TOLD else ""
    lines = "".join(f"\n  {one}" for one in unique[:MOST_TOLD])
    return f"The release of stack {stack!r} is refused for {len(unique)} reasons; nothing was changed:{lines}{more}"


def _released(resource: str, home: str) -> tuple[str, str]:
    """The mesh, as keys have it, and the stack in the ARN of a stack."""
    where, _, stack = resource.rpartition("/stack/")
    return qualified(where.rpartition(":mesh/")[2], _account_of(resource, home), home), stack
