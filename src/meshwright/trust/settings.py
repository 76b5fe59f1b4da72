"""`trust.yaml` as values: who exists, who may become what, and what each may do and owns; pure.

The one rule: nothing here decides. A file becomes `Trust`, one environment of it `trust.settling.Settled`, on which
`trust.authorization` decides. Policies and conditions stay as written until an environment is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from meshwright.diagnostics import Source

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9+=,.@_-]+\Z")]
"""A role's, user's, policy's, issuer's or environment's name: what IAM takes."""
Account: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9]{12}\Z")]
_FILLED = r"\$\{environment\.[a-z]+\}"
Stack: TypeAlias = Annotated[
    str, Meta(pattern=rf"^(\*|([A-Za-z0-9]|{_FILLED})([A-Za-z0-9._-]|{_FILLED}){{0,127}})\Z")
]
"""A stack's name as in a release's address, or `*` for any."""
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]
Tags: TypeAlias = dict[Annotated[str, Meta(min_length=1, max_length=128)], Annotated[str, Meta(max_length=256)]]
Conditions: TypeAlias = dict[str, dict[str, Any]]
"""A condition block of IAM: operator, then key, then one value or several."""
ReleaseKind: TypeAlias = Literal["apply", "rollback", "repair"]
Algorithm: TypeAlias = Literal["RS256", "ES256", "EdDSA"]

ADMINISTRATOR = "administrator"
"""The user of the home account that every server has, and that may do everything."""
ANY_STACK = "*"

SHORTEST_SESSION = 900
"""Seconds."""
LONGEST_SESSION = 3600
"""Seconds."""


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Strict: a member that is not understood is a fault."""


class Environment(_Written, frozen=True, kw_only=True):
    """One control plane with its account and mesh."""

    account: Account | None = None
    region: Text | None = None
    mesh: Text | None = None
    """The mesh that relative patterns mean."""
    endpoint: Text | None = None
    protected: bool = False
    """Whether `trust check` guards it against what can reach the others."""
    verified_builds: bool = False
    """Whether it takes releases of builds only whose number a token proves."""
    pull_requests: bool = False
    """Whether jobs of pull requests may change it, as one for previews; else they read, test and plan."""
    pack: Literal["development", "staging", "production"] | None = None
    """The guardrails that it begins with; None for none."""
    releases_only: bool | None = None
    """Whether writes of single objects are refused; None for what the pack says."""
    approve_within: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,2}[mh]\Z")] = "24h"
    """How long a release waits for its approval."""
    quotas: dict[str, int] = {}

    @property
    def approval_seconds(self) -> int:
        """`approve_within` in seconds."""
        return int(self.approve_within[:-1]) * {"m": 60, "h": 3600}[self.approve_within[-1]]


class Guardrail(_Written, frozen=True, kw_only=True):
    """A rule on the plans of releases: what it minds, and what comes of that."""

    risks: tuple[Text, ...] = ()
    """Codes of risks, `*` for any characters; without one it minds changes as such."""
    actions: tuple[Literal["create", "update", "delete"], ...] = ()
    """Of changes; none for any."""
    fields: tuple[Text, ...] = ()
    """Paths of fields, `*` for any characters; none for any."""
    objects: tuple[Text, ...] = ()
    """Patterns of objects as in `owns`; none for any."""
    stacks: tuple[Text, ...] = ()
    """Names of stacks, `*` for any characters; none for any."""
    kinds: Annotated[tuple[ReleaseKind, ...], Meta(min_length=1)] = ("apply", "rollback", "repair")
    over: Annotated[float, Meta(ge=0, lt=100)] | None = None
    """Percentage points by which a share may move; None for the usual 20."""
    untested: Annotated[float, Meta(ge=0, le=100)] | None = None
    """Only of releases without tests on real Envoys that cover so many percent; None for all."""
    severity: Literal["deny", "approve", "warn", "ignore"]
    """`ignore` switches a rule of the pack off."""
    message: Text = "Ask the administrator of this environment."
    environments: tuple[Name, ...] | None = None
    """None for all."""


class Issuer(_Written, frozen=True, kw_only=True):
    """An OpenID Connect issuer whose tokens are taken.

    Source: https://openid.net/specs/openid-connect-core-1_0.html#IDToken
    """

    url: Annotated[str, Meta(pattern=r"^https?://[^\s?#]+\Z")]
    """The `iss` of its tokens, to the letter."""
    audiences: Annotated[tuple[Text, ...], Meta(min_length=1)]
    """One of these must be in `aud`."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "ES256", "EdDSA")
    jwks_url: Text | None = None
    """Where its keys are; None for what its discovery document says."""
    ca_file: Text | None = None
    """The certificates that vouch for its server; None for the system's."""
    tags: dict[str, str] = {}
    """Session tags by name, and the claim that each is taken from."""
    ci: Literal["github", "gitlab", "travis"] | None = None
    """Whose tokens these are, which decides what their claims say of a build; None for what `url` tells."""
    build: dict[str, str] = {}
    """The claim that says each fact of a build (`trust.builds`), over what is known of `ci`; "" for none."""


class Grantee(_Written, frozen=True, kw_only=True):
    """What a user and a role have in common: permissions, and what they own."""

    account: Account | None = None
    """None for the environment's."""
    stack: Stack | None = None
    """The stack that what it creates belongs to, and whose objects it changes; `*` for any."""
    owns: tuple[Text, ...] = ()
    """Patterns of the names that its stack may claim."""
    may_extend: tuple[Text, ...] = ()
    """Patterns of the meshes, routers and gateways of others in which it may create."""
    may_change: tuple[Text, ...] = ()
    """Patterns of the objects of others that it may change."""
    permissions: tuple[Any, ...] = ()
    """Names of `policies`, or IAM policy documents."""
    tags: Tags = {}
    """`aws:PrincipalTag`."""


class User(Grantee, frozen=True, kw_only=True):
    """Somebody with a long-lived access key."""


class Assume(_Written, frozen=True, kw_only=True):
    """Who may take a role: a token of an issuer, or principals; all conditions must hold."""

    issuer: Name | None = None
    principals: tuple[Text, ...] = ()
    """`user/NAME`, `role/NAME` or ARNs."""
    environments: tuple[Name, ...] | None = None
    """None for all of the role's."""
    conditions: Conditions = {}


class Session(_Written, frozen=True, kw_only=True):
    """How long a session of a role may last."""

    max: Annotated[str, Meta(pattern=r"^[0-9]{1,4}[smh]\Z")] = "1h"

    @property
    def seconds(self) -> int:
        """`max` in seconds."""
        return int(self.max[:-1]) * {"s": 1, "m": 60, "h": 3600}[self.max[-1]]


class Role(Grantee, frozen=True, kw_only=True):
    """What a job or an operator becomes for a while."""

    environments: tuple[Name, ...] | None = None
    """None for all."""
    assume: tuple[Assume, ...] = ()
    session: Session = Session()


class Share(_Written, frozen=True, kw_only=True):
    """A mesh in which other accounts may create objects of their own, as AWS RAM shared it."""

    mesh: Text
    owner: Account | None = None
    """None for the environment's account."""
    accounts: Annotated[tuple[Account, ...], Meta(min_length=1)] = msgspec.field(name="with")
    environments: tuple[Name, ...] | None = None


class Written(_Written, frozen=True, kw_only=True):
    """The members of the file."""

    version: Literal[1]
    environments: dict[Name, Environment] = {}
    issuers: dict[Name, Issuer] = {}
    users: dict[Name, User] = {}
    policies: dict[Name, dict[str, Any]] = {}
    roles: dict[Name, Role] = {}
    shares: tuple[Share, ...] = ()
    guardrails: dict[Name, Guardrail] = {}
    quotas: dict[str, int] = {}


class Trust(Written, frozen=True, kw_only=True):
    """The whole of `trust.yaml`."""

    file: str = ""
    """As it was named; "" for none."""
    places: Mapping[str, Source] = MappingProxyType({})
    """Where each member stands, by its path: `roles.cart-deployer.owns[0]`."""


EMPTY = Trust(version=1)
"""Nobody but the administrator."""

VARIABLE = re.compile(r"\$\{environment\.([^}]*)\}")
VARIABLES = ("name", "account", "region", "mesh")
"""What `${environment.…}` may ask for."""


def grantees(trust: Written) -> dict[str, User | Role]:
    """Every user and role by what explains it: `user/NAME`, `role/NAME`."""
    users: dict[str, User | Role] = {f"user/{name}": one for name, one in trust.users.items()}
    return users | {f"role/{name}": one for name, one in trust.roles.items()}


def path_of(grantee: str) -> str:
    """Where in the file `user/NAME` or `role/NAME` stands: `users.NAME`."""
    kind, _, name = grantee.partition("/")
    return f"{kind}s.{name}"


def nearest_place(places: Mapping[str, Source], path: str) -> Source | None:
    """Where a member of the file stands, or the nearest one around it."""
    while path and path not in places:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return places.get(path)
