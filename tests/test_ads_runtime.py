"""What ends by itself: resources with a time to live over both protocols, and the runtime layer of a real Envoy."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from envoys import envoy, until
from handmade import NODE, faults
from meshwright.ads.wire import identify
from meshwright.errors import UsageError
from meshwright.snapshot.messages import as_dict, message, unpacked
from meshwright.snapshot.resources import FAULTS, RUNTIME, Traits
from processes import DEADLINE
from stage import staged

if TYPE_CHECKING:
    from pathlib import Path

    from envoys import Envoy

KEY = "meshwright.test"


def later(seconds: float) -> int:
    """In milliseconds since the epoch."""
    return time.time_ns() // 1_000_000 + int(seconds * 1000)


async def value_in(running: Envoy) -> str:
    """What the Envoy reads under `KEY`; "" for nothing."""
    entries = json.loads(await running.ask("/runtime?format=json"))["entries"]
    return str(entries.get(KEY, {}).get("final_value", ""))


@pytest.mark.parametrize("delta", [True, False])
async def test_what_expires_says_how_long_it_has_to_live_from_now(delta: bool) -> None:
    """The time left when it is sent, not when it was built; what does not expire says nothing and is not wrapped."""
    async with staged(faults(1, later(600))) as stage:
        for instance in ("one", "two"):
            async with stage.client(delta=delta, instance=instance) as client:
                asked: dict[str, Any] = (
                    {"resource_names_subscribe": [FAULTS]} if delta else {"resource_names": [FAULTS]}
                )
                await client.say(RUNTIME, **asked)
                response = await client.hear()
                assert response.type_url == RUNTIME
                (sent,) = response.resources
                held = sent if delta else unpacked(sent)
                assert held.name == FAULTS
                assert 590 < held.ttl.seconds < 600
                assert as_dict(unpacked(held.resource))["layer"] == {KEY: 1.0}
                await client.ack(response, **({} if delta else asked))
                stage.publish(faults(1))
                (sent,) = (await client.hear()).resources
                assert not sent.HasField("ttl") if delta else sent.type_url == RUNTIME
                stage.publish(faults(1, later(600)))


@pytest.mark.envoy
@pytest.mark.parametrize("delta", [True, False])
async def test_an_envoy_forgets_what_expires_though_the_control_plane_is_gone(tmp_path: Path, delta: bool) -> None:
    """It is told a later end in time; at the end, nobody needs to be there to tell it."""

    async def holds() -> bool:
        return await value_in(running) == "50"

    async def forgot() -> bool:
        return await value_in(running) == ""

    async with staged(faults()) as stage, envoy(tmp_path, NODE, stage.port, delta=delta) as running:
        await until(stage.control.statuses, "it connects")
        first = later(2)
        stage.publish(faults(50, first))
        await until(holds, "the layer arrives")
        end = later(4)
        revision = stage.publish(faults(50, end))
        assert (await stage.control.wait(revision, DEADLINE)).state == "propagated"
        await stage.server.stop()
        await until(lambda: later(0) > first + 200, "the first end passes")
        assert await holds() or later(0) > end
        await until(forgot, "the second end passes")
        assert later(0) >= end - 50
        assert (await running.stats("runtime.load_error"))["runtime.load_error"] == 0


@pytest.mark.envoy
async def test_an_envoy_that_comes_back_is_not_sent_what_it_has_and_forgets_it_in_time(tmp_path: Path) -> None:
    """A restart of the control plane neither prolongs nor cuts short what expires; afterwards it is given anew."""

    async def reads(expected: str) -> bool:
        return await value_in(running) == expected

    async with staged(faults()) as stage, envoy(tmp_path, NODE, stage.port) as running:
        await until(stage.control.statuses, "it connects")
        end = later(3)
        published = stage.publish(faults(50, end))
        await until(lambda: reads("50"), "the layer arrives")
        updates = (await running.stats("runtime.load_success"))["runtime.load_success"]
        await stage.restart()
        await until(stage.control.statuses, "it connects again")
        await stage.control.wait(published, DEADLINE)
        assert (await running.stats("runtime.load_success"))["runtime.load_success"] == updates or later(0) >= end
        await until(lambda: reads(""), "the end passes")
        assert later(0) >= end - 50
        revision = stage.publish(faults(20, later(600)))
        assert (await stage.control.wait(revision, DEADLINE)).state == "propagated"
        await until(lambda: reads("20"), "the next one arrives")


def test_an_envoy_says_its_version_its_zone_and_whether_it_has_the_faults() -> None:
    """As Envoy writes them; one that says nothing is taken to be able to do nothing special."""
    node = message("envoy.config.core.v3.Node")(
        id=NODE.path,
        locality={"zone": "eu-1a"},
        user_agent_build_version={"version": {"major_number": 1, "minor_number": 39, "patch": 2}},
    )
    node.metadata.update({"meshwright": {"runtime": True}})
    found = identify(node, "peer")
    assert found.traits == Traits(version=(1, 39, 2), zone="eu-1a", runtime=True)
    assert found.traits.since(1, 39)
    assert not found.traits.since(1, 40)
    silent = identify(message("envoy.config.core.v3.Node")(id=NODE.path), "peer")
    assert silent.traits == Traits()
    assert not silent.traits.since(1, 0)


@pytest.mark.parametrize(
    ("zone", "runtime", "words"),
    [("", "yes", "runtime is 'yes'; it takes true or false"), ("z" * 256, True, "zone has 256 characters")],
)
def test_traits_that_are_none_are_refused(zone: str, runtime: object, words: str) -> None:
    """Each is named with what it takes."""
    node = message("envoy.config.core.v3.Node")(id=NODE.path, locality={"zone": zone})
    node.metadata.update({"meshwright": {"runtime": runtime}})
    with pytest.raises(UsageError, match=words):
        identify(node, "peer")
