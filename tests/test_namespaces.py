"""Rigs in network namespaces: production's redirection, the same verdicts as on loopback, and nothing left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from meshwright.lab.namespaces import missing
from meshwright.lab.rig import Rig
from rigging import declared
from test_rig import secured

if TYPE_CHECKING:
    from meshwright.lab.machines import Isolation
    from meshwright.model import State

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(bool(missing()), reason=missing())]


async def verdicts(state: State, isolation: Isolation) -> dict[tuple[str, str, int], str]:
    """Who answered each call that `state` declares, by caller, host and port."""
    async with Rig(state, isolation=isolation) as rig:
        sent = [await rig.send(asked.call, asked.at) for asked in declared(rig.graph)]
        told = await rig.report(sent)
        assert all(trace.records for trace, one in zip(told, sent, strict=True) if one.reply.node)
    return {(one.at.name, one.call.host, one.call.port): one.reply.node for one in sent}


async def test_both_isolations_give_the_same_verdicts() -> None:
    """Over every protocol, with TLS from files and secrets, Cloud Map, gateways, and callers that are refused."""
    found = await verdicts(secured(), "netns")
    assert found == await verdicts(secured(), "loopback")
    assert set(found.values()) == {"web", "api", "stock", "raw", "pay", "reg", "old", ""}
