"""What a trust file says that cannot be meant: names of nothing, entries that let nobody or everybody in; pure.

The one rule: what could be read in two ways is refused here, so that deciding never has to guess.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.errors import did_you_mean
from meshwright.impact.risks import RISKS
from meshwright.model.identity import EXTENSION_KINDS, NAMESPACE
from meshwright.operations import Quotas
from meshwright.trust.addresses import is_safe
from meshwright.trust.builds import FACTS, FORMS
from meshwright.trust.contexts import provider_of
from meshwright.trust.policies import PolicyError, compiled_condition
from meshwright.trust.settings import (
    ADMINISTRATOR,
    LONGEST_SESSION,
    SHORTEST_SESSION,
    VARIABLE,
    VARIABLES,
    Assume,
    Role,
    grantees,
    path_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    from meshwright.trust.settings import Grantee, Guardrail, Trust

    Found: TypeAlias = Iterator[tuple[str, str]]

_ARN = re.compile(r"arn:[a-z-]+:(iam|sts)::([0-9]{12}):(user|role|assumed-role)/\S+")
_IN_MESH = (
    r"virtual(Node|Service)/[^/]+|virtualRouter/[^/]+(/route/[^/]+)?|virtualGateway/[^/]+(/gatewayRoute/[^/]+)?"
    rf"|{NAMESPACE}/({'|'.join(EXTENSION_KINDS)}|[^/]*\*[^/]*)/[^/]+"
)
_PATTERN = re.compile(rf"mesh|{_IN_MESH}|mesh/[^/]+(/({_IN_MESH}))?")
_FORMS = (
    "mesh, virtualNode/NAME, virtualService/NAME, virtualRouter/NAME, virtualRouter/NAME/route/NAME, "
    "meshwright/KIND/NAME, "
)
_TOP = ("user", "role")
BUILD_FACTS = (*FACTS, *FORMS)
"""What `issuers.NAME.build` may say."""


def faults_of(trust: Trust) -> Found:
    """Every fault as the path of the member and a sentence that says what to do."""
    yield from _environments(trust)
    for path, value in _texts(trust):
        yield from _variables(path, value)
    for name, one in grantees(trust).items():
        yield from _grantee(path_of(name), one)
    yield from _issuers(trust)
    if ADMINISTRATOR in trust.users:
        yield f"users.{ADMINISTRATOR}", "this user is built in and may do everything; give your user another name."
    for name, role in trust.roles.items():
        yield from _role(trust, f"roles.{name}", role)
    for path, quotas in (
        ("quotas", trust.quotas),
        *((f"environments.{name}.quotas", one.quotas) for name, one in trust.environments.items()),
    ):
        yield from _quotas(path, quotas)
    for name, rule in trust.guardrails.items():
        yield from _guardrail(trust, f"guardrails.{name}", rule)
    for index, share in enumerate(trust.shares):
        yield from _known(f"shares[{index}].environments", share.environments or (), trust.environments)


def _environments(trust: Trust) -> Found:
    for name, one in trust.environments.items():
        if one.mesh is not None and re.search(r"[/*?@$]", one.mesh):
            yield f"environments.{name}.mesh", f"{one.mesh!r} is no mesh's name; write it without / * ? @ and $."


def _issuers(trust: Trust) -> Found:
    hosts: dict[str, str] = {}
    for name, one in trust.issuers.items():
        for member, address in (("url", one.url), ("jwks_url", one.jwks_url)):
            if address is not None and not is_safe(VARIABLE.sub("x", address)):
                told = f"{address!r} is not https://HOST…, which only an address of this machine may do without: "
                yield f"issuers.{name}.{member}", f"{told}whoever sits between could be anybody's issuer."
        for fact in one.build:
            if fact not in BUILD_FACTS:
                yield (
                    f"issuers.{name}.build.{fact}",
                    f"no fact of a build is called {fact!r}; {_hint(fact, BUILD_FACTS)}",
                )
        other = hosts.setdefault(provider_of(one.url).lower(), one.url)
        if other != one.url:
            told = f"{one.url!r} and {other!r} are two issuers whose claims would have the same condition keys"
            yield f"issuers.{name}.url", f"{told}; declare one of them."


def _guardrail(trust: Trust, path: str, rule: Guardrail) -> Found:
    yield from _known(f"{path}.environments", rule.environments or (), trust.environments)
    for index, code in enumerate(rule.risks):
        if not any(fnmatchcase(known, code) for known in RISKS):
            yield f"{path}.risks[{index}]", f"no risk is called {code!r}; {_hint(code, RISKS)}"
    for index, text in enumerate(rule.objects):
        plain = VARIABLE.sub("x", text)
        if "**" not in plain and not _PATTERN.fullmatch(plain):
            yield f"{path}.objects[{index}]", f"{text!r} matches nothing that there can be; write {_FORMS}…"
    if rule.risks and rule.actions:
        yield f"{path}.actions", "a rule is about risks or about changes; give one of 'risks' and 'actions'."
    if not (rule.risks or rule.actions or rule.fields or rule.objects or rule.severity == "ignore"):
        yield path, "it minds every change; say which with 'risks', 'actions', 'fields' or 'objects'."
    if rule.over is not None and not any(fnmatchcase("weight-moved", code) for code in rule.risks):
        yield f"{path}.over", "only the risk weight-moved has percentage points; add it to 'risks' or leave this out."


def _quotas(path: str, quotas: dict[str, int]) -> Found:
    known = [one.name for one in msgspec.structs.fields(Quotas)]
    for name, value in quotas.items():
        if name not in known:
            yield f"{path}.{name}", f"there is no quota {name!r}; {_hint(name, known)}"
        elif value < 1:
            yield f"{path}.{name}", f"{value} leaves no room for anything; write at least 1."


def _grantee(path: str, one: Grantee) -> Found:
    for member in ("owns", "may_extend", "may_change"):
        for index, text in enumerate(getattr(one, member)):
            plain = VARIABLE.sub("x", text)
            if "**" not in plain and not _PATTERN.fullmatch(plain):
                told = f"{text!r} matches nothing that there can be; write {_FORMS}… or mesh/NAME/virtualNode/NAME, "
                yield f"{path}.{member}[{index}]", f"{told}with * for characters of a name and ** across slashes."
    for member in ("owns", "may_extend"):
        if getattr(one, member) and one.stack is None:
            yield (
                f"{path}.{member}",
                "there is no stack that could claim what is created; add 'stack: NAME' beside it.",
            )
    for index, permission in enumerate(one.permissions):
        if not isinstance(permission, str | dict):
            yield f"{path}.permissions[{index}]", "expected the name of a policy, or an IAM policy document."


def _role(trust: Trust, path: str, role: Role) -> Found:
    yield from _known(f"{path}.environments", role.environments or (), trust.environments)
    if role.environments == ():
        yield f"{path}.environments", "the list is empty, so that the role is nowhere; leave it out for everywhere."
    if not SHORTEST_SESSION <= role.session.seconds <= LONGEST_SESSION:
        yield f"{path}.session.max", f"{role.session.max!r} is not from 15m to 1h."
    for index, entry in enumerate(role.assume):
        yield from _entry(trust, f"{path}.assume[{index}]", entry, role)


def _entry(trust: Trust, path: str, entry: Assume, role: Role) -> Found:
    if (entry.issuer is None) == (not entry.principals):
        yield path, "an entry names an issuer or principals, one of the two."
    if entry.issuer is not None:
        yield from _known(f"{path}.issuer", (entry.issuer,), trust.issuers, listed=False)
    for at, name in enumerate(entry.principals):
        yield from _principal(trust, f"{path}.principals[{at}]", name)
    yield from _known(f"{path}.environments", entry.environments or (), trust.environments)
    for at, name in enumerate(entry.environments or ()):
        if role.environments is not None and name not in role.environments:
            yield f"{path}.environments[{at}]", f"the role itself is not in {name!r}; add it there or remove it here."
    try:
        if entry.conditions:
            compiled_condition(_filled(entry.conditions), f"{path}.conditions")
    except PolicyError as error:
        for fault in error.faults:
            yield f"{path}.conditions.{fault.where}".rstrip("."), fault.message


def _filled(value: Any) -> Any:
    """`value` with a text for every variable of ours: what the environments give is judged when one is chosen."""
    if isinstance(value, str):
        return VARIABLE.sub("x", value)
    if isinstance(value, dict):
        return {_filled(name): _filled(one) for name, one in value.items()}
    return [_filled(one) for one in value] if isinstance(value, list) else value


def _principal(trust: Trust, path: str, name: str) -> Found:
    if name == "*" or _ARN.fullmatch(VARIABLE.sub("111111111111", name)):
        return
    kind, _, rest = name.partition("/")
    if kind not in _TOP or not rest:
        yield path, f"{name!r} is no principal; write user/NAME, role/NAME or an ARN arn:aws:iam::ACCOUNT:user/NAME."
        return
    known = (*trust.users, ADMINISTRATOR) if kind == "user" else tuple(trust.roles)
    if rest not in known:
        yield path, f"there is no {kind} {rest!r}; {_hint(rest, known)}"


def _known(path: str, names: Iterable[str], known: Iterable[str], *, listed: bool = True) -> Found:
    declared = list(known)
    for index, name in enumerate(names):
        if name not in declared:
            where = f"{path}[{index}]" if listed else path
            yield where, f"nothing of the name {name!r} is declared; {_hint(name, declared)}"


def _texts(trust: Trust) -> Iterator[tuple[str, str]]:
    """Every text of the file by its path; places know them all."""
    for member in ("environments", "issuers", "users", "policies", "roles", "shares", "guardrails"):
        yield from _inside(member, getattr(trust, member))


def _inside(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _inside(f"{path}.{name}", name)
            yield from _inside(f"{path}.{name}", one)
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _inside(f"{path}[{index}]", one)
    elif hasattr(value, "__struct_fields__"):
        for name in value.__struct_fields__:
            yield from _inside(f"{path}.{name}", getattr(value, name))


def _variables(path: str, text: str) -> Found:
    if path.startswith("environments.") and VARIABLE.search(text):
        yield path, "an environment says its values itself; ${environment.…} stands elsewhere."
    for found in VARIABLE.finditer(text):
        if found[1] not in VARIABLES:
            yield path, f"there is no variable {found[0]!r}; {_hint(found[1], VARIABLES)}"


def _hint(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a name that is near one that is known, else what is known; it ends its sentence."""
    listed = list(known)
    return did_you_mean(name, listed, f"known are: {', '.join(listed) or 'none'}.")
