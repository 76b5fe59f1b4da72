"""What a part of a call may be, so that the conditions of some matches are met and those of others are not.

The one rule: the plainest comes first, and none of it is taken for granted: whoever asks looks what it meets.
"""

from __future__ import annotations

import itertools
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from meshwright.model.gateway_routes import GrpcGatewayRouteMatch, HttpGatewayRouteMatch
from meshwright.model.routes import GrpcRouteMatch, HttpRouteMatch
from meshwright.model.scalars import HttpMethod
from meshwright.routing import grpc_path, http_path
from meshwright.trials.deriving.parts import HOST, METHOD, PATH, SCHEME, conditions, part_of
from meshwright.trials.deriving.texts import changed, usable_host, usable_query, usable_target, usable_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from meshwright.model.matching import HeaderMatchMethod
    from meshwright.simulate import Call
    from meshwright.trials.deriving.parts import Matched, Part
    from meshwright.trials.deriving.texts import Texts

METHODS = tuple(one for one in get_args(HttpMethod) if one not in {"CONNECT", "TRACE", "HEAD"})
"""Those that a workload's client can send like any other."""
_MOST = 400
"""Ways for one part to be that are looked at."""
_ASKING = 8
"""Paths and values, each, that are looked at together with a query, where conditions on `:path` count it in."""
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def choices(part: Part, call: Call, matches: Sequence[Matched], texts: Texts) -> tuple[tuple[str, ...], ...]:
    """What a part of `call` may be, as `parts.with_part` takes it: as conditions of `matches` have it, and beside."""
    kind, name = part
    asked = [one.match for match in matches for one in conditions(match) if part_of(one.name) == part]
    values = list(_values([one for one in asked if one is not None], texts))
    if part == PATH:
        found = _paths(call, matches, values, texts)
        return _few((one,) for one in found if usable_target(one) and (call.protocol != "grpc" or _named(one)))
    if part == METHOD:
        wanted = [one.method for one in matches if isinstance(one, HttpRouteMatch | HttpGatewayRouteMatch)]
        return _few((one,) for one in (call.method, *METHODS, *filter(None, wanted)))
    if part == HOST:
        return _few((one,) for one in _hosts(call, matches, values))
    if kind == "query":
        exact = [value for match in matches for value in _parameters(match, name)]
        values = [one for one in ("1", *exact, *(f"{one}x" for one in exact)) if usable_query(one)]
        return _few(((), *((one,) for one in values))) if usable_query(name) else ((),)
    if part == SCHEME:
        values = ["http", "https", *values]
    single = [one for one in ("1", *values) if usable_value(one)]
    # A header that comes twice may meet two conditions that no value meets.
    pairs = itertools.permutations(single[:8], 2) if len(asked) > 1 else ()
    # One that is there and empty is present, and meets hardly any comparison.
    empty = (("",),) if asked and part[0] == "header" else ()
    return _few(((), *((one,) for one in single), *empty, *pairs))


def sendable(part: Part, value: str) -> bool:
    """Whether a client can send `value` as that part."""
    return _SENDABLE.get(part, usable_value)(value)


_SENDABLE: Mapping[Part, Callable[[str], bool]] = MappingProxyType(
    {PATH: usable_target, METHOD: METHODS.__contains__, HOST: usable_host, SCHEME: {"http", "https"}.__contains__}
)


def _few(found: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(itertools.islice(dict.fromkeys(found), _MOST))


def _named(path: str) -> bool:
    """Whether a path names a method of gRPC."""
    _, *names = path.split("/")
    return len(names) == 2 and all(names) and "?" not in path


def _parameters(match: Matched, name: str) -> Iterator[str]:
    if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
        for one in match.query_parameters or ():
            if one.name == name and one.match is not None and one.match.exact is not None:
                yield one.match.exact


def _paths(call: Call, matches: Sequence[Matched], values: Sequence[str], texts: Texts) -> Iterator[str]:
    """Paths that matches ask for, those a little beside, and all of them behind each prefix.

    `values` are those of conditions on `:path`, which may be missed, and met, by a query alone.
    """
    yield call.path.partition("?")[0]
    stems: list[str] = []
    prefixes: list[str] = []
    for match in matches:
        if isinstance(match, HttpRouteMatch | HttpGatewayRouteMatch):
            kind, text = http_path(match)
        elif isinstance(match, GrpcRouteMatch | GrpcGatewayRouteMatch):
            kind, text = grpc_path(match)
        else:
            continue
        if kind == "regex":
            stems += (*texts.paths(text), *texts.about(text, "path")[1])
            continue
        prefixes += [text] if kind == "prefix" else []
        stems += [text or "/"] if kind == "exact" or call.protocol != "grpc" else []
    if call.protocol == "grpc":
        stems += [f"{one}{method}" for one in prefixes for method in ("Who", "Other", "Another") if one != "/"]
        stems += ["/lab.Workload/Who", "/lab.Other/Other"]
    stems += [one for one in values if one.startswith("/")]
    stems = list(dict.fromkeys(stems))
    yield from stems
    for one, asked in itertools.product(stems[:_ASKING], ("further=1", *values[:_ASKING]) if values else ()):
        yield f"{one}{'&' if '?' in one else '?'}{asked}"
    for one in stems:
        yield from (
            f"{one}x",
            f"{one.removesuffix('/')}/x",
            f"{one}/",
            one[:-1] or "/",
            f"{one}0",
            changed(one),
            one.swapcase(),
        )
    for prefix in dict.fromkeys(one.removesuffix("/") for one in prefixes):
        yield from (f"{prefix}{one}" for one in ("/further/on", *stems))
        yield from (f"{prefix}/{one}" for one in values if not one.startswith("/"))


def _hosts(call: Call, matches: Sequence[Matched], values: Iterable[str]) -> Iterator[str]:
    yield call.authority
    named = [
        one.hostname.exact or f"any{one.hostname.suffix}"
        for one in matches
        if isinstance(one, HttpGatewayRouteMatch | GrpcGatewayRouteMatch) and one.hostname is not None
    ]
    hosts = dict.fromkeys((call.host, *named, *values))
    yield from filter(usable_host, hosts)
    for one in hosts:
        if usable_host(one):
            yield from (f"{one}:{call.port}", one.upper(), f"x{one}", f"{one}.other")


def _values(matches: Sequence[HeaderMatchMethod], texts: Texts) -> Iterator[str]:
    """Values that conditions take, those a little beside, and those that begin as one wants and end as another."""
    near: list[str] = []
    for match in matches:
        near += texts.values(match)
        near += texts.other_values(match)
    near = list(dict.fromkeys(near))
    yield from near
    for one in near:
        yield from (f"{one}x", f"x{one}", one[:-1], f"{one}{one}")
        if _NUMBER.fullmatch(one):
            yield from (str(int(one) + 1), str(int(one) - 1), f"0{one}")
    begins, ends = [one.prefix for one in matches if one.prefix], [one.suffix for one in matches if one.suffix]
    for first, last in itertools.product(begins, ends):
        yield from (f"{first}{last}", f"{first}x{last}")
