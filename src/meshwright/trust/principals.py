"""Who is calling, once a signature or a certificate has been checked: a value that every decision is made on.

The one rule: only what was verified stands here; what a job says about itself is build metadata (`release.Build`).
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Ancestor(msgspec.Struct, frozen=True):
    """A credential that a session was obtained with: what revokes it revokes the session."""

    key_id: str
    role: str = ""
    """Its role, for a session; "" for a user's key."""
    issued_at: int = 0
    """Milliseconds since the epoch, UTC; 0 for a user's key."""
    user: str = ""
    """Whose key it is, for a user's; "" for a session."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A user with a long-lived access key, or a session of a role."""

    account: str
    """12 digits."""
    kind: Literal["user", "role"]
    name: str
    """The user's name, or the role's."""
    session: str = ""
    """The role session's name; "" for a user."""
    partition: str = "aws"
    key_id: str = ""
    """The access key that signed; "" where a certificate or a socket spoke."""
    tags: dict[str, str] = {}
    """`aws:PrincipalTag`: the user's or the role's tags, session tags over them."""
    transitive_tags: tuple[str, ...] = ()
    """Session tags that stay when the session assumes another role."""
    issuer: str = ""
    """The name in `trust.yaml` of the OIDC issuer that vouched for the session; "" for none."""
    claims: dict[str, Any] = {}
    """The verified claims of its token."""
    build: dict[str, str] = {}
    """What a token proved of the build that this is a job of, as members of `release.Build`; also for a session that
    was obtained with the token's."""
    behind: str = ""
    """Who first proved who they are, for a session that was obtained with another credential: an `identity`."""
    policies: tuple[str, ...] = ()
    """Session policies, IAM policy documents in JSON: a session may do only what each of them allows as well."""
    ancestors: tuple[Ancestor, ...] = ()
    """The credentials that led to this session, one after the other; none for a user or a token's session."""
    issued_at: int = 0
    """Milliseconds since the epoch, UTC."""
    expires_at: int | None = None
    """None for a long-lived key."""

    @property
    def arn(self) -> str:
        """`arn:aws:iam::ACCOUNT:user/NAME` or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`."""
        if self.kind == "user":
            return f"arn:{self.partition}:iam::{self.account}:user/{self.name}"
        return f"arn:{self.partition}:sts::{self.account}:assumed-role/{self.name}/{self.session}"

    @property
    def identity(self) -> str:
        """Who is behind it, whatever the session is called: `user ACCOUNT/NAME`, or `token ISSUER SUBJECT`."""
        if self.behind:
            return self.behind
        if self.kind == "user":
            return f"user {self.account}/{self.name}"
        return f"token {self.claims.get('iss', '')} {self.claims.get('sub', '')}"

    @property
    def role_arn(self) -> str:
        """`arn:aws:iam::ACCOUNT:role/NAME` of a session's role; "" for a user."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.name}" if self.kind == "role" else ""
