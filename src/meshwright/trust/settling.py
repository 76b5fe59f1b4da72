"""One environment of `trust.yaml`: variables filled in, policies parsed, what is meant elsewhere left out; pure.

The one rule: a role or share that is not of the chosen environment is not there at all, and where environments are
declared one must be chosen, so that no server ever serves the sum of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from meshwright.diagnostics import Source
from meshwright.errors import UsageError, did_you_mean, ended
from meshwright.model.identity import DEFAULT_ACCOUNT, DEFAULT_REGION
from meshwright.trust.packs import PACKS
from meshwright.trust.policies import Policy, PolicyError, parse
from meshwright.trust.settings import (
    VARIABLE,
    Assume,
    Environment,
    Grantee,
    Guardrail,
    Issuer,
    Role,
    Share,
    Trust,
    User,
    grantees,
    nearest_place,
    path_of,
)

T = TypeVar("T", bound=msgspec.Struct)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What holds in one environment."""

    account: str
    """The home account."""
    region: str = DEFAULT_REGION
    partition: str = "aws"
    environment: str = ""
    """Its name; "" where the file declares none."""
    mesh: str = ""
    """The mesh that relative patterns mean; "" for none."""
    protected: bool = False
    verified_builds: bool = False
    pull_requests: bool = False
    """Whether jobs of pull requests may change it."""
    issuers: Mapping[str, Issuer] = MappingProxyType({})
    users: Mapping[str, User] = MappingProxyType({})
    roles: Mapping[str, Role] = MappingProxyType({})
    """With the entries of `assume` that hold in this environment."""
    elsewhere: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Roles that are not there in this environment, with those in which they are."""
    shares: tuple[Share, ...] = ()
    guardrails: Mapping[str, Guardrail] = MappingProxyType({})
    """The rules on plans, of the environment's pack and the file's own."""
    releases_only: bool = False
    """Whether writes of single objects are refused."""
    approval_seconds: int = 86_400
    """How long a release waits for its approval."""
    quotas: Mapping[str, int] = MappingProxyType({})
    permissions: Mapping[str, tuple[Policy, ...]] = MappingProxyType({})
    """The parsed policies of `user/NAME` and `role/NAME`, in the file's order."""
    entry_places: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Of each role, where the entries of `assume` that hold here stand: `roles.NAME.assume[2]`."""
    places: Mapping[str, Source] = MappingProxyType({})

    def place(self, path: str) -> Source | None:
        """Where a member of the file stands, or the nearest one around it."""
        return nearest_place(self.places, path)


def settle(
    trust: Trust,
    environment: str | None,
    *,
    account: str | None = None,
    region: str | None = None,
    partition: str = "aws",
) -> Settled:
    """`trust` in `environment`, on a server of `account` and `region`; without a server, of those that it declares.

    None for the environment takes the only one that is declared, or none where none is.

    Raises:
        UsageError: there is no such environment, it is another account's or region's, or what is written there cannot
            mean anything in it; every fault with its file and line.
    """
    name = _chosen(trust, environment)
    chosen = trust.environments.get(name, Environment())
    _refuse_elsewhere(trust, name, "account", chosen.account, account)
    _refuse_elsewhere(trust, name, "region", chosen.region, region)
    account, region = account or chosen.account or DEFAULT_ACCOUNT, region or chosen.region or DEFAULT_REGION
    values = {"name": name, "account": account, "region": region, "mesh": chosen.mesh}
    settling = _Settling(trust, name, {key: one for key, one in values.items() if one})
    settled = Settled(
        account=account,
        region=region,
        partition=partition,
        environment=name,
        mesh=chosen.mesh or "",
        protected=chosen.protected,
        verified_builds=chosen.verified_builds,
        pull_requests=chosen.pull_requests,
        issuers={key: settling.filled(one, f"issuers.{key}") for key, one in trust.issuers.items()},
        users={key: settling.filled(one, f"users.{key}") for key, one in trust.users.items()},
        roles={key: settling.role(one, f"roles.{key}") for key, one in trust.roles.items() if settling.holds(one)},
        elsewhere={key: one.environments or () for key, one in trust.roles.items() if not settling.holds(one)},
        shares=settling.shares(),
        guardrails=settling.guardrails(chosen),
        releases_only=_releases_only(chosen),
        approval_seconds=chosen.approval_seconds,
        quotas={**trust.quotas, **chosen.quotas},
        permissions=settling.permissions(),
        entry_places={key: settling.entry_places(key, one) for key, one in trust.roles.items()},
        places=trust.places,
    )
    return settling.checked(settled)


def _releases_only(chosen: Environment) -> bool:
    if chosen.releases_only is not None:
        return chosen.releases_only
    return chosen.pack is not None and PACKS[chosen.pack].releases_only


def _refuse_elsewhere(trust: Trust, name: str, what: str, wanted: str | None, actual: str | None) -> None:
    """Raise where the environment is of another account or region than the server that is to serve it."""
    if wanted is None or actual is None or wanted == actual:
        return
    raise UsageError(
        f"{_at(trust, f'environments.{name}.{what}')}the environment {name!r} is of {what} {wanted}; this server is "
        f"of {what} {actual}; choose another environment, or start with --{what} {wanted}."
    )


def _chosen(trust: Trust, environment: str | None) -> str:
    known = ", ".join(trust.environments)
    if environment is None:
        if len(trust.environments) > 1:
            raise UsageError(
                f"{trust.file} declares several environments; choose with --environment one of: {known}."
            )
        return next(iter(trust.environments), "")
    if environment not in trust.environments:
        hint = did_you_mean(environment, trust.environments, f"It declares: {known or 'none'}.", sentence=True)
        raise UsageError(f"{trust.file or 'trust.yaml'} declares no environment {environment!r}. {hint}")
    return environment


def _at(trust: Trust, path: str) -> str:
    place = nearest_place(trust.places, path)
    return f"{place}: " if place else f"{trust.file}: " if trust.file else ""


class _Settling:
    """Fills in variables and collects what is wrong on the way."""

    def __init__(self, trust: Trust, environment: str, values: Mapping[str, str]) -> None:
        self._trust = trust
        self._environment = environment
        self._values = values
        self.faults: list[str] = []

    def holds(self, role: Role) -> bool:
        """Whether the role is there in this environment."""
        return role.environments is None or self._environment in role.environments

    def enters(self, entry: Assume) -> bool:
        """Whether the entry of `assume` holds in this environment."""
        return entry.environments is None or self._environment in entry.environments

    def filled(self, one: T, path: str) -> T:
        """`one` with its variables filled in; policies in it are left to `permissions`."""
        plain = msgspec.to_builtins(one)
        plain.pop("permissions", None)
        try:
            full = msgspec.convert(self._replaced(plain, path), type(one))
        except msgspec.ValidationError as error:
            self._fault(path, f"with the values of this environment: {error}")
            return one
        return msgspec.structs.replace(full, permissions=one.permissions) if isinstance(one, Grantee) else full

    def role(self, role: Role, path: str) -> Role:
        """`role` with the entries of `assume` that hold here."""
        full = self.filled(role, path)
        kept = tuple(one for one in full.assume if self.enters(one))
        return msgspec.structs.replace(full, assume=kept)

    def entry_places(self, name: str, role: Role) -> tuple[str, ...]:
        """Where the entries of `assume` that hold here stand in the file."""
        return tuple(f"roles.{name}.assume[{at}]" for at, entry in enumerate(role.assume) if self.enters(entry))

    def shares(self) -> tuple[Share, ...]:
        """The shares that are there in this environment."""
        return tuple(
            self.filled(one, f"shares[{index}]")
            for index, one in enumerate(self._trust.shares)
            if one.environments is None or self._environment in one.environments
        )

    def guardrails(self, chosen: Environment) -> Mapping[str, Guardrail]:
        """The rules of the environment's pack, and over them those that the file has for this environment."""
        own = {
            name: self.filled(one, f"guardrails.{name}")
            for name, one in self._trust.guardrails.items()
            if one.environments is None or self._environment in one.environments
        }
        return {**(PACKS[chosen.pack].rules if chosen.pack is not None else {}), **own}

    def permissions(self) -> Mapping[str, tuple[Policy, ...]]:
        """The parsed policies of every user, and of every role that holds here."""
        shared = {name: self._parsed(one, f"policies.{name}") for name, one in self._trust.policies.items()}
        found: dict[str, tuple[Policy, ...]] = {}
        for name, one in grantees(self._trust).items():
            if isinstance(one, Role) and not self.holds(one):
                continue
            path = f"{path_of(name)}.permissions"
            parsed = [self._permission(each, shared, f"{path}[{at}]") for at, each in enumerate(one.permissions)]
            found[name] = tuple(policy for policy in parsed if policy is not None)
        return found

    def checked(self, settled: Settled) -> Settled:
        """`settled`, if nothing was wrong with it.

        Raises:
            UsageError: something was; every fault.
        """
        self.refuse_relative(settled)
        if self.faults:
            raise UsageError("\n".join(dict.fromkeys(self.faults)))
        return settled

    def refuse_relative(self, settled: Settled) -> None:
        """Note patterns that name no mesh where the environment names none either."""
        if settled.mesh:
            return
        for name, rule in settled.guardrails.items():
            for index, pattern in enumerate(rule.objects):
                self._relative(f"guardrails.{name}.objects[{index}]", pattern)
        for name, one in (
            *((f"users.{name}", one) for name, one in settled.users.items()),
            *((f"roles.{name}", one) for name, one in settled.roles.items()),
        ):
            for member in ("owns", "may_extend", "may_change"):
                for index, pattern in enumerate(getattr(one, member)):
                    self._relative(f"{name}.{member}[{index}]", pattern)

    def _relative(self, path: str, pattern: str) -> None:
        if not pattern.startswith("mesh/"):
            self._fault(
                path,
                f"{pattern!r} names no mesh, and the environment {self._environment!r} names none; write "
                f"mesh/NAME/{'…' if pattern == 'mesh' else pattern}, or give the environment a mesh",
            )

    def _parsed(self, document: object, path: str) -> Policy | None:
        try:
            return parse(self._replaced(document, path), path)
        except PolicyError as error:
            for one in error.faults:
                at = f"{path}.{one.where}" if one.where else path
                self.faults.append(f"{_at(self._trust, at)}{at}: {one.message}")
            return None

    def _permission(self, written: object, shared: Mapping[str, Policy | None], path: str) -> Policy | None:
        if not isinstance(written, str):
            return self._parsed(written, path)
        if written not in shared:
            hint = did_you_mean(written, shared, f"policies are: {', '.join(shared) or 'none'}")
            self._fault(path, f"there is no policy {written!r}; {hint}")
        return shared.get(written)

    def _replaced(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return VARIABLE.sub(lambda found: self._value(found[1], path), value)
        if isinstance(value, dict):
            return {self._replaced(key, path): self._replaced(one, f"{path}.{key}") for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._replaced(one, f"{path}[{index}]") for index, one in enumerate(value)]
        return value

    def _value(self, name: str, path: str) -> str:
        if name in self._values:
            return self._values[name]
        where = f"environment {self._environment!r}" if self._environment else "no environment"
        self._fault(path, f"${{environment.{name}}} has no value: there is {where} that says its {name}")
        return ""

    def _fault(self, path: str, told: str) -> None:
        self.faults.append(f"{_at(self._trust, path)}{path}: {ended(told)}")
