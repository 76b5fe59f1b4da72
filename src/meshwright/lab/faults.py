"""What may go wrong while a mesh runs, on purpose and for a while: each fault is a context, and ends with it.

The one rule: what fails is a workload, its machine, or what the mesh depends on; proxies hold what they held before.
When a context ends, callers have found out that all is well again, however they find out.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec

from meshwright.errors import MeshwrightError, UsageError
from meshwright.lab.exchange import UNAVAILABLE, Fault
from meshwright.lab.health import CHECK_FAILED, PATIENCE, Looked, settled, until, waiting, workers_told
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.trials.checks import asked_path
from meshwright.trials.trial import FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from meshwright.lab.instance import Instance
    from meshwright.lab.rig import Rig
    from meshwright.lab.workload import Workload
    from meshwright.model.identity import Key
    from meshwright.trials.trial import Given

_BEHAVIOURS: Mapping[FaultKind, Fault] = MappingProxyType({
    FaultKind.LATENCY: Fault(), FaultKind.ABORT: Fault(), FaultKind.RESET: Fault(reset=True),
    FaultKind.BLACKHOLE: Fault(silent=True),
})  # fmt: skip
"""What applications do by themselves."""


class Settle(Protocol):
    """What is waited for when a fault of `key` is over; `checks` as for `settled`."""

    async def __call__(self, rig: Rig, key: Key, *, checks: bool = True) -> object:
        """Wait for it."""


def holding(
    rig: Rig, given: Given, unnoticed: Callable[[str], None] | None = None, settle: Settle = settled
) -> contextlib.AbstractAsyncContextManager[None]:
    """What a trial is given, as a context; `unnoticed` as for `unhealthy`.

    Raises:
        UsageError: nothing like it runs here, or it cannot be confined to some requests.
    """
    if given.kind is FaultKind.CONTROL_PLANE:
        return abandoned(rig)
    key, count = rig.named(given.at), given.instances
    behaviour = _BEHAVIOURS.get(given.kind)
    if behaviour is not None:
        return misbehaving(rig, key, _told(behaviour, given), settle, count)
    if given.headers:
        raise UsageError(f"{given.kind} at {given.at!r} befalls connections: it cannot be for requests with a header")
    if given.kind is FaultKind.BANDWIDTH:
        return trickling(rig, key, given.bandwidth, settle, count)
    if given.kind is FaultKind.EXPIRED_CERTIFICATE:
        return expired(rig, key, settle)
    if given.kind is FaultKind.UNHEALTHY:
        return unhealthy(rig, key, count, given.path, unnoticed)
    befalling = {
        FaultKind.REFUSED: refusing,
        FaultKind.CRASH: crashed,
        FaultKind.LOST: lost,
    }
    return befalling[given.kind](rig, key, settle, count)


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
async def misbehaving(
    rig: Rig, node: Key, fault: Fault, settle: Settle, count: int | None = None
) -> AsyncIterator[None]:
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
            await settle(rig, node, checks=fault.silent)


@contextlib.asynccontextmanager
async def refusing(rig: Rig, node: Key, settle: Settle, count: int | None = None) -> AsyncIterator[None]:
    """Nobody listens where the applications of the first `count` instances of `node`, or of all, listened."""
    chosen = _chosen(rig, node, count)
    try:
        for one in _workloads(chosen):
            await one.refuse()
        yield
    finally:
        for one in _workloads(chosen):
            await one.resume()
        await settle(rig, node)


@contextlib.asynccontextmanager
async def trickling(
    rig: Rig, node: Key, bandwidth: float, settle: Settle, count: int | None = None
) -> AsyncIterator[None]:
    """The applications of the first `count` instances of `node`, or of all, send `bandwidth` bytes a second."""
    chosen = _chosen(rig, node, count)
    for one in _workloads(chosen):
        one.narrow(bandwidth)
    try:
        yield
    finally:
        for one in _workloads(chosen):
            one.narrow(0)
        await settle(rig, node)


@contextlib.asynccontextmanager
async def crashed(rig: Rig, key: Key, settle: Settle, count: int | None = None) -> AsyncIterator[None]:
    """The first `count` instances of a node or gateway, or all, are gone, proxies and applications; then they return.

    Discovery still tells of them: nobody has noticed yet.
    """
    chosen = _chosen(rig, key, count)
    try:
        await asyncio.gather(*(one.crash() for one in chosen))
        yield
    finally:
        await asyncio.gather(*(one.restart() for one in chosen))
        await settle(rig, key)


@contextlib.asynccontextmanager
async def lost(rig: Rig, node: Key, settle: Settle, count: int | None = None) -> AsyncIterator[None]:
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
            await until(rig, node, gone.isdisjoint, f"know that {', '.join(sorted(gone))} is gone")
        yield
    finally:
        for one in chosen:
            rig.show(one)
        if discovery != "one":
            await until(rig, node, gone.issubset, f"know that {', '.join(sorted(gone))} is back")
        await settle(rig, node)


@contextlib.asynccontextmanager
async def unhealthy(
    rig: Rig,
    node: Key,
    count: int | None = None,
    path: str = "",
    unnoticed: Callable[[str], None] | None = None,
) -> AsyncIterator[None]:
    """The first `count` instances of `node`, or all, fail its health checks, and callers know it.

    The instances answer whatever else they are asked; with a `path`, checks that ask for another one, too. Where
    callers do not find out, `unnoticed` is told why, and all goes on; without it that is an error.

    Raises:
        UsageError: the node has no health check that an application can fail.
        MeshwrightError: callers did not find out in time, or not in time that all is well again.
    """
    chosen, ill = _chosen(rig, node, count), Fault(ill=True, path=path)
    gone = {one.machine.address for one in chosen}
    looked, why = _checked(rig, node, path)

    def well(hosts: dict[str, bool]) -> bool:
        return all(hosts.get(one, True) for one in gone)

    # Who does not take them for good ones now, as where client and server want other TLS, never will.
    never = await waiting(rig, node, well, PATIENCE, looked)
    try:
        for one in _workloads(chosen):
            one.given.append(ill)
        try:
            if why:
                raise UsageError(why)
            what = f"give up who fails checks{f' that ask for {path}' if path else ''}"
            await until(rig, node, lambda hosts: not any(map(hosts.get, gone)), what, looked)
            # The last change may be the one by which instances were found well when all began, or an ejection.
            await workers_told()
        except MeshwrightError as error:
            if unnoticed is None:
                raise
            unnoticed(str(error))
        yield
    finally:
        for one in _workloads(chosen):
            one.given.remove(ill)
        await until(rig, node, well, "take them back", looked, but=never)
        # That is often less than a second after the last change.
        await workers_told()


@contextlib.asynccontextmanager
async def expired(rig: Rig, key: Key, settle: Settle) -> AsyncIterator[None]:
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
        await settle(rig, key)


@contextlib.asynccontextmanager
async def abandoned(rig: Rig) -> AsyncIterator[None]:
    """The control plane is dead; then it is started again, and every proxy finds it."""
    await rig.lab.control.kill()
    try:
        yield
    finally:
        await rig.lab.control.start()
        await rig.lab.connected()


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


def _checked(rig: Rig, node: Key, path: str) -> tuple[Looked, str]:
    """What a proxy says of the health checks that fail; why there are none that can, "" where there are some."""
    spec = rig.graph.state[node].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    asked = {one.port_mapping.port: asked_path(one.health_check) for one in listeners if one.health_check}
    failing = frozenset(port for port, wanted in asked.items() if wanted and path in {"", wanted})
    others = [f"at {port} for {wanted}" for port, wanted in asked.items() if wanted]
    why = ""
    if not asked:
        why = f"no instance of {node.name!r} can fail a health check: it has none"
    elif not others:
        had = "its health check asks for no more than a connection, which its proxy takes"
        why = f"no instance of {node.name!r} can fail a health check: {had}"
    elif not failing:
        why = f"no health check of {node.name!r} asks for {path}: it asks {', '.join(others)}"
    return Looked(ports=failing, flags=(CHECK_FAILED,)), why


def _discovery(rig: Rig, node: Key) -> str:
    """How callers find instances: `cloud-map`, DNS that tells of `all`, or of `one` at a time."""
    spec = rig.graph.state[node].spec
    found = spec.service_discovery if isinstance(spec, VirtualNodeSpec) else None
    if found is None or rig.graph.extensions(Kind.REGISTRATION, node):
        raise UsageError(f"neither DNS nor Cloud Map tells of {node.name!r}: they cannot lose an instance of it")
    if found.dns is None:
        return "cloud-map"
    return "all" if found.dns.response_type == "ENDPOINTS" else "one"
