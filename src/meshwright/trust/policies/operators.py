"""The condition operators of IAM: how each reads a policy's value, how it reads a request's, and when they agree.

The one rule: a value that is not of the operator's type is nothing to guess at. In a policy it is a fault; in a
request the comparison is left undecided (None), and `conditions` says what follows.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from meshwright.trust.policies.arns import ArnPattern, arn_pattern, segments
from meshwright.trust.policies.patterns import SEGMENTS, Glob, Piece, Wild, glob, joined

Read: TypeAlias = Callable[[str], Any]
"""A request's value, None when it is not of the type."""


class Operator(msgspec.Struct, frozen=True):
    """One operator, without `IfExists` and set qualifiers."""

    name: str
    compiled: Callable[[Sequence[Sequence[Piece]]], Any]
    """A policy's value made ready, of an ARN its parts; raises ValueError saying what was expected."""
    read: Read
    agrees: Callable[[Any, Any], bool]
    """Whether a compiled value of the policy and a read one of the request agree."""
    negated: bool = False
    variables: bool = False
    """Whether policy variables are filled in."""
    wildcards: bool = False
    arns: bool = False
    """Whether values are split at colons before variables are filled in: what these bring in shifts nothing."""


def _text(split: Sequence[Sequence[Piece]]) -> str:
    return ":".join("".join(part.value if isinstance(part, Wild) else part for part in parts) for parts in split)


def _folded(split: Sequence[Sequence[Piece]]) -> str:
    return _text(split).lower()


def _glob(split: Sequence[Sequence[Piece]]) -> Glob:
    return glob(joined(split[0]))


def _as_it_is(value: str) -> str:
    return value


def _glob_agrees(pattern: Glob, value: str) -> bool:
    return pattern.matches(value)


_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})", re.ASCII)


def _read_number(value: str) -> Decimal | None:
    return Decimal(value) if _NUMBER.fullmatch(value) else None


_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)"
    r"(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-][01]\d:[0-5]\d))?)?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"\d{5,14}(\.\d{1,9})?", re.ASCII)


def read_date(value: str) -> Decimal | None:
    """Seconds since the epoch of a W3C date (`2026`, `2026-01-31`, `2026-01-31T23:59:59Z`) or of epoch seconds.

    Source: https://www.w3.org/TR/NOTE-datetime
    """
    if _EPOCH.fullmatch(value):
        return Decimal(value)
    found = _DATE.fullmatch(value)
    if found is None:
        return None
    fields = {name: int(found[name] or least) for name, least in _LEAST.items()}
    try:
        moment = datetime(**fields, tzinfo=UTC)
    except ValueError:
        return None
    seconds = Decimal((moment - _START) // timedelta(seconds=1)) - _offset(found["zone"] or "Z")
    return seconds + (Decimal(f"0.{found['fraction']}") if found["fraction"] else 0)


_START = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST = {"year": 1, "month": 1, "day": 1, "hour": 0, "minute": 0, "second": 0}


def _offset(zone: str) -> int:
    if zone == "Z":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
    return -seconds if zone[0] == "-" else seconds


def _read_bool(value: str) -> bool | None:
    return {"true": True, "false": False}.get(value.lower())


def _read_binary(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _read_address(value: str) -> Address | None:
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        return None
    # What a socket of both families shows of an IPv4 peer.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _network(split: Sequence[Sequence[Piece]]) -> Network:
    text = _text(split)
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is no IP address or CIDR range such as '203.0.113.0/24'") from None


def _contains(network: Network, address: Address) -> bool:
    return address in network


def _arn(split: Sequence[Sequence[Piece]]) -> ArnPattern:
    if len(split) == 1:  # `${aws:SourceArn}` brings in all of an ARN
        split = segments(split[0])
    if len(split) != SEGMENTS:
        raise ValueError(
            f"{_text(split)[:200]!r} is not of an ARN's six parts, so that it would match none; "
            "use a String operator for other patterns"
        )
    return arn_pattern(split, runs_on=False)


def _read_arn(value: str) -> tuple[str, list[str]] | None:
    parts = value.split(":", SEGMENTS - 1)
    return (value, parts) if len(parts) == SEGMENTS and parts[0] == "arn" else None


def _arn_agrees(pattern: ArnPattern, value: tuple[str, list[str]]) -> bool:
    return pattern.matches(*value)


def _typed(read: Read, expected: str) -> Callable[[Sequence[Sequence[Piece]]], Any]:
    def compiled(split: Sequence[Sequence[Piece]]) -> Any:
        text = _text(split)
        value = read(text)
        if value is None:
            raise ValueError(f"{text[:80]!r} is not {expected}")
        return value

    return compiled


def _table() -> dict[str, Operator]:
    number = _typed(_read_number, "a number such as 10 or 1.5")
    date = _typed(read_date, "a date such as '2026-01-31' or '2026-01-31T23:59:59Z', or seconds since the epoch")
    known = [
        Operator("StringEquals", _text, _as_it_is, operator.eq, variables=True),
        Operator("StringEqualsIgnoreCase", _folded, str.lower, operator.eq, variables=True),
        Operator("StringLike", _glob, _as_it_is, _glob_agrees, variables=True, wildcards=True),
        Operator("ArnEquals", _arn, _read_arn, _arn_agrees, variables=True, wildcards=True, arns=True),
        Operator("ArnLike", _arn, _read_arn, _arn_agrees, variables=True, wildcards=True, arns=True),
        Operator("NumericEquals", number, _read_number, operator.eq),
        Operator("DateEquals", date, read_date, operator.eq),
        Operator("IpAddress", _network, _read_address, _contains),
    ]
    opposite = {"IpAddress": "NotIpAddress"}
    known += [
        msgspec.structs.replace(
            one, negated=True, name=opposite.get(one.name) or re.sub("(Equals|Like)", r"Not\1", one.name)
        )
        for one in known
    ]
    # The policy's value comes first: `NumericLessThan: 10` holds for a request's 9, when 10 is greater than 9.
    for suffix, holds in (
        ("LessThan", operator.gt),
        ("LessThanEquals", operator.ge),
        ("GreaterThan", operator.lt),
        ("GreaterThanEquals", operator.le),
    ):
        known.append(Operator(f"Numeric{suffix}", number, _read_number, holds))
        known.append(Operator(f"Date{suffix}", date, read_date, holds))
    known.append(Operator("Bool", _typed(_read_bool, "true or false"), _read_bool, operator.eq, variables=True))
    known.append(Operator("BinaryEquals", _typed(_read_binary, "base64"), _read_binary, operator.eq))
    known.append(Operator("Null", _typed(_read_bool, "true or false"), _read_bool, operator.eq))
    return {one.name: one for one in known}


OPERATORS = _table()
"""By name, as policies write them."""
