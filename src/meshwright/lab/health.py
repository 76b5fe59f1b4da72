"""What proxies know of the health of whom they call: asked of them, waited for, and stopped for a while.

The one rule: whoever waits goes on as soon as every caller knows, or is told who does not.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from meshwright.errors import MeshwrightError
from meshwright.model.identity import Kind
from meshwright.model.specs import VirtualNodeSpec
from meshwright.snapshot.names import EGRESS_CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshwright.lab.instance import Instance
    from meshwright.lab.rig import Rig
    from meshwright.model.identity import Key

Wanted: TypeAlias = "Callable[[dict[str, bool]], bool]"
PATIENCE = 2.0
"""Seconds that callers have to find out that an instance is well again, before they are started anew."""
_DISCOVERY = 12.0
"""Seconds that callers have to find out where instances are: they ask DNS every five."""
_ACQUAINTANCE = 5.0
"""Seconds that callers have at the start to know whom they call; definitions may name instances that never come."""
_TELLING = 1.2
"""Seconds until an Envoy has told its workers of a change of a host's health. It does so at once, or, where the last
change is less than a second ago, a second later.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto, `update_merge_window`
"""
_CHECKED = 0.6
"""Seconds within which a proxy has surely checked the health of whom it calls: it does so twice a second."""
_PAUSED = 4.0
"""Seconds for which proxies pause with their checks at least, so that several who want that share a pause."""
_POLL = 0.05
CHECK_FAILED = "failed_active_health_check"
"""In Envoy's word on a host."""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What of a proxy's word on a node's instances is looked at."""

    ports: frozenset[int] = frozenset()
    """Those of the listeners; none for all of them."""
    flags: tuple[str, ...] = (CHECK_FAILED, "failed_outlier_check")
    """Which say that an instance is not well."""


_AT_ALL = Looked()


async def well(rig: Rig, key: Key) -> None:
    """Return once every caller takes every instance of `key` for a good one, or has had time to."""
    if await waiting(rig, key, lambda hosts: all(hosts.values()), 0):
        await waiting(rig, key, lambda hosts: all(hosts.values()), PATIENCE)
        await workers_told()


async def workers_told() -> None:
    """Return once the workers of an Envoy are sure to know of a change of health that it has told just now."""
    await asyncio.sleep(_TELLING)


async def settled(rig: Rig, key: Key, *, checks: bool = True) -> None:
    """Return once every caller takes every instance of `key` for a good one, and its workers know.

    `checks` says that what is over may have befallen health checks, too. Callers whose outlier detection or health
    checks would take longer are started anew: that is what they would know.
    """
    late = await recovered(rig, key, checks=checks)
    await asyncio.gather(*(one.restart() for one in late))


async def recovered(rig: Rig, key: Key, *, checks: bool = True) -> tuple[Instance, ...]:
    """As `settled`, but callers that take longer are the answer and go on as they are."""
    ill = await waiting(rig, key, lambda hosts: all(hosts.values()), 0)
    late = await waiting(rig, key, lambda hosts: all(hosts.values()), PATIENCE) if ill else ()
    # The workers of those that found out by themselves may not know yet; who has checks may have done so just now.
    if set(ill) - set(late) or (checks and _is_checked(rig, key)):
        await workers_told()
    return late


def _is_checked(rig: Rig, key: Key) -> bool:
    """Whether callers check the health of `key`."""
    spec = rig.graph.state[key].spec
    listeners = (spec.listeners or ()) if isinstance(spec, VirtualNodeSpec) else ()
    return any(one.health_check is not None for one in listeners)


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


async def until(
    rig: Rig, key: Key, wanted: Wanted, what: str, looked: Looked = _AT_ALL, but: Sequence[Instance] = ()
) -> None:
    """As `waiting`, for as long as discovery may take, where every caller is to find out.

    Raises:
        MeshwrightError: some did not come to do `what`.
    """
    late = await waiting(rig, key, wanted, _DISCOVERY, looked, but)
    if late:
        names = ", ".join(one.name for one in late)
        raise MeshwrightError(f"{names} did not come to {what} within {_DISCOVERY:g} s")


async def waiting(
    rig: Rig, key: Key, wanted: Wanted, seconds: float, looked: Looked = _AT_ALL, but: Sequence[Instance] = ()
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


async def _hosts(caller: Instance, prefixes: str | tuple[str, ...], looked: Looked) -> list[dict[str, bool]]:
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


class Checks:
    """The health checks that a rig's proxies make of whom they call, which take places in connection pools."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._until = 0.0
        """When the first proxy may check again that was had to pause."""
        self._turn = asyncio.Lock()

    async def pause(self, seconds: float) -> None:
        """Return when no proxy will check anybody's health for so many seconds; afterwards they do as they did.

        Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_runtime
        """
        async with self._turn:
            now = time.monotonic()
            if now + seconds <= self._until:
                return
            # A proxy looks at how long to wait when it has checked: those in an earlier pause do so at its end.
            asked = max(now, self._until) + _CHECKED
            pause = asked - now + max(seconds, _PAUSED)
            try:
                await _checking_every(self._rig, str(math.ceil(pause * 1_000)))
                await asyncio.sleep(asked - time.monotonic())
            finally:
                await _checking_every(self._rig, "")
            self._until = now + pause


async def _checking_every(rig: Rig, milliseconds: str) -> None:
    """Have proxies check health so rarely at most; "" for as often as they did."""
    change = f"/runtime_modify?health_check.min_interval={milliseconds}"
    running = [one for one in rig.lab.fleet.instances if one.envoy is not None and one.envoy.status is None]
    await asyncio.gather(*(one.administration(change, "POST") for one in running))
