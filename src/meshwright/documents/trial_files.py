"""Files of tests: YAML beside the definitions, each test with its file and line.

The one rule: strict and whole. What is not understood, or names what the mesh does not have, is refused with its
line, all of it at once; a test that would silently test something else is worse than none.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from meshwright.diagnostics import Source
from meshwright.documents import files
from meshwright.documents.positions import Items, Table, described, reach
from meshwright.documents.yaml_positions import read_yaml
from meshwright.errors import UnreadableError, UsageError, did_you_mean, ended
from meshwright.model.decoding import DecodeError, decode
from meshwright.model.identity import Kind
from meshwright.simulate import call_of
from meshwright.trials import written
from meshwright.trials.sendable import unsendable
from meshwright.trials.shares import CONFIDENCE
from meshwright.trials.trial import Bounds, Encryption, Expect, FaultKind, Given, Reported, Suite, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from meshwright.model.identity import Key
    from meshwright.model.state import State
    from meshwright.simulate import Call

_SUFFIXES = (".yaml", ".yml")
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "B": 1, "KB": 1_000, "MB": 1_000_000}
_KINDS = {
    "reset": FaultKind.RESET,
    "refused": FaultKind.REFUSED,
    "blackhole": FaultKind.BLACKHOLE,
    "crash": FaultKind.CRASH,
    "lost": FaultKind.LOST,
    "unhealthy": FaultKind.UNHEALTHY,
    "expired_certificate": FaultKind.EXPIRED_CERTIFICATE,
    "control_plane": FaultKind.CONTROL_PLANE,
    "latency": FaultKind.LATENCY,
    "abort": FaultKind.ABORT,
    "bandwidth": FaultKind.BANDWIDTH,
}
_UNTAKEN: Mapping[str, str] = MappingProxyType({
    "jitter": "goes with 'latency' only",
    "when": "a fault {!r} befalls everybody, not requests with a header",
    "instances": "a fault {!r} befalls all of them",
    "at": "there is one control plane, and it is nowhere in the mesh; leave it out",
})  # fmt: skip
"""What is told of a member that does not go with a fault."""
_OF_PROXIES = frozenset({FaultKind.CRASH, FaultKind.EXPIRED_CERTIFICATE})
_PROXIES = (Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY)
_GRPC = get_args(written.GrpcStatus)
_EXPECTING = tuple(name for name in written.Expect.__struct_fields__ if name not in written.UNASKED)
_SHARED = 1_000
"""Calls that shares are counted over where nobody says how many."""


def find(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The files of tests that `paths` stand for: themselves, and every YAML file below folders, in order.

    Raises:
        UsageError: one is not there.
    """
    listed = tuple(paths)
    for path in listed:
        if not path.exists():
            raise UsageError(f"There are no tests at {path}: no such file or folder.")
    inside = files.find(listed)
    return tuple(
        dict.fromkeys(one for path in listed for one in inside[path] if one.suffix in _SUFFIXES or one == path)
    )


def load(paths: Sequence[Path], state: State) -> Suite:
    """The tests in the files and folders `paths`, of the mesh in `state`.

    Raises:
        UnreadableError: a file cannot be read, or is no YAML.
        UsageError: a file holds what it cannot hold, or names what the mesh does not have; every fault with its line.
    """
    suite, faults = Suite(), list[str]()
    names: dict[str, Source | None] = {}
    for path in find(paths):
        reader = _Reader(path, state)
        one = reader.suite()
        for trial in one.trials:
            before = names.setdefault(trial.name, trial.source)
            if before is not trial.source:
                reader.faults.append(f"{trial.source}: a test {trial.name!r} stands at {before} already; rename one.")
        faults += reader.faults
        suite = suite.beside(one)
    if faults:
        raise UsageError("\n".join(faults))
    return suite


class _Reader:
    """Takes one file apart and collects what is wrong with it."""

    def __init__(self, path: Path, state: State) -> None:
        self._path = path
        self.faults: list[str] = []
        self._meaning = Meaning(state, self._fault)
        self._root: Any = None

    def suite(self) -> Suite:
        """What the file holds; nothing where it has faults."""
        file = self._file()
        if file is None:
            return Suite()
        trials = tuple(self._trial(one, f"tests[{index}]") for index, one in enumerate(file.tests))
        for name in file.instances:
            self._meaning.key(name, f"instances.{name}")
        return Suite(trials=tuple(one for one in trials if one is not None), instances=file.instances)

    def _file(self) -> written.File | None:
        text, unreadable = files.read_text(self._path)
        if unreadable is not None:
            told = f"{self._at(unreadable.place)}: {unreadable.summary}. {unreadable.detail}"
            raise UnreadableError(told.rstrip())
        parsed = read_yaml(text)
        if parsed.fault is not None:
            raise UnreadableError(f"{self._at(parsed.fault.place)}: {parsed.fault.summary}. {parsed.fault.detail}")
        for fault in (fault for one in parsed.documents for fault in one.faults):
            self.faults.append(f"{self._at(fault.place)}: {fault.summary}. {fault.detail}".rstrip())
        # A file may be the list alone, several documents, or a mapping that says more.
        self._root = Table((1, 1))
        tests = Items((1, 1))
        for document in parsed.documents:
            self._gather(document.value, document.place, tests)
        if tests and "tests" not in self._root:
            self._root.put("tests", tests, tests.place)
        try:
            return None if self.faults else decode(written.File, _plain(self._root))
        except DecodeError as error:
            for one in error.problems:
                _, place, _ = reach(self._root, one.path)
                told = f"{one.message}; {one.hint}" if one.hint else one.message
                self.faults.append(f"{self._at(place)}: {one.path}: {ended(told)}")
            return None

    def _gather(self, value: Any, place: tuple[int, int], tests: Items) -> None:
        if isinstance(value, Items):
            for one, where in zip(value, value.places, strict=True):
                tests.put(one, where)
        elif isinstance(value, Table) and "name" in value and "request" in value:
            tests.put(value, place)
        elif isinstance(value, Table):
            for key, one in value.items():
                if key == "tests" and isinstance(one, Items):
                    self._gather(one, place, tests)
                elif key in self._root:
                    self.faults.append(
                        f"{self._at(value.places[key])}: {key}: stands in an earlier document already."
                    )
                else:
                    self._root.put(key, one, value.places[key])
        elif value is not None:
            told = (
                f"a file of tests is a list of tests, one test or a mapping with 'tests'; found {described(value)}."
            )
            self.faults.append(f"{self._at(place)}: {told}")

    def _trial(self, test: written.Test, at: str) -> Trial | None:
        before = len(self.faults)
        found = self._meaning.trial(test, at, self._at(reach(self._root, at)[1]))
        return None if len(self.faults) > before else found

    def _fault(self, at: str, told: str) -> None:
        self.faults.append(f"{self._at(reach(self._root, at)[1])}: {at}: {ended(told)}")

    def _at(self, place: tuple[int, int]) -> Source:
        return Source(file=str(self._path), line=place[0], column=place[1])


class Meaning:
    """What the words of tests mean in a mesh, whoever says them."""

    def __init__(self, state: State, fault: Callable[[str, str], None]) -> None:
        """`fault` is told what cannot be meant: the member, as `tests[0].given[1].at`, and what is wrong with it."""
        self._state = state
        self._fault = fault

    def trial(self, test: written.Test, at: str, source: Source) -> Trial | None:
        """A test, written at `source`; where a fault was told, None or something that must not be run."""
        caller = self.key(test.from_, f"{at}.from")
        call = self.call(test.request, f"{at}.request")
        given = tuple(self.given(one, f"{at}.given[{index}]") for index, one in enumerate(test.given))
        expect = self.expect(test.expect, f"{at}.expect")
        if not any(written.said(test.expect, name) for name in _EXPECTING):
            self._fault(f"{at}.expect", "says nothing of what is to come of it; say at least a status")
        if call is not None and call.protocol == "tcp" and test.expect.spans:
            self._fault(f"{at}.expect.spans", "a call over TCP leaves none; leave them out")
        for name in written.FAULTY:
            if written.said(test.expect, name) and not given:
                self._fault(f"{at}.expect.{name}", "is about a time with a fault; say which under 'given'")
        for index, one in enumerate(test.given):
            for name, value in one.when.items():
                if value not in {had for key, had in test.request.headers.items() if key.lower() == name.lower()}:
                    told = f"the request carries no header {name}: {value}, so the fault would never be felt"
                    self._fault(f"{at}.given[{index}].when.{name}", told)
        if caller is None or call is None:
            return None
        return Trial(
            name=test.name,
            call=call,
            expect=expect,
            caller=caller,
            given=tuple(one for one in given if one is not None),
            of=test.expect.of or (_SHARED if test.expect.shares else 1),
            at_once=test.expect.at_once,
            steady=test.expect.steady,
            onward=test.request.onward,
            source=source,
        )

    def call(self, request: written.Request, at: str) -> Call | None:
        """What is called; None where a fault was told."""
        known = {one.key.name for one in self._state.of(Kind.VIRTUAL_SERVICE)}
        for name in request.onward:
            if name not in known:
                listed = f"known here: {', '.join(sorted(known)) or 'none'}"
                told = f"the definitions have no VirtualService {name!r}; {did_you_mean(name, known, listed)}"
                self._fault(f"{at}.onward", told)
        try:
            call = call_of(request.url, request.method, request.headers.items())
        except UsageError as error:
            self._fault(f"{at}.url", str(error))
            return None
        for name, told in unsendable(call):
            self._fault(f"{at}.{name}", told)
        return call

    def given(self, one: written.Given, at: str) -> Given | None:
        """A fault of the mesh; None where there is none or several."""
        kinds = [name for name in written.FAULTS if written.said(one, name)]
        if len(kinds) != 1:
            told = f"found {' and '.join(kinds)}" if kinds else "found none"
            self._fault(at, f"takes exactly one of {', '.join(written.FAULTS)}; {told}")
            return None
        kind = _KINDS[kinds[0]]
        self._placed(one, kinds[0], at)
        few, many = (int(part) for part in one.instances.split(" of ")) if one.instances else (None, None)
        if few is not None and many is not None and few > many:
            self._fault(f"{at}.instances", f"{few} of {many} are more than there are")
        abort = one.abort
        return Given(
            kind=kind,
            at=one.at or "",
            instances=few,
            of=many,
            latency=_milliseconds(one.latency),
            jitter=_milliseconds(one.jitter),
            status=abort if isinstance(abort, int) else 0,
            grpc_status=_GRPC.index(abort) if isinstance(abort, str) else 0,
            bandwidth=_number(one.bandwidth.removesuffix("/s")) if one.bandwidth else 0,
            headers={name.lower(): value for name, value in one.when.items()},
        )

    def _placed(self, one: written.Given, name: str, at: str) -> None:
        """Whether a fault says where, and what goes with it."""
        takes = written.FAULTS[name]
        for member in written.BESIDE:
            if written.said(one, member) and member not in takes:
                self._fault(f"{at}.{member}", _UNTAKEN[member].format(name))
        if "at" in takes and one.at is None:
            self._fault(at, "says not where; add 'at' with the name of a virtual node")
        elif "at" in takes and one.at is not None:
            self.key(one.at, f"{at}.at", _PROXIES if _KINDS[name] in _OF_PROXIES else _PROXIES[:1])

    def expect(self, one: written.Expect, at: str) -> Expect:
        """What must come of a call, or of several."""
        shares = {name: _part(share) for name, share in one.shares.items()}
        if shares and sum(shares.values()) > 1.000_001:
            self._fault(f"{at}.shares", f"come to {sum(shares.values()):.0%} in all")
        for member in ("served_by", "not_served_by", "path"):
            for name in _tuple(getattr(one, member)):
                self.key(name, f"{at}.{member}")
        spans = [written.Reported(at=said) if isinstance(said, str) else said for said in one.spans]
        for said in spans:
            self.key(said.at, f"{at}.spans")
        for name in one.shares:
            self.key(name, f"{at}.shares.{name}")
        return Expect(
            statuses=_tuple(one.status),
            grpc_statuses=tuple(_GRPC.index(status) for status in _tuple(one.grpc_status)),
            served_by=_tuple(one.served_by),
            not_served_by=_tuple(one.not_served_by),
            shares=shares,
            path=one.path,
            attempts=_bounds(one.attempts),
            given_up=_times(one.given_up),
            within=_milliseconds(one.within) if one.within else None,
            headers={name.lower(): value for name, value in one.headers.items()},
            arrived={name.lower(): value for name, value in one.arrived.items()},
            encryption=Encryption(one.tls) if one.tls else None,
            peer=one.peer,
            errors=one.errors,
            spans=tuple(map(_reported, spans)),
            avoided=one.avoided,
            confidence=_part(one.confidence) if one.confidence else CONFIDENCE,
        )

    def key(self, name: str, at: str, kinds: tuple[Kind, ...] = _PROXIES) -> Key | None:
        """The virtual node or gateway that is called `name`; None where a fault was told."""
        known = {one.key.name: one.key for kind in reversed(kinds) for one in self._state.of(kind)}
        if name not in known:
            what = " or ".join(kind.type_name for kind in kinds)
            listed = f"known here: {', '.join(sorted(known)) or 'none'}"
            self._fault(at, f"the definitions have no {what} {name!r}; {did_you_mean(name, known, listed)}")
        return known.get(name)


def _tuple(value: Any) -> tuple[Any, ...]:
    """One or several, as a tuple."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _reported(one: written.Reported) -> Reported:
    times = _bounds(one.times) or Bounds(least=1)
    return Reported(proxy=one.at, kind=one.kind or "", attributes=one.attributes, times=times)


def _bounds(value: int | written.Span | None) -> Bounds | None:
    if value is None:
        return None
    return (
        Bounds(least=value, most=value)
        if isinstance(value, int)
        else Bounds(least=value.at_least, most=value.at_most)
    )


def _times(value: written.Times | None) -> Bounds | None:
    if value is None:
        return None
    return Bounds(least=_milliseconds(value.at_least), most=_milliseconds(value.at_most) if value.at_most else None)


def _milliseconds(text: str | None) -> int:
    return _number(text) if text else 0


def _number(text: str) -> int:
    """A number with a unit, in milliseconds or bytes."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text)
    if found is None:
        raise AssertionError(f"the form let {text!r} through")
    return round(float(found[1]) * _UNITS[found[2]])


def _part(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def _plain(value: Any) -> Any:
    """`value` without positions, and with scalars that YAML reads as numbers where text is meant kept as they are."""
    if isinstance(value, Table):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Items):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # as JSON has it: 200.0 is a whole number
    return str(value) if isinstance(value, str) else value
