"""Policies and requests from a small common vocabulary, so that many are allowed, denied, and nearly either.

Everything follows from the number of the case: the same number makes the same case for ever.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from meshwright.trust.actions import ACTIONS, Action

HOME = "111111111111"
WORDS = ("cart", "pay", "shop", "web", "c*", "x?y")
VALUES = {
    "String": ("cart", "pay", "Cart", "shop", "*", "a.b", "us-east-1", HOME, "naïve", "日本"),
    "Numeric": ("0", "10", "10.0", "-3", "9.5", "1200"),
    "Date": (
        "2026-01-01T00:00:00Z",
        "2026-06-30T12:30:00Z",
        "2026-06-30T14:30:00+02:00",
        "2025-12-31",
        "2026-06-30T12:30Z",
    ),
    "Bool": ("true", "false"),
    "Binary": ("YQ==", "YWI=", "QmluYXJ5"),
    "Ip": ("203.0.113.7", "10.1.2.3", "2001:db8::7", "198.51.100.255"),
    "Arn": (
        f"arn:aws:iam::{HOME}:user/writer",
        f"arn:aws:iam::{HOME}:role/team/deployer",
        "arn:aws:sns:us-east-1:222222222222:topic:sub",
    ),
}
"""Of requests, and of policies where the operator takes no patterns."""
KEYS = {
    "String": (
        "aws:PrincipalTag/team",
        "aws:ResourceTag/team",
        "aws:RequestTag/team",
        "aws:PrincipalTag/env",
        "aws:UserAgent",
    ),
    "Numeric": ("aws:MultiFactorAuthAge", "aws:PrincipalTag/level"),
    "Date": ("aws:CurrentTime", "aws:TokenIssueTime"),
    "Bool": ("aws:SecureTransport", "aws:MultiFactorAuthPresent"),
    "Binary": ("aws:PrincipalTag/blob",),
    "Ip": ("aws:SourceIp", "aws:VpcSourceIp"),
    "Arn": ("aws:PrincipalArn", "aws:SourceArn"),
}
NETWORKS = ("203.0.113.0/24", "10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "198.51.100.0/25", "0.0.0.0/1")
_COMPARED = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
OPERATORS = {
    "String": (
        *(f"String{one}" for one in ("Equals", "NotEquals", "Like", "NotLike")),
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
    ),
    "Numeric": tuple(f"Numeric{one}" for one in _COMPARED),
    "Date": tuple(f"Date{one}" for one in _COMPARED),
    "Bool": ("Bool",),
    "Binary": ("BinaryEquals",),
    "Ip": ("IpAddress", "NotIpAddress"),
    "Arn": ("ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"),
}
"""All but `Null`, by the type of their values."""


class Case(msgspec.Struct, frozen=True):
    """One request and the policies that it meets."""

    number: int
    principal: str
    action: str
    resource: str
    context: dict[str, Any]
    identity: list[dict[str, Any]]
    session: dict[str, Any] | None
    boundary: list[dict[str, Any]] | None

    def question(self) -> dict[str, Any]:
        """As the independent evaluator's program takes it."""
        return {**msgspec.to_builtins(self), "account": HOME}


def case(number: int) -> Case:
    """The case of that number."""
    return _Maker(number).case()


class _Maker:
    """Draws one case."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._statements = 0
        self._chance = random.Random(number)  # noqa: S311 - repeatable cases, no secrets
        self._action = self._chance.choice([one for one in ACTIONS.values() if one.service == "appmesh"])
        self._resource = self._arn_for(self._action)
        self._context = self._drawn_context()

    def case(self) -> Case:
        session = self._often(0.15)
        return Case(
            self._number,
            f"arn:aws:sts::{HOME}:assumed-role/deployer/job" if session else f"arn:aws:iam::{HOME}:user/writer",
            self._action.full,
            self._resource,
            self._context,
            [self._policy() for _ in range(self._chance.choice((1, 1, 2, 3)))],
            self._policy() if session else None,
            [self._policy()] if self._often(0.15) else None,
        )

    def _often(self, share: float) -> bool:
        return self._chance.random() < share

    def _word(self) -> str:
        return self._chance.choice(WORDS[:4])

    def _arn_for(self, action: Action) -> str:
        kinds = action.required or action.optional
        if not kinds:
            return "*"
        path = {
            "mesh": "",
            "route": "/virtualRouter/{}/route/{}",
            "gatewayRoute": "/virtualGateway/{}/gatewayRoute/{}",
        }
        kind = self._chance.choice(kinds)
        tail = path.get(kind, f"/{kind}/{{}}").format(self._word(), self._word())
        region = self._chance.choice(("us-east-1", "eu-west-1"))
        return f"arn:aws:appmesh:{region}:{HOME}:mesh/{self._word()}{tail}"

    def _drawn_context(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, keys in KEYS.items():
            for key in keys:
                if self._often(0.75):
                    found[key] = self._chance.choice(VALUES[kind])
        if self._often(0.6):
            found["aws:TagKeys"] = self._chance.sample(
                ("team", "env", "Team", "cost"), self._chance.choice((1, 2, 3))
            )
        if self._often(0.5):
            found["aws:PrincipalTag/name"] = self._chance.choice(WORDS)
        return found

    def _policy(self) -> dict[str, Any]:
        version = "2012-10-17" if self._often(0.9) else "2008-10-17"
        statements = [
            self._statement(variables=version == "2012-10-17") for _ in range(self._chance.choice((1, 1, 2, 3, 4)))
        ]
        alone = len(statements) == 1 and self._often(0.3)
        return {"Version": version, "Statement": statements[0] if alone else statements}

    def _statement(self, *, variables: bool) -> dict[str, Any]:
        allow = self._often(0.75)
        self._statements += 1
        found: dict[str, Any] = {"Sid": f"S{self._statements}", "Effect": "Allow" if allow else "Deny"}
        opposite = self._often(0.12)
        found["NotAction" if opposite else "Action"] = self._listed(lambda: self._action_pattern(near=not opposite))
        opposite = self._often(0.12)
        found["NotResource" if opposite else "Resource"] = self._listed(
            lambda: self._resource_pattern(near=not opposite, variables=variables)
        )
        if self._often(0.45 if allow else 0.7):
            found["Condition"] = self._condition(variables=variables)
        return found

    def _listed(self, draw: Any) -> Any:
        count = self._chance.choice((1, 1, 2, 3))
        return draw() if count == 1 and self._often(0.5) else [draw() for _ in range(count)]

    def _action_pattern(self, *, near: bool) -> str:
        if not (self._often(0.75) and near):
            return self._chance.choice(
                ("appmesh:List*", "appmesh:Create*", "s3:GetObject", "appmesh:*Route", "appmesh:TagResource")
            )
        name = self._action.name
        return self._chance.choice(
            (
                "*",
                "appmesh:*",
                f"appmesh:{name}",
                f"APPMESH:{name.lower()}",
                f"appmesh:{name[:4]}*",
                f"appmesh:*{name[-6:]}",
                f"appmesh:{name[0]}?{name[2:]}",
                f"appmesh:{name[:3]}*{name[5:8]}*",
            )
        )

    def _resource_pattern(self, *, near: bool, variables: bool) -> str:
        if self._often(0.2):
            return "*"
        arn = self._resource if self._often(0.75) and near and self._resource != "*" else self._arn_for(self._action)
        if arn == "*":
            return "*"
        parts = arn.split(":", 5)
        for index in (1, 3, 4):
            if self._often(0.25):
                parts[index] = self._chance.choice(
                    ("*", f"{parts[index][:2]}*{parts[index][4:]}", f"?{parts[index][1:]}")
                )
        parts[5] = self._changed(parts[5], near=near, variables=variables)
        if self._often(0.05) and near:  # of NotResource the two differ on such patterns: see DIFFERENCES
            return ":".join((*parts[: self._chance.choice((3, 4, 5))], "*"))
        return ":".join(parts)

    def _changed(self, path: str, *, near: bool, variables: bool) -> str:
        names = path.split("/")
        for index, name in enumerate(names):
            if index and self._often(0.25):
                names[index] = self._chance.choice(
                    ("*", "**", f"{name[:1]}*", f"*{name[-1:]}", f"{name[:-1]}?", name.upper())
                )
            elif index % 2 and variables and self._often(0.2):
                names[index] = self._variable(sure=not near)
        if self._often(0.15):
            names = [*names[: self._chance.randint(1, len(names))], "*"]
        elif self._often(0.05):
            return "*"
        return "/".join(names)

    def _variable(self, *, sure: bool = False) -> str:
        """A variable; a `sure` one always has a value: of NotResource the two differ on others, see DIFFERENCES."""
        always = ("${aws:PrincipalTag/nobody, 'cart'}", "${aws:PrincipalTag/name, 'shop'}", "c${*}", "c${?}rt")
        perhaps = (
            "${aws:PrincipalTag/name}",
            "${aws:PrincipalTag/team}",
            "${AWS:principaltag/NAME}",
            "${aws:username}",
        )
        return self._chance.choice(always if sure else always + perhaps)

    def _condition(self, *, variables: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self._chance.choice((1, 1, 2))):
            operator, key, values = self._test(variables=variables)
            found.setdefault(operator, {})[key] = values
        return found

    def _test(self, *, variables: bool) -> tuple[str, str, Any]:
        if self._often(0.08):
            keys = [key for several in KEYS.values() for key in several]
            return (
                "Null",
                self._chance.choice((*keys, "aws:TagKeys")),
                self._chance.choice(("true", "false", True, False)),
            )
        kind = self._chance.choice(list(OPERATORS))
        operator = self._chance.choice(OPERATORS[kind])
        qualifier, key = "", self._chance.choice(KEYS[kind])
        if kind == "String" and self._often(0.4):
            qualifier, key = self._chance.choice(("ForAllValues:", "ForAnyValue:")), "aws:TagKeys"
        # The two differ on what ForAnyValue with IfExists says of a missing key: see DIFFERENCES.
        if_exists = self._often(0.2) and qualifier != "ForAnyValue:"
        values = self._listed(lambda: self._value(kind, operator, key, variables=variables))
        return f"{qualifier}{operator}{'IfExists' if if_exists else ''}", key, values

    def _value(self, kind: str, operator: str, key: str, *, variables: bool) -> Any:
        if kind == "Ip":
            return self._chance.choice(NETWORKS)
        if key == "aws:TagKeys":
            return self._chance.choice(("team", "env", "cost", "TEAM", "t*", "?nv", "*"))
        there = self._context.get(key)
        value = there if isinstance(there, str) and self._often(0.6) else self._chance.choice(VALUES[kind])
        if kind == "String":
            return self._text(value, like=operator.endswith("Like"), variables=variables)
        if kind == "Arn" and self._often(0.5):
            parts = value.split(":", 5)
            parts[self._chance.choice((1, 2, 4, 5))] = self._chance.choice(("*", "a*", "?*", f"*{parts[5][-3:]}"))
            return ":".join(parts)
        if self._often(0.2):
            return {"true": True, "false": False, "10": 10}.get(value, value)
        return value

    def _text(self, value: str, *, like: bool, variables: bool) -> str:
        if variables and self._often(0.15):
            plain = ("${aws:PrincipalTag/env}", "${aws:username}", "${aws:PrincipalTag/nobody, 'cart'}")
            return self._variable() if like else self._chance.choice(plain)
        if like and self._often(0.5):
            patterns = (f"{value[:1]}*", f"*{value[-1:]}", f"{value[:-1]}?", "*", f"{value[:1]}*{value[2:]}")
            return self._chance.choice(patterns)
        return value
