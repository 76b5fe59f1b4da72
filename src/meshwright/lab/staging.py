"""A mesh as it is defined, made ready to run on one machine: other folders for its files, a collector for its traces.

Pure. The one rule: nothing else is changed, but that no address of another machine is left, where calls would go.
What decides where a request goes, and how it gets there, is as defined.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from meshwright.model.decoding import decode, encode
from meshwright.model.identity import Key, Kind
from meshwright.model.state import SPECS, Resource, State
from meshwright.snapshot.values import is_address

if TYPE_CHECKING:
    from collections.abc import Callable

Place: TypeAlias = "Callable[[Key, str], str]"
"""The path that takes the place of a path in the definition of a proxy."""

TELEMETRY = "meshwright-lab"
"""The name of the extension that has proxies report to the lab."""
_PATHS = frozenset({"certificateChain", "privateKey"})
_DEVICES = "/dev/"
_ADDRESSES = "addresses.lab"
"""The domain of nodes whose discovery name is an address."""
_FOUND = frozenset({Kind.MESH, Kind.VIRTUAL_NODE})


def localised(state: State) -> State:
    """`state` with names in the place of addresses by which nodes are found, and without a preference of families.

    Here everybody is at IPv4 addresses, which only a name can lead to.
    """
    return State([_changed(one, _here(encode(one.spec))) if one.key.kind in _FOUND else one for one in state])


def _here(spec: dict[str, Any]) -> dict[str, Any]:
    discovery = spec.get("serviceDiscovery", {})
    discovery.pop("ipPreference", None)
    for how in discovery.values():
        how.pop("ipPreference", None)
        hostname = how.get("hostname", "")
        if is_address(hostname):
            how["hostname"] = f"ip-{re.sub('[^0-9a-f]+', '-', hostname.lower())}.{_ADDRESSES}"
    return spec


def staged(state: State, place: Place, collector: str) -> State:
    """`state`, one mesh, with its files where `place` says and with all of its proxies reporting to `collector`.

    `collector` is HOST:PORT, "" to leave reports as they are. A telemetry that is defined keeps its names and its
    attributes, and reports to the lab instead, all of it.
    """
    mesh = state.meshes[0]
    ready = State([_replaced(one, place) if one.key.kind in _FILES else one for one in state])
    if not collector:
        return ready
    endpoint = {"openTelemetry": {"endpoint": collector, "protocol": "grpc"}}
    everybody = {"tracing": endpoint, "accessLog": endpoint}
    for one in state.of(Kind.TELEMETRY):
        spec: dict[str, Any] = encode(one.spec)
        told = {name: {**spec.get(name, {}), **endpoint} for name in everybody}
        told["tracing"].pop("samplingPercentage", None)
        target = {"target": spec["target"]} if "target" in spec else {}
        ready = ready.put(_changed(one, {**target, **told}))
        if not target:
            everybody = {}
    if everybody:
        key = Key(mesh, Kind.TELEMETRY, TELEMETRY)
        ready = ready.put(Resource(key=key, spec=decode(SPECS[Kind.TELEMETRY], everybody)))
    return ready


_FILES = frozenset({Kind.VIRTUAL_NODE, Kind.VIRTUAL_GATEWAY})


def _replaced(one: Resource, place: Place) -> Resource:
    written = encode(one.spec)
    moved = _moved(written, one.key, place)
    return one if moved == written else _changed(one, moved)


def _moved(value: Any, proxy: Key, place: Place) -> Any:
    """`value` of a spec with its paths of files replaced; devices stay what they are."""
    if isinstance(value, list):
        return [_moved(one, proxy, place) for one in value]
    if not isinstance(value, dict):
        return value
    moved = {name: _moved(one, proxy, place) for name, one in value.items()}
    for name in _PATHS.intersection(moved):
        moved[name] = place(proxy, moved[name])
    log = moved.get("accessLog", {}).get("file", {}) if isinstance(moved.get("accessLog"), dict) else {}
    if log and not log["path"].startswith(_DEVICES):
        log["path"] = place(proxy, log["path"])
    return moved


def _changed(one: Resource, spec: dict[str, Any]) -> Resource:
    return Resource(key=one.key, spec=decode(SPECS[one.key.kind], spec), tags=one.tags)
