"""What may go wrong while a mesh runs, on purpose and for a while: each fault is a context, and ends with it.

The one rule: what fails is a workload, its machine, or what the mesh depends on; proxies hold what they held before.
When a context ends, callers have found out that all is well again, however they find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.errors import MeshwrightError, UsageError
from meshwright.lab.exchange import UNAVAILABLE, Fault
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.snapshot.names import EGRESS_CLUSTERS
from meshwright.trials.trial import FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from meshwright.lab.instance import Instance
    from meshwright.lab.rig import Rig
    from meshwright.lab.workload import Workload
    from meshwright.model.identity import Key
    from meshwright.trials.trial import Given

_Wanted: TypeAlias = "Callable[[dict[str, bool]], bool]"
_PATIENCE = 2.0
"""Seconds that callers have to find out that an instance is well again, before they are started anew."""
_DISCOVERY = 12.0
"""Seconds that callers have to find out where instances are: they ask DNS every five."""
_ACQUAINTANCE = 5.0
"""Seconds that callers have at the start to know whom they call; definitions may name instances that never come."""
_TELLING = 1.0
"""Seconds after one change of a host's health until an Envoy tells its workers of the next: once a second at most.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto, `update_merge_window`
"""
_POLL = 0.05
_CHECK_FAILED = "failed_active_health_check"
"""In Envoy's word on a host."""
_BEHAVIOURS: Mapping[FaultKind, Fault] = MappingProxyType(
    {FaultKind.LATENCY: Fault(), FaultKind.ABORT: Fault(), FaultKind.RESET: Fault(reset=True)}
)
"""What applications do by themselves."""


class _Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What of a proxy's word on a node's instances is looked at."""

    ports: frozenset[int] = frozenset()
    """Those of the listeners; none for all of them."""
    flags: tuple[str, ...] = (_CHECK_FAILED, "failed_outlier_check")
    """Which say that an instance is not well."""


_AT_ALL = _Looked()


def holding(rig: Rig, given: Given) -> contextlib.AbstractAsyncContextManager[None]:
    """What a trial is given, as a context.

    Raises:
        UsageError: nothing like it runs here, or it cannot be confined to some requests.
    """
    if given.kind is FaultKind.CONTROL_PLANE:
        return abandoned(rig)
    key, count = rig.named(given.at), given.instances
    behaviour = _BEHAVIOURS.get(given.kind)
    if given.kind is FaultKind.BLACKHOLE and given.headers:
        behaviour = Fault(silent=True)
    if behaviour is not None:
        return misbehaving(rig, key, _told(behaviour, given), count)
    if given.headers:
        raise UsageError(f"{given.kind} at {given.at!r} befalls connections: it cannot be for requests with a header")
    if given.kind is FaultKind.BANDWIDTH:
        return trickling(rig, key, given.bandwidth, count)
    if given.kind is FaultKind.EXPIRED_CERTIFICATE:
        return expired(rig, key)
    befalling = {
        FaultKind.REFUSED: refusing,
        FaultKind.BLACKHOLE: unreachable,
        FaultKind.CRASH: crashed,
        FaultKind.LOST: lost,
        FaultKind.UNHEALTHY: unhealthy,
    }
    return befalling[given.kind](rig, key, count)


def _told(behaviour: Fault, given: Given) -> Fault:
    """`behaviour` with the numbers of a trial, whose times are milliseconds."""
    failing = given.kind is FaultKind.ABORT
    return msgspec.structs.replace(
        behaviour,
        delay=given.latency / 1_000,
        jitter=given.jitter / 1_000,
        status=(given.status or 503) if failing else 200,
        grpc_status=given.grpc_status or UNAVAILABLE,
        headers=dict(given.headers),
    )


@contextlib.asynccontextmanager
async def misbehaving(rig: Rig, node: Key, fault: Fault, count: int | None = None) -> AsyncIterator[None]:
    """The first `count` workloads of `node`, or all, behave as `fault` says, beside all else that they are told."""
    chosen = _chosen(rig, node, count)
    for one in _workloads(chosen):
        one.given.append(fault)
    try:
        yield
    finally:
        for one in _workloads(chosen):
            one.given.remove(fault)
        if not fault.headers:
            await settled(rig, node)


@contextlib.asynccontextmanager
async def refusing(rig: Rig, node: Key, count: int | None = None) -> AsyncIterator[None]:
    """Nobody listens where the applications of the first `count` instances of `node`, or of all, listened."""
    chosen = _chosen(rig, node, count)
    try:
        for one in _workloads(chosen):
            await one.refuse()
        yield
    finally:
        await _resumed(rig, node, chosen)


@contextlib.asynccontextmanager
async def unreachable(rig: Rig, node: Key, count: int | None = None) -> AsyncIterator[None]:
    """Whatever is sent to the applications of the first `count` instances of `node`, or of all, is lost.

    Connections are not made, and those that there are carry no answers.
    """
    chosen, silence = _chosen(rig, node, count), Fault(silent=True)
    try:
        for one in _workloads(chosen):
            one.ignore()
            one.given.append(silence)
        yield
    finally:
        for one in _workloads(chosen):
            one.given.remove(silence)
        await _resumed(rig, node, chosen)


@contextlib.asynccontextmanager
async def trickling(rig: Rig, node: Key, bandwidth: float, count: int | None = None) -> AsyncIterator[None]:
    """The applications of the first `count` instances of `node`, or of all, send `bandwidth` bytes a second."""
    chosen = _chosen(rig, node, count)
    for one in _workloads(chosen):
        one.narrow(bandwidth)
    try:
        yield
    finally:
        for one in _workloads(chosen):
            one.narrow(0)
        await settled(rig, node)


@contextlib.asynccontextmanager
async def crashed(rig: Rig, key: Key, count: int | None = None) -> AsyncIterator[None]:
    """The first `count` instances of a node or gateway, or all, are gone, proxies and applications; then they return.

    Discovery still tells of them: nobody has noticed yet.
    """
    chosen = _chosen(rig, key, count)
    try:
        await asyncio.gather(*(one.crash() for one in chosen))
        yield
    finally:
        await asyncio.gather(*(one.restart() for one in chosen))
        await settled(rig, key)


@contextlib.asynccontextmanager
async def lost(rig: Rig, node: Key, count: int | None = None) -> AsyncIterator[None]:
    """DNS or Cloud Map does not tell of the first `count` instances of `node`, or of all, and callers know it.

    The instances run all the same. Where DNS tells of none any more, callers are not waited for.

    Raises:
        UsageError: the node is found in another way.
        MeshwrightError: callers did not find out in time.
    """
    chosen, discovery = _chosen(rig, node, count), _discovery(rig, node)
    left = len(rig.instances(node)) - len(chosen)
    gone = {one.machine.address for one in chosen}
    try:
        for one in chosen:
            rig.hide(one)
        if left or discovery == "cloud-map":
            await _until(rig, node, gone.isdisjoint, f"know that {', '.join(sorted(gone))} is gone")
        yield
    finally:
        for one in chosen:
            rig.show(one)
        if discovery != "one":
            await _until(rig, node, gone.issubset, f"know that {', '.join(sorted(gone))} is back")
        await settled(rig, node)


@contextlib.asynccontextmanager
async def unhealthy(rig: Rig, node: Key, count: int | None = None) -> AsyncIterator[None]:
    """The first `count` instances of `node`, or all, fail its health checks, and callers know it.

    The instances answer whatever else they are asked.

    Raises:
        UsageError: the node has no health check that an application can fail.
        MeshwrightError: callers did not find out in time.
    """
    chosen, looked, ill = _chosen(rig, node, count), _checked(rig, node), Fault(ill=True)
    gone = {one.machine.address for one in chosen}

    def well(hosts: dict[str, bool]) -> bool:
        return all(hosts.get(one, True) for one in gone)

    # Who does not take them for good ones now, as where client and server want other TLS, never will.
    never = await _waiting(rig, node, well, _PATIENCE, looked)
    began_at = time.monotonic()
    try:
        for one in _workloads(chosen):
            one.given.append(ill)
        await _until(rig, node, lambda hosts: not any(map(hosts.get, gone)), "give up who fails checks", looked)
        await _told_workers(began_at)
        began_at = time.monotonic()
        yield
    finally:
        for one in _workloads(chosen):
            one.given.remove(ill)
        await _until(rig, node, well, "take them back", looked, but=never)
        await _told_workers(began_at)


@contextlib.asynccontextmanager
async def expired(rig: Rig, key: Key) -> AsyncIterator[None]:
    """The certificates that a node's or gateway's proxies show have expired; they were started again since.

    Raises:
        UsageError: they show none.
    """
    try:
        with rig.expired(key):
            await asyncio.gather(*(one.restart() for one in rig.instances(key)))
            yield
    finally:
        await asyncio.gather(*(one.restart() for one in rig.instances(key)))
        await settled(rig, key)


@contextlib.asynccontextmanager
async def abandoned(rig: Rig) -> AsyncIterator[None]:
    """The control plane is dead; then it is started again, and every proxy finds it."""
    await rig.lab.control.kill()
    try:
        yield
    finally:
        await rig.lab.control.start()
        await rig.lab.connected()


async def well(rig: Rig, key: Key) -> None:
    """Return once every caller takes every instance of `key` for a good one, or has had time to."""
    if await _waiting(rig, key, lambda hosts: all(hosts.values()), 0):
        await _waiting(rig, key, lambda hosts: all(hosts.values()), _PATIENCE)
        await _told_workers(time.monotonic())


async def _told_workers(changed_at: float) -> None:
    """Return once an Envoy has told its workers of a change of health that came soon after one at `changed_at`."""
    await asyncio.sleep(changed_at + _TELLING - time.monotonic())


async def settled(rig: Rig, key: Key) -> None:
    """Return once every caller takes every instance of `key` for a good one.

    Callers whose outlier detection or health checks would take longer are started anew: that is what they would know.
    """
    late = await _waiting(rig, key, lambda hosts: all(hosts.values()), _PATIENCE)
    await asyncio.gather(*(one.restart() for one in late))


async def acquainted(rig: Rig) -> None:
    """Return once every caller takes all instances that it knows for good ones, or has had time to.

    Instances that register, and those whose health is checked, are known only once they have shown to be well.
    """
    mesh = rig.lab.mesh
    running = {one.role.key.name for one in rig.lab.fleet.instances if one.role.key.kind is Kind.VIRTUAL_NODE}
    called = tuple(f"{EGRESS_CLUSTERS}{mesh}_{name}_" for name in running)
    late = tuple(one for one in rig.lab.fleet.instances if one.envoy is not None)
    end = time.monotonic() + _ACQUAINTANCE
    while True:
        known = await asyncio.gather(*(_hosts(one, called, _AT_ALL) for one in late))
        late = tuple(
            one
            for one, hosts in zip(late, known, strict=True)
            if not all(each and all(each.values()) for each in hosts)
        )
        if not late or time.monotonic() > end:
            return
        await asyncio.sleep(_POLL)


async def warmed(rig: Rig) -> None:
    """Return once every proxy uses what it was sent last: it takes the new in place of the old when it is warm.

    Raises:
        MeshwrightError: one did not in time.
    """
    end = time.monotonic() + _DISCOVERY
    while late := [one.name for one in rig.lab.fleet.instances if not await one.warm()]:
        if time.monotonic() > end:
            raise MeshwrightError(f"{', '.join(late)} did not come to use what was sent within {_DISCOVERY:g} s")
        await asyncio.sleep(_POLL)


async def _until(
    rig: Rig, key: Key, wanted: _Wanted, what: str, looked: _Looked = _AT_ALL, but: Sequence[Instance] = ()
) -> None:
    late = await _waiting(rig, key, wanted, _DISCOVERY, looked, but)
    if late:
        names = ", ".join(one.name for one in late)
        raise MeshwrightError(f"{names} did not come to {what} within {_DISCOVERY:g} s")


async def _waiting(
    rig: Rig, key: Key, wanted: _Wanted, seconds: float, looked: _Looked = _AT_ALL, but: Sequence[Instance] = ()
) -> tuple[Instance, ...]:
    """The callers of `key`, but for some, of whom `wanted` does not hold after `seconds`.

    It is asked of the addresses that they know, and whether those are well.
    """
    running = (one for one in rig.lab.fleet.instances if one.envoy is not None and one.envoy.status is None)
    late = tuple(one for one in running if one not in but)
    prefix = f"{EGRESS_CLUSTERS}{key.mesh_name}_{key.name}_"
    end = time.monotonic() + seconds
    while True:
        known = await asyncio.gather(*(_hosts(one, prefix, looked) for one in late))
        late = tuple(one for one, hosts in zip(late, known, strict=True) if hosts and not all(map(wanted, hosts)))
        if not late or time.monotonic() > end:
            return late
        await asyncio.sleep(_POLL)


async def _hosts(caller: Instance, prefixes: str | tuple[str, ...], looked: _Looked) -> list[dict[str, bool]]:
    """The instances that a proxy knows, a mapping for each cluster of such a name: whether it is well, by address."""
    told = await caller.look("/clusters?format=json")
    found: list[dict[str, bool]] = []
    for cluster in json.loads(told or "{}").get("cluster_statuses", ()):
        name: str = cluster["name"]
        if not name.startswith(prefixes):
            continue
        if not looked.ports or int(name.rpartition("_")[2]) in looked.ports:
            hosts: list[dict[str, Any]] = cluster.get("host_statuses", [])
            found.append({
                one["address"]["socket_address"]["address"]: not any(map(one["health_status"].get, looked.flags))
                for one in hosts
            })  # fmt: skip
    return found


async def _resumed(rig: Rig, node: Key, chosen: Sequence[Instance]) -> None:
    for one in _workloads(chosen):
        await one.resume()
    await settled(rig, node)


def _chosen(rig: Rig, key: Key, count: int | None) -> tuple[Instance, ...]:
    running = rig.instances(key)
    if count is not None and not 0 < count <= len(running):
        raise UsageError(f"{count} instances of {key.name!r} cannot fail: {len(running)} run here")
    return running[:count]


def _workloads(chosen: Sequence[Instance]) -> tuple[Workload, ...]:
    for one in chosen:
        if one.program is not None:
            raise UsageError(f"{one.name} runs a program of yours, which cannot be told to misbehave; it can crash")
    return tuple(one.workload for one in chosen if one.workload is not None)


def _checked(rig: Rig, node: Key) -> _Looked:
    """What a proxy says of the health checks that an application can fail."""
    spec = rig.graph.state[node].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    found = [one for one in listeners if one.health_check is not None]
    asked = frozenset(
        one.port_mapping.port for one in found if one.health_check and one.health_check.protocol != "tcp"
    )
    if not asked:
        had = "its health check asks for no more than a connection, which its proxy takes" if found else "it has none"
        raise UsageError(f"no instance of {node.name!r} can fail a health check: {had}")
    return _Looked(ports=asked, flags=(_CHECK_FAILED,))


def _discovery(rig: Rig, node: Key) -> str:
    """How callers find instances: `cloud-map`, DNS that tells of `all`, or of `one` at a time."""
    spec = rig.graph.state[node].spec
    found = spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None
    if found is None or rig.graph.extensions(Kind.REGISTRATION, node):
        raise UsageError(f"neither DNS nor Cloud Map tells of {node.name!r}: they cannot lose an instance of it")
    if found.dns is None:
        return "cloud-map"
    return "all" if found.dns.response_type == "ENDPOINTS" else "one"
