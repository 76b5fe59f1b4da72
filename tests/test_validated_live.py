"""What `validate` passes is not rejected later: odd meshes pushed to running Envoys, which take each of them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from envoys import envoy, until
from everything import FILE, FILE_TRUST, SDS, SDS_TRUST, extended_everything
from meshwright.ads.server import AdsServer
from meshwright.control import Control
from meshwright.model import SPECS, Key, Kind, Resource, State, decode, encode
from meshwright.snapshot.build import build
from meshwright.store.contract import Head
from processes import DEADLINE, fresh_place
from settings import PROVE
from stage import Everybody
from strategies import MESH
from test_validated import changed, instances, leaves, odd_for, passes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from typing import Any

    from meshwright.graph import Graph
    from meshwright.snapshot.resources import Placement, Snapshot, Traits

pytestmark = pytest.mark.envoy

PROXIES = (
    Key(MESH, Kind.VIRTUAL_NODE, "caller"),
    Key(MESH, Kind.VIRTUAL_NODE, "grpc"),
    Key(MESH, Kind.VIRTUAL_GATEWAY, "door"),
)


@contextlib.asynccontextmanager
async def running(folder: Path, base: State) -> AsyncIterator[Control]:
    """A control loop with running Envoys of `PROXIES`, which have `base`."""
    found = dict.fromkeys((one.key for one in base.of(Kind.VIRTUAL_NODE)), instances()[::9])

    def built(graph: Graph, node: Key, placement: Placement, traits: Traits, now: int) -> Snapshot:
        return build(graph, node, found, placement, traits, now)

    control = Control(built, lambda: time.time_ns() // 1_000_000)
    control.publish(Head(1, base))
    server = AdsServer(control, Everybody())
    port = await server.start("127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(server.stop, 0.2)
        for key in PROXIES:
            one = envoy(folder, key, port, placement=fresh_place(), instance=key.name, zone="us-east-1a")
            await exits.enter_async_context(one)
        await until(lambda: len(control.statuses()) == len(PROXIES))
        assert (await control.wait(1, DEADLINE)).state == "propagated"
        yield control


def without_files(state: State) -> State:
    """`state` with secrets in place of files, which would have to be where the Envoys run."""
    swapped = ((FILE, SDS), (FILE_TRUST, SDS_TRUST))
    return State(
        _swapped(one, lambda value: next((new for old, new in swapped if value == old), value)) for one in state
    )


def _swapped(one: Resource, swap: Callable[[Any], Any]) -> Resource:
    def walk(value: Any) -> Any:
        value = swap(value)
        if isinstance(value, dict):
            return {name: walk(inner) for name, inner in value.items()}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    return msgspec.structs.replace(one, spec=decode(SPECS[one.key.kind], walk(encode(one.spec))))


def odd_values(base: State) -> Iterator[tuple[Resource, int, str | float]]:
    """As `test_validated.odd_values`, but for files: whether one can be opened is known where it is."""
    for one in base:
        for place, (holder, key) in enumerate(leaves(encode(one.spec))):
            if holder[key] != "/dev/stdout":
                for value in odd_for(holder[key]):
                    yield one, place, value


async def test_running_envoys_take_whatever_validate_passes(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """One odd value after another, in every field, over the stream: none is rejected, and the last is there."""
    base = without_files(extended_everything())
    assert passes(base)
    wanted = list(odd_values(base))
    chosen = wanted[7 :: len(wanted) // (600 if PROVE else 24)]
    states = [state for one in chosen if (state := changed(base, *one)) is not None and passes(state)]
    async with running(tmp_path, base) as control:
        for number, state in enumerate(states, start=2):
            control.publish(Head(number, state))
            found = await control.wait(number, DEADLINE)
            assert found.state == "propagated", (found, state)
    assert len(states) > len(chosen) / 5
    record_property("tried", f"odd values pushed to {len(PROXIES)} running Envoys: {len(states)} meshes, all taken")
